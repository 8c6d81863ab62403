"""The Keeps of one deployment: started, watched, started again as their policy says, ended when they are to leave."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.host import background, ended, ending, looking, requests, restarts, services, state, systemd
from enarx_deploy.host.cgroup import Groups
from enarx_deploy.host.known import Known
from enarx_deploy.host.services import Served
from enarx_deploy.models import KeepStatus


@dataclass
class Replica:
    """One Keep of the deployment, and what is planned for it."""

    id: str
    version: int
    process: subprocess.Popen[bytes] | None = None
    serves: bool = False  # it takes connections, or will when it is up again
    failures: int = 0  # ends in a row
    began: float = field(default_factory=time.monotonic)
    ended: threading.Event = field(default_factory=threading.Event)  # since it was started last
    leaving: threading.Event = field(default_factory=threading.Event)  # it is to end, and not to be started again

    @property
    def directory(self) -> Path:
        """Where what is kept on disk of it is."""
        return state.keep_dir(self.id)


class Replicas:
    """See the module; any thread may call. `place` is the name of the deployment's directory.

    `goes_back` is asked when a Keep has ended that is to be started again: True where another version takes its place.
    `wake` is called when no Keep is left.
    """

    def __init__(
        self,
        place: str,
        known: Known,
        say: Callable[[str], None],
        *,
        goes_back: Callable[[Replica, str], bool],
        wake: Callable[[], None],
    ) -> None:
        self._place = place
        self._known = known
        self._say = say
        self._goes_back = goes_back
        self._wake = wake
        self._by_id: dict[str, Replica] = {}
        self._closed = False

    def close(self) -> None:
        """Start none any more, and note no end: what becomes of the Keeps is for the next service process."""
        with self._known.turn:
            self._closed = True

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def get(self, keep: str) -> Replica | None:
        """A Keep by its id."""
        return self._by_id.get(keep)

    def adopt(self, replica: Replica) -> None:
        """Count a Keep in that a service process before has started."""
        self._by_id[replica.id] = replica

    def start(self, served: Served, *, alone: bool = True) -> Replica:
        """Start a Keep of a version; returns when it runs or waits for its certificate. Raises KeepError.

        Metrics are of one Keep, so that those which stand beside the first serve theirs on ports of their own.
        """
        if self._closed:
            raise self._is_ending()
        keep, metrics = secrets.token_hex(6), served.keep.metrics
        if metrics and not alone:
            metrics = metrics.rpartition(":")[0] + ":0"
        spec = msgspec.structs.replace(served.keep, id=keep, created=state.now(), service=self._place, metrics=metrics)
        directory = state.new_keep(spec)
        replica = Replica(keep, served.version.number)
        try:
            self._launch(replica)
        except KeepError:
            status = state.read_status(directory)
            if status is None or status.state == "failed":
                shutil.rmtree(directory, ignore_errors=True)
            raise
        with self._known.turn:
            if not (too_late := self._closed):
                self._by_id[keep] = replica
                self._known.add_keep(keep)
        if too_late:  # nobody would look after it
            ending.end(directory, 0)
            raise self._is_ending()
        self.watch(replica)
        return replica

    def _is_ending(self) -> KeepError:
        return KeepError(f"the service process of {self._known.service.name} is ending")

    def _launch(self, replica: Replica) -> None:
        replica.ended = threading.Event()
        replica.process = background.start("keep", replica.directory, state.LOGS["host"])
        replica.began = time.monotonic()

    def watch(self, replica: Replica) -> None:
        """See when a Keep ends, and when it serves no more."""
        for task in (self._await_end, self._look_again):
            threading.Thread(target=task, args=(replica,), name=f"{task.__name__}-{replica.id}", daemon=True).start()

    def _await_end(self, replica: Replica) -> None:
        with contextlib.suppress(OSError):
            state.await_free(replica.directory)
        self._reap(replica)
        replica.ended.set()
        Groups().remove(replica.id)
        self.ended(replica)

    def _reap(self, replica: Replica) -> None:
        """Have no process of a Keep left, whose host process has let go of it."""
        if replica.process is not None:
            replica.process.kill()
            replica.process.wait()
            replica.process = None

    def _look_again(self, replica: Replica) -> None:
        """Have a Keep that does not serve any more end as one that failed, so that it is started again."""

        def serves() -> bool:
            return replica.serves and not replica.leaving.is_set()

        with contextlib.suppress(OSError, msgspec.DecodeError):  # its directory is gone: so is the Keep
            looks = state.read_spec(replica.directory).looks
            reason = looking.until_unhealthy(replica.directory, looks, replica.ended, serves, self._say)
            if reason:
                self.fail(replica, reason)

    def end(self, replica: Replica, grace: float) -> None:
        """End a Keep as somebody wants it; one that does not end is told of."""
        self._tell(lambda: ending.end(replica.directory, grace))

    def fail(self, replica: Replica, reason: str) -> None:
        """End a Keep as one that has failed; one that does not end is told of."""
        self._tell(lambda: ending.fail(replica.directory, reason))

    def _tell(self, end: Callable[[], None]) -> None:
        try:
            end()
        except KeepError as error:
            self._say(f"{error}; {error.hint}")

    def ended(self, replica: Replica, at_once: bool = False) -> None:
        """A Keep has ended: start it again, or not."""
        status = state.read_status(replica.directory)
        if status is not None and status.cause == "killed" and not replica.leaving.is_set() and systemd.is_ending():
            return  # nobody wanted it: the next service process starts it again
        with self._known.turn:
            if self._closed:
                return
            served = self._known.service.numbered(replica.version)
            again = replica.serves and served is not None and restarts.wanted(served.restart, status)
            if replica.leaving.is_set() or not again:
                self._note_gone(replica, status)
                return
        if time.monotonic() - replica.began > restarts.STEADY:
            replica.failures = 0
        self.start_again_later(replica, restarts.reason(status), at_once=at_once)

    def _note_gone(self, replica: Replica, status: KeepStatus | None) -> None:
        if not replica.leaving.is_set():
            self._say(f"Keep {replica.id} has ended and is not started again: {restarts.reason(status)}")
            if not replica.serves:
                self._known.give_up(replica.version, restarts.reason(status))
            elif status is not None and status.cause == "killed":
                self._known.change(replicas=max(0, self._known.service.replicas - 1))
        self.forget(replica)

    def start_again_later(self, replica: Replica, reason: str, *, at_once: bool = False) -> None:
        """Start a Keep again that ended for this reason, after a pause that grows with its failures in a row."""
        replica.failures += 1
        wait = 0.0 if at_once else restarts.pause(replica.failures)
        self._say(f"Keep {replica.id} has ended ({reason}); it is started again in {wait:.1f} s")
        status = state.read_status(replica.directory)
        if status is not None:
            said = f"started again in {wait:.1f} s; {reason}"
            waits = msgspec.structs.replace(status, state="restarting", pid=0, reason=said)
            self._write_status(replica, waits)
        if self._goes_back(replica, reason):
            return
        threading.Thread(target=self.start_again, args=(replica, wait), name="restart", daemon=True).start()

    def _write_status(self, replica: Replica, status: KeepStatus) -> None:
        try:
            state.write_status(replica.directory, status)
        except OSError as error:
            self._say(f"the state of Keep {replica.id} cannot be written: {error}")

    def start_again(self, replica: Replica, wait: float) -> None:
        """Start a Keep again after so many seconds, unless it is to leave by then."""
        if replica.leaving.wait(wait):
            self.forget(replica)
            return
        if self._closed:  # the next service process starts it
            return
        try:
            self._launch(replica)
            self.provision(replica)
            self.check(replica, "inside")
            if not replica.leaving.is_set():
                requests.ask(replica.directory, {"do": "accept"})
        except EnarxDeployError as error:
            self.fail(replica, str(error))  # to end it as if somebody wanted that would be for good
            self._reap(replica)
            self.start_again_later(replica, str(error))
            return
        if replica.leaving.is_set():
            self.end(replica, 0)
        self.watch(replica)

    def provision(self, replica: Replica) -> None:
        """Have a Keep certified and running. Raises KeepError, VerificationRefused."""
        requests.ask(replica.directory, {"do": "provision"}, state.read_spec(replica.directory).certified_within)

    def check(self, replica: Replica, where: str) -> None:
        """Look at the sockets of a Keep, `inside` it or at the `endpoint`. Raises KeepError."""
        requests.ask(replica.directory, {"do": "check", "where": where}, services.CHANGE_LIMIT)

    def count_in(self, replica: Replica) -> None:
        """A Keep serves. One that has ended meanwhile, with the work of a version that serves nobody, has done so."""
        with self._known.turn:
            replica.serves = True
            if replica.id in self._by_id:
                return
            self._by_id[replica.id] = replica
            self._known.add_keep(replica.id)
        self.ended(replica)

    def leave(self, replica: Replica, grace: float) -> None:
        """End a Keep in the background. From now on it is none of the deployment's. After `close` that is for the next
        service process."""
        with self._known.turn:
            if self._closed:
                return
            self.note_leaving(replica)

        def leave() -> None:
            self.end(replica, grace)
            self.forget(replica)

        threading.Thread(target=leave, name="leave").start()

    def note_leaving(self, replica: Replica) -> None:
        """A Keep is to end, and none of the deployment's from now on."""
        with self._known.turn:
            replica.leaving.set()
            self._known.drop_keep(replica.id)

    def forget(self, replica: Replica) -> None:
        """A Keep is gone."""
        with self._known.turn:
            if self._closed or self._by_id.pop(replica.id, None) is None:
                return
            self._note_ended_for_good(replica)
            self._known.drop_keep(replica.id)
        ended.prune(self._place, self._known.service.keeps)
        with self._known.turn:
            if not self._by_id:
                self._wake()

    def _note_ended_for_good(self, replica: Replica) -> None:
        status = state.read_status(replica.directory)
        if status is not None and status.state == "restarting":
            self._write_status(replica, msgspec.structs.replace(status, state="exited", reason="stopped"))

    def of(self, number: int) -> list[Replica]:
        """Those of a version."""
        with self._known.turn:
            return [one for one in self._by_id.values() if one.version == number]

    def serving(self) -> list[Replica]:
        """Those that serve."""
        with self._known.turn:
            return [one for one in self._by_id.values() if one.serves and not one.leaving.is_set()]

    def alive(self) -> list[Replica]:
        """All of them."""
        with self._known.turn:
            return list(self._by_id.values())
