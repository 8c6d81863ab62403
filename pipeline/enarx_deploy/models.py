"""The records that stages hand to one another, saved as JSON under `.enarx/`.

All are frozen. A digest is always written `sha256:` and 64 lower-case hex digits. A path is absolute in memory.
A time is an RFC 3339 string in UTC.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

StageName = Literal["compile", "package", "attest", "deploy", "provision_tls"]
STAGES: tuple[StageName, ...] = ("compile", "package", "attest", "deploy", "provision_tls")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records."""


class Import(Record, frozen=True):
    """One import of a wasm module: `module` and `name` as written in its import section."""

    module: str
    name: str
    kind: Literal["func", "memory", "table", "global", "tag"]


class Module(Record, frozen=True):
    """What `compile` made: a validated core wasm module.

    `toolchain` is the provider's name and `version` what its tool says of itself; `toolchain_sha256` is the digest of
    the tool's own bytes (`tool_bytes`), empty where it has none. `inputs` maps each source file,
    relative to the project, to its digest: when none changed, the stage is skipped.
    """

    path: str
    sha256: str
    size: int
    entry: Literal["", "_start"]
    imports: list[Import]
    toolchain: str
    version: str
    inputs: dict[str, str] = {}
    toolchain_sha256: str = ""


class PackageFile(Record, frozen=True):
    """One file of a package: its place in the tree (components joined by `/`), size in bytes, and media type.

    `digests` are those of its entry in the directory (by algorithm, standard base64), so that the directory can be
    written again without taking them again.
    """

    path: str
    sha256: str
    size: int
    type: str
    digests: dict[str, str] = {}


class Package(Record, frozen=True):
    """What `package` made: a content-addressed tree.

    `digest` is the SHA-256 of the root directory's JSON (Drawbridge's directory form) and names the package
    everywhere. `root` is the directory that holds the tree.
    """

    digest: str
    root: str
    size: int
    files: list[PackageFile]

    @property
    def module(self) -> PackageFile | None:
        """What a Keep runs; None of what is no package."""
        return next((file for file in self.files if file.path == "main.wasm"), None)


class Published(Record, frozen=True):
    """What a registry says of one package: nothing of it is believed before the package was fetched and checked.

    `reference` ends in the package's digest. `size` is that of its files in bytes. `tags` are those that are known to
    name it. `yanked` says why it was withdrawn, and is "" where it was not. `details` is what only registries of this
    kind have, such as the digest of an OCI manifest.
    """

    reference: str
    digest: str
    size: int
    tags: list[str] = []
    yanked: str = ""
    details: dict[str, str] = {}


class PackageSource(Record, frozen=True):
    """From where a Keep fetches its package itself: a Drawbridge, by TLS.

    `path` is that of the package's tree. `roots` are certificates (base64 of DER) of whom to believe to be that host;
    none stands for those that are compiled into the Keep. `signatures` of the package are those that its registry
    showed this machine, in envelopes (DSSE): they go along with requests for a certificate.
    """

    host: str
    port: int
    path: str
    roots: list[str] = []
    signatures: list[bytes] = []


class ReferenceValues(Record, frozen=True):
    """What `attest` made: what this package must measure to on this backend, and the policy for the Steward.

    `hardware` says whether a CPU vouches for the measurements. `measurements` maps a name that the backend documents
    to a digest. `policy` is the appraisal policy, in the Steward's policy form, that accepts exactly this.
    """

    backend: str
    hardware: bool
    package: str
    measurements: dict[str, str]
    policy: dict[str, Any]


class Endpoint(Record, frozen=True):
    """A socket that a Keep serves: `name` is its name in the manifest, `port` the port really bound."""

    name: str
    host: str
    port: int
    prot: Literal["tls", "tcp"]


class Deployment(Record, frozen=True):
    """What `deploy` made: a running Keep on a target."""

    id: str
    name: str
    backend: str
    target: str
    package: str
    endpoints: list[Endpoint]
    created: str


