"""The target `kubernetes`: a Deployment of Keeps in a cluster that the user names by a context.

Everything that imports the client, which not everybody has installed, is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from enarx_deploy.errors import KeepError, UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Deployment, KeepStatus, Package, Probe, ReferenceValues, Usage, Version
from enarx_deploy.project import Project
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
from enarx_kubernetes import init_data, kata_guest, known, logs, runtime_class
from enarx_kubernetes.settings import Settings

if TYPE_CHECKING:
    from enarx_kubernetes.cluster import Cluster
    from enarx_kubernetes.desired import Desired
    from enarx_kubernetes.known import Known

_CERTIFIED_WITHIN = 60.0  # seconds after a Keep serves, in which its log must have its certificate


class Kubernetes:
    """Applies typed manifests, and waits until what they describe serves.

    Manifest table read: ``[deploy.NAME.kubernetes]``, see `Settings`.
    """

    name = "kubernetes"
    own_table = Settings
    reports_progress: Literal[True] = True

    def check(self, project: Project, package: Package, backend: Backend) -> None:  # noqa: ARG002 - the protocol's
        """The client, the context and the place for images must be there, and a Steward that pods can reach."""
        settings = project.own_table(self.name, Settings)
        _require_package(project)
        _require_steward(project)
        _require_image(settings)
        with _cluster(project, settings) as cluster:
            _require_runtime_class(cluster, backend, settings)

    def probes(self, project: Project) -> Sequence[Probe]:
        """See `Elsewhere`: what this machine has is no matter."""
        return kata_guest.probes(project.settings.backend)

    def in_guest(self, backend: Backend) -> Backend:
        """See `HasGuests`."""
        return kata_guest.KataGuest(backend) if backend.name in runtime_class.ATTESTED else backend

    def start(
        self,
        project: Project,
        package: Package,
        values: ReferenceValues,
        backend: Backend,
        progress: Progress = silent,
    ) -> Deployment:
        """Push the image, apply the manifests, and wait for the rollout. What served before goes on until then."""
        settings = project.own_table(self.name, Settings)
        with _cluster(project, settings) as cluster:
            wanted = _desired(project, package, backend, settings, cluster.namespace, progress)
            serving = _rolled_out(cluster, wanted, project.name, progress)
        return Deployment(
            id=serving.id,
            name=project.name,
            backend=backend.name,
            target=self.name,
            package=values.package,
            endpoints=serving.endpoints,
            created=serving.created,
        )

    def render(
        self,
        project: Project,
        package: Package,
        values: ReferenceValues,  # noqa: ARG002 - the protocol's
        backend: Backend,
        progress: Progress = silent,
    ) -> Mapping[str, bytes]:
        """The manifests as files, for others to apply. The image is pushed, and the cluster not asked."""
        _require_client()
        from enarx_kubernetes import manifests, render

        settings = project.own_table(self.name, Settings)
        _require_package(project)
        _require_steward(project)
        _require_image(settings)
        wanted = _desired(project, package, backend, settings, settings.namespace or "default", progress)
        return {**render.files(manifests.objects(wanted)), **render.steward_policy(wanted)}

    def request_certificate(self, deployment: Deployment, challenge: Challenge) -> CertificateRequest | None:  # noqa: ARG002 - the protocol's
        """None: the Keeps ask for their certificates themselves."""
        return None

    def install_certificate(self, deployment: Deployment, location: IssuerLocation, issued: Issued) -> None:
        """Nothing: see `certified`."""

    def certified(self, deployment: Deployment) -> Issued:
        """The certificate that a Keep says it got. Raises KeepError."""
        with _opened(known.named(deployment.name)) as cluster:
            chain = logs.certificate(cluster, deployment.id, _CERTIFIED_WITHIN)
        return Issued(chain=tuple(chain), appraisal={})

    def renew_certificate(self, keep: str) -> KeepStatus:
        """Not from here."""
        raise UsageError(
            f"{keep} renews its certificate by itself, from half of its life on",
            hint="for new ones now, restart the pods: kubectl rollout restart deployment",
        )

    def keeps(self) -> list[KeepStatus]:
        """The pods of every deployment that was made from here."""
        found: list[KeepStatus] = []
        for place in known.everything():
            from enarx_kubernetes import operations

            with _opened(place) as cluster:
                found += operations.keeps(cluster, place.object, place.name)
        return found

    def usage(self, keep: str) -> Usage:
        """See `Measures`: what the pod's own metrics say, where `metrics_port` has it serve some."""
        from enarx_kubernetes import operations

        found = _find(keep)
        if found is None:
            raise KeepError(f"no Keep {keep!r}", hint="`enarx-deploy keeps` lists them")
        with _opened(found[0]) as cluster:
            return operations.usage(cluster, keep)

    def logs(self, keep: str, *, follow: bool, stream: Literal["stdout", "stderr", "host", "all"]) -> Iterator[bytes]:
        """What the pod's container wrote. A cluster does not tell standard output from standard error."""
        found = _find(keep)
        if found is None:
            raise UsageError(f"no Keep {keep!r}", hint="`enarx-deploy keeps` lists them")
        with _opened(found[0]) as cluster:
            yield from logs.read(cluster, keep, follow=follow, stream=stream)

    def stop(self, keep: str, *, grace: float) -> KeepStatus:
        """End one replica; with the last of them everything that was applied is removed.

        One that is ending already, such as of the version before, is left to that.
        """
        from enarx_kubernetes import operations

        found = _find(keep)
        if found is None:
            return _gone(keep)
        place, status = found
        if status.state != "stopping":
            with _opened(place) as cluster:
                if operations.stop(cluster, place.object, keep, grace):
                    known.forget(place)
        return msgspec.structs.replace(status, state="exited", cause="killed", reason="stopped")

    def scale(self, name: str, replicas: int) -> list[KeepStatus]:
        """See `Replicas`."""
        from enarx_kubernetes import operations

        place = known.named(name)
        with _opened(place) as cluster:
            operations.scale(cluster, place.object, replicas, silent, Settings().patience)
            return [keep for keep in operations.keeps(cluster, place.object, place.name) if keep.state == "running"]

    def history(self, name: str) -> list[Version]:
        """See `Versions`."""
        from enarx_kubernetes import operations

        place = known.named(name)
        with _opened(place) as cluster:
            return operations.history(cluster, place.object)

    def rollback(self, name: str, to: int = 0) -> Version:
        """See `Versions`."""
        from enarx_kubernetes import operations

        place = known.named(name)
        with _opened(place) as cluster:
            return operations.go_back(cluster, place.object, to, silent, Settings().patience)


