"""The local target: background processes of this machine, one for each Keep and one for each deployment."""

from __future__ import annotations

import base64
import contextlib
import errno
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.host import ending, log_files, requests, restarts, services, sockets, state
from enarx_deploy.host.listeners import place_of
from enarx_deploy.host.restarts import Policy
from enarx_deploy.manifest.scalars import Size, size_in_bytes
from enarx_deploy.manifest.types import Table
from enarx_deploy.models import ALIVE, Deployment, KeepStatus, Package, ReferenceValues, Usage, Version
from enarx_deploy.project import Project
from enarx_deploy.protocols import Backend, CertificateRequest, Challenge, Issued, IssuerLocation, Target

if TYPE_CHECKING:
    from enarx_deploy.manifest import Listen

_PATIENCE = 10.0  # seconds beyond the grace period that a service process has to end a Keep
_USAGE = 3.0  # seconds that a host process has to say what its Keep uses
_FOLLOW_EVERY = 0.1  # seconds


class HealthTable(Table, frozen=True, kw_only=True):
    """`[deploy.NAME.local.health]`: how Keeps that serve are looked at, to replace those that do not any more."""

    interval: Annotated[int, Meta(ge=0, le=3600, description="Seconds between two looks; 0 for none.")] = 10
    timeout: Annotated[int, Meta(ge=1, le=600, description="Seconds that each socket with TLS has to answer.")] = 10
    threshold: Annotated[
        int, Meta(ge=1, le=100, description="Looks in a row that a Keep fails until it is replaced.")
    ] = 3


class LocalTable(Table, frozen=True, kw_only=True):
    """`[deploy.NAME.local]`: what this target is told of a deployment."""

    restart: Annotated[
        Policy,
        Meta(
            description="When a Keep that ended is started again: `always`, `never`, or `on-failure`, which is unless "
            "its workload ended by itself with exit status 0."
        ),
    ] = "on-failure"
    healthy_within: Annotated[
        int, Meta(ge=1, le=600, description="Seconds that each socket of a new Keep has to be served.")
    ] = 20
    certified_within: Annotated[
        int,
        Meta(
            ge=1,
            le=86400,
            description="Seconds that a new Keep has to get its certificate; its version is given up after that.",
        ),
    ] = 600
    health: HealthTable = HealthTable()
    memory: Annotated[
        Size | None, Meta(description="Memory of each Keep and its host process, as the kernel holds them to it.")
    ] = None
    cpu: Annotated[
        Annotated[float, Meta(gt=0, le=4096)] | None,
        Meta(description="Processors that they may take, such as 1.5; held by the kernel."),
    ] = None
    log_size: Annotated[
        Size, Meta(description="Bytes after which a log is put aside; four files of each are kept.")
    ] = "8 MiB"


