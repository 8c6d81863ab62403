"""The same quotes before another verifier: where the two differ, the difference is known and wanted."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import dcap_qvl  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest

from enarx_attestation import VENDOR_ANCHORS, AttestationError, Claims, parse, verify
from enarx_attestation.intel import IntelClaims
from enarx_attestation.intel_collateral import read_collateral

VECTORS = Path(__file__).parent / "vectors"

# What dcap-qvl refuses while verifying is a matter of policy here, or a claim.
STRICTER = {
    "sgx/occlum-debug-enclave": "Debug",
    "tdx/alibaba-v5-servicetd": "service TD",
    "tdx/azure-sept-ve-disable-off": "SEPT_VE_DISABLE",
    "tdx/coco-debug-td": "Debug",
}
CASES = [
    f"{path.parent.parent.name}/{path.parent.name}"
    for kind in ("sgx", "tdx")
    for path in sorted((VECTORS / kind).glob("*/collateral.json"))
]


class KeyFields(msgspec.Struct):
    T: str = "2025-07-01T00:00:00Z"


class Meta(msgspec.Struct):
    key_fields: KeyFields = msgspec.field(default_factory=KeyFields)


def moment(case: str) -> datetime:
    meta = msgspec.json.decode((VECTORS / case / "meta.json").read_bytes(), type=Meta)
    text = meta.key_fields.T
    return datetime.fromisoformat(("2025-07-01T00:00:00Z" if text == "-" else text).replace("Z", "+00:00"))


def ours(case: str, quote: bytes) -> Claims | None:
    collateral = read_collateral((VECTORS / case / "collateral.json").read_bytes())
    try:
        claims = verify(parse(quote, case.partition("/")[0]), collateral, VENDOR_ANCHORS, moment(case))
    except AttestationError:
        return None
    return claims if claims.verified else None


def theirs(case: str, quote: bytes) -> dcap_qvl.VerifiedReport | str:
    collateral = dcap_qvl.QuoteCollateralV3.from_json((VECTORS / case / "collateral.json").read_text())
    try:
        return dcap_qvl.verify(quote, collateral, int(moment(case).timestamp()))
    except ValueError as exc:
        return str(exc)


@pytest.mark.parametrize("case", CASES)
def test_both_say_the_same(case: str) -> None:
    quote = (VECTORS / case / "quote.bin").read_bytes()
    mine, other = ours(case, quote), theirs(case, quote)
    if case in STRICTER:
        assert mine is not None
        assert isinstance(other, str)
        assert STRICTER[case] in other
    elif mine is None:
        assert isinstance(other, str)
    else:
        assert isinstance(mine, IntelClaims)
        assert not isinstance(other, str), other
        assert other.status == mine.status
        assert sorted(other.advisory_ids) == list(mine.advisories)


@pytest.mark.parametrize("case", ["sgx/phala-nonserver-cfg-swhard", "tdx/near-v4-uptodate", "tdx/v5-td15-uptodate"])
def test_what_we_verify_they_verify(case: str) -> None:
    genuine = (VECTORS / case / "quote.bin").read_bytes()
    generator = random.Random(case)
    for _ in range(60):
        quote = bytearray(genuine)
        for _ in range(generator.randint(1, 3)):
            quote[generator.randrange(len(quote))] = generator.randrange(256)
        if ours(case, bytes(quote)) is not None:
            assert not isinstance(theirs(case, bytes(quote)), str)
