"""Confidential VMs of Azure: an SNP report vouches for a virtual TPM, and the TPM for what was booted.

The paravisor runs at the guest's highest privilege and holds the TPM. Its report commits to a JSON document with the
TPM's attestation key (AK); the AK signs a quote of the registers, with the caller's nonce.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from . import snp, snp_policy, snp_report, tpm
from .anchors import Anchors
from .checks import Rule, Sheet
from .errors import InvalidArgument, MalformedEvidence, PolicyError
from .model import Claims, Collateral, Evidence
from .reading import read_base64, read_json
from .snp import SnpClaims
from .snp_policy import SnpPolicy

MAX_SIZE: Final = 1 << 16
_HEADER: Final = 32
_TYPE_SNP: Final = 2
_HASH_SHA256: Final = 1
_AK: Final = "HCLAkPub"
_AZURE = "Azure confidential VM guest attestation, HCL report"

_OWN: Final = {
    "az-snp.runtime.binding": Rule(
        "The paravisor's report does not commit to this TPM: the evidence is mixed.", _AZURE
    ),
    "az-snp.tpm.signature": Rule(
        "The TPM's quote was altered, or is another TPM's.", "TPM 2.0 Library, part 3, TPM2_Quote"
    ),
    "az-snp.tpm.registers": Rule(
        "The registers are not those that were quoted.", "TPM 2.0 Library, part 3, TPM2_Quote"
    ),
    "az-snp.policy.registers": Rule("Boot what the policy lists, or add the registers' values to `pcrs`.", _AZURE),
}
RULES: Final = {**snp.RULES, **snp_policy.RULES, **_OWN}
REQUIRED: Final = snp.REQUIRED | {name for name in _OWN if ".policy." not in name}

Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{2})*\Z", max_length=2048)]


class _TpmQuote(msgspec.Struct, frozen=True):
    message: Hex
    signature: Hex
    pcrs: Annotated[tuple[Hex, ...], msgspec.Meta(min_length=1, max_length=32)]


class _Document(msgspec.Struct, frozen=True):
    hcl_report: str
    tpm_quote: _TpmQuote


class _Key(msgspec.Struct, frozen=True):
    kid: str
    kty: str = ""
    e: str = ""
    n: str = ""


class _Runtime(msgspec.Struct, frozen=True):
    keys: tuple[_Key, ...]


class AzSnpEvidence(Evidence, frozen=True, kw_only=True):
    """The report, the document it commits to, and the TPM's quote."""

    report: snp_report.SnpEvidence
    runtime: bytes
    key: Any
    """The TPM's attestation key, RSA."""
    message: bytes
    signature: bytes
    quote: tpm.TpmQuote
    pcrs: tuple[bytes, ...]


class AzSnpClaims(SnpClaims, frozen=True, kw_only=True):
    """An Azure VM. `report_data` is the nonce of the TPM's quote; `measurement` is the paravisor's."""

    pcrs: Mapping[str, str]
    """Of the SHA-256 bank, those that were quoted."""


