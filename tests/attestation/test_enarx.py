"""What Enarx's Keeps send and its Steward's policy says, read with its meaning."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ObjectIdentifier

from enarx_attestation import (
    VENDOR_ANCHORS,
    Binding,
    Evidence,
    MalformedCollateral,
    MalformedEvidence,
    NilPolicy,
    Policy,
    PolicyError,
    appraise,
    enarx,
    load_endorsements,
    load_policy,
    load_policy_as,
    oids,
    parse,
    verify,
)
from enarx_attestation.intel_collateral import compose, read_collateral

if TYPE_CHECKING:
    from conftest import Intel

VECTORS = Path(__file__).parent / "vectors"


def request(path: str, oid: str) -> tuple[bytes, bytes]:
    """The evidence in a certificate request, and the request's public key."""
    csr = x509.load_der_x509_csr((VECTORS / path).read_bytes())
    value = csr.extensions.get_extension_for_oid(ObjectIdentifier(oid)).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value, csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def legacy(spki: bytes) -> Binding:
    return Binding(purpose="", nonce=b"", spki=spki, package="", audience="", form="enarx")


def test_a_request_of_a_keep_on_snp() -> None:
    data, spki = request("snp/milan-v2-enarx-csr/request.csr.der", oids.SNP)
    report, collateral = enarx.read_snp(data)
    at = datetime(2023, 1, 30, tzinfo=UTC)
    claims = verify(parse(report, "snp"), collateral, VENDOR_ANCHORS, at)
    policy = load_policy({"snp": {"hash": [claims.measurement.upper()], "legacy_binding": True}})  # type: ignore[attr-defined]  # SnpClaims
    verdict = appraise(claims, policy, expected=legacy(spki))
    assert verdict.ok, verdict.failed
    assert not appraise(claims, policy, expected=legacy(spki + b"\0")).ok


def test_a_request_of_a_keep_on_sgx() -> None:
    data, spki = request("sgx/enarx-xeon-icelake-outofdate/request.csr.der", oids.SGX)
    found = enarx.read_sgx(data)
    assert found.quote == (VECTORS / "sgx/enarx-xeon-icelake-outofdate/quote.bin").read_bytes()
    assert json.loads(found.tcb_info)["tcbInfo"]["fmspc"].lower() == "00606a000000"
    assert len(found.tcb_chain) == 2
    quote: Any = parse(found.quote, "sgx")
    assert quote.body.report_data == hashlib.sha256(spki).digest().ljust(64, b"\0")


@pytest.mark.parametrize("read", [enarx.read_snp, enarx.read_sgx])
def test_damaged_requests(read: Any) -> None:
    data, _ = request("snp/milan-v2-enarx-csr/request.csr.der", oids.SNP)
    for damaged in (b"", b"\x30\x00", data[:-1], data + b"\0", data[:50], b"\x30\x82" + data):
        with pytest.raises(MalformedEvidence):
            read(damaged)


def test_a_steward_toml() -> None:
    policy = load_policy(
        {
            "sgx": {
                "signer": ["AA" * 32],
                "hash_blacklist": ["bb" * 32],
                "features": ["CET"],
                "enclave_security_version": 2,
                "enclave_product_id": 3,
                "misc_select": ["EXINFO"],
                "allowed_advisories": ["INTEL-SA-00615"],
            },
            "snp": {
                "signer": ["cc" * 48],
                "id_key_digest": ["dd" * 48],
                "abi": "1.51",
                "policy_flags": ["SMT"],
                "platform_info_flags": "TSME",
            },
        }
    )
    assert policy.sgx is not None
    assert policy.snp is not None
    assert (policy.sgx.mrsigners, policy.sgx.deny_mrenclaves) == (("aa" * 32,), ("bb" * 32,))
    assert (policy.sgx.cet, policy.sgx.debug, policy.sgx.provision_key) == ("any", "forbid", "forbid")
    assert (policy.sgx.minimum_isv_svn, policy.sgx.isv_prod_ids) == (2, (3,))
    assert policy.sgx.allow_advisories == ("INTEL-SA-00615",)
    # Unlike Enarx's, an allow-list of advisories does not make a status acceptable.
    assert policy.sgx.accept_statuses == ("UpToDate",)
    assert (policy.snp.author_keys, policy.snp.id_keys) == (("cc" * 48,), ("dd" * 48,))
    assert (policy.snp.minimum_abi, policy.snp.guest_policy.debug) == ("1.51", "forbid")
    assert (policy.snp.platform_info.tsme, policy.snp.platform_info.smt) == ("require", "forbid")


