"""Keys that AMD lends to providers name no chip: the one that signed the report is found among those in the store."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from enarx_attestation import parse, verify
from enarx_collateral import MissingCollateral, Store

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SIGNED_BY_VLEK = {0x48: b"\x04"}


def lent(amd: Any, key: Any, provider: str = "Provider") -> bytes:
    plain = amd.extensions(hwid=None, csp=provider)
    certificate: bytes = amd.vek(plain, role="VLEK", key=key).der
    return certificate


@pytest.fixture
def store(tmp_path: Path, amd: Any) -> Store:
    made = Store(tmp_path / "store", anchors=amd.anchors)
    made.put("amd-crl", amd.crl(), role="vlek")
    return made


def test_the_key_that_signed_is_taken(store: Store, amd: Any) -> None:
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(4)]
    for key in keys:
        store.put("vlek", lent(amd, key))
    assert len(store.items("vlek")) == 4
    for key in keys:
        evidence = parse(amd.report(SIGNED_BY_VLEK, key=key), "snp")
        assert verify(evidence, store.find(evidence, NOW), amd.anchors, NOW).verified


def test_a_key_that_is_not_there(store: Store, amd: Any) -> None:
    store.put("vlek", lent(amd, ec.generate_private_key(ec.SECP384R1())))
    evidence = parse(amd.report(SIGNED_BY_VLEK), "snp")
    with pytest.raises(MissingCollateral, match=r"no VLEK of milan at bl4\.tee0\.snp24\.ucode219") as missing:
        store.find(evidence, NOW)
    assert "vlek.der" in missing.value.hint


def test_the_list_of_such_keys_is_fetched_by_its_own_option(tmp_path: Path, amd: Any) -> None:
    store = Store(tmp_path / "without", anchors=amd.anchors)
    store.put("vlek", lent(amd, amd.key))
    with pytest.raises(MissingCollateral) as missing:
        store.find(parse(amd.report(SIGNED_BY_VLEK), "snp"), NOW)
    assert missing.value.hint == "enarx-deploy collateral fetch --product milan --vlek"


def test_a_chip_whose_identity_is_masked(store: Store, amd: Any) -> None:
    store.put("vcek", amd.vek(amd.extensions()).der)
    with pytest.raises(MissingCollateral, match="masks the chip's identity"):
        store.find(parse(amd.report({0x1A0: bytes(64)}), "snp"), NOW)
