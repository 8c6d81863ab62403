"""The target `ssh`: Keeps on another machine, which has `enarx-deploy` too and is reached by OpenSSH.

What is done there is done by the ordinary commands there: they start Keeps, ask the Steward, count versions, and can be
given by hand just as well. Only the package is carried over, once, and checked there against its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NamedTuple

import msgspec

from enarx_deploy import package_archive, package_attachments, paths
from enarx_deploy.errors import EnarxDeployError, KeepError, PackageError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import (
    Deployment,
    Endpoint,
    Identity,
    KeepStatus,
    Package,
    Probe,
    ReferenceValues,
    Usage,
    Version,
)
from enarx_deploy.project import Project, Settings
from enarx_deploy.protocols import (
    Backend,
    CertificateRequest,
    Challenge,
    Issued,
    IssuerLocation,
    Progress,
    Target,
    silent,
)
from enarx_files.turns import turn
from enarx_targets.ssh_client import AT_ONCE, Client, Place

_PROGRAM = "enarx-deploy"
_BEGIN = "-----BEGIN CERTIFICATE-----"
_KEPT_THERE = 4
"""Packages that stay where they arrive, for each name: Keeps run from copies."""
_ARRIVED = ".cache/enarx-deploy/arrived"  # in the user's home there; one directory for each name
_ITSELF = ("", "::", "0.0.0.0", "localhost")  # noqa: S104  # what the machine calls itself: not bound here
_LOGS_WITHIN = 300.0  # seconds that all which was written so far may take
_FRESH = 1.0  # seconds for which what Keeps use there is not asked again
_AT_ONCE = 8  # machines that are asked side by side
_SYSTEMD = "command -v systemd-run >/dev/null && systemctl --user show-environment >/dev/null 2>&1"
_Word = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^-\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*(?!\n)$",
        extra={"expected": "a string of one line that begins with no '-'"},
    ),
]


class SshTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[deploy.NAME.ssh]`."""

    config: Annotated[_Word | None, msgspec.Meta(description="A file for `ssh -F`, relative to the project.")] = None
    program: Annotated[_Word, msgspec.Meta(description="The program there: a name, or a path.")] = "enarx-deploy"
    systemd: Annotated[
        bool, msgspec.Meta(description="Whether Keeps are started under the user's systemd there, if it runs.")
    ] = True


class Up(msgspec.Struct, frozen=True):
    """What of the answer of `up` there is needed here."""

    identity: Identity


class _Sample(msgspec.Struct, frozen=True):
    """What of the answer of `top` there is needed here."""

    status: KeepStatus
    usage: Usage


class _Measured(NamedTuple):
    """What the Keeps of a machine used, by their ids, and until when that is new enough (monotonic, seconds)."""

    used: dict[str, Usage]
    until: float


