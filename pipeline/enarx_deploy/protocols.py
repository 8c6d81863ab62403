"""The small interfaces that a provider implements. A plugin is one object of one of these.

Providers are registered by the hooks of `enarx_deploy.hookspecs`, looked up by `name`, and hold no state of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from enarx_deploy.models import (
        Deployment,
        Identity,
        KeepStatus,
        Package,
        PackageSource,
        Probe,
        Published,
        ReferenceValues,
        Usage,
        Version,
    )
    from enarx_deploy.project import Project, Settings

Progress = Callable[[str], None]
"""Called with one line of what is going on; shown as a progress line on a terminal."""


def silent(line: str) -> None:
    """A `Progress` for whom nobody listens."""


class Tool(msgspec.Struct, frozen=True):
    """A tool that was found: the words that start it, and what it says of its version.

    `files` are what else it makes modules with: programs and libraries, or folders of them, by their absolute paths.
    With the program they are what Enarx.lock has a digest of.
    """

    command: tuple[str, ...]
    version: str
    files: tuple[str, ...] = ()


class MissingTool(msgspec.Struct, frozen=True):
    """A tool that was not found: its name, and the exact command that installs it, as a user would type it.

    Where a package brings it, `registry` says whose, and `command` has the words that install it for this user alone,
    so that a program can run them. Both are empty where it takes the rights of an administrator, or a choice.
    """

    name: str
    install: str
    registry: Literal["", "PyPI", "npm"] = ""
    command: tuple[str, ...] = ()


@runtime_checkable
class Toolchain(Protocol):
    """A source language: finds its project, its tool, and turns sources into a wasm module.

    Manifest table read: ``[build]``

    - ``toolchain``: this provider's name; without it the first provider whose `detect` answers is taken.
    - ``source``: the file or folder to build, relative to the project.
    - ``args``: more words for the tool.
    - ``profile``, ``features``, ``network``: for the toolchains that have them.

    An attribute ``by_project_file = True`` says that what `detect` looks for describes a whole project, such as
    ``Cargo.toml``: such a toolchain is taken before those that know their sources by a suffix. Only one with
    ``has_features = True`` is given a project that asks for ``features``.
    """

    name: str

    def detect(self, project: Project) -> str | None:
        """Why this project is of this language (one phrase, such as "main.c is here"), or None."""

    def find(self) -> Tool | MissingTool:
        """The tool on this machine. Must not build or download anything."""

    def inputs(self, project: Project) -> Sequence[Path]:
        """Every file that the build reads, so that an unchanged project is skipped."""

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        """Write the module to `output`. Raises BuildError with what the tool said."""


@runtime_checkable
class FindsForProject(Protocol):
    """What a `Toolchain` has too where its tool depends on the project, which may bring one or pin its version."""

    def find_for(self, project: Project) -> Tool | MissingTool:
        """As `find`, which is then the tool of a project that says nothing about it."""


class Launch(msgspec.Struct, frozen=True):
    """All that a backend needs to start one Keep.

    `block_fd` is the sallyport's shared memory and `doorbell_fd` the eventfd that wakes the host; both are open in
    the host process. `stderr_fd` is where the Keep may complain before the sallyport is up. `module_sha256` (hex) is
    of the package's `main.wasm`, for a backend that keeps compiled code; it is "" where the host does not see the
    package, whose code must not be kept then.
    `code_signers` are keys (PEM): compiled code in a package that one of them signed may be run. A backend that
    measures its Keeps takes no notice of them unless it measures them too.
    `memory_bytes` is what the workload, its file system and its channel may take at most by `[resources]`; 0 where the
    host has not seen the manifest. `module_path` is the package's `main.wasm`, or "" likewise, for a backend that has
    it compiled on the host; `has_deadline` says that it may run for a limited time only, for which code is made.
    """

    block_fd: int
    doorbell_fd: int
    stderr_fd: int
    package_digest: str
    module_sha256: str
    code_signers: tuple[str, ...] = ()
    memory_bytes: int = 0
    module_path: str = ""
    has_deadline: bool = False


class KeepProcess(Protocol):
    """A started Keep, as its host process holds it."""

    pid: int

    def poll(self) -> int | None:
        """None while it lives, else its exit status (negative: killed by that signal)."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most `timeout` seconds. Raises TimeoutError."""

    def kill(self) -> None:
        """End it at once."""


@runtime_checkable
class OwnMachine(Protocol):
    """What a `KeepProcess` has too where the Keep is a machine with a kernel and a clock of its own.

    `image` is the digest of what it booted, as software on the host measured it. The Keep repeats it in evidence that
    no hardware vouches for. `compiled` is native code of the module that the host made for this machine, and empty
    where the Keep is to make it: it takes none but what was measured with what it booted.
    """

    image: str
    compiled: bytes

    def explanation(self) -> str:
        """Why it ended, in one line, where the Keep has not said so itself."""


