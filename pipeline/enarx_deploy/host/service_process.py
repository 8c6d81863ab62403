"""The background process of one deployment: it holds the listening sockets, and keeps so many Keeps serving on them.

What serves is changed in one way, by an update, a roll-back and a scaling alike: Keeps are started beside those that
serve, certified, and looked at from inside; then they take connections, too, and the endpoints are looked at as clients
meet them. Only then do the others leave, when their connections have ended or had their time. If anything fails before
that, the others have served all the time, and nobody has noticed. No step is driven by traffic.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from enarx_deploy import __version__
from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.host import background, ended, ending, looking, requests, restarts, services, state
from enarx_deploy.host.cgroup import Groups
from enarx_deploy.host.known import Known
from enarx_deploy.host.listeners import Listeners
from enarx_deploy.host.services import Served, Service
from enarx_deploy.host.session import DEFAULT_GRACE
from enarx_deploy.manifest import Listen
from enarx_deploy.models import KeepStatus, Version

LEAVING_GRACE = 10.0
"""Seconds that open connections have when their Keep is replaced or is one too many."""
PROBATION = 60.0
"""Seconds after an update in which Keeps that end bring the version before back."""
MOST_FAILURES = 3
"""So many ends during that time do."""
_IDLE = 30.0  # seconds after which a service process without Keeps ends
_PROVISION_LIMIT = 600.0  # seconds that a Keep has to get its certificate, and perhaps its package


def serve_in_background(place: Path, ready_fd: int) -> None:
    """As `serve`, for `background.start`: what it raises is said on `ready_fd`, and that it is up."""
    try:
        serve(place, lambda: background.report(ready_fd, {}))
    except EnarxDeployError as error:
        background.report(ready_fd, {"error": str(error), "hint": error.hint})


def serve(place: Path, is_up: Callable[[], None] = lambda: None) -> None:
    """Look after the deployment of `place` until it has no Keeps any more; `is_up` is called when it does.

    Raises KeepError.
    """
    try:
        lock = state.hold(place)
    except BlockingIOError as error:
        raise KeepError(f"another process looks after {place.name}") from error
    Groups().make_room()
    process = ServiceProcess(place)
    is_up()
    process.run()
    os.close(lock)


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
        return state.keep_dir(self.id)


class ServiceProcess:
    """See the module."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._known = Known(place, self._say)
        self._listeners = Listeners(self._service.ports)
        self._replicas: dict[str, Replica] = {}
        self._noting = self._known.turn
        self._changing = threading.Lock()  # one change of what serves at a time
        self._changing.acquire()  # until `_recover` has looked what there is
        self._began_serving = 0.0
        self._ends_of_version = 0
        self._ending = False  # what becomes of the Keeps is for the next service process
        self._leaves = False
        self._woken = threading.Event()
        self._requests = requests.Server(place, self._do, self._say)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self._end_all, name="end").start())
        threading.Thread(target=self._recover, name="recover").start()

    @property
    def _service(self) -> Service:
        return self._known.service

    def run(self) -> None:
        """Until there is nothing left to look after, or the next one is to do so."""
        while True:
            self._woken.wait(_IDLE)  # also at first: who started this process has something to say
            self._woken.clear()
            if self._leaves or self._is_idle():
                break
        self._requests.close()

    def _is_idle(self) -> bool:
        """Whether there is nothing to look after, and nothing is changed; if so, nothing will be any more."""
        if not self._changing.acquire(blocking=False):
            return False
        if self._replicas:
            self._changing.release()
            return False
        return True

    @contextlib.contextmanager
    def _one_change(self) -> Iterator[None]:
        """While what serves is changed. Afterwards there may be nothing left to look after."""
        try:
            with self._changing:
                yield
        finally:
            self._woken.set()

    # Requests

    def _do(self, request: requests.Request) -> requests.Answer:
        match request["do"]:
            case "about":
                return requests.Answer({"version": __version__, "executable": sys.executable})
            case "listen":
                entry = Listen(name=request["name"], addr=request["addr"], port=request["port"], prot="tcp")
                return requests.Answer({}, [self._listener(entry)])
            case "start":
                return requests.Answer({"keep": self._start(request)})
            case "serve":
                self._serve(int(request["version"]), str(request["keep"]))
            case "scale":
                return requests.Answer({"keeps": self._scale(int(request["replicas"]))})
            case "rollback":
                return requests.Answer({"version": self._roll_back(int(request["to"]))})
            case "stop":
                self._stop(str(request["keep"]), float(request["grace"]))
            case "stopping":
                self._note_stopping(str(request["keep"]))
            case "leave":
                self._leave_to_the_next()
            case other:
                raise ValueError(f"no request {other!r}")
        return requests.Answer({})

    def _listener(self, entry: Listen) -> Any:
        with self._noting:
            handle = self._listeners.take(entry)
            self._known.change(ports=self._listeners.ports)
            return handle

    def _start(self, request: requests.Request) -> str:
        """Begin a version: its first Keep is started, and waits for its certificate. Answers the Keep's id."""
        keep, asked = msgspec.convert(request["keep"], state.KeepSpec), max(1, int(request["replicas"]))
        with self._one_change():
            self._known.change(project=str(request["project"]))
            wanted = self._service.replicas_for(asked)
            return self._begin(keep, restart=request["restart"], replicas=wanted, asked=asked).id

    def _serve(self, number: int, keep: str) -> None:
        """Have a version serve whose first Keep has its certificate. One that has no sockets may have ended already."""
        with self._one_change():
            served = self._known.version(number)
            if served.version.state == "serving":
                return
            first = self._replicas.get(keep)
            if first is not None and not first.leaving.is_set():
                self._leave_begun(number, first)
                self._bring(self._as_wanted_now(served), [first])
                return
            status = state.read_status(state.keep_dir(keep))
            if not restarts.has_served_nobody(status):
                raise self._unhealthy(number, restarts.reason(status))
            self._take_place(served, [Replica(keep, number)], ())

    def _scale(self, wanted: int) -> list[str]:
        """Have so many Keeps serve; answers which."""
        with self._one_change():
            serving = self._service.serving
            if serving is None:
                raise KeepError(f"no version of {self._service.name} serves", hint="`enarx-deploy up` deploys one")
            present = self._serving()
            self._add(serving, wanted - len(present))
            self._known.change(replicas=wanted, scaled=wanted)
            for one in present[wanted:]:
                self._leave(one, LEAVING_GRACE)
            return [one.id for one in self._serving()]

    def _roll_back(self, to: int, why: str = "", instead_of: int = 0) -> int:
        """Serve an earlier version again, under a new number, which is answered; only where a certain one serves now,
        if `instead_of` has its number."""
        with self._one_change():
            serving = self._service.serving
            if instead_of and (serving is None or serving.version.number != instead_of):
                raise KeepError(f"version {instead_of} does not serve any more")
            earlier = self._known.earlier(to)
            self._say(f"going back to version {earlier.version.number} {why}".rstrip())
            first = self._begin(
                earlier.keep,
                restart=earlier.restart,
                replicas=max(1, self._service.replicas),
                asked=(serving or earlier).asked,
            )
            served = self._known.version(first.version)
            try:
                self._provision(first)
            except EnarxDeployError as error:
                self._give_up(served, str(error))
                raise self._unhealthy(first.version, str(error), error.hint) from error
            self._bring(served, [first])
            return first.version

    def _stop(self, keep: str, grace: float) -> None:
        """End a Keep because somebody wants it ended: one fewer is to serve from now on."""
        self._note_stopping(keep)
        if (replica := self._replicas.get(keep)) is not None:
            ending.end(replica.directory, grace)
            self._forget(replica)

    def _note_stopping(self, keep: str) -> None:
        """Somebody wants a Keep ended. With the last one the ports are given back, and who comes is refused."""
        with self._noting:
            replica = self._replicas.get(keep)
            if replica is None or replica.leaving.is_set() or self._ending:
                return
            self._note_leaving(replica)
            if replica.serves:
                self._known.change(replicas=max(0, self._service.replicas - 1))
            if not self._serving():
                self._known.change(scaled=0)
                self._listeners.keep_only(())

    # Changes of what serves

    def _begin(self, keep: state.KeepSpec, *, restart: restarts.Policy, replicas: int, asked: int) -> Replica:
        """Note a new version and start its first Keep. Raises EnarxDeployError."""
        self._abandon_pending()
        number = self._service.next_number
        version = Version(number=number, package=keep.package, backend=keep.backend, created=_now(), state="pending")
        keep = msgspec.structs.replace(keep, id="", version=number)
        served = Served(version=version, keep=keep, restart=restart, replicas=replicas, asked=asked)
        self._known.change(versions=(*self._service.versions, served)[-services.MOST_VERSIONS :])
        try:
            return self._new_replica(served)
        except EnarxDeployError as error:
            self._known.set_state(number, "failed", str(error))
            raise

    def _abandon_pending(self) -> None:
        """End what waits for a certificate that nobody brought: another version is begun."""
        for one in list(self._replicas.values()):
            if not one.serves and not one.leaving.is_set():
                self._leave(one, 0)
                self._known.set_state(one.version, "failed", "another version was begun before it served")

    def _as_wanted_now(self, served: Served) -> Served:
        """With as many Keeps as are wanted of it by now: somebody may have scaled since it was begun."""
        return msgspec.structs.replace(served, replicas=self._service.replicas_for(served.asked))

    def _leave_begun(self, number: int, first: Replica) -> None:
        """End what a service process that ended amid this had started beside the first Keep, and perhaps let in."""
        for one in self._of(number):
            if one is not first and not one.leaving.is_set():
                self._leave(one, LEAVING_GRACE)

    def _bring(self, served: Served, new: list[Replica]) -> None:
        """Have a version serve in the place of the present one. Raises KeepError, and the present one goes on."""
        first = new[0]
        try:
            new += self._started(served, served.replicas - len(new))
            self._let_in(new)
            places = requests.ask(first.directory, {"do": "listeners"})["places"]
        except EnarxDeployError as error:
            if not restarts.has_served_nobody(state.read_status(first.directory)):
                reason = self._why(first, error)
                self._give_up(served, reason)
                raise self._unhealthy(served.version.number, reason, error.hint) from error
            places = []
        self._take_place(served, new, places)

    def _take_place(self, served: Served, new: Sequence[Replica], places: Sequence[str]) -> None:
        """A version serves now, by these Keeps and on these sockets, and what served before leaves."""
        number, before = served.version.number, self._service.serving
        old = [one for one in self._serving() if one.version != number]
        keeps_scale = before is not None and before.asked == served.asked
        for one in new:
            self._count_in(one)
        self._known.set_serving(number, replicas=served.replicas, scaled=self._service.scaled if keeps_scale else 0)
        self._began_serving, self._ends_of_version = time.monotonic(), 0
        self._say(f"version {number} serves by {len(new)} Keeps")
        for one in old:
            self._leave(one, LEAVING_GRACE)
        with self._noting:
            self._listeners.keep_only(places)

    def _count_in(self, replica: Replica) -> None:
        """A Keep serves. One that has ended meanwhile, with the work of a version that serves nobody, has done so."""
        with self._noting:
            replica.serves = True
            if replica.id in self._replicas:
                return
            self._replicas[replica.id] = replica
            self._known.add_keep(replica.id)
        self._ended(replica)

    def _started(self, served: Served, count: int) -> list[Replica]:
        """So many more Keeps of a version, certified and running. Raises EnarxDeployError, and none of them is left."""
        new: list[Replica] = []
        try:
            for _ in range(count):
                new.append(self._new_replica(served, alone=False))
                self._provision(new[-1])
        except EnarxDeployError:
            for one in new:
                self._leave(one, 0)
            raise
        return new

    def _add(self, serving: Served, count: int) -> None:
        """Have so many more Keeps of the version serve that serves now. Raises EnarxDeployError, and none is left."""
        new = self._started(serving, count)
        try:
            self._let_in(new)
        except EnarxDeployError:
            for one in new:
                self._leave(one, 0)
            raise

    def _let_in(self, new: Sequence[Replica]) -> None:
        """Let clients in to Keeps that are healthy, beside those that serve. Raises EnarxDeployError."""
        for one in new:
            self._check(one, "inside")
        for one in new:
            requests.ask(one.directory, {"do": "accept"})
        for one in new[:1]:
            self._check(one, "endpoint")
        for one in new:
            one.serves = True

    def _check(self, replica: Replica, where: str) -> None:
        requests.ask(replica.directory, {"do": "check", "where": where}, services.CHANGE_LIMIT)

    def _provision(self, replica: Replica) -> None:
        requests.ask(replica.directory, {"do": "provision"}, _PROVISION_LIMIT)

    def _why(self, replica: Replica, error: EnarxDeployError) -> str:
        """Why a Keep is not healthy: how it ended, if it has."""
        if state.is_held(replica.directory):
            return str(error)
        return restarts.reason(state.read_status(replica.directory))

    def _unhealthy(self, number: int, reason: str, hint: str = "") -> KeepError:
        serving = self._service.serving
        still = f"; version {serving.version.number} goes on serving" if serving and self._serving() else ""
        return KeepError(f"version {number} did not get healthy: {reason}{still}", hint=hint)

    def _give_up(self, served: Served, reason: str) -> None:
        self._say(f"version {served.version.number} is given up: {reason}")
        self._known.set_state(served.version.number, "failed", reason)
        for one in self._of(served.version.number):
            self._leave(one, 0)

    # Keeps

    def _new_replica(self, served: Served, *, alone: bool = True) -> Replica:
        """Start a Keep of a version; returns when it runs or waits for its certificate. Raises KeepError.

        Metrics are of one Keep, so that those which stand beside the first serve theirs on ports of their own.
        """
        if self._ending:
            raise self._is_ending()
        keep, metrics = secrets.token_hex(6), served.keep.metrics
        if metrics and not alone:
            metrics = metrics.rpartition(":")[0] + ":0"
        spec = msgspec.structs.replace(served.keep, id=keep, created=_now(), service=self._place.name, metrics=metrics)
        directory = state.new_keep(spec)
        replica = Replica(keep, served.version.number)
        try:
            self._launch(replica)
        except KeepError:
            status = state.read_status(directory)
            if status is None or status.state == "failed":
                shutil.rmtree(directory, ignore_errors=True)
            raise
        with self._noting:
            if not (too_late := self._ending):
                self._replicas[keep] = replica
                self._known.add_keep(keep)
        if too_late:  # nobody would look after it
            ending.end(directory, 0)
            raise self._is_ending()
        self._watch(replica)
        return replica

    def _is_ending(self) -> KeepError:
        return KeepError(f"the service process of {self._service.name} is ending")

    def _launch(self, replica: Replica) -> None:
        replica.ended = threading.Event()
        replica.process = background.start("keep", replica.directory, state.LOGS["host"])
        replica.began = time.monotonic()

    def _watch(self, replica: Replica) -> None:
        """See when a Keep ends, and when it serves no more."""
        for task in (self._await_end, self._look_again):
            threading.Thread(target=task, args=(replica,), name=f"{task.__name__}-{replica.id}", daemon=True).start()

    def _await_end(self, replica: Replica) -> None:
        with contextlib.suppress(OSError):
            state.await_free(replica.directory)
        self._reap(replica)
        replica.ended.set()
        Groups().remove(replica.id)
        self._ended(replica)

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
                ending.fail(replica.directory, reason)

    def _ended(self, replica: Replica, at_once: bool = False) -> None:
        """A Keep has ended: start it again, or not."""
        status = state.read_status(replica.directory)
        with self._noting:
            if self._ending:
                return
            served = self._service.numbered(replica.version)
            again = replica.serves and served is not None and restarts.wanted(served.restart, status)
            if replica.leaving.is_set() or not again:
                self._note_gone(replica, status)
                return
        if time.monotonic() - replica.began > restarts.STEADY:
            replica.failures = 0
        self._start_again_later(replica, restarts.reason(status), at_once=at_once)

    def _note_gone(self, replica: Replica, status: KeepStatus | None) -> None:
        if not replica.leaving.is_set():
            self._say(f"Keep {replica.id} has ended and is not started again: {restarts.reason(status)}")
            if not replica.serves:
                self._known.set_state(replica.version, "failed", restarts.reason(status))
            elif status is not None and status.cause == "killed":
                self._known.change(replicas=max(0, self._service.replicas - 1))
        self._forget(replica)

    def _start_again_later(self, replica: Replica, reason: str, *, at_once: bool = False) -> None:
        replica.failures += 1
        wait = 0.0 if at_once else restarts.pause(replica.failures)
        self._say(f"Keep {replica.id} has ended ({reason}); it is started again in {wait:.1f} s")
        status = state.read_status(replica.directory)
        if status is not None:
            said = f"started again in {wait:.1f} s; {reason}"
            waits = msgspec.structs.replace(status, state="restarting", pid=0, reason=said)
            self._write_status(replica, waits)
        if self._fails_on_probation(replica, reason):
            return
        threading.Thread(target=self._start_again, args=(replica, wait), name="restart", daemon=True).start()

    def _write_status(self, replica: Replica, status: KeepStatus) -> None:
        try:
            state.write_status(replica.directory, status)
        except OSError as error:
            self._say(f"the state of Keep {replica.id} cannot be written: {error}")

    def _start_again(self, replica: Replica, wait: float) -> None:
        if replica.leaving.wait(wait):
            self._forget(replica)
            return
        if self._ending:  # the next service process starts it
            return
        try:
            self._launch(replica)
            self._provision(replica)
            self._check(replica, "inside")
            if not replica.leaving.is_set():
                requests.ask(replica.directory, {"do": "accept"})
        except EnarxDeployError as error:
            ending.fail(replica.directory, str(error))  # to end it as if somebody wanted that would be for good
            self._reap(replica)
            self._start_again_later(replica, str(error))
            return
        if replica.leaving.is_set():
            ending.end(replica.directory, 0)
        self._watch(replica)

    def _fails_on_probation(self, replica: Replica, reason: str) -> bool:
        """Go back to the version before where the present one, new as it is, ends again and again."""
        serving = self._service.serving
        new = serving is not None and serving.version.number == replica.version
        if not new or time.monotonic() - self._began_serving > PROBATION:
            return False
        self._ends_of_version += 1
        if self._ends_of_version < MOST_FAILURES or not self._known.before(replica.version):
            return False
        threading.Thread(target=self._go_back, args=(replica, reason), name="go-back", daemon=True).start()
        return True

    def _go_back(self, replica: Replica, reason: str) -> None:
        why = f"it ended {MOST_FAILURES} times in its first {PROBATION:.0f} seconds: {reason}"
        try:
            self._roll_back(0, why=f"as {why}", instead_of=replica.version)
        except EnarxDeployError as error:
            self._say(f"could not go back: {error}")
            self._start_again(replica, restarts.LATEST)  # unless another version serves now, and it is to leave
            return
        self._known.set_state(replica.version, "failed", why)

    def _leave(self, replica: Replica, grace: float) -> None:
        """End a Keep in the background. From now on it is none of the deployment's."""
        self._note_leaving(replica)

        def leave() -> None:
            ending.end(replica.directory, grace)
            self._forget(replica)

        threading.Thread(target=leave, name="leave").start()

    def _note_leaving(self, replica: Replica) -> None:
        with self._noting:
            replica.leaving.set()
            self._known.drop_keep(replica.id)

    def _forget(self, replica: Replica) -> None:
        with self._noting:
            if self._ending or self._replicas.pop(replica.id, None) is None:
                return
            self._note_ended_for_good(replica)
            self._known.drop_keep(replica.id)
        ended.prune(self._place.name, self._service.keeps)
        self._end_if_nothing_is_left()

    def _note_ended_for_good(self, replica: Replica) -> None:
        status = state.read_status(replica.directory)
        if status is not None and status.state == "restarting":
            self._write_status(replica, msgspec.structs.replace(status, state="exited", reason="stopped"))

    # Beginning and end

    def _recover(self) -> None:
        """Take over the Keeps that a service process before left, and start again those that have ended."""
        try:
            for keep in self._service.keeps:
                self._take_over(keep)
            for replica in [one for one in self._alive() if not state.is_held(one.directory)]:
                self._ended_meanwhile(replica)
            serving = self._service.serving
            missing = self._service.replicas - len(self._serving()) if serving else 0
            if serving and missing > 0 and self._service.keeps:
                with self._told("could not start all Keeps"):
                    self._add(serving, missing)
        finally:
            self._changing.release()

    def _take_over(self, keep: str) -> None:
        try:
            spec = state.read_spec(state.keep_dir(keep))
        except (OSError, msgspec.DecodeError) as error:
            self._say(f"Keep {keep} is lost: {error}")
            self._known.drop_keep(keep)
            return
        serving = self._service.serving
        replica = Replica(keep, spec.version, serves=serving is not None and serving.version.number == spec.version)
        self._replicas[keep] = replica
        if not state.is_held(replica.directory):
            return
        with self._told(f"the sockets of Keep {keep} cannot be taken over"):
            answer = requests.ask_for_sockets(replica.directory, {"do": "listeners"})
            for place, listener in zip(answer.message["places"], answer.sockets, strict=True):
                self._listeners.adopt(place, listener)
        self._watch(replica)

    def _ended_meanwhile(self, replica: Replica) -> None:
        """One that ended with its service process, or with the machine, was not ended by anyone's wish."""
        if not replica.serves:
            self._known.set_state(
                replica.version, "failed", "the machine or its service process ended before it served"
            )
            self._forget(replica)
            return
        status = state.read_status(replica.directory)
        if status is not None and status.cause == "killed":
            self._start_again_later(replica, "the machine or its service process was ended", at_once=True)
        else:
            self._ended(replica, at_once=True)

    def _leave_to_the_next(self) -> None:
        """End, and leave Keeps and state to the next service process: what still goes on here changes neither."""
        with self._noting:
            self._ending = self._leaves = True
            self._known.close()
        self._woken.set()

    def _end_all(self) -> None:
        """End the Keeps, to start them again when a service process is there again."""
        with self._noting:
            self._ending = True
        ends = [threading.Thread(target=ending.end, args=(one.directory, DEFAULT_GRACE)) for one in self._alive()]
        for thread in ends:
            thread.start()
        for thread in ends:
            thread.join()
        self._leave_to_the_next()

    def _end_if_nothing_is_left(self) -> None:
        with self._noting:
            if not self._replicas:
                self._woken.set()

    # Keeps that there are

    def _of(self, number: int) -> list[Replica]:
        with self._noting:
            return [one for one in self._replicas.values() if one.version == number]

    def _serving(self) -> list[Replica]:
        with self._noting:
            return [one for one in self._replicas.values() if one.serves and not one.leaving.is_set()]

    def _alive(self) -> list[Replica]:
        with self._noting:
            return list(self._replicas.values())

    @contextlib.contextmanager
    def _told(self, what: str) -> Any:
        try:
            yield
        except EnarxDeployError as error:
            self._say(f"{what}: {error}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a disk that is full ends no service
            print(_now(), line, file=sys.stderr, flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
