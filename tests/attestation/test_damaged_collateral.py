"""Damage to any part of an Intel collateral document: it is refused, or nothing that was read has changed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_attestation import VENDOR_ANCHORS, MalformedCollateral, endorse, parse, verify
from enarx_attestation.intel_collateral import IntelCollateral, read_collateral

VECTORS = Path(__file__).parent / "vectors"
PLACES = {"sgx": VECTORS / "sgx/phala-nonserver-cfg-swhard", "tdx": VECTORS / "tdx/phala-v4-uptodate"}
AT = datetime(2025, 7, 1, tzinfo=UTC)
QUOTES = {kind: parse((place / "quote.bin").read_bytes(), kind) for kind, place in PLACES.items()}
TEXTS = {kind: (place / "collateral.json").read_bytes() for kind, place in PLACES.items()}
DOCUMENTS: dict[str, dict[str, str]] = {kind: json.loads(text) for kind, text in TEXTS.items()}
GOOD = {kind: read_collateral(text) for kind, text in TEXTS.items()}
FIELDS = sorted(DOCUMENTS["tdx"])
CHAINS = [field for field in FIELDS if field.endswith("_chain")]
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)

thorough = settings(max_examples=400, deadline=None, derandomize=True)


def accepted(kind: str, data: bytes) -> IntelCollateral | None:
    """What was read, if a good quote is verified with it, and by its lists no certificate is revoked."""
    try:
        collateral = read_collateral(data)
    except MalformedCollateral:
        return None
    claims = verify(QUOTES[kind], endorse(collateral, VENDOR_ANCHORS), VENDOR_ANCHORS, AT)
    return collateral if claims.verified and claims.revocation == "good" else None  # type: ignore[attr-defined]  # Intel's


def read_parts(collateral: IntelCollateral) -> dict[str, Any]:
    """All that was read. The digest of the document tells one text from another, and nothing else."""
    return {name: getattr(collateral, name) for name in collateral.__struct_fields__ if name != "sha256"}


def changed(kind: str, field: str, text: str) -> bytes:
    return json.dumps({**DOCUMENTS[kind], field: text}).encode()


def assert_refused_or_the_same(kind: str, data: bytes) -> None:
    found = accepted(kind, data)
    assert found is None or read_parts(found) == read_parts(GOOD[kind])


kinds = st.sampled_from(sorted(PLACES))
fields = st.sampled_from(FIELDS)
fraction = st.floats(0, 1, exclude_max=True)
scraps = st.text(st.characters(max_codepoint=126), min_size=1, max_size=3) | st.sampled_from(
    ["\n", "\0", "=", "é", "\\n"]
)


@pytest.mark.parametrize("kind", PLACES)
def test_the_whole_document_is_accepted(kind: str) -> None:
    assert accepted(kind, TEXTS[kind]) is not None


@thorough
@given(kinds, fields, fraction, scraps)
def test_characters_replaced(kind: str, field: str, where: float, scrap: str) -> None:
    text = DOCUMENTS[kind][field]
    place = int(where * len(text))
    assert_refused_or_the_same(kind, changed(kind, field, text[:place] + scrap + text[place + len(scrap) :]))


@thorough
@given(kinds, fields, fraction, scraps)
def test_characters_put_in(kind: str, field: str, where: float, scrap: str) -> None:
    text = DOCUMENTS[kind][field]
    place = int(where * (len(text) + 1))
    assert_refused_or_the_same(kind, changed(kind, field, text[:place] + scrap + text[place:]))


@thorough
@given(kinds, fields, fraction, st.integers(1, 3000))
def test_characters_taken_out(kind: str, field: str, where: float, count: int) -> None:
    text = DOCUMENTS[kind][field]
    place = int(where * len(text))
    assert_refused_or_the_same(kind, changed(kind, field, text[:place] + text[place + count :]))


@thorough
@given(kinds, fraction, st.integers(1, 255))
def test_a_byte_of_the_document_changed(kind: str, where: float, change: int) -> None:
    data = bytearray(TEXTS[kind])
    data[int(where * len(data))] ^= change
    assert_refused_or_the_same(kind, bytes(data))


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_removed_or_emptied(kind: str, field: str) -> None:
    document = {name: value for name, value in DOCUMENTS[kind].items() if name != field}
    assert accepted(kind, json.dumps(document).encode()) is None
    for value in ("", " ", None, 0, [], {}):
        assert accepted(kind, json.dumps({**document, field: value}).encode()) is None


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("field", CHAINS)
def test_a_chain_in_any_order_and_never_with_fewer_certificates(kind: str, field: str) -> None:
    blocks = BLOCK.findall(DOCUMENTS[kind][field])
    assert len(blocks) == 2
    for ordered in permutations(blocks):
        assert accepted(kind, changed(kind, field, "".join(ordered))) is not None
    for block in blocks:
        assert accepted(kind, changed(kind, field, block)) is None


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("field", CHAINS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda first, second: first + "xy" + second,
        lambda first, second: "xy" + first + second,
        lambda first, second: first + second + "xy",
        lambda first, second: first[:-40] + second,
        lambda first, second: first + second[:-40],
        lambda first, second: first[: len(first) // 2] + "xy" + first[len(first) // 2 :] + second,
        lambda first, second: first + second.replace("CERTIFICATE", "X509 CRL"),
        lambda first, second: first + second + first,
        lambda first, second: first + "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" + second,
    ],
)
def test_damaged_chains_are_refused(kind: str, field: str, damage: Any) -> None:
    assert accepted(kind, changed(kind, field, damage(*BLOCK.findall(DOCUMENTS[kind][field])))) is None
