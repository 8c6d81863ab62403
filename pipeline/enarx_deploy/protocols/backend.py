"""Kinds of Keep: how one is started, what it measures to, where its evidence comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from enarx_deploy.models import Package, Probe, ReferenceValues


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