class AzSnpPolicy(SnpPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `[az_snp]`: that of `[snp]`, for the paravisor, and registers for what it booted.

    Registers are the word of whoever holds the TPM's key: without a rule for the paravisor, of any guest's.
    """

    pcrs: Mapping[str, tuple[str, ...]] = {}
    """By number: accepted values, 32 bytes in hexadecimal."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(number.isdecimal() and int(number) < 24 for number in self.pcrs):
            raise PolicyError("`pcrs`: the key of a register is its number, 0 to 23")
        if self.any_workload and self.pcrs:
            raise PolicyError("`any_workload` and `pcrs` contradict each other")


def recognise(data: bytes) -> bool:
    """Whether the bytes begin like a JSON document with an HCL report."""
    return data.lstrip()[:1] == b"{" and b'"hcl_report"' in data and b'"tpm_quote"' in data


def parse(data: bytes) -> AzSnpEvidence:
    """Read evidence as attestation agents send it. Raises `MalformedEvidence`."""
    document = read_json(data, _Document, _malformed)
    report, runtime = _unwrap(read_base64(document.hcl_report, _malformed))
    message = bytes.fromhex(document.tpm_quote.message)
    try:
        return AzSnpEvidence(
            kind="az-snp",
            raw=data,
            report=report,
            runtime=runtime,
            key=_attestation_key(runtime),
            message=message,
            signature=bytes.fromhex(document.tpm_quote.signature),
            quote=tpm.read_quote(message),
            pcrs=tuple(bytes.fromhex(value) for value in document.tpm_quote.pcrs),
        )
    except tpm.TpmError as exc:
        raise _malformed(str(exc)) from exc


def verify(evidence: Evidence, collateral: Collateral, anchors: Anchors, at: datetime) -> AzSnpClaims:
    """Verify the report as `snp.verify` does, that it commits to the TPM's key, and the TPM's quote with that key.

    Raises `InvalidArgument` for evidence or collateral of another kind.
    """
    if not isinstance(evidence, AzSnpEvidence):
        raise InvalidArgument("az_snp.verify needs the evidence that az_snp.parse returns")
    paravisor = snp.verify(evidence.report, collateral, anchors, at)
    sheet = Sheet(RULES)
    wanted = hashlib.sha256(evidence.runtime).digest().ljust(64, b"\0")
    bound = evidence.report.report_data == wanted
    sheet.check("az-snp.runtime.binding", bound, wanted.hex(), evidence.report.report_data.hex())
    valid = _signed(evidence)
    sheet.check("az-snp.tpm.signature", valid, "RSASSA SHA-256 of the TPM's key", "valid" if valid else "invalid")
    covered = evidence.quote.covers(evidence.pcrs)
    sheet.check("az-snp.tpm.registers", covered, evidence.quote.pcr_digest.hex(), "equal" if covered else "different")
    checks = paravisor.checks + sheet.done()
    sound = all(check.ok for check in checks) and paravisor.hardware
    same = {name: getattr(paravisor, name) for name in SnpClaims.__struct_fields__}
    own = {
        "kind": "az-snp",
        "hardware": sound,
        "status": "Verified" if sound else "Unverified",
        "evidence_sha256": evidence.sha256,
        "report_data": evidence.quote.extra_data.hex(),
        "launch_package": None,
        "checks": checks,
    }
    quoted = {str(index): evidence.pcrs[index].hex() for index in evidence.quote.selected} if covered else {}
    return AzSnpClaims(**{**same, **own}, pcrs=quoted)


def appraise(claims: Claims, policy: AzSnpPolicy, sheet: Sheet) -> None:
    """Compare the paravisor with the section as `snp_policy.appraise` does, and the registers with `pcrs`.

    Raises `InvalidArgument` for claims of another kind.
    """
    if not isinstance(claims, AzSnpClaims):
        raise InvalidArgument("az_snp.appraise needs AzSnpClaims")
    snp_policy.appraise(claims, policy, sheet)
    wrong = tpm.register_faults(claims.pcrs, policy.pcrs, [int(number) for number in claims.pcrs])
    sheet.check("az-snp.policy.registers", not wrong, "as the policy lists them", "; ".join(wrong) or "so they are")


def _unwrap(hcl: bytes) -> tuple[snp_report.SnpEvidence, bytes]:
    """The hardware's report and the runtime document of an HCL report."""
    start = _HEADER + snp_report.SIZE
    fields = [int.from_bytes(hcl[start + 4 * index : start + 4 * index + 4], "little") for index in range(5)]
    if hcl[:4] != b"HCLA" or len(hcl) < start + 20 or fields[2] != _TYPE_SNP or fields[3] != _HASH_SHA256:
        raise MalformedEvidence("not an HCL report of SNP with SHA-256")
    runtime = hcl[start + 20 : start + 20 + fields[4]]
    if len(runtime) != fields[4] or any(hcl[start + 20 + fields[4] :]):
        raise MalformedEvidence("the HCL report is cut short, or has something behind it")
    return snp_report.parse(hcl[_HEADER:start]), runtime


def _malformed(why: str) -> MalformedEvidence:
    return MalformedEvidence(f"not evidence of an Azure VM: {why}")


def _attestation_key(runtime: bytes) -> rsa.RSAPublicKey:
    keys = [key for key in read_json(runtime, _Runtime, _malformed).keys if key.kid == _AK and key.kty == "RSA"]
    if len(keys) != 1:
        raise MalformedEvidence(f"expected one RSA key named {_AK}")
    e, n = (int.from_bytes(read_base64(part, _malformed), "big") for part in (keys[0].e, keys[0].n))
    if not 2048 <= n.bit_length() <= 4096:
        raise MalformedEvidence(f"the TPM's key has {n.bit_length()} bits")
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError as exc:
        raise MalformedEvidence(f"not an RSA key: {exc}") from exc


def _signed(evidence: AzSnpEvidence) -> bool:
    try:
        evidence.key.verify(evidence.signature, evidence.message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