class Ssh:
    """Keeps of other machines; those of one alone where an environment was named."""

    name = "ssh"
    own_table = SshTable
    reports_progress: Literal[True] = True

    def __init__(self, only: Place | None = None) -> None:
        self._only = only
        self._alike: set[Place] = set()
        self._with_systemd: dict[Place, bool] = {}
        self._measured: dict[Place, _Measured] = {}
        self._measuring: defaultdict[Place, threading.Lock] = defaultdict(threading.Lock)

    def within(self, project_root: Path, settings: Settings) -> Ssh:
        """The same target, for the machine of one environment."""
        return Ssh(_place(project_root, settings))

    def probes(self, project: Project) -> Sequence[Probe]:
        """What the machine offers for each backend, by its own word."""
        client = Client(_place_of(project))
        self._require_program(client)
        return client.ask(["platform"], list[Probe])

    def check(self, project: Project, package: Package, backend: Backend) -> None:  # noqa: ARG002 - the protocol's
        """The machine can be reached, and has this version. Whether ports are free it looks at itself."""
        if project.settings.source is not None:
            raise UsageError("Keeps of target 'ssh' do not fetch their package themselves", hint="--fetch-here")
        self._require_program(Client(_place_of(project)))

    def start(
        self,
        project: Project,
        package: Package,
        values: ReferenceValues,
        backend: Backend,  # noqa: ARG002 - the protocol's
        progress: Progress = silent,
    ) -> Deployment:
        """Carry the package over if it is not there, and have it deployed there."""
        place = _place_of(project)
        client = Client(place)
        store = f"{_ARRIVED}/{project.name}"
        _carry(client, package, store, progress)
        _remember(place)
        words = _words(project, values.package, values.backend, store)
        force = ["--force"] if project.settings.force else []
        made = client.ask(
            ["deploy", *words, *force, "-v"], Deployment, tell=progress, under=self._under(client, project)
        )
        _require_asked_for(made, values, client.place)
        return _reached_from_here(made, client)

    def provision(self, project: Project, deployment: Deployment, progress: Progress) -> Identity:
        """Have the machine ask the issuer for the certificate, as it will again when that is to be renewed."""
        client = Client(_place_of(project))
        store = f"{_ARRIVED}/{project.name}"
        words = _words(project, deployment.package, deployment.backend, store)
        answer = client.ask(["up", *words, "-v"], Up, tell=progress, under=self._under(client, project))
        _asked(client.place)  # so that it is known here what is there, when the machine does not answer
        return _with_root(answer.identity)

    def request_certificate(self, deployment: Deployment, challenge: Challenge) -> CertificateRequest | None:  # noqa: ARG002  # protocol
        raise _by_itself(deployment)

    def install_certificate(self, deployment: Deployment, location: IssuerLocation, issued: Issued) -> None:  # noqa: ARG002  # protocol
        raise _by_itself(deployment)

    def renew_certificate(self, keep: str) -> KeepStatus:
        found = self._having(keep)
        return _first(Client(found).ask(["renew", keep], list[KeepStatus]), found)

    def keeps(self) -> list[KeepStatus]:
        """Those of the machines that were deployed to from here; what was last known, where one does not answer."""
        if self._only:
            return _asked(self._only)
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            return [status for found in pool.map(_asked_or_known, _remembered()) for status in found]

    def usage(self, keep: str) -> Usage:
        """See `Measures`. A machine is asked once for all of its Keeps, at most every few seconds."""
        place = self._having_lately(keep)
        with self._measuring[place]:
            if place not in self._measured or time.monotonic() > self._measured[place].until:
                self._measured[place] = _Measured(_used(place), time.monotonic() + _FRESH)
            return self._measured[place].used.get(keep, Usage())

    def _having_lately(self, keep: str) -> Place:
        """The machine that has a Keep, by what each was last known to have: whoever asks has just seen them."""
        lately = [place for place in _remembered() if any(one.id == keep for one in _last_known(place))]
        return self._only or (lately[0] if len(lately) == 1 else self._having(keep))

    def logs(self, keep: str, *, follow: bool, stream: Literal["stdout", "stderr", "host", "all"]) -> Iterator[bytes]:
        words = ["logs", keep, "--stream", stream, *(["--follow"] if follow else [])]
        return Client(self._having(keep)).stream(words, None if follow else _LOGS_WITHIN)

    def stop(self, keep: str, *, grace: float) -> KeepStatus:
        place = self._having(keep)
        return _first(Client(place).ask(["stop", keep, "--grace", f"{grace:g}"], list[KeepStatus]), place)

    def scale(self, name: str, replicas: int) -> list[KeepStatus]:
        place = self._named(name)
        return [_ours(one, place) for one in Client(place).ask(["scale", name, str(replicas)], list[KeepStatus])]

    def replicas_for(self, name: str, asked: int) -> int:
        """See `KeepsScale`. The machine decides; this is what it will, by what it tells of its versions."""
        if not any(one.name == name for one in self.keeps()):
            return asked
        serving = next((one for one in self.history(name) if one.state == "serving"), None)
        return serving.scaled if serving and serving.scaled and serving.asked == asked else asked

    def history(self, name: str) -> list[Version]:
        return Client(self._named(name)).ask(["history", name], list[Version])

    def rollback(self, name: str, to: int = 0) -> Version:
        return Client(self._named(name)).ask(["rollback", name, *(["--to", str(to)] if to else [])], Version)

    def _require_program(self, client: Client) -> None:
        """Both sides have one version, since one reads what the other answers; it is asked once. Raises KeepError."""
        from importlib import metadata

        if client.place in self._alike:
            return
        here, there = metadata.version(_PROGRAM), client.version().rpartition(" ")[2]
        if there != here:
            raise KeepError(
                f"{client.place.host} has {_PROGRAM} {there}, and this is {here}",
                hint=f"have the same on both, such as by `pipx install {_PROGRAM}=={here}`",
            )
        self._alike.add(client.place)

    def _under(self, client: Client, project: Project) -> list[str]:
        """What keeps a Keep alive there when the connection ends, on machines that end a user's processes with it."""
        if not project.own_table(Ssh.name, SshTable).systemd:
            return []
        if client.place not in self._with_systemd:
            self._with_systemd[client.place] = client.holds(_SYSTEMD)
        if not self._with_systemd[client.place]:
            return []
        return ["systemd-run", "--user", "--scope", "--quiet", f"--unit=enarx-deploy-{secrets.token_hex(6)}", "--"]

    def _having(self, keep: str) -> Place:
        """The machine that has a Keep. Raises UsageError."""
        return self._only or _one([one for one in self.keeps() if one.id == keep], f"Keep {keep!r}")

    def _named(self, name: str) -> Place:
        """The machine that has a deployment. Raises UsageError."""
        return self._only or _one([one for one in self.keeps() if one.name == name], f"deployment {name!r}")


