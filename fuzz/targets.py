"""The parsers, what each may raise, and real inputs to begin with.

A target passes if the parser answers, or raises one of its own typed errors. Time and memory are bounded by the fuzzer.
"""

from __future__ import annotations

import hashlib
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec

from enarx_attestation import (
    VENDOR_ANCHORS,
    AttestationError,
    MalformedCollateral,
    MalformedEvidence,
    PolicyError,
    UnknownKind,
    appraise_files,
    ccel,
    claims_extension,
    cmw,
    enarx,
    extended_report,
    intel_collateral,
    load_policy,
    parse,
    tpm,
    x509,
)
from enarx_attestation.cbor import CborError, decode
from enarx_attestation.cose import payload_map, read_sign1
from enarx_attestation.der import DerError, children, whole
from enarx_attestation.intel_pck import read_platform
from enarx_attestation.intel_tcb import read_enclave_identity, read_tcb_info
from enarx_collateral import RefusedArchive, RefusedCollateral
from enarx_collateral.admission import admit
from enarx_collateral.archive import read_archive
from enarx_collateral.directory import offers
from enarx_collateral.item import KINDS, Entry
from enarx_collateral.transport import retry_after
from enarx_deploy import (
    enarx_lock,
    package_archive,
    package_attachments,
    package_signing,
    reference,
    wasm_sections,
)
from enarx_deploy.description import lock_files
from enarx_deploy.errors import LockError, ManifestError, ModuleError, PackageError, RegistryError, UsageError
from enarx_deploy.lint import needs
from enarx_deploy.manifest import loader
from enarx_deploy.protocols import Attachment
from enarx_deploy.wasm_binary import DamagedModuleError
from enarx_deploy.wasm_report import report
from enarx_drawbridge import content_digest
from enarx_drawbridge import reading as drawbridge
from enarx_drawbridge.content_digest import MalformedDigest
from enarx_drawbridge.errors import Malformed
from enarx_drawbridge.names import tree_path
from enarx_image import image
from enarx_image.errors import WrongImage
from enarx_keep import manifest as keep_manifest
from enarx_keep.attester import certificate_table, tdx_guest
from enarx_keep.channel import Reader
from enarx_keep.errors import BadManifest, BadMessage, NoEvidence, RegistryFault
from enarx_keep.http_client import read_head
from enarx_registries import oci_forms, oci_login, oci_tar
from enarx_signing import Signers, SigningError, dsse, package_signature, statement, trust
from enarx_steward import csr, release, renewal
from enarx_steward import policy as steward_policy
from enarx_steward.errors import ConfigurationError, MalformedRequest
from enarx_steward.messages import RenewalBody, SecretsBody

CORPUS = Path(__file__).parent / "corpus"
VECTORS = Path(__file__).parents[1] / "tests/attestation/vectors"


@dataclass(frozen=True)
class Target:
    """A parser; `seeds` are patterns below the attestation vectors, beside the files of the target's own corpus."""

    read: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    seeds: tuple[str, ...] = ()
    largest: int = 1 << 14
    """Bytes up to which inputs grow; what is larger than a parser takes is refused before it is read."""

    def run(self, data: bytes) -> None:
        """Read one input. Raises what is not this parser's to raise."""
        try:
            self.read(data)
        except self.errors:
            return


def evidence(kind: str) -> Callable[[bytes], object]:
    """The parser of a kind."""
    return lambda data: parse(data, kind)


def verdict(kind: str, vector: str, at: str, *files: str) -> Callable[[bytes], object]:
    """The whole way from a file to a verdict, with good endorsements."""
    endorsements = {name: (VECTORS / vector / name).read_bytes() for name in files}
    policy = load_policy({kind.replace("-", "_"): {"any_workload": True}})
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    return lambda data: appraise_files(data, endorsements, policy, kind=kind, at=moment, expected=bytes(64)).to_json()


def policy_of(data: bytes) -> object:
    """What TOML can hold, as the library reads a policy."""
    try:
        tables = tomllib.loads(data.decode())
    except (ValueError, RecursionError):  # the caller's to tell: the library gets tables
        return None
    return load_policy(tables)