@runtime_checkable
class Backend(Protocol):
    """A kind of Keep: how it is started, how the block reaches it, what it measures to, what its evidence is.

    `hardware` is False for a backend that no CPU vouches for; such a backend is named so everywhere. `evidence` is
    the kind of evidence its Keeps produce (`nil`, `snp`, `tdx`, `sgx`...). `strength` orders backends: when none is
    asked for, the strongest available one is taken, of those that have no attribute ``by_name_only = True``.
    """

    name: str
    aliases: tuple[str, ...]
    hardware: bool
    evidence: str
    strength: int

    def probe(self) -> Probe:
        """What this machine offers for this backend, check by check."""

    def measure(self, package: Package) -> ReferenceValues:
        """What a Keep of this backend that runs `package` must measure to."""

    def start(self, launch: Launch) -> KeepProcess:
        """Start a Keep. Raises KeepError."""


@runtime_checkable
class CanPrepare(Protocol):
    """What a backend may have beside `start`, for Keeps whose start takes long before their package is looked at."""

    def prepare(self, stderr_fd: int) -> KeepProcess:
        """Begin what `start` will finish: a Keep will most likely be started, and its package is still being made.

        The caller kills it in the end. It must end by itself when this process does. Raises KeepError.
        """


class Attested(msgspec.Struct, frozen=True):
    """Evidence as the platform gave it, and what it handed over with it; see `CertificateRequest`."""

    evidence: bytes
    endorsements: Mapping[str, bytes] = {}


@runtime_checkable
class Attests(Protocol):
    """What a `Backend` has too whose Keeps are processes of a guest that hardware protects, with this process beside
    them: they are jailed, and send the report data in the place of evidence."""

    def attest(self, report_data: bytes) -> Attested:
        """Have the guest attest 64 bytes of report data. Raises KeepError."""


@runtime_checkable
class BootsImage(Protocol):
    """What a `Backend` has too whose Keeps boot an image, which a user may name in place of the one of this version."""

    def booting(self, folder: Path) -> Backend:
        """The same backend, whose Keeps boot the image in a directory. It is looked at when it is needed."""

    def image_digest(self) -> str:
        """The digest of the image that its Keeps boot, by its record. Raises KeepError where there is none."""


@runtime_checkable
class RemembersTrials(Protocol):
    """What a `Backend` has too that tried something on this machine, and remembers how it ended; `probe` shows it."""

    def try_again(self) -> None:
        """Forget that, and try again now. Raises KeepError where that cannot be."""


class CertificateRequest(msgspec.Struct, frozen=True):
    """What a Keep sends to get a certificate: a PKCS#10 request (DER) and the evidence for its key.

    `package` is the digest that the evidence commits to, which not every kind of evidence names itself.
    `signatures` are those that lie beside the package, in envelopes (DSSE); the issuer checks them.
    `endorsements` is what the platform handed over with the evidence, by the names of a directory for
    `appraise --endorsements`. It is nobody's word: an issuer may use it, and then checks it.
    """

    csr: bytes
    evidence_kind: str
    evidence: bytes
    endorsements: Mapping[str, bytes] = {}
    package: str | None = None
    signatures: tuple[bytes, ...] = ()


class Issued(msgspec.Struct, frozen=True):
    """A certificate as issued: the chain in DER, leaf first and root last, and the appraisal behind it."""

    chain: tuple[bytes, ...]
    appraisal: Mapping[str, object]