def _one(found: list[KeepStatus], what: str) -> Place:
    hosts = sorted({status.host for status in found})
    if len(hosts) != 1:
        where = f"on {', '.join(hosts)}" if hosts else "on no machine that was deployed to from here"
        raise UsageError(f"{what} is {where}", hint="--target NAME names an environment, and so its machine")
    return next(place for place in _remembered() if place.host == hosts[0])


def _place_of(project: Project) -> Place:
    return _place(project.root, project.settings)


def _place(root: Path, settings: Settings) -> Place:
    """Where an environment's Keeps are. Raises UsageError, ManifestError."""
    if not settings.host:
        name = settings.deploy or "NAME"
        raise UsageError(
            "target 'ssh' needs to know the machine, and none is built in",
            hint=f'host = "USER@HOST" in [deploy.{name}]',
        )
    table = settings.own_tables.get(Ssh.name)
    own = SshTable() if table is None else table.read_as(SshTable)
    config = str(root / own.config) if own.config else ""
    if config and not Path(config).is_file():
        raise UsageError(f"{config}: no such file", hint=f"`config` in [deploy.{settings.deploy}.ssh] names it")
    return Place(host=settings.host, config=config, program=own.program)


def _words(project: Project, package: str, backend: str, store: str) -> list[str]:
    """What the commands there are told: the package, and what the environment says that holds there too."""
    settings = project.settings
    said: dict[str, Any] = {"name": project.name, "replicas": settings.replicas}
    if settings.minimum:
        said["minimum"] = settings.minimum
    if own := settings.own_tables.get("local"):  # of the target that starts them there
        said |= dict(_leaves("local", own.content))
    sets = [word for key, value in said.items() for word in ("--set", f"deploy.default.{key}={_toml(value)}")]
    metrics = ["--metrics", settings.metrics] if settings.metrics else []
    return [f"dir:{store}@{package}", "--backend", backend, "--yes", *sets, *metrics]


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a table and those below it say, each value under its dotted name."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(f"{name}.{key}", below)
    else:
        yield name, value