def admitted(data: bytes) -> None:
    """What a store makes of it as each kind of item: the issuers are whatever it begins with."""
    for kind in KINDS:
        try:
            admit(kind, data, VENDOR_ANCHORS, chain=data)
        except RefusedCollateral:
            continue


def oci_archive(data: bytes) -> None:
    """An archive of an OCI registry, in two chunks."""
    for _, content in oci_tar.read([data[:700], data[700:]], "it"):
        for _ in content:
            pass


def package_archive_members(data: bytes) -> None:
    """A file of `package pack`, up to its end or what is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        package_archive.read(BytesIO(data), Path(folder), "it")


def logins(data: bytes) -> None:
    """A file of logins of docker, podman or oras, and each login in it."""
    for entry in oci_login.read(data, "it").auths.values():
        try:
            oci_login.login(entry, "it").basic()
        except RegistryError:
            continue


def attachment(data: bytes) -> object:
    """What is kept beside a package, under the name that it has to have."""
    return package_attachments.decoded(hashlib.sha256(data).hexdigest(), data, "it")


def oci_manifest(data: bytes) -> None:
    """A manifest of an OCI registry, and what is kept of each thing that it says is attached."""
    manifest = oci_forms.read_manifest(data, "it")
    for layer in manifest.layers:
        package_attachments.encoded(Attachment(oci_forms.attachment_kind(manifest) or "sbom", layer.media_type, b""))


def described(data: bytes) -> object:
    """What is told of a statement that anybody may have attached."""
    return package_signing.summary(Attachment("provenance", statement.PAYLOAD_TYPE, data))


def lock_file(name: str) -> Callable[[bytes], object]:
    """A lock file of this name, in a project."""

    def read(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(data)
            return lock_files.read(Path(folder), Path(folder) / name)

    return read


def image_record(data: bytes) -> object:
    """What lies beside an image, which may come from elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / image.CMDLINE).touch()
        (Path(folder) / image.RECORD).write_bytes(data)
        return image.read(Path(folder))


def package_signature_of(data: bytes) -> object:
    """An envelope, by nobody who is trusted."""
    return package_signature.verify(data, f"sha256:{'ab' * 32}", Signers(), datetime(2026, 6, 1, tzinfo=UTC))


def drawbridge_tags(data: bytes) -> None:
    """The body of a tag in each of its types."""
    for media_type in (drawbridge.ENTRY_TYPE, drawbridge.JWS_TYPE):
        try:
            drawbridge.read_tag(data, media_type)
        except Malformed:
            continue


def elements(data: bytes) -> list[object]:
    """Every element of a DER document, down to the leaves."""
    found: list[object] = []
    due = [whole(data, data[0])] if data else []
    while due:
        current = due.pop()
        found.append(current)
        if current.tag & 0x20:
            due.extend(children(current))
    return found


def messages(data: bytes) -> Iterator[object]:
    """The messages of a control stream."""
    position = 0

    def read(most: int) -> bytes:
        nonlocal position
        piece = data[position : position + most]
        position += len(piece)
        return piece

    reader = Reader(read)
    while True:
        yield reader.message()


def secrets_body(data: bytes) -> object:
    """A request for secrets, and its key."""
    return release.read_key(msgspec.json.decode(data, type=SecretsBody).key)


SNP = ("snp/*/report.bin",)
SGX = ("sgx/*/quote.bin",)
TDX = ("tdx/*/quote.bin",)
AZURE = ("snp/azure-vtpm-evidence-v1/evidence.json",)
TOKENS = ("nitro/*/doc.cose", "cca/*/token.cbor")
AUTHORITIES = ("roots/*.pem", "snp/*/ca_chain.pem")
INTEL = "sgx/phala-nonserver-cfg-swhard"
COLLATERAL = (f"{INTEL}/collateral.json", "tdx/near-v4-uptodate/collateral.json")
EVIDENCE_ERRORS = (MalformedEvidence,)
JSON_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError)
COLLATERAL_ERRORS = (MalformedCollateral,)