@runtime_checkable
class Issuer(Protocol):
    """A source of certificates.

    An issuance has two steps, because the evidence must answer the issuer's own challenge: `challenge`, which the
    Keep answers with a `CertificateRequest`, then `issue`. `renews` says whether it can be asked again for a Keep that
    runs, by another process and under the same root.

    An attribute ``appraises = False`` says that it looks at no evidence: its certificates say nothing of a Keep, and
    whoever shows one is told so.
    """

    name: str
    renews: bool

    def locate(self, project: Project) -> IssuerLocation:
        """Where the certificates will come from; starts an embedded service when the manifest names none."""

    def challenge(self, location: IssuerLocation) -> Challenge:
        """A fresh challenge. Raises StewardError."""

    def issue(self, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:
        """Have the evidence appraised and the certificate issued. Raises StewardError, VerificationRefused."""


class SecretsRequest(msgspec.Struct, frozen=True):
    """What a Keep sends to get secrets: their names, a key to seal them to (DER), and evidence for that key.

    `certified_by` is the digest of the certificate that its own was issued under. The other fields are as in
    `CertificateRequest`.
    """

    names: tuple[str, ...]
    key: bytes
    evidence_kind: str
    evidence: bytes
    endorsements: Mapping[str, bytes] = {}
    package: str | None = None
    certified_by: str = ""


class ReleasedSecrets(msgspec.Struct, frozen=True):
    """Secrets by name, sealed so that only the Keep can open them, and the Steward's signature over all of it."""

    sealed: Mapping[str, bytes]
    signature: bytes


@runtime_checkable
class SecretsIssuer(Protocol):
    """An issuer that also holds secrets for Keeps. One that does not lacks this method."""

    def release(self, location: IssuerLocation, challenge: Challenge, request: SecretsRequest) -> ReleasedSecrets:
        """Have the evidence appraised and the secrets sealed. Raises StewardError, VerificationRefused."""


class IssuerLocation(msgspec.Struct, frozen=True):
    """An issuer that can be used: its URL ("" where it has none) and its root certificate (PEM), which the Keep pins.

    `root_pem_path` is "" where the root is in no file. `protocol` is how evidence is bound, as `[attest]` says.
    `names` are those that the manifest lists, for an issuer that certifies them.
    """

    url: str
    root_pem: str
    root_pem_path: str
    protocol: Literal["v1", "enarx"] = "v1"
    names: tuple[str, ...] = ()


class Challenge(msgspec.Struct, frozen=True):
    """What the evidence must answer: the issuer's nonce, and the audience it is meant for.

    An empty nonce stands for Enarx's protocol, which has none: the evidence is then bound to the key alone.
    """

    nonce: bytes
    audience: str


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


@runtime_checkable
class Registry(Protocol):
    """A place where packages are published and fetched. A reference begins with one of `schemes`.

    This is the least; one that is an `ArtifactRegistry` can do what `info`, `search` and `yank` ask for, too.
    """

    name: str
    schemes: tuple[str, ...]

    def publish(self, package: Package, reference: str) -> str:
        """Store the package; returns its reference with the digest."""

    def fetch(self, reference: str, into: Path) -> Package:
        """Get a package, check it against its digest, and lay its tree under `into`."""


AttachmentKind = Literal["sbom", "provenance", "signature"]
ATTACHMENT_LIMIT = 16 << 20
"""Bytes of the largest attachment."""
ATTACHMENTS_LIMIT = 64
"""Attachments that are read of one package."""


class Attachment(msgspec.Struct, frozen=True):
    """What is said about a package, and kept beside it: `content` as it is, and its media type.

    A registry vouches for none of it: whoever can write there can attach what they like.
    """

    kind: AttachmentKind
    media_type: str
    content: bytes


@runtime_checkable
class ArtifactRegistry(Registry, Protocol):
    """A registry that keeps attachments, has tags, and can be asked what it has.

    Every method raises NotPublished where the registry says that there is no such package, and RegistryError where it
    cannot be reached or refuses. A reference is as `enarx_deploy.reference` parses it.
    """

    def publish(
        self,
        package: Package,
        reference: str,
        attachments: Sequence[Attachment] = (),
        progress: Progress = silent,
        created: int = 0,
    ) -> str:
        """Store the package and what is attached to it, the name that makes it visible last.

        `created` is the date of its sources in seconds since 1970, never that of today. Publishing again changes
        nothing. Returns the reference with the digest.
        """

    def fetch(self, reference: str, into: Path, progress: Progress = silent) -> Package:
        """Get a package, check it against its digest, and lay its tree under `into`: all of it or nothing."""

    def resolve(self, reference: str) -> Published:
        """What the registry says of the package that a reference names."""

    def attachments(self, reference: str) -> list[Attachment]:
        """What is attached to a package, by anyone who could write there: at most ATTACHMENTS_LIMIT."""

    def tags(self, reference: str) -> list[str]:
        """Every tag of a reference's repository, at most some thousands."""

    def search(self, place: str, words: Sequence[str]) -> Iterator[Published]:
        """The packages in a registry, or a part of it, in whose name each word is found. Yanked ones are among them."""

    def yank(self, reference: str, reason: str) -> None:
        """Withdraw a package: its tag names it no more. By its digest it can still be had."""


@runtime_checkable
class ServesKeeps(ArtifactRegistry, Protocol):
    """A registry from which a Keep can fetch its package itself, in Drawbridge's protocol and by TLS."""

    def source(self, reference: str) -> PackageSource:
        """Where a Keep finds the package that a reference names by its digest. Nothing of the package is fetched.

        Raises UsageError where no Keep can fetch it, NotPublished, RegistryError.
        """


@runtime_checkable
class SignableRegistry(ArtifactRegistry, Protocol):
    """A registry whose own tools look for signatures over what is theirs: in OCI cosign, over the manifest."""

    def signing_payload(self, reference: str) -> bytes:
        """What such a signature of a published package is made over."""

    def add_signature(self, reference: str, payload: bytes, signature: bytes) -> None:
        """Keep a signature over `signing_payload` where those tools look for it, beside those that are there."""


@runtime_checkable
class AttestableRegistry(SignableRegistry, Protocol):
    """A registry whose own tools look for attestations about what is theirs: in OCI cosign, about the manifest."""

    def attestation_subject(self, reference: str) -> tuple[str, str]:
        """What such an attestation of a published package is about: a name for people, and a digest."""

    def add_attestation(self, reference: str, predicate_type: str, envelope: bytes) -> None:
        """Keep an in-toto statement about that, in its envelope (DSSE), where those tools look for it."""