def _toml(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _carry(client: Client, package: Package, store: str, progress: Progress) -> None:
    """Have the package there, whole. Raises PackageError where what arrived is not what its digest names."""
    tree = f"{store}/{package.digest.removeprefix('sha256:')}"
    with contextlib.suppress(UsageError, PackageError):  # it is not there, or not whole
        client.ask(["package", "verify", tree, "--digest", package.digest, "--allow-unsigned"], dict[str, Any])
        progress("the package is there already, and whole")
        return
    progress(f"carrying {package.size:,} bytes over")

    def send(stream: IO[bytes]) -> None:
        package_archive.write_to(stream, package, package_attachments.beside(package))

    arrived = client.ask(
        ["package", "unpack", "/dev/stdin", "--into", store, "--keep", f"{_KEPT_THERE}"], Package, send=send
    )
    if arrived.digest != package.digest:
        raise KeepError(
            f"{client.place.host} has unpacked {arrived.digest}, not {package.digest}", hint="is the machine sound?"
        )


def _require_asked_for(made: Deployment, values: ReferenceValues, place: Place) -> None:
    """That the machine says it started this package on this backend, and no weaker one. Raises KeepError."""
    if (made.package, made.backend) != (values.package, values.backend):
        raise KeepError(
            f"{place.host} has started {made.package} on {made.backend}, not {values.package} on {values.backend}",
            hint="is the machine sound? `enarx-deploy stop` ends what it started",
        )


def _reached_from_here(deployment: Deployment, client: Client) -> Deployment:
    address = client.address()
    return msgspec.structs.replace(
        deployment, target=Ssh.name, endpoints=[_endpoint(one, address) for one in deployment.endpoints]
    )


def _endpoint(endpoint: Endpoint, address: str) -> Endpoint:
    """Where a client of this machine reaches it."""
    return msgspec.structs.replace(endpoint, host=address) if endpoint.host in _ITSELF else endpoint


def _ours(status: KeepStatus, place: Place) -> KeepStatus:
    address = Client(place).address()
    endpoints = [_endpoint(one, address) for one in status.endpoints]
    return msgspec.structs.replace(status, target=Ssh.name, host=place.host, endpoints=endpoints)


def _first(answered: list[KeepStatus], place: Place) -> KeepStatus:
    if len(answered) != 1:
        raise KeepError(f"{place.host} answered for {len(answered)} Keeps", hint="`enarx-deploy keeps` lists them")
    return _ours(answered[0], place)


def _asked(place: Place) -> list[KeepStatus]:
    found = Client(place).ask(["keeps", "--target", "local"], list[KeepStatus], within=AT_ONCE)
    statuses = [_ours(status, place) for status in found]
    paths.write_atomically(_known(place), msgspec.json.encode(statuses))
    return statuses


def _used(place: Place) -> dict[str, Usage]:
    samples = Client(place).ask(["top", "--once", "--target", "local"], list[_Sample], within=AT_ONCE)
    return {sample.status.id: sample.usage for sample in samples}


def _asked_or_known(place: Place) -> list[KeepStatus]:
    try:
        return _asked(place)
    except EnarxDeployError as error:
        return [msgspec.structs.replace(one, state="unknown", reason=str(error)) for one in _last_known(place)]


def _last_known(place: Place) -> list[KeepStatus]:
    try:
        return msgspec.json.decode(_known(place).read_bytes(), type=list[KeepStatus])
    except (FileNotFoundError, msgspec.DecodeError):
        return []


def _known(place: Place) -> Path:
    """Where is kept what a machine last said of its Keeps."""
    return paths.state_dir("ssh", "keeps") / f"{hashlib.sha256(msgspec.json.encode(place)).hexdigest()[:16]}.json"


def _with_root(identity: Identity) -> Identity:
    """With the root in a file of this machine, for `verify --root`; it came from the other one, as the chain did.

    The file is named by what is in it: a name that came from there could be one that leads elsewhere.
    """
    if not identity.endpoints:
        return msgspec.structs.replace(identity, root_pem_path="")
    root = f"{_BEGIN}{identity.endpoints[0].chain_pem.rstrip().rpartition(_BEGIN)[2]}\n".encode()
    path = paths.state_dir("ssh", "roots") / f"{hashlib.sha256(root).hexdigest()[:32]}.pem"
    paths.write_atomically(path, root)
    return msgspec.structs.replace(identity, root_pem_path=str(path))


def _by_itself(deployment: Deployment) -> KeepError:
    return KeepError(
        f"the machine of Keep {deployment.id} asks the issuer itself", hint="`enarx-deploy up` has it do so"
    )


def _file() -> Path:
    return paths.state_dir("ssh") / "places.json"


def _remembered() -> list[Place]:
    """The machines that were deployed to from here."""
    try:
        return msgspec.json.decode(_file().read_bytes(), type=list[Place])
    except FileNotFoundError:
        return []
    except msgspec.DecodeError as error:
        raise UsageError(f"{_file()} is damaged: {error}", hint="remove it; the next `up` writes it anew") from error


def _remember(place: Place) -> None:
    """So that `keeps` and `stop` find what is there; others may remember theirs at the same time."""
    with turn(_file()):
        known = {*_remembered(), place}
        paths.write_atomically(_file(), msgspec.json.encode(sorted(known)))


@hookimpl
def register_targets() -> Iterable[Target]:
    return [Ssh()]
