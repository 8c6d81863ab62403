"""What is kept on disk of each deployment of this machine, and how its service process is started.

    STATE/services/ID/service.json   a Service, replaced atomically by the service process
    STATE/services/ID/lock           held locked by the service process as long as it lives
    STATE/services/ID/control.sock   where it takes requests
    STATE/services/ID/service.log    what it says

A deployment is known by its name. Its service process holds the listening sockets, starts Keeps, and starts them again.
The Keeps do not depend on it: where it dies they go on, and the next one takes them over.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from enarx_deploy import __version__, paths
from enarx_deploy.errors import EnarxDeployError, KeepError, UsageError
from enarx_deploy.host import background, requests, state
from enarx_deploy.host.restarts import Policy
from enarx_deploy.models import Record, Version

LOG = "service.log"
_FILE = "service.json"
MOST_VERSIONS = 50
"""Versions that a deployment remembers."""
CHANGE_LIMIT = background.START_LIMIT
"""Seconds that a change of what serves may take."""
_STARTS_WITHIN = _ENDS_WITHIN = 30.0
_BETWEEN = 0.05  # seconds between two attempts


class Served(Record, frozen=True):
    """One version, what its Keeps run (`keep` lacks an id), and how many of them it begins with.

    `asked` is how many its manifest wants, 0 where that is not known.
    """

    version: Version
    keep: state.KeepSpec
    restart: Policy = "on-failure"
    replicas: int = 1
    asked: int = 0


class Service(Record, frozen=True):
    """A deployment: who deployed it, how many Keeps are to serve it, its versions, and the Keeps it has.

    `scaled` is the number of Keeps that somebody wanted in place of the manifest's, 0 for none. `ports` are those that
    were chosen for its places, to be taken again by the next service process.
    """

    name: str
    project: str
    replicas: int = 0
    scaled: int = 0
    versions: tuple[Served, ...] = ()
    keeps: tuple[str, ...] = ()
    ports: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def serving(self) -> Served | None:
        """The version that serves."""
        return next((one for one in reversed(self.versions) if one.version.state == "serving"), None)

    @property
    def next_number(self) -> int:
        """The number of the next version."""
        return self.versions[-1].version.number + 1 if self.versions else 1

    def replicas_for(self, asked: int) -> int:
        """How many Keeps the next version is to have, whose manifest wants so many: as many as somebody wanted since,
        as long as the manifest wants what it wanted before."""
        return self.scaled if self.scaled and self.serving and self.serving.asked == asked else asked

    @property
    def history(self) -> list[Version]:
        """What is told of its versions, oldest first."""
        return [
            msgspec.structs.replace(
                one.version, asked=one.asked, scaled=self.scaled if one.version.state == "serving" else 0
            )
            for one in self.versions
        ]

    def numbered(self, number: int) -> Served | None:
        """A version by its number."""
        return next((one for one in self.versions if one.version.number == number), None)

    def version(self, number: int) -> Served:
        """The version of that number. Raises UsageError."""
        served = self.numbered(number)
        if served is None:
            raise UsageError(
                f"{self.name} has no version {number}",
                hint=f"`enarx-deploy history {self.name}` lists them",
            )
        return served

    def earlier(self, to: int) -> Served:
        """The version of that number, or for 0 what served before the present one. Raises UsageError."""
        if to:
            return self.version(to)
        serving = self.serving
        earlier = self.before(serving.version.number if serving else self.next_number)
        if earlier is None:
            raise UsageError(
                f"nothing served before the present version of {self.name}",
                hint=f"`enarx-deploy history {self.name}` lists the versions that served",
            )
        return earlier

    def before(self, number: int) -> Served | None:
        """What served before a version."""
        served = [one for one in self.versions if one.version.number < number]
        return next((one for one in reversed(served) if one.version.state == "replaced"), None)


def directory(service: str) -> Path:
    """The directory of a deployment, by the identity of it; made if missing."""
    return paths.state_dir("services", service)


def find(name: str) -> Path | None:
    """The directory of the deployment of that name, if there is one."""
    place = paths.state_dir("services") / state.service_identity(name)
    return place if (place / _FILE).exists() else None


def write(place: Path, service: Service) -> None:
    """Replace what is known of a deployment. Raises KeepError."""
    try:
        paths.write_atomically(place / _FILE, msgspec.json.encode(service))
    except OSError as error:
        raise KeepError(f"{place} cannot be written to: {error.strerror}", hint="is the disk full?") from error


def read(place: Path) -> Service:
    """What is known of a deployment. Raises KeepError where that cannot be read."""
    try:
        return msgspec.json.decode((place / _FILE).read_bytes(), type=Service)
    except (OSError, msgspec.DecodeError) as error:
        raise KeepError(
            f"the state of the deployment in {place} cannot be read: {error}",
            hint="stop its Keeps (`enarx-deploy keeps`), remove that directory, and deploy anew",
        ) from error


def note_stopped(place: Path, keep: str) -> None:
    """A Keep was ended for good while no service process was there to note it; one that has come since, notes it."""
    try:
        lock = state.hold(place)
    except BlockingIOError:
        return
    try:
        service = read(place)
        if keep in service.keeps:
            keeps = tuple(one for one in service.keeps if one != keep)
            write(place, msgspec.structs.replace(service, keeps=keeps, replicas=max(0, service.replicas - 1)))
    finally:
        os.close(lock)


def known(name: str) -> tuple[Path, Service]:
    """The deployment of that name. Raises UsageError if there is none."""
    place = find(name)
    if place is None:
        raise UsageError(
            f"there is no deployment {name!r} on this machine", hint="`enarx-deploy keeps` lists the Keeps"
        )
    return place, read(place)


def everyone() -> Iterator[tuple[Path, Service]]:
    """Every deployment of this machine, by name; those that cannot be read are left out."""
    places = (place for place in paths.state_dir("services").iterdir() if (place / _FILE).exists())
    found = []
    for place in places:
        try:
            found.append((place, read(place)))
        except EnarxDeployError:
            continue
    yield from sorted(found, key=lambda one: one[1].name)


def ask(name: str, request: requests.Request) -> requests.Request:
    """Ask the service process of a deployment, which is started if there is none. Raises KeepError, UsageError."""
    place, _ = known(name)
    ensure(place)
    try:
        return requests.ask(place, request, CHANGE_LIMIT)
    except requests.NoAnswer:  # perhaps it had nothing left to do, and ended just then
        if not _ends(place):
            raise
    ensure(place)
    return requests.ask(place, request, CHANGE_LIMIT)


def _ends(place: Path) -> bool:
    """Whether the service process has ended, or does so now."""
    until = time.monotonic() + _ENDS_WITHIN
    while state.is_held(place):
        if time.monotonic() > until:
            return False
        time.sleep(_BETWEEN)
    return True


def ensure(place: Path) -> None:
    """See to it that a service process of this program's own version is there: by its unit, if it has one that can be
    started, else in the background. Raises KeepError."""
    from enarx_deploy.host import systemd

    if _about(place) == {"version": __version__, "executable": sys.executable}:
        return
    unit = systemd.installed(read(place).name)
    if unit is None or not unit.restart() or _about(place) is None:
        ensure_background(place)


def take_over(place: Path) -> None:
    """Have the service process that is there, if any, leave its Keeps to this process. Raises KeepError."""
    if _about(place) is not None:
        requests.ask(place, {"do": "leave"})
        if not _ends(place):
            raise KeepError(
                f"the service process of {read(place).name} was told to leave its Keeps, and does not end",
                hint="kill it: the Keeps go on",
            )


def ensure_background(place: Path) -> None:
    """See to it that a service process is there, in the background. Raises KeepError."""
    take_over(place)
    try:
        background.start("service", place, LOG).returncode = 0  # it outlives us, which is nothing to warn of
    except KeepError:
        if _about(place) is None:  # else another command was faster
            raise


def _about(place: Path) -> requests.Request | None:
    """What the service process says of itself, which may just be starting; None where there is none."""
    until = time.monotonic() + _STARTS_WITHIN
    while state.is_held(place):
        try:
            return requests.ask(place, {"do": "about"})
        except KeepError:
            if time.monotonic() > until:
                raise
            time.sleep(_BETWEEN)
    return None