@pytest.mark.parametrize(
    ("abi", "least", "below"),
    [
        ("1.0", "1.0", "2.0"),
        ("^1.51", "1.51", "2.0"),
        ("1", "1.0", "2.0"),
        ("1.51.0", "1.51", "2.0"),
        ("0.31", "0.31", "0.32"),
        ("0", "0.0", "1.0"),
        (">=1.51", "1.51", None),
        (">= 1.51", "1.51", None),
    ],
)
def test_a_version_requirement_ends_where_cargos_does(abi: str, least: str, below: str | None) -> None:
    snp = load_policy({"snp": {"hash": ["aa" * 48], "abi": abi}}).snp
    assert snp is not None
    assert (snp.minimum_abi, snp.abi_below) == (least, below)


@pytest.mark.parametrize(
    "table",
    [
        {"sgx": {}},
        {"sgx": {"hash_blacklist": ["bb" * 32]}},
        {"sgx": {"hash": ["aa" * 32], "hash_blacklist": ["aa" * 32]}},
        {"sgx": {"hash": ["aa" * 32], "mrenclaves": ["aa" * 32]}},
        {"sgx": {"hash": ["aa" * 31]}},
        {"sgx": {"hash": "aa" * 32}},
        {"sgx": {"hash": ["aa" * 32], "features": ["Nope"]}},
        {"snp": {"hash": ["aa" * 48], "policy_flags": ["Nope"]}},
        {"snp": {"hash": ["aa" * 48], "platform_info_flags": "SEV"}},
        {"snp": {"hash": ["aa" * 48], "abi": "*"}},
        {"snp": {"hash": ["aa" * 48], "abi": "<2.0"}},
        {"snp": {"hash": ["aa" * 48], "abi": "1.0, <1.5"}},
        {"snp": {"hash": ["aa" * 48], "abi": "1.0.1"}},
        {"snp": []},
    ],
)
def test_a_steward_toml_that_cannot_be_applied(table: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        load_policy(table)


def test_a_third_party_adds_a_section() -> None:
    class Wider(Policy, frozen=True, kw_only=True, forbid_unknown_fields=True):
        abacus: NilPolicy | None = None

    assert load_policy_as(Wider, {"abacus": {"any_workload": True}}).section("abacus") is not None
    with pytest.raises(PolicyError):
        load_policy({"abacus": {"any_workload": True}})


def test_both_keys_of_amd() -> None:
    files = {"vcek.der": (VECTORS / "snp/milan-v3-azure/vcek.der").read_bytes(), "vlek.der": b""}
    with pytest.raises(MalformedCollateral):
        load_endorsements("snp", files)
    report: Evidence = parse((VECTORS / "snp/milan-v3-azure/report.bin").read_bytes(), "snp")
    assert load_endorsements("snp", files, report)


def test_collateral_of_intels_answers(intel: Intel) -> None:
    document = json.loads(intel.collateral())
    # Intel's text is kept to the byte, spaces and all.
    info = f'{{"tcbInfo":{document["tcb_info"]},"signature":"{document["tcb_info_signature"]}"}}'
    identity = f'{{"enclaveIdentity":{document["qe_identity"]}, "signature":"{document["qe_identity_signature"]}"}}'
    composed = compose(
        tcb_info=info.encode(),
        tcb_info_chain=document["tcb_info_issuer_chain"],
        qe_identity=identity.encode(),
        qe_identity_chain=document["qe_identity_issuer_chain"],
        root_ca_crl=bytes.fromhex(document["root_ca_crl"]),
        pck_crl=bytes.fromhex(document["pck_crl"]),
        pck_crl_chain=document["pck_crl_issuer_chain"],
    )
    at = datetime(2026, 6, 1, tzinfo=UTC)
    assert verify(parse(intel.quote()), read_collateral(composed), intel.anchors, at).verified
    with pytest.raises(MalformedCollateral):
        compose(
            tcb_info=b"{}",
            tcb_info_chain="",
            qe_identity=b"{}",
            qe_identity_chain="",
            root_ca_crl=b"",
            pck_crl=b"",
            pck_crl_chain="",
        )
