"""The listening sockets of a deployment, kept open from one Keep to the next.

Every Keep that serves it has a handle of the same socket, so that nobody else can take the port, a free one that was
chosen stays the same, and who connects while no Keep accepts waits in the socket's queue instead of being refused.
With a socket for each (SO_REUSEPORT) the kernel would share connections out evenly, but it resets those that wait in
the queue of one that closes, and goes on giving connections to one that hangs.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from enarx_deploy.errors import KeepError
from enarx_deploy.host import sockets

if TYPE_CHECKING:
    from enarx_deploy.manifest import Listen


def place_of(entry: Listen) -> str:
    """What a `listen` entry asks for, as a word. Free ports are told apart by the entries' names."""
    return f"{entry.addr} {entry.port}" if entry.port else f"{entry.addr} {entry.name}"


class Listeners:
    """See the module. `before` has the ports that were chosen for places earlier, which are taken again if free."""

    def __init__(self, before: Mapping[str, int] | None = None) -> None:
        self._held: dict[str, socket.socket] = {}
        self._before = dict(before or {})

    def take(self, entry: Listen) -> socket.socket:
        """A handle of the socket for an entry, which is opened where it is not held yet. Raises KeepError."""
        place = place_of(entry)
        if place not in self._held:
            self.adopt(place, self._open(entry))
        return self._held[place].dup()

    def adopt(self, place: str, listener: socket.socket) -> None:
        """Hold a socket that another process has opened for a place; the first that is held stays."""
        if place in self._held:
            listener.close()
            return
        # All handles share this, and `dup` would set it back: a host half at work must never wait in accept.
        listener.setblocking(False)
        self._held[place] = listener

    def keep_only(self, places: Iterable[str]) -> None:
        """Close those of other places."""
        for place in self._held.keys() - set(places):
            self._held.pop(place).close()

    @property
    def ports(self) -> dict[str, int]:
        """The port of each place that is held."""
        return {place: int(held.getsockname()[1]) for place, held in self._held.items()}

    def _open(self, entry: Listen) -> socket.socket:
        if before := self._before.get(place_of(entry), 0):
            with contextlib.suppress(KeepError):
                return sockets.listen(msgspec.structs.replace(entry, port=before))
        return sockets.listen(entry)