class Local:
    """Background processes of this machine, their state in the user's state directory."""

    name = "local"
    keeps_fetch = True
    own_table = LocalTable
    takes_image = True

    def check(self, project: Project, package: Package, backend: Backend) -> None:  # noqa: ARG002 - the protocol's
        """The name must be this project's, every port that the manifest asks for must be free or its own already, and
        the places for state and caches usable."""
        from enarx_deploy import paths
        from enarx_deploy.manifest import Listen

        paths.cache_dir("modules")
        own = _own_places(project)
        for entry in project.manifest.files:
            if isinstance(entry, Listen) and place_of(entry) not in own:
                _check_free(entry)

    def start(self, project: Project, package: Package, values: ReferenceValues, backend: Backend) -> Deployment:
        """Start a Keep by the deployment's service process, beside those that serve now."""
        from enarx_deploy import pruning

        place = services.directory(state.service_identity(project.name))
        if services.find(project.name) is None:
            services.write(place, services.Service(name=project.name, project=str(project.root)))
        with pruning.in_use():
            template = _lay_out(project, package, backend)
            asked = {
                "do": "start",
                "keep": msgspec.to_builtins(template),
                "replicas": project.settings.replicas,
                "restart": project.own_table(self.name, LocalTable).restart,
                "project": str(project.root),
            }
            keep = services.ask(project.name, asked)["keep"]
        pruning.state()
        status = _status(keep)
        if status.state != "starting":  # it serves nobody by TLS, and may have been quick to end
            _serve(keep)
        return Deployment(
            id=keep,
            name=project.name,
            backend=template.backend,
            target=self.name,
            package=values.package,
            endpoints=status.endpoints,
            created=status.created,
        )

    def request_certificate(self, deployment: Deployment, challenge: Challenge) -> CertificateRequest | None:
        """Ask the Keep, unless it runs already, or was quick, and so serves no TLS."""
        status = _status(deployment.id)
        if status.state == "running" or status.cause == "exit":
            return None
        if status.state != "starting":
            raise KeepError(
                f"Keep {deployment.id} has ended before it had a certificate: {restarts.reason(status)}",
                hint=f"`enarx-deploy logs {deployment.id} --stream host` shows what it said",
            )
        nonce = base64.b64encode(challenge.nonce).decode()
        answer = requests.ask(
            state.keep_dir(deployment.id), {"do": "certify", "nonce": nonce, "audience": challenge.audience}
        )
        return CertificateRequest(
            csr=base64.b64decode(answer["csr"]),
            evidence_kind=answer["kind"],
            evidence=base64.b64decode(answer["evidence"]),
            endorsements={name: base64.b64decode(one) for name, one in answer.get("endorsements", {}).items()},
            signatures=tuple(base64.b64decode(one) for one in answer.get("signatures", [])),
        )

    def install_certificate(self, deployment: Deployment, location: IssuerLocation, issued: Issued) -> None:
        """Hand the certificate to the Keep through its host process, and have its version serve; one that serves no TLS
        does so already."""
        if not issued.chain:
            return
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        leaf = x509.load_der_x509_certificate(issued.chain[0])
        root = x509.load_pem_x509_certificate(location.root_pem.encode())
        requests.ask(
            state.keep_dir(deployment.id),
            {
                "do": "install",
                "chain": [base64.b64encode(one).decode() for one in issued.chain],
                "root": base64.b64encode(root.public_bytes(Encoding.DER)).decode(),
                "not_before": leaf.not_valid_before_utc.isoformat().replace("+00:00", "Z"),
                "not_after": leaf.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
            },
        )
        _serve(deployment.id)

    def renew_certificate(self, keep: str) -> KeepStatus:
        """Ask the host process, which asks the issuer."""
        requests.ask(_directory(keep), {"do": "renew"})
        return _status(keep)

    def keeps(self) -> list[KeepStatus]:
        """Every Keep of this user on this machine."""
        return list(state.all_status())

    def usage(self, keep: str) -> Usage:
        """Ask the host process."""
        answer = requests.ask(_directory(keep), {"do": "usage"}, timeout=_USAGE)
        return msgspec.convert(answer, Usage)

    def logs(self, keep: str, *, follow: bool, stream: Literal["stdout", "stderr", "host", "all"]) -> Iterator[bytes]:
        """What the Keep wrote. Streams that are shown together are shown one after the other, then as they grow."""
        directory = _directory(keep)
        names = ["stdout", "stderr", "host"] if stream == "all" else [stream]
        with contextlib.ExitStack() as stack:
            logs = [stack.enter_context(log_files.Reader(directory / state.LOGS[name])) for name in names]
            while True:
                ended = _status(keep).state not in ALIVE
                for log in logs:
                    yield from log.pieces()
                if ended or not follow:
                    return
                time.sleep(_FOLLOW_EVERY)

    def stop(self, keep: str, *, grace: float) -> KeepStatus:
        """Have the Keep ended, and not started again; with the last one the deployment ends."""
        directory = _directory(keep)
        service = state.read_spec(directory).service
        place = services.directory(service) if service else directory
        if service and state.is_held(place):
            with contextlib.suppress(KeepError):  # it may have hung itself: the Keep is ended in any case
                requests.ask(place, {"do": "stop", "keep": keep, "grace": grace}, timeout=grace + _PATIENCE)
        ending.end(directory, grace)
        if service and not state.is_held(place):
            services.note_stopped(place, keep)
        return _status(keep)

    def scale(self, name: str, replicas: int) -> list[KeepStatus]:
        """See `Replicas`."""
        return [_status(keep) for keep in services.ask(name, {"do": "scale", "replicas": replicas})["keeps"]]

    def replicas_for(self, name: str, asked: int) -> int:
        """See `KeepsScale`."""
        place = services.find(name)
        return asked if place is None else services.read(place).replicas_for(asked)

    def history(self, name: str) -> list[Version]:
        """See `Versions`."""
        _, service = services.known(name)
        return service.history

    def rollback(self, name: str, to: int = 0) -> Version:
        """See `Versions`."""
        earlier = services.known(name)[1].earlier(to)  # asked again after a crash, "the one before" would be another
        number = services.ask(name, {"do": "rollback", "to": earlier.version.number})["version"]
        return next(version for version in self.history(name) if version.number == number)


