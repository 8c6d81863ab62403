"""A plugin that plays a whole installation: a language, a backend, a target and an issuer.

Its Keeps are files on a shelf (`shelf/ID.json` in the state directory), so that what the runner and the commands do
with Keeps can be seen without any being started. A test changes such a file to let a Keep crash or age. What each
provider was asked for stands in `shelf/calls`, one line each.
"""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import KeepError, StewardError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import (
    Deployment,
    Endpoint,
    KeepStatus,
    Package,
    Probe,
    ProbeCheck,
    ReferenceValues,
)
from enarx_deploy.project import Project
from enarx_deploy.protocols import (
    Backend,
    CertificateRequest,
    Challenge,
    Issued,
    Issuer,
    IssuerLocation,
    KeepProcess,
    Launch,
    Progress,
    Target,
    Tool,
    Toolchain,
)

MODULE = bytes.fromhex(
    "0061736d01000000 01040160000003020100 0503010001 0713 02 066d656d6f72790200 065f73746172740000".replace(" ", "")
)
MODULE += bytes.fromhex("0a040102000b")


def shelf() -> Path:
    return paths.state_dir("shelf")


def called(line: str) -> None:
    with (shelf() / "calls").open("a") as file:
        file.write(f"{line}\n")


class Language:
    """Every `*.shelf` file is a source; the module is always the same, plus the sources in a custom section."""

    name = "shelf"

    def detect(self, project: Project) -> str | None:
        return "a .shelf file is here" if self.inputs(project) else None

    def find(self) -> Tool:
        program = os.environ.get("SHELF_PROGRAM")
        return Tool(command=(program,) if program else (), version=os.environ.get("SHELF_TOOL", "shelf 1"))

    def inputs(self, project: Project) -> Sequence[Path]:
        return sorted(project.root.glob("*.shelf"))

    def build(self, project: Project, tool: Tool, output: Path, progress: Progress) -> None:
        called("build")
        progress("shelving the sources")
        text = b"".join(path.read_bytes() for path in self.inputs(project))
        name = b"\x05shelf"
        output.write_bytes(MODULE + bytes([0, len(name) + len(text)]) + name + text)


class Kind:
    """A backend that every machine has, and that is stronger than any other unless told otherwise."""

    name = "shelf"
    aliases = ("board",)
    hardware = False
    evidence = "nil"
    strength = 1000

    def probe(self) -> Probe:
        missing = os.environ.get("SHELF_MISSING", "")
        check = ProbeCheck(name="wood", ok=not missing, detail=missing or "oak", hint="plant a tree" if missing else "")
        return Probe(backend=self.name, available=not missing, hardware=False, checks=[check])

    def measure(self, package: Package) -> ReferenceValues:
        called("measure")
        measurements = {"package": package.digest}
        return ReferenceValues(
            backend=self.name, hardware=False, package=package.digest, measurements=measurements, policy={}
        )

    def start(self, launch: Launch) -> KeepProcess:
        raise KeepError(f"nothing starts {launch.package_digest} here")


class Place:
    """A target whose Keeps are files."""

    name = "shelf"

    def check(self, project: Project, package: Package, backend: Backend) -> None:
        called("check")
        if any(status.state == "running" and status.name == project.name for status in self.keeps()):
            raise KeepError("the port is in use", hint="stop the Keep that has it")

    def start(self, project: Project, package: Package, values: ReferenceValues, backend: Backend) -> Deployment:
        called("start")
        taken = {status.id for status in self.keeps()}
        keep = next(name for number in itertools.count(1) if (name := f"k{number:03}") not in taken)
        listening = [file for file in project.manifest.files if getattr(file, "addr", None)]
        deployment = Deployment(
            id=keep,
            name=project.name,
            backend=backend.name,
            target=self.name,
            package=package.digest,
            endpoints=[Endpoint(name=f.name, host="::", port=f.port, prot=f.prot) for f in listening],
            created=f"2026-01-01T00:00:{len(taken):02}Z",
        )
        fields = msgspec.structs.asdict(deployment)
        self._put(KeepStatus(state="starting", pid=os.getpid(), **fields))
        return deployment

    def request_certificate(self, deployment: Deployment, challenge: Challenge) -> CertificateRequest | None:
        called("request_certificate")
        return CertificateRequest(csr=b"request", evidence_kind="nil", evidence=challenge.nonce)

    def install_certificate(self, deployment: Deployment, location: IssuerLocation, issued: Issued) -> None:
        called("install_certificate")
        self._change(deployment.id, state="running")

    def renew_certificate(self, keep: str) -> KeepStatus:
        called(f"renew_certificate {keep}")
        return self._change(keep, certificate_not_after="2026-01-02T00:00:00Z")

    def keeps(self) -> list[KeepStatus]:
        return [msgspec.json.decode(path.read_bytes(), type=KeepStatus) for path in sorted(shelf().glob("*.json"))]

    def logs(self, keep: str, *, follow: bool, stream: str) -> Iterator[bytes]:
        yield f"{keep} {stream} {'followed' if follow else 'once'}\n".encode()
        yield b"\xff\x00 not text\n"

    def stop(self, keep: str, *, grace: float) -> KeepStatus:
        called(f"stop {keep} {grace:g}")
        return self._change(keep, state="exited", exit_status=0)

    def _change(self, keep: str, **changes: object) -> KeepStatus:
        status = next(status for status in self.keeps() if status.id == keep)
        return self._put(msgspec.structs.replace(status, **changes))

    def _put(self, status: KeepStatus) -> KeepStatus:
        paths.write_atomically(shelf() / f"{status.id}.json", msgspec.json.encode(status))
        return status


class Press:
    """An issuer that signs for itself, for `SHELF_LIFETIME` seconds."""

    name = "shelf"
    renews = True

    def locate(self, project: Project) -> IssuerLocation:
        return IssuerLocation(url="https://shelf.invalid", root_pem="", root_pem_path=str(shelf() / "root.pem"))

    def challenge(self, location: IssuerLocation) -> Challenge:
        if os.environ.get("SHELF_REFUSES"):
            raise StewardError("the Steward refused", hint="ask it why")
        return Challenge(nonce=b"n" * 32, audience=location.url)

    def issue(self, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:
        assert request.evidence == challenge.nonce
        appraisal: Mapping[str, object] = {"kind": request.evidence_kind}
        return Issued(chain=(_certificate(int(os.environ.get("SHELF_LIFETIME", "3600"))),), appraisal=appraisal)


def _certificate(lifetime: int) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ed25519.Ed25519PrivateKey.generate()
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    signed = builder.not_valid_after(now + datetime.timedelta(seconds=lifetime)).sign(key, None)
    return signed.public_bytes(Encoding.DER)


@hookimpl
def register_toolchains() -> list[Toolchain]:
    return [Language()]


@hookimpl
def register_backends() -> list[Backend]:
    return [Kind()]


@hookimpl
def register_targets() -> list[Target]:
    return [Place()]


@hookimpl
def register_issuers() -> list[Issuer]:
    return [Press()]
