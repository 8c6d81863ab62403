"""Places where Keeps are started, and what such a place may offer beside that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

from enarx_deploy.protocols.progress import Progress, silent

if TYPE_CHECKING:
    from enarx_deploy.models import Deployment, Identity, KeepStatus, Package, Probe, ReferenceValues, Usage, Version
    from enarx_deploy.project import Project, Settings
    from enarx_deploy.protocols.backend import Backend
    from enarx_deploy.protocols.issuer import CertificateRequest, Challenge, Issued, IssuerLocation


@runtime_checkable
class Target(Protocol):
    """A place where Keeps are started, and from where they are seen and stopped.

    An attribute ``keeps_fetch = True`` says that its Keeps can fetch their package themselves
    (`Project.settings.source`); without it, packages are fetched before `start`, which sends them along. An attribute
    ``takes_image = True`` says that they boot the image that a user names (`Project.settings.image`), if one is named.
    """

    name: str

    def check(self, project: Project, package: Package, backend: Backend) -> None:
        """Look for what would make `start` fail (a port in use, no permission). Raises before anything starts."""

    def start(self, project: Project, package: Package, values: ReferenceValues, backend: Backend) -> Deployment:
        """Start a Keep; returns when it is up and waits for its certificate, or serves if it needs none."""

    def request_certificate(self, deployment: Deployment, challenge: Challenge) -> CertificateRequest | None:
        """The Keep's answer to a challenge, or None where it serves no TLS."""

    def install_certificate(self, deployment: Deployment, location: IssuerLocation, issued: Issued) -> None:
        """Hand the Keep its certificate; returns when the workload is running. Raises KeepError."""

    def renew_certificate(self, keep: str) -> KeepStatus:
        """Have a Keep that runs certified anew; returns when new connections see it. Raises KeepError, StewardError."""

    def keeps(self) -> list[KeepStatus]:
        """Every Keep this target knows, running or not."""

    def logs(self, keep: str, *, follow: bool, stream: Literal["stdout", "stderr", "host", "all"]) -> Iterator[bytes]:
        """What the Keep wrote, in chunks. With `follow`, goes on until the Keep has ended."""

    def stop(self, keep: str, *, grace: float) -> KeepStatus:
        """End a Keep: ask, wait at most `grace` seconds for open connections, then kill."""


@runtime_checkable
class HasOwnTable(Protocol):
    """What a `Target` has too where an environment may have a table for it, `[deploy.NAME.TARGET]`.

    `own_table` is its form: a struct whose fields all have defaults, and that forbids unknown ones. The target reads it
    by `Project.own_table`; commands hold the manifest to it, with file, line and column.
    """

    own_table: type[msgspec.Struct]


@runtime_checkable
class Elsewhere(Protocol):
    """What a `Target` has too whose Keeps run on other machines: which backend is taken depends on what those offer."""

    def probes(self, project: Project) -> Sequence[Probe]:
        """What the place that the project is deployed to offers for each backend. Raises KeepError, UsageError."""


@runtime_checkable
class HasGuests(Protocol):
    """What a `Target` has too whose Keeps run in guests of its own, so that the backend, which has others, cannot say
    what they measure to."""

    def in_guest(self, backend: Backend) -> Backend:
        """The backend as it is there: of the same name and kind of evidence."""


@runtime_checkable
class Provisions(Protocol):
    """What a `Target` has too where the other side asks the issuer itself, for the first certificate as for others."""

    def provision(self, project: Project, deployment: Deployment, progress: Progress) -> Identity:
        """Have the Keep certified and serve. In place of `request_certificate` and `install_certificate`.

        Raises StewardError, VerificationRefused, KeepError.
        """


@runtime_checkable
class Located(Protocol):
    """What a `Target` has too whose Keeps are in several places, of which an environment names one."""

    def within(self, root: Path, settings: Settings) -> Target:
        """The same target for that place alone. `root` is the project's directory. Raises ManifestError, UsageError."""


@runtime_checkable
class Replicas(Protocol):
    """What a `Target` has too where several Keeps can serve one deployment behind one endpoint."""

    def scale(self, name: str, replicas: int) -> list[KeepStatus]:
        """Have so many Keeps serve the deployment of that name; returns them when they do.

        Connections that are open have their time to end, and none is refused. Raises KeepError, UsageError.
        """


@runtime_checkable
class KeepsScale(Protocol):
    """What a `Target` has too where the number that a deployment was scaled to outlives an update."""

    def replicas_for(self, name: str, asked: int) -> int:
        """How many Keeps would serve the deployment of that name after an update, whose manifest wants `asked`.

        They are as many as it was scaled to, as long as the manifest wants what it wanted before. Raises KeepError.
        """


@runtime_checkable
class Versions(Protocol):
    """What a `Target` has too where it remembers what a deployment was before, and can go back to it.

    Such a target replaces by itself: what served under the same name goes on until what `start` began is healthy, and
    where it does not get so. Other targets have the Keep that is replaced stopped before `start`.
    """

    def history(self, name: str) -> list[Version]:
        """The versions of the deployment of that name, oldest first. Raises UsageError if there is no such one."""

    def rollback(self, name: str, to: int = 0) -> Version:
        """Serve an earlier version again, by its number; 0 is the last that served before the present one.

        Returns it when its Keeps serve, as a new version with a number of its own. The present one goes on until
        then, and where that fails. Raises KeepError, UsageError.
        """


@runtime_checkable
class Measures(Protocol):
    """What a target has too where it can tell what its Keeps use; `top`, `metrics` and `console` ask it."""

    def usage(self, keep: str) -> Usage:
        """What a Keep that runs has used so far; answers within a few seconds. Raises KeepError."""


@runtime_checkable
class ReportsProgress(Protocol):
    """What a `Target` is too whose `start` takes long: it takes one argument more, and tells there how it goes."""

    reports_progress: Literal[True]

    def start(
        self,
        project: Project,
        package: Package,
        values: ReferenceValues,
        backend: Backend,
        progress: Progress = silent,
    ) -> Deployment:
        """As that of `Target`."""


@runtime_checkable
class CanRender(Protocol):
    """What a `Target` has too where others can start its Keeps from files: `deploy --render`."""

    def render(
        self,
        project: Project,
        package: Package,
        values: ReferenceValues,
        backend: Backend,
        progress: Progress = silent,
    ) -> Mapping[str, bytes]:
        """Those files by name: the same project makes the same ones. Nothing is started. Raises UsageError."""


@runtime_checkable
class CertifiesItself(Protocol):
    """What a `Target` has too where Keeps come and go, and get their certificates, without this program."""

    def certified(self, deployment: Deployment) -> Issued:
        """What a Keep of this deployment got, by the word of its host process. Raises KeepError."""