class EndpointIdentity(Record, frozen=True):
    """The certificate that one endpoint serves: its chain as PEM, leaf first, and the leaf's digest."""

    endpoint: str
    certificate_sha256: str
    chain_pem: str


class Identity(Record, frozen=True):
    """What `provision_tls` made: the certificates, who issued them, and the appraisal behind them."""

    issuer: str
    steward_url: str
    root_pem_path: str
    not_before: str
    not_after: str
    endpoints: list[EndpointIdentity]
    appraisal: dict[str, Any]


class KeepStatus(Record, frozen=True):
    """What a target knows of one Keep. `crashed` is a Keep whose host process is gone without having said why, and
    `restarting` one that has ended and will be started again. `unknown` is one on a machine that does not answer now,
    with what was last known of it.

    `cause` is what ended it, and `reason` the same in words; `limits` are the limits of `[resources]` that it met.
    `metrics` is where its host process serves metrics (HOST:PORT), if it does.
    `renewal_failure` says why the last attempt to renew its certificate failed; empty where it did not.
    `health_failure` says the same of the last look at whether it still serves.
    `host` is the machine that it runs on, where the target has others than this one.
    `version` is the number of the `Version` that it runs, 0 where its target counts none; `restarts` is how often it
    was started again after it had ended. `unheld` says why the kernel does not hold it to limits that were asked for.
    """

    id: str
    name: str
    state: Literal["starting", "running", "stopping", "restarting", "exited", "failed", "crashed", "unknown"]
    backend: str
    target: str
    package: str
    endpoints: list[Endpoint]
    created: str
    pid: int = 0
    exit_status: int | None = None
    cause: Literal["", "exit", "trap", "limit", "jail", "signal", "error", "killed", "died", "unhealthy"] = ""
    reason: str = ""
    limits: list[str] = []
    certificate_not_before: str = ""
    certificate_not_after: str = ""
    metrics: str = ""
    renewal_failure: str = ""
    host: str = ""
    version: int = 0
    restarts: int = 0
    unheld: str = ""
    health_failure: str = ""


class Usage(Record, frozen=True):
    """What a Keep that runs has used, as its host sees it; -1 stands for what is not known.

    Connections accepted so far, and open now; bytes as they cross the host; TLS handshakes as the Keep counts them;
    resident memory in bytes, and processor time in seconds.
    """

    connections: int = -1
    connections_open: int = -1
    bytes_in: int = -1
    bytes_out: int = -1
    handshakes_done: int = -1
    handshakes_failed: int = -1
    memory: int = -1
    cpu_seconds: float = -1.0


ALIVE = ("starting", "running", "stopping", "restarting")
"""The states of a Keep that has not ended for good."""


VersionState = Literal["pending", "serving", "replaced", "failed"]


class Version(Record, frozen=True):
    """One version of a deployment: what was served under its name, or was meant to be.

    `number` counts from 1 and is never given again. `state` is `pending` until its Keeps are healthy, then `serving`
    until another version takes its place (`replaced`); `failed` is one that did not get healthy, or did not stay so,
    and `reason` says why. `asked` is how many Keeps its manifest wants; of the version that serves, `scaled` is
    how many somebody wants instead. 0 is none, or not known.
    """

    number: int
    package: str
    backend: str
    created: str
    state: VersionState
    reason: str = ""
    asked: int = 0
    scaled: int = 0


class ProbeCheck(Record, frozen=True):
    """One thing that a backend needs of the machine: what was found, and what to do where it is missing.

    `under` is the name of the check that it is a part of; empty where it stands by itself. What is not `required` is
    something that Keeps start without, and are slower, say.
    """

    name: str
    ok: bool
    detail: str
    hint: str = ""
    under: str = ""
    required: bool = True


class Probe(Record, frozen=True):
    """Whether a backend can be used on this machine, check by check."""

    backend: str
    available: bool
    hardware: bool
    checks: list[ProbeCheck]
