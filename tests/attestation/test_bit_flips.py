"""Any bit that is flipped in what is signed refuses: every real vector of every kind, every signed part of it.

Bits are taken at a stride that is prime, so that it falls on each bit of a byte in turn; beside that, at random.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_attestation import (
    VENDOR_ANCHORS,
    Anchors,
    Collateral,
    MalformedCollateral,
    MalformedEvidence,
    endorse,
    parse,
    verify,
)
from enarx_attestation.cca import read_collateral as read_cca
from enarx_attestation.intel_collateral import read_collateral as read_intel
from enarx_attestation.snp import read_collateral as read_snp
from enarx_attestation.x509 import read_pem

VECTORS = Path(__file__).parent / "vectors"
STRIDE = 211
SNP = {
    "azure-vtpm-evidence-v1": "2025-02-01",
    "milan-v2-debug-guest": "2024-01-01",
    "milan-v2-enarx-csr": "2023-01-30",
    "milan-v2-provisional-fw": "2024-01-01",
    "milan-v3-azure": "2026-03-01",
    "turin-v5-fmc": "2026-03-01",
}
INTEL = {
    "sgx/enarx-xeon-icelake-outofdate": "2025-09-01T00:00:00",
    "sgx/occlum-debug-enclave": "2025-09-01T00:00:00",
    "sgx/phala-nonserver-cfg-swhard": "2025-07-01T00:00:00",
    "tdx/alibaba-v5-servicetd": "2026-01-30T00:00:00",
    "tdx/azure-sept-ve-disable-off": "2025-03-01T00:00:00",
    "tdx/coco-debug-td": "2023-07-01T01:00:00",
    "tdx/near-v4-uptodate": "2025-10-01T07:03:51",
    "tdx/phala-v4-uptodate": "2025-07-01T00:00:00",
    "tdx/v5-td15-uptodate": "2026-01-30T00:00:00",
}


@dataclass(frozen=True)
class Part:
    """A signed part of a vector, and whether evidence is verified with other bytes in its place."""

    name: str
    content: bytes
    verified: Callable[[bytes], bool]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def file(*names: str) -> bytes:
    return VECTORS.joinpath(*names).read_bytes()


def is_verified(
    kind: str,
    data: bytes,
    collateral: Callable[[], Collateral],
    at: datetime,
    anchors: Anchors = VENDOR_ANCHORS,
    *,
    revocation: bool = False,
) -> bool:
    try:
        claims = verify(parse(data, kind), collateral(), anchors, at)
    except (MalformedEvidence, MalformedCollateral):
        return False
    # A list that cannot be believed is as good as none, and that is a claim, which policies require to be good.
    return claims.verified and (not revocation or getattr(claims, "revocation", None) == "good")


def snp_parts(vector: str, at: datetime) -> Iterator[Part]:
    report, vek = file("snp", vector, "report.bin"), file("snp", vector, "vcek.der")
    good = read_snp(vek)
    yield Part("report", report, lambda data: is_verified("snp", data, lambda: good, at))
    yield Part("certificate", vek, lambda data: is_verified("snp", report, lambda: read_snp(data), at))
    if vector == "milan-v2-enarx-csr":
        crl = file("snp", vector, "crl_milan.der")
        yield Part(
            "list",
            crl,
            lambda data: is_verified("snp", report, lambda: read_snp(vek, crls=[data]), at, revocation=True),
        )


def intel_parts(vector: str, at: datetime) -> Iterator[Part]:
    kind, quote = vector.partition("/")[0], file(vector, "quote.bin")
    document = json.loads(file(vector, "collateral.json"))
    good = endorse(read_intel(json.dumps(document).encode()), VENDOR_ANCHORS)
    chain = quote.index(b"-----BEGIN")
    yield Part("quote", quote[:chain], lambda data: is_verified(kind, data + quote[chain:], lambda: good, at))
    pck = read_pem(quote[chain:].rstrip(b"\0"))[0].raw
    yield Part("pck", pck, lambda data: is_verified(kind, with_certificate(quote, chain, data), lambda: good, at))
    for field in ("tcb_info", "qe_identity"):
        text = document[field].encode()
        yield Part(field, text, replaced(kind, quote, document, field, lambda data: data.decode("latin-1"), at))
        signature = f"{field}_signature"
        yield Part(
            signature, bytes.fromhex(document[signature]), replaced(kind, quote, document, signature, bytes.hex, at)
        )
    for field in ("root_ca_crl", "pck_crl"):
        yield Part(field, bytes.fromhex(document[field]), replaced(kind, quote, document, field, bytes.hex, at))


def replaced(
    kind: str, quote: bytes, document: dict[str, str], field: str, text: Callable[[bytes], str], at: datetime
) -> Callable[[bytes], bool]:
    """Whether the quote is verified with another value in a field of the collateral."""

    def verified(data: bytes) -> bool:
        changed = json.dumps({**document, field: text(data)}).encode()
        return is_verified(kind, quote, lambda: read_intel(changed), at, revocation=True)

    return verified


def with_certificate(quote: bytes, chain: int, certificate: bytes) -> bytes:
    """The quote with another first certificate, of the same length, in its chain."""
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----"
    body = quote[chain + len(begin) : quote.index(end, chain)]
    lines = base64.b64encode(certificate)
    width = body.index(b"\n")
    text = b"".join(lines[at : at + width] + b"\n" for at in range(0, len(lines), width))
    assert len(text) == len(body)
    return quote[: chain + len(begin)] + text + quote[chain + len(begin) + len(body) :]


def azure_parts() -> Iterator[Part]:
    """What the report signs, what it commits to, and what the TPM signs, each as it is before it is written as text."""
    document = json.loads(file("snp/azure-vtpm-evidence-v1/evidence.json"))
    vek, at = read_snp(file("snp/azure-vtpm-evidence-v1/vcek.der")), moment("2025-02-01")
    hcl = base64.urlsafe_b64decode(document["hcl_report"] + "==")
    size = int.from_bytes(hcl[32 + 1184 + 16 : 32 + 1184 + 20], "little")
    ranges = {"report": (32, 32 + 1184), "runtime": (32 + 1184 + 20, 32 + 1184 + 20 + size)}

    def verified(changes: dict[str, object]) -> bool:
        return is_verified("az-snp", json.dumps({**document, **changes}).encode(), lambda: vek, at)

    def in_hcl(start: int, end: int) -> Callable[[bytes], bool]:
        def place(data: bytes) -> bool:
            text = base64.urlsafe_b64encode(hcl[:start] + data + hcl[end:]).decode().rstrip("=")
            return verified({"hcl_report": text})

        return place

    for name, (start, end) in ranges.items():
        yield Part(name, hcl[start:end], in_hcl(start, end))
    quote = document["tpm_quote"]
    for name in ("message", "signature"):
        yield Part(
            name,
            bytes.fromhex(quote[name]),
            lambda data, name=name: verified({"tpm_quote": {**quote, name: data.hex()}}),
        )

    def pcrs(data: bytes) -> bool:
        return verified({"tpm_quote": {**quote, "pcrs": [data[at : at + 32].hex() for at in range(0, len(data), 32)]}})

    yield Part("registers", b"".join(bytes.fromhex(value) for value in quote["pcrs"]), pcrs)


def token_parts(kind: str) -> Iterator[Part]:
    if kind == "nitro":
        document = file("nitro/proper-2021/doc.cose")
        at = moment("2021-09-09T10:20:00")
        yield Part("document", document, lambda data: is_verified("nitro", data, Collateral, at))
        return
    platform = read_cca(file("cca/tf-rmm-token/platform.pub.pem"))
    anchors = msgspec.structs.replace(VENDOR_ANCHORS, cca_platform_keys=frozenset({platform.platform_key_sha256}))
    token = file("cca/tf-rmm-token/token.cbor")
    yield Part("token", token, lambda data: is_verified("cca", data, lambda: platform, moment("2026-03-01"), anchors))


VECTORS_BY_NAME: dict[str, Callable[[], Iterator[Part]]] = {
    **{f"snp/{name}": lambda name=name, at=at: snp_parts(name, moment(at)) for name, at in SNP.items()},
    **{name: lambda name=name, at=at: intel_parts(name, moment(at)) for name, at in INTEL.items()},
    "az-snp": azure_parts,
    "nitro": lambda: token_parts("nitro"),
    "cca": lambda: token_parts("cca"),
}


@cache
def parts(vector: str) -> tuple[Part, ...]:
    return tuple(VECTORS_BY_NAME[vector]())


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def test_every_vector_that_can_be_accepted_is_here() -> None:
    from_amd = {path.parent.name for path in VECTORS.glob("snp/*/report.bin")}
    from_intel = {f"{path.parent.parent.name}/{path.parent.name}" for path in VECTORS.glob("*/*/collateral.json")}
    refused_already = {
        "cross-chip-vcek",
        "forged-root-amd-names",
        "milan-wrong-vcek-legacy-hwid",
        "mut-measurement-bitflip",
        "mut-reserved-nonzero",
        "mut-zero-signature",
        "sgx/forged-root-intel-names",
        "sgx/mut-mrenclave-bitflip",
        "tdx/forged-root-intel-names",
        "tdx/no-matching-level-v5",
    }
    assert SNP.keys() | INTEL.keys() == (from_amd | from_intel) - refused_already


@pytest.mark.parametrize("vector", VECTORS_BY_NAME)
def test_the_unchanged_vector_is_verified(vector: str) -> None:
    assert parts(vector)
    for part in parts(vector):
        assert part.verified(part.content), part.name


@pytest.mark.parametrize("vector", VECTORS_BY_NAME)
def test_a_flipped_bit_refuses(vector: str) -> None:
    accepted = [
        f"{part.name}: bit {bit % 8} of byte {bit // 8}"
        for part in parts(vector)
        for bit in range(len(vector) % STRIDE, 8 * len(part.content), STRIDE)
        if part.verified(flip(part.content, bit))
    ]
    assert accepted == []


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.data())
def test_a_bit_flipped_anywhere_refuses(data: st.DataObject) -> None:
    part = data.draw(st.sampled_from([part for vector in VECTORS_BY_NAME for part in parts(vector)]), label="part")
    bit = data.draw(st.integers(0, 8 * len(part.content) - 1), label="bit")
    assert not part.verified(flip(part.content, bit))
