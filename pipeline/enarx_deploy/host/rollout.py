"""Changes of what serves a deployment: an update, a roll-back and a scaling.

All are made in one way. Keeps are started beside those that serve, certified, and looked at from inside; then they take
connections, too, and the endpoints are looked at as clients meet them. Only then do the others leave, when their
connections have ended or had their time. If anything fails before that, the others have served all the time, and nobody
has noticed. No step is driven by traffic.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from enarx_deploy.errors import EnarxDeployError, KeepError
from enarx_deploy.host import requests, restarts, state
from enarx_deploy.host.known import Known
from enarx_deploy.host.listeners import Listeners
from enarx_deploy.host.replicas import Replica, Replicas
from enarx_deploy.host.services import Served
from enarx_deploy.models import ALIVE, Version

LEAVING_GRACE = 10.0
"""Seconds that open connections have when their Keep is replaced or is one too many."""
PROBATION = 60.0
"""Seconds after an update in which Keeps that end bring the version before back."""
MOST_FAILURES = 3
"""So many ends during that time do."""


class Rollout:
    """See the module; any thread may call. `changing` is held while what serves is changed, one change at a time.

    `wake` is called after each: there may be nothing left to look after.
    """

    def __init__(
        self,
        known: Known,
        keeps: Replicas,
        listeners: Listeners,
        say: Callable[[str], None],
        *,
        wake: Callable[[], None],
    ) -> None:
        self._known = known
        self._keeps = keeps
        self._listeners = listeners
        self._say = say
        self._wake = wake
        self.changing = threading.Lock()
        self._began_serving = -math.inf  # what is found serving is not new: it may be the machine that is
        self._ends_of_version = 0

    @contextlib.contextmanager
    def _one_change(self) -> Iterator[None]:
        """While what serves is changed. Afterwards there may be nothing left to look after."""
        try:
            with self.changing:
                yield
        finally:
            self._wake()

    def start(self, request: requests.Request) -> str:
        """Begin a version: its first Keep is started, and waits for its certificate. Answers the Keep's id."""
        keep, asked = msgspec.convert(request["keep"], state.KeepSpec), max(1, int(request["replicas"]))
        with self._one_change():
            self._known.change(project=str(request["project"]))
            wanted = self._known.service.replicas_for(asked)
            return self._begin(keep, restart=request["restart"], replicas=wanted, asked=asked).id

    def serve(self, number: int, keep: str) -> None:
        """Have a version serve whose first Keep has its certificate. One that has no sockets may have ended already."""
        with self._one_change():
            served = self._known.service.version(number)
            if served.version.state == "serving":
                return
            first = self._keeps.get(keep)
            if first is not None and not first.leaving.is_set():
                self._leave_begun(number, first)
                self._bring(self._as_wanted_now(served), [first])
                return
            status = state.read_status(state.keep_dir(keep))
            if not restarts.has_served_nobody(status):
                raise self._unhealthy(number, restarts.reason(status))
            self._take_place(served, [Replica(keep, number)], ())

    def scale(self, wanted: int) -> list[str]:
        """Have so many Keeps serve; answers which."""
        with self._one_change():
            serving = self._known.service.serving
            if serving is None:
                raise KeepError(
                    f"no version of {self._known.service.name} serves", hint="`enarx-deploy up` deploys one"
                )
            present = self._keeps.serving()
            self.add(serving, wanted - len(present))
            self._known.change(replicas=wanted, scaled=wanted)
            for one in present[wanted:]:
                self._keeps.leave(one, LEAVING_GRACE)
            return [one.id for one in self._keeps.serving()]

    def roll_back(self, to: int, why: str = "", instead_of: int = 0) -> int:
        """Serve an earlier version again, under a new number, which is answered; only where a certain one serves now,
        if `instead_of` has its number."""
        with self._one_change():
            serving = self._known.service.serving
            if instead_of and (serving is None or serving.version.number != instead_of):
                raise KeepError(
                    f"version {instead_of} does not serve any more", hint="`enarx-deploy history` shows which one does"
                )
            earlier = self._known.service.earlier(to)
            self._say(f"going back to version {earlier.version.number} {why}".rstrip())
            first = self._begin(
                earlier.keep,
                restart=earlier.restart,
                replicas=max(1, self._known.service.replicas),
                asked=(serving or earlier).asked,
            )
            served = self._known.service.version(first.version)
            try:
                self._keeps.provision(first)
            except EnarxDeployError as error:
                self._give_up(served, str(error))
                raise self._unhealthy(first.version, str(error), error.hint) from error
            self._bring(served, [first])
            return first.version

    def _begin(self, keep: state.KeepSpec, *, restart: restarts.Policy, replicas: int, asked: int) -> Replica:
        """Note a new version and start its first Keep. Raises EnarxDeployError."""
        self._abandon_pending()
        number = self._known.service.next_number
        version = Version(
            number=number, package=keep.package, backend=keep.backend, created=state.now(), state="pending"
        )
        keep = msgspec.structs.replace(keep, id="", version=number)
        served = Served(version=version, keep=keep, restart=restart, replicas=replicas, asked=asked)
        self._known.begin(served)
        try:
            first = self._keeps.start(served)
        except EnarxDeployError as error:
            self._known.give_up(number, str(error))
            raise
        self.await_service(first)
        return first

    def await_service(self, first: Replica) -> None:
        """Give up a version that nobody had serve in time: who began it, with this Keep, has gone or waits in vain."""
        task = threading.Thread(target=self._give_up_unserved, args=(first,), name=f"pending-{first.id}", daemon=True)
        task.start()

    def _give_up_unserved(self, first: Replica) -> None:
        served = self._known.service.version(first.version)
        within = served.keep.certified_within
        if first.ended.wait(within):
            return
        with self._one_change():
            if self._known.is_pending(first.version) and not first.leaving.is_set():
                self._give_up(served, f"nobody had its Keep certified within {within} s")

    def _abandon_pending(self) -> None:
        """End what waits for a certificate that nobody brought: another version is begun."""
        for one in self._keeps.alive():
            if not one.serves and not one.leaving.is_set():
                self._keeps.leave(one, 0)
                self._known.give_up(one.version, "another version was begun before it served")

    def _as_wanted_now(self, served: Served) -> Served:
        """With as many Keeps as are wanted of it by now: somebody may have scaled since it was begun."""
        return msgspec.structs.replace(served, replicas=self._known.service.replicas_for(served.asked))

    def _leave_begun(self, number: int, first: Replica) -> None:
        """End what a service process that ended amid this had started beside the first Keep, and perhaps let in."""
        for one in self._keeps.of(number):
            if one is not first and not one.leaving.is_set():
                self._keeps.leave(one, LEAVING_GRACE)

    def _bring(self, served: Served, new: list[Replica]) -> None:
        """Have a version serve in the place of the present one. Raises KeepError, and the present one goes on."""
        first = new[0]
        try:
            new += self._started(served, served.replicas - len(new))
            self._let_in(new)
            places = requests.ask(first.directory, {"do": "listeners"})["places"]
        except EnarxDeployError as error:
            if not restarts.has_served_nobody(state.read_status(first.directory)):
                reason = why(first.directory, error)
                self._give_up(served, reason)
                raise self._unhealthy(served.version.number, reason, error.hint) from error
            places = []
        self._take_place(served, new, places)

    def _take_place(self, served: Served, new: Sequence[Replica], places: Sequence[str]) -> None:
        """A version serves now, by these Keeps and on these sockets, and what served before leaves."""
        number, before = served.version.number, self._known.service.serving
        old = [one for one in self._keeps.serving() if one.version != number]
        keeps_scale = before is not None and before.asked == served.asked
        for one in new:
            self._keeps.count_in(one)
        self._known.set_serving(
            number, replicas=served.replicas, scaled=self._known.service.scaled if keeps_scale else 0
        )
        self._began_serving, self._ends_of_version = time.monotonic(), 0
        self._say(f"version {number} serves by {len(new)} Keeps")
        for one in old:
            self._keeps.leave(one, LEAVING_GRACE)
        with self._known.turn:
            self._listeners.keep_only(places)

    def _started(self, served: Served, count: int) -> list[Replica]:
        """So many more Keeps of a version, certified and running. Raises EnarxDeployError, and none of them is left."""
        new: list[Replica] = []
        with self._all_or_none(new):
            for _ in range(count):
                new.append(self._keeps.start(served, alone=False))
                self._keeps.provision(new[-1])
        return new

    def add(self, serving: Served, count: int) -> None:
        """Have so many more Keeps of the version serve that serves now. Raises EnarxDeployError, and none is left."""
        new = self._started(serving, count)
        with self._all_or_none(new):
            self._let_in(new)

    @contextlib.contextmanager
    def _all_or_none(self, new: Sequence[Replica]) -> Iterator[None]:
        """Have none of these Keeps left where a step fails."""
        try:
            yield
        except EnarxDeployError:
            for one in new:
                self._keeps.leave(one, 0)
            raise

    def _let_in(self, new: Sequence[Replica]) -> None:
        """Let clients in to Keeps that are healthy, beside those that serve. Raises EnarxDeployError."""
        for one in new:
            self._keeps.check(one, "inside")
        for one in new:
            requests.ask(one.directory, {"do": "accept"})
        for one in new[:1]:
            self._keeps.check(one, "endpoint")
        for one in new:
            one.serves = True

    def _unhealthy(self, number: int, reason: str, hint: str = "") -> KeepError:
        serving = self._known.service.serving
        still = f"; version {serving.version.number} goes on serving" if serving and self._keeps.serving() else ""
        return KeepError(f"version {number} did not get healthy: {reason}{still}", hint=hint)

    def _give_up(self, served: Served, reason: str) -> None:
        self._say(f"version {served.version.number} is given up: {reason}")
        self._known.give_up(served.version.number, reason)
        for one in self._keeps.of(served.version.number):
            self._keeps.leave(one, 0)

    def fails_on_probation(self, replica: Replica, reason: str) -> bool:
        """Go back to the version before where the present one, new as it is, ends again and again."""
        serving = self._known.service.serving
        new = serving is not None and serving.version.number == replica.version
        if not new or time.monotonic() - self._began_serving > PROBATION:
            return False
        self._ends_of_version += 1
        if self._ends_of_version < MOST_FAILURES or not self._known.service.before(replica.version):
            return False
        threading.Thread(target=self._go_back, args=(replica, reason), name="go-back", daemon=True).start()
        return True

    def _go_back(self, replica: Replica, reason: str) -> None:
        why = f"it ended {MOST_FAILURES} times in its first {PROBATION:.0f} seconds: {reason}"
        try:
            self.roll_back(0, why=f"as {why}", instead_of=replica.version)
        except EnarxDeployError as error:
            self._say(f"could not go back: {error}")
            self._keeps.start_again(replica, restarts.LATEST)  # unless another version serves now, and it is to leave
            return
        self._known.set_state(replica.version, "failed", why)


def why(directory: Path, error: EnarxDeployError) -> str:
    """Why a Keep is not healthy: how it ended, if it has. Its host process may be there a moment longer."""
    status = state.read_status(directory)
    if state.is_held(directory) and status is not None and status.state in ALIVE:
        return str(error)
    return restarts.reason(status)