def _lay_out(project: Project, package: Package, backend: Backend) -> state.KeepSpec:
    """What the Keeps are to run, with a package of their own: the project's may be cleaned away while they do."""
    from enarx_deploy import package_attachments, package_tree, paths

    source = project.settings.source
    packages = paths.state_dir("packages")
    for attachment in package_attachments.beside(package) if source is None else ():
        package_attachments.add(packages, package.digest, attachment)
    kept = package if source else package_tree.copy(Path(package.root), packages, package.digest)
    table = project.own_table(Local.name, LocalTable)
    return state.KeepSpec(
        id="",
        name=project.name,
        target=Local.name,
        backend=backend.name,
        package=package.digest,
        package_root=kept.root,
        created="",
        metrics=project.settings.metrics,
        source=source,
        manifest=project.manifest_text.decode() if source else "",
        healthy_within=table.healthy_within,
        certified_within=table.certified_within,
        image=project.settings.image,
        looks=state.Looks(
            interval=table.health.interval, timeout=table.health.timeout, threshold=table.health.threshold
        ),
        log_size=size_in_bytes(table.log_size),
        memory=0 if table.memory is None else size_in_bytes(table.memory),
        cpu=table.cpu or 0,
    )


def _check_free(entry: Listen) -> None:
    """Raise KeepError if the entry's port cannot be listened on, which names the Keep of this user that does."""
    try:
        sockets.check_free(entry)
    except KeepError as error:
        in_use = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        holder = next((one.name for one in state.all_status() if one.state in ALIVE and _listens(one, entry.port)), "")
        if not (in_use and holder):
            raise
        raise KeepError(
            f"{error}: {holder} listens there",
            hint=f"`enarx-deploy stop {holder}`, or choose another port: --set files.{entry.name}.port=PORT (0 takes a "
            "free one)",
        ) from error


def _listens(status: KeepStatus, port: int) -> bool:
    return any(endpoint.port == port for endpoint in status.endpoints)


def _own_places(project: Project) -> set[str]:
    """What the deployment of the project's name listens on now. Raises KeepError if that is another project's."""
    place = services.find(project.name)
    if place is None or not state.is_held(place):
        return set()
    service = services.read(place)
    if service.project != str(project.root) and Path(service.project).exists():
        raise KeepError(
            f"the deployment {project.name!r} is that of the project in {service.project}",
            hint=f"stop it (`enarx-deploy stop {project.name}`), or give this one another name: "
            "--set deploy.default.name=NAME",
        )
    return set(service.ports)


def _serve(keep: str) -> None:
    """Have the version of a Keep serve, which is healthy when this returns. Raises KeepError."""
    spec = state.read_spec(_directory(keep))
    services.ask(spec.name, {"do": "serve", "version": spec.version, "keep": keep})


def _directory(keep: str) -> Path:
    directory = state.keep_dir(keep)
    if not (directory / "spec.json").is_file():
        raise UsageError(f"no Keep {keep!r}", hint="`enarx-deploy keeps` lists them")
    return directory


def _status(keep: str) -> KeepStatus:
    status = state.read_status(_directory(keep))
    if status is None:
        raise KeepError(f"the state of Keep {keep} cannot be read", hint="remove its directory if it is not needed")
    return status


@hookimpl
def register_targets() -> Iterable[Target]:
    """The local target."""
    return [Local()]
