"""The background process of one deployment: it holds the listening sockets, and keeps so many Keeps serving on them.

It takes requests, takes over what the service process before it left, and ends when there is nothing left to look
after. `replicas` has the Keeps, and `rollout` changes what serves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from enarx_deploy import __version__
from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.host import background, ending, requests, state, systemd
from enarx_deploy.host.cgroup import Groups
from enarx_deploy.host.known import Known
from enarx_deploy.host.listeners import Listeners
from enarx_deploy.host.replicas import Replica, Replicas
from enarx_deploy.host.rollout import LEAVING_GRACE, Rollout
from enarx_deploy.host.session import DEFAULT_GRACE
from enarx_deploy.manifest import Listen

_ENDED_BEFORE = "the machine or its service process ended before it served"
_IDLE = 30.0  # seconds after which a service process without Keeps ends


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
        raise KeepError(
            f"another process looks after {place.name}", hint="that one serves it: nothing is to be done"
        ) from error
    Groups().make_room()
    process = ServiceProcess(place)
    is_up()
    process.run()
    os.close(lock)


class ServiceProcess:
    """See the module."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._woken = threading.Event()
        self._leaves = False
        self._known = Known(place, _say)
        self._listeners = Listeners(self._known.service.ports)
        self._keeps = Replicas(
            place.name,
            self._known,
            _say,
            goes_back=lambda replica, reason: self._rollout.fails_on_probation(replica, reason),
            wake=self._woken.set,
        )
        self._rollout = Rollout(self._known, self._keeps, self._listeners, _say, wake=self._woken.set)
        self._rollout.changing.acquire()  # until `_recover` has looked what there is
        self._requests = requests.Server(place, self._do, _say)
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=self._end_all, name="end").start())
        threading.Thread(target=self._recover, name="recover").start()

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
        if not self._rollout.changing.acquire(blocking=False):
            return False
        if self._keeps.alive():
            self._rollout.changing.release()
            return False
        return True

    def _do(self, request: requests.Request) -> requests.Answer:
        match request["do"]:
            case "about":
                return requests.Answer({"version": __version__, "executable": sys.executable})
            case "listen":
                entry = Listen(name=request["name"], addr=request["addr"], port=request["port"], prot="tcp")
                return requests.Answer({}, [self._listener(entry)])
            case "start":
                return requests.Answer({"keep": self._rollout.start(request)})
            case "serve":
                self._rollout.serve(int(request["version"]), str(request["keep"]))
            case "scale":
                return requests.Answer({"keeps": self._rollout.scale(int(request["replicas"]))})
            case "rollback":
                return requests.Answer({"version": self._rollout.roll_back(int(request["to"]))})
            case "stop":
                self._stop(str(request["keep"]), float(request["grace"]))
            case "stopping":
                if not systemd.is_ending():  # else this process is asked to end as well, perhaps a moment later
                    self._note_stopping(str(request["keep"]))
            case "leave":
                self._leave_to_the_next()
            case other:
                raise ValueError(f"no request {other!r}")
        return requests.Answer({})

    def _listener(self, entry: Listen) -> socket.socket:
        with self._known.turn:
            handle = self._listeners.take(entry)
            self._known.change(ports=self._listeners.ports)
            return handle

    def _stop(self, keep: str, grace: float) -> None:
        """End a Keep because somebody wants it ended: one fewer is to serve from now on."""
        self._note_stopping(keep)
        if (replica := self._keeps.get(keep)) is not None:
            ending.end(replica.directory, grace)
            self._keeps.forget(replica)

    def _note_stopping(self, keep: str) -> None:
        """Somebody wants a Keep ended. With the last one the ports are given back, and who comes is refused."""
        with self._known.turn:
            replica = self._keeps.get(keep)
            if replica is None or replica.leaving.is_set() or self._keeps.closed:
                return
            self._keeps.note_leaving(replica)
            if replica.serves:
                self._known.change(replicas=max(0, self._known.service.replicas - 1))
            else:
                self._known.give_up(replica.version, "its Keep was stopped before it served")
            if not self._keeps.serving():
                self._known.change(scaled=0)
                self._listeners.keep_only(())

    def _recover(self) -> None:
        """Take over the Keeps that a service process before left, and start again those that have ended."""
        try:
            for keep in self._known.service.keeps:
                self._take_over(keep)
            self._end_what_is_left_over()
            for replica in self._keeps.alive():
                if not replica.leaving.is_set() and not state.is_held(replica.directory):
                    self._ended_meanwhile(replica)
            serving = self._known.service.serving
            missing = self._known.service.replicas - len(self._keeps.serving()) if serving else 0
            if serving and missing > 0 and self._known.service.keeps:
                with _told("could not start all Keeps"):
                    self._rollout.add(serving, missing)
        finally:
            self._rollout.changing.release()

    def _take_over(self, keep: str) -> None:
        try:
            spec = state.read_spec(state.keep_dir(keep))
        except (OSError, msgspec.DecodeError) as error:
            _say(f"Keep {keep} is lost: {error}")
            self._known.drop_keep(keep)
            return
        serving = self._known.service.serving
        replica = Replica(keep, spec.version, serves=serving is not None and serving.version.number == spec.version)
        self._keeps.adopt(replica)
        status = state.read_status(replica.directory)
        if replica.serves and status is not None and status.state == "starting":
            self._keeps.fail(replica, _ENDED_BEFORE)  # who would have had it certified has gone
        if not state.is_held(replica.directory):
            return
        if replica.serves:
            with _told(f"Keep {keep} cannot be let in"):
                requests.ask(replica.directory, {"do": "accept"})
        else:
            self._rollout.await_service(replica)
        with _told(f"the sockets of Keep {keep} cannot be taken over"):
            answer = requests.ask_for_sockets(replica.directory, {"do": "listeners"})
            for place, listener in zip(answer.message["places"], answer.sockets, strict=True):
                self._listeners.adopt(place, listener)
        self._keeps.watch(replica)

    def _end_what_is_left_over(self) -> None:
        """A service process that was killed had replaced Keeps and not told them to leave yet, or started one and not
        noted it yet, or more than were to be, or noted a version and not started it yet."""
        service = self._known.service
        for keep in state.held_keeps(self._place.name):
            replica = self._keeps.get(keep.id)
            if replica is None or not (replica.serves or self._known.is_pending(replica.version)):
                self._end_left_over(replica or Replica(keep.id, keep.version))
        for one in sorted(self._keeps.serving(), key=lambda one: not state.is_held(one.directory))[service.replicas :]:
            self._end_left_over(one)
        for served in service.versions:
            number = served.version.number
            if all(one.leaving.is_set() for one in self._keeps.of(number)):
                self._known.give_up(number, _ENDED_BEFORE)

    def _end_left_over(self, replica: Replica) -> None:
        _say(f"Keep {replica.id} is left over from before, and is ended")
        self._keeps.adopt(replica)
        self._keeps.leave(replica, LEAVING_GRACE)

    def _ended_meanwhile(self, replica: Replica) -> None:
        """One that ended with its service process, or with the machine, was not ended by anyone's wish."""
        if not replica.serves:
            self._known.give_up(replica.version, _ENDED_BEFORE)
            self._keeps.forget(replica)
            return
        status = state.read_status(replica.directory)
        if status is not None and status.cause == "killed":
            self._keeps.start_again_later(replica, "the machine or its service process was ended", at_once=True)
        else:
            self._keeps.ended(replica, at_once=True)

    def _leave_to_the_next(self) -> None:
        """End, and leave Keeps and state to the next service process: what still goes on here changes neither."""
        with self._known.turn:
            self._leaves = True
            self._keeps.close()
            self._known.close()
        self._woken.set()

    def _end_all(self) -> None:
        """End the Keeps, to start them again when a service process is there again."""
        self._keeps.close()
        ends = [threading.Thread(target=self._keeps.end, args=(one, DEFAULT_GRACE)) for one in self._keeps.alive()]
        for thread in ends:
            thread.start()
        for thread in ends:
            thread.join()
        self._leave_to_the_next()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except EnarxDeployError as error:
        _say(f"{what}: {error}")


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a disk that is full ends no service
        print(state.now(), line, file=sys.stderr, flush=True)