def _rolled_out(cluster: Cluster, wanted: Desired, name: str, progress: Progress) -> KeepStatus:
    """Make it so; returns a Keep that serves. Raises KeepError, and what served before serves on."""
    from enarx_kubernetes import manifests, operations, rollout
    from enarx_kubernetes.manifests import pod

    before = _serving(cluster, wanted.name)
    objects: list[Any] = list(manifests.objects(wanted))
    for one in objects:
        cluster.require_ours(type(one), one.metadata.name)
    for one in objects:
        progress(f"applying {type(one).__name__}")
        cluster.apply(one)
    if wanted.backend in runtime_class.ATTESTED:
        progress(f"init-data is {init_data.digest(pod.guest_data(wanted))}, which the Steward's policy must list")
    place = known.Known(name, cluster.context, str(cluster.kubeconfig), cluster.namespace, wanted.name)
    known.remember(place)
    try:
        rollout.await_rollout(cluster, wanted.name, progress, wanted.settings.patience)
    except KeepError as error:
        raise _taken_back(cluster, wanted.name, before, error) from error
    operations.tidy(cluster, wanted.name, wanted.configuration)
    serving = [keep for keep in operations.keeps(cluster, wanted.name, name) if keep.state == "running"]
    if not serving:
        raise KeepError(f"no pod of {wanted.name} serves any more", hint="`enarx-deploy keeps` shows them")
    return serving[-1]


def _desired(
    project: Project, package: Package, backend: Backend, settings: Settings, namespace: str, progress: Progress
) -> Desired:
    from enarx_kubernetes import desired

    steward_root = _steward_root(project, settings)  # first: an image is long at being sent
    return desired.desired(
        project.manifest,
        settings,
        name=project.name,
        namespace=namespace,
        image=settings.image or _pushed(package, settings, progress),
        package=package.digest,
        backend=backend.name,
        replicas=project.settings.replicas,
        steward_root=steward_root,
    )


def _pushed(package: Package, settings: Settings, progress: Progress) -> str:
    from enarx_kubernetes.image import image
    from enarx_registries import oci_images

    progress("building the image")
    made = image.of_keep(package, settings.base)
    return oci_images.push(settings.repository, made.layers, made.configuration, made.base, progress)


