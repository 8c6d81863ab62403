"""What a Steward does beside answering: take up its policy anew on SIGHUP, and renew what comes to its end.

Whatever goes wrong here leaves in force what was, and is said in the log and in the Steward's record.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Final

import msgspec
import uvicorn

from enarx_service.errors import ConfigurationError
from enarx_service.tls import Listener

from . import policy as policy_file
from . import state
from .issuance import Steward, utc_now
from .options import Options, audience_of
from .policy import StewardPolicy
from .record import Held, Running

RENEWAL_TICKS: Final = 3000
"""Ticks of a tenth of a second between two looks at what may have to be renewed: five minutes."""

_log = logging.getLogger("enarx_steward")


class Upkeep:
    """Takes up the files of a Steward while it serves. Not for more than one thread at a time."""

    def __init__(
        self, options: Options, steward: Steward, held: Held, running: Running, tls: Listener | None = None
    ) -> None:
        self._options = options
        self._steward = steward
        self._held = held
        self._tls = tls
        self.running = running

    async def reload(self) -> None:
        """Put the policy in force that the file holds now, and take up the certificate for TLS.

        Requests under way keep theirs, and so do connections. What takes long is done on a thread; the change of
        certificates is not, as a handshake that begins between certificate and key would fail.
        """
        faults = [
            await asyncio.to_thread(_attempt, self._reload_policy, "the policy stays as it was"),
            _attempt(self._refresh_tls, "the certificate for TLS stays as it was"),
        ]
        self._record("; ".join(filter(None, faults)))

    def _reload_policy(self) -> None:
        accepted = policy_file.load(self._options.policy_path)
        self._refuse_what_needs_a_start(accepted)
        self._take_up(accepted)
        _log.info("policy %s is in force", accepted.sha256)

    async def renew(self) -> None:
        """Renew what it is time for. What cannot be renewed is used until it ends."""
        await asyncio.to_thread(_attempt, self._renew_intermediate, "the intermediate is not renewed")
        _attempt(self._refresh_tls, "the certificate for TLS is not renewed")

    def _renew_intermediate(self) -> None:
        version = self._steward.version
        if not version.authority.lasts(utc_now()):
            self._take_up(version.policy)

    def _refresh_tls(self) -> None:
        if self._tls is not None and self._tls.refresh(utc_now()):
            _log.info("another certificate for TLS is in use")

    def _take_up(self, accepted: StewardPolicy) -> None:
        authority = state.load_authority(self._options.state, accepted, utc_now())
        self._steward.replace_policy(accepted, authority)

    def _refuse_what_needs_a_start(self, accepted: StewardPolicy) -> None:
        present = self._steward.policy
        moved = {
            "collateral.store": accepted.collateral_store != present.collateral_store,
            "log.database": accepted.database != present.database and not self._options.database,
        }
        for key in (key for key, other in moved.items() if other):
            raise ConfigurationError(
                f"{self._options.policy_path}: `{key}` is another than when this Steward began",
                hint="end the Steward and start it again to have it use another",
            )
        named = audience_of(accepted, self._options.host, self.running.url)
        if named != self._steward.audience:
            raise ConfigurationError(
                f"{self._options.policy_path}: `ca.audience` would be {named}, and Keeps know this Steward as "
                f"{self._steward.audience}",
                hint="end the Steward and start it again to give it another name",
            )

    def _record(self, fault: str) -> None:
        self.running = msgspec.structs.replace(
            self.running,
            policy_sha256=self._steward.policy.sha256,
            reloads=self.running.reloads + 1,
            fault=fault,
        )
        self._held.write(self.running)


class Server(uvicorn.Server):
    """The HTTP server. From the moment it is made, SIGINT and SIGTERM end it in good order, and SIGHUP reloads.

    Where a terminal started it, SIGHUP may also mean that the terminal is gone; then it ends.
    """

    def __init__(self, config: uvicorn.Config, upkeep: Upkeep) -> None:
        super().__init__(config)
        self._upkeep = upkeep
        self._reload_asked = False
        self._task: asyncio.Task[None] | None = None
        self._has_terminal = _is_at_a_terminal()
        # uvicorn raises the signal again when it has shut down; with a handler of ours that is a return, not a death.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._leave)
        signal.signal(signal.SIGHUP, self._hang_up)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second. What there is to do is done while requests are answered."""
        if self._task is None or self._task.done():
            work = self._next(counter)
            self._task = None if work is None else asyncio.create_task(work)
        return await super().on_tick(counter)

    def _next(self, counter: int) -> Coroutine[Any, Any, None] | None:
        if self._reload_asked:
            self._reload_asked = False
            return self._upkeep.reload()
        return self._upkeep.renew() if counter % RENEWAL_TICKS == RENEWAL_TICKS - 1 else None

    def _leave(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 — shape of a signal handler
        self.should_exit = True

    def _hang_up(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 — shape of a signal handler
        if self._has_terminal and not _is_at_a_terminal():
            self.should_exit = True
        self._reload_asked = True


def _attempt(work: Callable[[], None], otherwise: str) -> str:
    """Do something; returns what went wrong and what follows of it, or nothing."""
    try:
        work()
    except (ConfigurationError, OSError) as exc:
        hint = exc.hint if isinstance(exc, ConfigurationError) else ""
        _log.error("%s: %s%s", otherwise, exc, f" (hint: {hint})" if hint else "")
        return f"{otherwise}: {exc}"
    return ""


def _is_at_a_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