TARGETS: dict[str, Target] = {
    "snp-report": Target(evidence("snp"), EVIDENCE_ERRORS, SNP, 2048),
    "snp-extended-report": Target(extended_report.split, (), SNP),
    "sgx-quote": Target(evidence("sgx"), EVIDENCE_ERRORS, SGX),
    "tdx-quote": Target(evidence("tdx"), EVIDENCE_ERRORS, TDX),
    "az-snp": Target(evidence("az-snp"), EVIDENCE_ERRORS, AZURE, 1 << 16),
    "nitro": Target(evidence("nitro"), EVIDENCE_ERRORS, ("nitro/*/doc.cose",)),
    "cca": Target(evidence("cca"), EVIDENCE_ERRORS, ("cca/*/token.cbor",)),
    "nil": Target(evidence("nil"), EVIDENCE_ERRORS, (), 1024),
    "any-evidence": Target(parse, (MalformedEvidence, UnknownKind), (*SNP, *SGX, *TDX, *AZURE, *TOKENS)),
    "certificate": Target(x509.read_certificate, COLLATERAL_ERRORS, ("snp/*/vcek.der", "roots/*.der"), 4096),
    "platform": Target(
        lambda data: read_platform(x509.read_certificate(data)), (MalformedCollateral, DerError), ("roots/*.der",), 4096
    ),
    "crl": Target(x509.read_crl, COLLATERAL_ERRORS, ("snp/*/crl*.der",)),
    "pem": Target(x509.read_pem, COLLATERAL_ERRORS, AUTHORITIES),
    "der": Target(elements, (DerError,), ("snp/*/vcek.der", "*/*/request.csr.der")),
    "collateral": Target(intel_collateral.read_collateral, COLLATERAL_ERRORS, COLLATERAL, 1 << 16),
    "tcb-info": Target(read_tcb_info, COLLATERAL_ERRORS),
    "tcb-info-answer": Target(intel_collateral.read_tcb_info_answer, COLLATERAL_ERRORS),
    "enclave-identity": Target(read_enclave_identity, COLLATERAL_ERRORS),
    "cbor": Target(decode, (CborError,), TOKENS),
    "cose": Target(lambda data: payload_map(read_sign1(data)), (CborError,), TOKENS),
    "tpm-quote": Target(tpm.read_quote, (tpm.TpmError,), (), 2048),
    "event-log": Target(lambda data: ccel.replay(ccel.read_log(data)), EVIDENCE_ERRORS),
    "certificate-request": Target(csr.read, (MalformedRequest,), ("*/*/request.csr.der",)),
    "enarx-snp": Target(enarx.read_snp, (MalformedEvidence, MalformedCollateral)),
    "enarx-sgx": Target(enarx.read_sgx, EVIDENCE_ERRORS),
    "claims-extension": Target(claims_extension.decode, (claims_extension.Malformed,)),
    "message-wrapper": Target(cmw.decode, (cmw.MalformedWrapper,)),
    "policy": Target(policy_of, (PolicyError,)),
    "steward-policy": Target(steward_policy.parse, (ConfigurationError,)),
    "snp-verdict": Target(
        verdict("snp", "snp/milan-v3-azure", "2026-03-01", "vcek.der"), (AttestationError,), SNP, 2048
    ),
    "sgx-verdict": Target(verdict("sgx", INTEL, "2025-07-01", "collateral.json"), (AttestationError,), SGX),
    "tdx-verdict": Target(
        verdict("tdx", "tdx/near-v4-uptodate", "2025-10-01T07:03:51", "collateral.json"), (AttestationError,), TDX
    ),
    "azure-certificates": Target(lambda data: list(offers({"thim.json": data})), (RefusedCollateral,)),
    "collateral-admission": Target(admitted, (), ("snp/*/vcek.der", "snp/*/crl*.der", "cca/*/platform.pub.pem")),
    "collateral-archive": Target(lambda data: read_archive(BytesIO(data)), (RefusedArchive,)),
    "collateral-entry": Target(lambda data: msgspec.json.decode(data, type=Entry), (*JSON_ERRORS, RecursionError)),
    "collateral-files": Target(
        lambda data: list(offers({"collateral.json": data})), (RefusedCollateral,), COLLATERAL, 1 << 16
    ),
    "retry-after": Target(lambda data: retry_after(data.decode("latin-1"), datetime(2026, 6, 1, tzinfo=UTC)), ()),
    "steward-secrets": Target(secrets_body, (*JSON_ERRORS, MalformedRequest)),
    "steward-body": Target(lambda data: msgspec.json.decode(data, type=RenewalBody), JSON_ERRORS),
    "steward-renewal": Target(lambda data: renewal.read((data, data)), (MalformedRequest,), ("roots/*.der",), 4096),
    "keep-http-head": Target(read_head, (RegistryFault,)),
    "keep-manifest": Target(keep_manifest.read, (BadManifest,)),
    "keep-messages": Target(lambda data: list(messages(data)), (BadMessage, EOFError)),
    "keep-certificate-table": Target(certificate_table.read, ()),
    "keep-quoting-service": Target(tdx_guest.read_quote, (NoEvidence,)),
    "content-digest": Target(lambda data: content_digest.parse(data.decode("latin-1")), (MalformedDigest,), (), 2048),
    "drawbridge-directory": Target(drawbridge.read_directory, (Malformed,)),
    "drawbridge-tag": Target(drawbridge_tags, ()),
    "drawbridge-path": Target(lambda data: tree_path(data.decode("latin-1").split("/")), (Malformed,), (), 2048),
    "attachment": Target(attachment, (PackageError,)),
    "attached-statement": Target(described, (PackageError,)),
    "dsse-envelope": Target(dsse.read, (SigningError,)),
    "enarx-lock": Target(lambda data: enarx_lock.read(data, "Enarx.lock"), (LockError,)),
    "in-toto-statement": Target(statement.read, (SigningError,)),
    "image-record": Target(image_record, (WrongImage,), (), 4096),
    "lock-of-cargo": Target(lock_file("Cargo.lock"), (PackageError,), (), 4096),
    "lock-of-go": Target(lock_file("go.mod"), (PackageError,), (), 4096),
    "lock-of-npm": Target(lock_file("package-lock.json"), (PackageError,), (), 4096),
    "manifest": Target(lambda data: loader.parse(data, "Enarx.toml"), (ManifestError,)),
    "oci-index": Target(lambda data: oci_forms.read_index(data, "it"), (PackageError,), (), 4096),
    "oci-listing": Target(lambda data: oci_forms.read_listing(data, "it"), (PackageError,), (), 4096),
    "oci-manifest": Target(oci_manifest, (PackageError,), (), 4096),
    "oci-logins": Target(logins, (RegistryError,)),
    "oci-challenges": Target(lambda data: oci_login.challenges([data.decode("latin-1")]), ()),
    "package-archive": Target(package_archive_members, (PackageError,), (), 8192),
    "package-signature": Target(package_signature_of, (SigningError,)),
    "trusted-signers": Target(trust.parse, (SigningError,)),
    "oci-archive": Target(oci_archive, (PackageError,), (), 8192),
    "package-reference": Target(lambda data: reference.parse(data.decode(errors="replace")), (UsageError,), (), 2048),
    "wasm-module": Target(lambda data: (report(data), needs(data)), (ModuleError,)),
    "wasm-sections": Target(wasm_sections.strip, (DamagedModuleError,)),
}


def seeds(name: str) -> list[bytes]:
    """Inputs to begin with: the target's own corpus, and real vectors."""
    own = [path for path in sorted((CORPUS / name).glob("*")) if path.is_file()]
    vectors = [path for pattern in TARGETS[name].seeds for path in sorted(VECTORS.glob(pattern))]
    return [path.read_bytes() for path in (*own, *vectors)]