def _steward_root(project: Project, settings: Settings) -> str:
    """Whom the pods hold the Steward to: a file of the project, else what is pinned here for its URL."""
    if not project.manifest.needs_certificate:
        return ""
    if not settings.steward_root:
        from enarx_issuers.steward import Steward

        return Steward().locate(project).root_pem
    path = project.root / settings.steward_root
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"steward_root: {path} cannot be read: {error}", hint="it is a certificate (PEM)") from error


def _require_client() -> None:
    try:
        import lightkube  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError(
            "the client for Kubernetes is not installed", hint="pip install 'enarx-deploy[kubernetes]'"
        ) from error


def _require_steward(project: Project) -> None:
    issuer = project.manifest.attest.issuer
    if project.manifest.needs_certificate and issuer != "steward":
        raise UsageError(
            f"a Keep in a pod gets its certificate from a Steward, and [attest] issuer is {issuer!r}",
            hint='take issuer = "steward", or deploy to another target',
        )
    if project.manifest.needs_certificate and not project.manifest.steward:
        raise UsageError(
            "the manifest names no Steward, and pods cannot reach the one of this machine",
            hint="`enarx-deploy kubernetes steward` renders one for a cluster; name it: --set steward=https://…",
        )


def _require_package(project: Project) -> None:
    if project.settings.source is not None:
        raise UsageError(
            "the package is in the image of a pod, and a Keep in a cluster does not fetch it itself",
            hint="add --fetch-here, so that this machine fetches and checks it",
        )


def _require_image(settings: Settings) -> None:
    if not settings.image and not settings.repository.startswith(("oci://", "oci+http://")):
        raise UsageError(
            "where images are pushed is not said",
            hint='repository = "oci://HOST/REPOSITORY" in [deploy.NAME.kubernetes], which the nodes pull from',
        )


def _require_runtime_class(cluster: Cluster, backend: Backend, settings: Settings) -> None:
    from lightkube.core.exceptions import ApiError
    from lightkube.resources.node_v1 import RuntimeClass

    runtime = runtime_class.for_backend(backend.name, settings.runtime_class)
    if not runtime.name:
        return
    with cluster.asked(f"looking for the RuntimeClass {runtime.name}"):
        try:
            cluster.client.get(RuntimeClass, runtime.name)
        except ApiError as error:
            if error.status.code != 404:
                raise
            raise KeepError(
                f"the cluster has no RuntimeClass {runtime.name!r}, which backend {backend.name!r} needs",
                hint=f"it is installed by {runtime.installed_by}",
            ) from error


def _cluster(project: Project, settings: Settings) -> Cluster:
    _require_client()
    from enarx_kubernetes import cluster

    return cluster.open_cluster(project.settings.cluster or settings.context, settings.namespace)


def _opened(place: Known) -> Cluster:
    """The cluster of a deployment, by the file that it was made with."""
    _require_client()
    from enarx_kubernetes import cluster

    return cluster.open_cluster(place.context, place.namespace, Path(place.kubeconfig))


def _find(keep: str) -> tuple[Known, KeepStatus] | None:
    """A Keep by its id, and where it is; None where no cluster has it any more."""
    from enarx_kubernetes import operations

    for place in known.everything():
        with _opened(place) as cluster:
            for status in operations.keeps(cluster, place.object, place.name):
                if status.id == keep:
                    return place, status
    return None


def _gone(keep: str) -> KeepStatus:
    """What is left to say of a pod that ended with its deployment."""
    return KeepStatus(
        id=keep,
        name=keep.rsplit("-", 2)[0],
        state="exited",
        backend="",
        target=Kubernetes.name,
        package="",
        endpoints=[],
        created="",
    )


def _serving(cluster: Cluster, name: str) -> object | None:
    """The version that serves now, if there is one."""
    from lightkube.core.exceptions import ApiError
    from lightkube.resources.apps_v1 import Deployment as Object

    from enarx_kubernetes import rollout

    with cluster.asked(f"looking at {name}"):
        try:
            deployment = cluster.client.get(Object, name, namespace=cluster.namespace)
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise
    ready = [one for one in rollout.replica_sets(cluster, deployment) if one.status and one.status.readyReplicas]
    return ready[-1] if ready else None


def _taken_back(cluster: Cluster, name: str, before: object | None, error: KeepError) -> KeepError:
    """The error, when what served before serves alone again."""
    from enarx_kubernetes import operations

    if before is None:
        return KeepError(str(error), hint=f"{error.hint}; `enarx-deploy stop` removes what was applied")
    operations.take_back(cluster, name, before)
    return KeepError(f"{error}; the version before serves on", hint=error.hint)


@hookimpl
def register_targets() -> Iterable[Target]:
    """The target `kubernetes`."""
    return [Kubernetes()]
