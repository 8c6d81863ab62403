"""Intel's rules one by one, on quotes of an Intel in miniature that differ from a good one in one thing."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA384

from enarx_attestation import (
    Anchors,
    InvalidArgument,
    MalformedCollateral,
    MalformedEvidence,
    PolicyError,
    Verdict,
    appraise,
    endorse,
    load_policy,
    parse,
    verify,
)
from enarx_attestation import intel_tcb as tcb
from enarx_attestation.intel_claims import TdxClaims
from enarx_attestation.intel_collateral import VerifiedChains, read_collateral

if TYPE_CHECKING:
    from conftest import Intel

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def judge(
    intel: Intel,
    quote: bytes,
    collateral: bytes | None = None,
    *,
    kind: str = "tdx",
    at: datetime = NOW,
    **section: Any,
) -> Verdict:
    policy = load_policy({kind: {"any_workload": True, **section}})
    endorsements = endorse(read_collateral(collateral or intel.collateral(kind.upper())), intel.anchors)
    claims = verify(parse(quote, kind), endorsements, intel.anchors, at)
    return appraise(claims, policy, expected=None)


def failed(verdict: Verdict) -> set[str]:
    return {check.id for check in verdict.failed} - {"claims.verified"}


@pytest.mark.parametrize(("kind", "version"), [("sgx", 3), ("sgx", 4), ("sgx", 5), ("tdx", 4), ("tdx", 5)])
def test_versions(intel: Intel, kind: str, version: int) -> None:
    verdict = judge(intel, intel.quote(kind.upper(), version=version), kind=kind)
    assert verdict.ok, verdict.failed
    assert verdict.status == "UpToDate"


@pytest.mark.parametrize(("kind", "version"), [("sgx", 2), ("sgx", 6), ("tdx", 3)])
def test_versions_that_are_not_known(intel: Intel, kind: str, version: int) -> None:
    with pytest.raises(MalformedEvidence):
        parse(intel.quote(kind.upper(), version=version), kind)


@pytest.mark.parametrize(("body", "size"), [(0, 648), (1, 384), (2, 648), (4, 648), (4, 886), (5, 885), (6, 648)])
def test_bodies_that_are_not_known(intel: Intel, body: int, size: int) -> None:
    quote = intel.quote(body=intel.domain(size=min(size, 885)))
    with pytest.raises(MalformedEvidence, match=f"body type {body} of {size} bytes"):
        parse(quote[:48] + struct.pack("<HI", body, size) + quote[54:], "tdx")


def test_a_quote_of_the_other_tee(intel: Intel) -> None:
    with pytest.raises(MalformedEvidence):
        parse(intel.quote("TDX"), "sgx")
    with pytest.raises(MalformedEvidence):
        parse(intel.quote("SGX"), "tdx")
    assert parse(intel.quote("TDX")).kind == "tdx"
    assert parse(intel.quote("SGX")).kind == "sgx"


def test_what_follows_a_quote(intel: Intel) -> None:
    assert judge(intel, intel.quote(trailing=3065)).ok
    with pytest.raises(MalformedEvidence):
        parse(intel.quote() + b"\0\1", "tdx")


def test_chains_in_any_order(intel: Intel) -> None:
    parts = [intel.pck.pem, intel.root.pem, intel.ca.pem]
    assert judge(intel, intel.quote(chain="".join(parts))).ok
    assert "tdx.root.unpinned" in failed(judge(intel, intel.quote(chain=intel.pck.pem + intel.ca.pem)))
    assert "tdx.pck.certificate" in failed(judge(intel, intel.quote(chain=intel.ca.pem + intel.root.pem)))
    assert "tdx.pck.certificate" in failed(judge(intel, intel.quote(chain=intel.pck.pem + "".join(parts))))


def test_a_chain_in_the_lines_of_another_system_and_with_more_than_is_needed(intel: Intel) -> None:
    chain = intel.pck.pem + intel.ca.pem + intel.root.pem
    assert judge(intel, intel.quote(chain=chain.replace("\n", "\r\n"))).ok
    for more in (intel.ca.pem, intel.processor.pem, intel.signer.pem):
        assert judge(intel, intel.quote(chain=chain + more)).ok
    assert "tdx.pck.certificate" in failed(judge(intel, intel.quote(chain=chain + intel.ca.pem * 6)))
    assert "tdx.pck.certificate" in failed(judge(intel, intel.quote(chain=intel.pck.pem + "\nand\n" + chain)))


def test_without_a_chain_in_the_quote(intel: Intel) -> None:
    quote = intel.quote(certification_type=3, chain="x")
    assert "tdx.pck.certificate" in failed(judge(intel, quote))
    chain = intel.pck.pem + intel.ca.pem + intel.root.pem
    assert judge(intel, quote, intel.collateral(pck_certificate_chain=chain)).ok


@pytest.mark.parametrize("length", [0, 1, 32, 300])
def test_authentication_data_of_any_length(intel: Intel, length: int) -> None:
    assert judge(intel, intel.quote(auth=b"x" * length)).ok


def test_flaws_of_quotes(intel: Intel) -> None:
    rows: list[tuple[dict[str, Any], set[str]]] = [
        ({"binding": b"\1" * 64}, {"tdx.qe.binding"}),
        ({"qe_signer": b"\1" * 32}, {"tdx.qe.identity"}),
        ({"qe_attributes": b"\x13".ljust(16, b"\0")}, {"tdx.qe.identity"}),
        ({"qe_svn": 7}, {"tdx.policy.status"}),
        ({"qe_svn": 3}, {"tdx.policy.status"}),
        ({"qe_svn": 1}, {"tdx.qe.level"}),
    ]
    for options, checks in rows:
        assert failed(judge(intel, intel.quote(**options))) - {"tdx.policy.status"} == checks - {"tdx.policy.status"}
        assert not judge(intel, intel.quote(**options)).ok
    assert judge(intel, intel.quote(qe_svn=7)).status == "OutOfDate"
    assert judge(intel, intel.quote(qe_svn=3)).status == "Revoked"
    assert judge(intel, intel.quote(qe_svn=7), accept_statuses=["OutOfDate"]).ok


def test_binding_must_be_padded_with_zeros(intel: Intel) -> None:
    quote = parse(intel.quote())
    good = quote.qe_report.report_data  # type: ignore[attr-defined]  # a Quote
    assert failed(judge(intel, intel.quote(binding=good[:32] + b"\1" * 32))) >= {"tdx.qe.binding"}


def _platforms(intel: Intel) -> dict[str, tuple[Callable[[], Any], set[str]]]:
    below = [3, 3, 2, 2, 4, 1, 0, 4]
    return {
        "outdated": (lambda: intel.platform([2, 3, 2, 2, 4, 1, 0, 5]), {"tdx.policy.status"}),
        "below all levels": (lambda: intel.platform([*below, *[0] * 8]), {"tdx.tcb.level.none", "tdx.policy.status"}),
        "low PCESVN": (lambda: intel.platform(pce_svn=12), {"tdx.tcb.level.none", "tdx.policy.status"}),
        "another FMSPC": (
            lambda: intel.platform(fields={"4": b"\x04\x06abcdef"}),
            {"tdx.tcb-info.match", "tdx.policy.status"},
        ),
        "another PCEID": (
            lambda: intel.platform(fields={"3": b"\x04\x02\1\1"}),
            {"tdx.tcb-info.match", "tdx.policy.status"},
        ),
        "short FMSPC": (lambda: intel.platform(fields={"4": b"\x04\x05abcde"}), {"tdx.pck.certificate"}),
        "expired": (lambda: intel.platform(days=(-9, -1)), {"tdx.certificate.validity", "tdx.policy.status"}),
        "another name": (lambda: intel.platform(subject="Intel SGX TCB Signing"), {"tdx.pck.certificate"}),
        "by the root": (lambda: intel.platform(issuer=intel.root), {"tdx.pck.signature", "tdx.policy.status"}),
        "by TCB signing": (lambda: intel.platform(issuer=intel.signer), {"tdx.pck.signature", "tdx.policy.status"}),
        "SHA-384": (lambda: intel.platform(digest=SHA384()), {"tdx.pck.signature", "tdx.policy.status"}),
        "by the other CA": (
            lambda: intel.platform(issuer=intel.processor),
            {"tdx.pck.signature", "tdx.policy.status"},
        ),
        "critical": (lambda: intel.platform(critical=True), {"tdx.pck.certificate"}),
    }


@pytest.mark.parametrize("flaw", range(13))
def test_flaws_of_platforms(intel: Intel, flaw: int) -> None:
    case, (make, checks) = list(_platforms(intel).items())[flaw]
    found = failed(judge(intel, intel.quote(pck=make())))
    assert checks <= found, (case, found)


def test_the_other_pck_authority_needs_its_own_list(intel: Intel) -> None:
    pck = intel.platform(issuer=intel.processor)
    quote = intel.quote(pck=pck, chain=pck.pem + intel.processor.pem + intel.root.pem)
    assert failed(judge(intel, quote)) == {"tdx.policy.revocation"}
    assert judge(intel, quote, revocation="prefer").ok
    own = {"pck_crl_issuer_chain": intel.processor.pem + intel.root.pem, "pck_crl": intel.crl(intel.processor)}
    assert judge(intel, quote, intel.collateral(**own)).ok


def test_revocation(intel: Intel) -> None:
    for changes in (
        {"pck_crl": intel.crl(intel.ca, intel.pck)},
        {"root_ca_crl": intel.crl(intel.root, intel.ca)},
        {"root_ca_crl": intel.crl(intel.root, intel.signer)},
    ):
        for mode in ("require", "prefer", "off"):
            found = failed(judge(intel, intel.quote(), intel.collateral(**changes), revocation=mode))
            assert "tdx.certificate.revoked" in found
    for changes in (
        {"pck_crl": intel.crl(intel.ca, days=(-9, -1))},
        {"root_ca_crl": intel.crl(intel.ca)},
        {"root_ca_crl": intel.crl(intel.root, days=(1, 9))},
    ):
        collateral = intel.collateral(**changes)
        assert failed(judge(intel, intel.quote(), collateral)) == {"tdx.policy.revocation"}
        assert judge(intel, intel.quote(), collateral, revocation="off").ok


def test_a_damaged_revocation_list_is_not_taken_for_an_absent_one(intel: Intel) -> None:
    for changes in (
        {"root_ca_crl": intel.crl(intel.ca)},
        {"root_ca_crl": flipped(intel.crl(intel.root))},
        {"pck_crl": flipped(intel.crl(intel.ca, intel.pck))},
        {"pck_crl": intel.crl(intel.root)},
    ):
        collateral = intel.collateral(**changes)
        for mode in ("require", "prefer"):
            verdict = judge(intel, intel.quote(), collateral, revocation=mode)
            assert failed(verdict) == {"tdx.policy.revocation"}
            assert verdict.claims.revocation == "damaged"  # type: ignore[attr-defined]  # Intel's


def flipped(crl: str) -> str:
    """A list with another signature."""
    return crl[:-1] + format(int(crl[-1], 16) ^ 1, "x")


def test_claims_do_not_outlive_what_supports_them(intel: Intel) -> None:
    assert judge(intel, intel.quote()).claims.valid_until == datetime(2026, 6, 20, tzinfo=UTC)
    soon = intel.collateral(pck_crl=intel.crl(intel.ca, days=(-1, 2)))
    assert judge(intel, intel.quote(), soon).claims.valid_until == datetime(2026, 6, 3, tzinfo=UTC)
    short = intel.platform(days=(-9, 1))
    assert judge(intel, intel.quote(pck=short)).claims.valid_until == datetime(2026, 6, 2, tzinfo=UTC)


def test_a_chain_that_was_seen_before_is_judged_as_it_was_the_first_time(intel: Intel) -> None:
    """Endorsements remember chains that passed; time and revocation are looked at anew, and other bytes are others."""
    revoking = intel.collateral(pck_crl=intel.crl(intel.ca, intel.pck, days=(-1, 400)))
    for collateral in (intel.collateral(), revoking):
        endorsed = endorse(read_collateral(collateral), intel.anchors)
        quote = parse(intel.quote(), "tdx")
        first, again = (verify(quote, endorsed, intel.anchors, NOW) for _ in range(2))
        assert first == again == verify(quote, read_collateral(collateral), intel.anchors, NOW)
        late = verify(quote, endorsed, intel.anchors, NOW + timedelta(days=4000))
        assert late == verify(quote, read_collateral(collateral), intel.anchors, NOW + timedelta(days=4000))
        assert not late.verified
    other = intel.platform()
    stolen = parse(intel.quote(pck=other, chain=intel.pck.pem + intel.ca.pem + intel.root.pem), "tdx")
    assert "tdx.qe.signature" in {
        check.id for check in verify(stolen, endorsed, intel.anchors, NOW).checks if not check.ok
    }


def test_chains_that_fail_are_not_remembered_and_those_that_pass_are_bounded(intel: Intel) -> None:
    forged = type(intel)()
    endorsed = endorse(read_collateral(intel.collateral()), intel.anchors)
    quote = forged.quote(chain=forged.pck.pem + forged.ca.pem + intel.root.pem)
    for _ in range(2):
        assert not verify(parse(quote, "tdx"), endorsed, intel.anchors, NOW).verified
    kept = VerifiedChains(most=2)
    for number in range(5):
        kept.keep(number, number)
    assert [kept.get(number) for number in range(5)] == [None, None, None, 3, 4]


def test_signers_of_statements(intel: Intel) -> None:
    for signer in (intel.pck, intel.ca, intel.platform(subject="Intel SGX TCB Signing")):
        found = failed(judge(intel, intel.quote(), intel.collateral(signer=signer)))
        assert {"tdx.tcb-info.signature", "tdx.qe-identity.signature"} <= found
    exchanged = intel.collateral(tcb_info_signature="00" * 64)
    assert failed(judge(intel, intel.quote(), exchanged)) >= {"tdx.tcb-info.signature"}


def test_an_authority_that_is_not_pinned(intel: Intel) -> None:
    other = type(intel)()
    found = failed(judge(intel, other.quote(), intel.collateral()))
    assert {"tdx.root.unpinned", "tdx.pck.signature"} <= found
    found = failed(judge(intel, intel.quote(), other.collateral()))
    assert {"tdx.root.unpinned", "tdx.tcb-info.signature", "tdx.qe-identity.signature"} <= found
    mixed = intel.quote(chain=intel.pck.pem + intel.ca.pem + other.root.pem)
    assert failed(judge(intel, mixed)) == {"tdx.root.unpinned", "tdx.policy.status"}


def test_endorsements_under_other_anchors_are_not_taken(intel: Intel) -> None:
    endorsements = endorse(read_collateral(intel.collateral()), Anchors())
    with pytest.raises(InvalidArgument):
        verify(parse(intel.quote()), endorsements, intel.anchors, NOW)


@pytest.mark.parametrize("at", [datetime(2026, 5, 19, tzinfo=UTC), datetime(2026, 6, 22, tzinfo=UTC)])
def test_windows(intel: Intel, at: datetime) -> None:
    found = failed(judge(intel, intel.quote(), at=at))
    assert {"tdx.tcb-info.window", "tdx.qe-identity.window"} <= found


def test_statements_that_are_mixed_up(intel: Intel) -> None:
    assert "tdx.tcb-info.match" in failed(
        judge(intel, intel.quote(), intel.collateral(tcb_info=intel.tcb_info("SGX"), qe_identity=intel.identity("TDX")))
    )
    assert failed(judge(intel, intel.quote(), intel.collateral(qe_identity=intel.identity("SGX")))) >= {
        "tdx.qe.identity"
    }
    sgx = intel.collateral("SGX", qe_identity=intel.identity("TDX"))
    assert "sgx.qe.identity" in failed(judge(intel, intel.quote("SGX"), sgx, kind="sgx"))
    sgx = intel.collateral("SGX", tcb_info=intel.tcb_info("TDX"))
    assert "sgx.tcb-info.match" in failed(judge(intel, intel.quote("SGX"), sgx, kind="sgx"))


def test_levels_are_sorted_by_us(intel: Intel) -> None:
    info = intel.tcb_info()
    info["tcbLevels"].reverse()
    info["tdxModuleIdentities"][0]["tcbLevels"].reverse()
    assert judge(intel, intel.quote(), intel.collateral(tcb_info=info)).status == "UpToDate"


def test_modules(intel: Intel) -> None:
    for svn, status, checks in [
        (bytes([6, 1, 3]), "UpToDate", set()),
        (bytes([5, 1, 3]), "OutOfDate", {"tdx.policy.status"}),
        (bytes([3, 1, 3]), "Unverified", {"tdx.module.level", "tdx.policy.status"}),
        (bytes([6, 2, 3]), "Unverified", {"tdx.module.identity", "tdx.module.level", "tdx.policy.status"}),
        # Component 2 is not the module's: it counts in every version.
        (bytes([6, 1, 2]), "OutOfDate", {"tdx.policy.status"}),
        (bytes([6, 1, 1]), "NotSupported", {"tdx.tcb.level.none", "tdx.policy.status"}),
        # Version 0 has no identity of its own, and its components 0 and 1 count.
        (bytes([5, 0, 3]), "UpToDate", set()),
        (bytes([4, 0, 3]), "NotSupported", {"tdx.tcb.level.none", "tdx.policy.status"}),
    ]:
        verdict = judge(intel, intel.quote(body=intel.domain(svn=svn)))
        assert (verdict.status, failed(verdict)) == (status, checks), svn
    found = failed(judge(intel, intel.quote(body=intel.domain(signer=b"\1" * 48))))
    assert "tdx.module.identity" in found


def test_a_domain_that_outlived_an_update_should_be_relaunched(intel: Intel) -> None:
    for launched, running, status in [
        ([5, 1, 3], [6, 1, 3], "TDRelaunchAdvised"),
        ([5, 1, 3], [5, 1, 3], "OutOfDate"),
        ([6, 1, 3], [6, 1, 3], "UpToDate"),
        ([6, 1, 3], [5, 1, 3], "OutOfDate"),
    ]:
        body = intel.domain(svn=bytes(launched), svn2=bytes(running))
        verdict = judge(intel, intel.quote(body=body))
        assert verdict.status == status
        assert verdict.ok == (status == "UpToDate")
    unknown = intel.domain(svn=bytes([6, 1, 3]), svn2=bytes([6, 2, 3]))
    assert "tdx.module.identity" in failed(judge(intel, intel.quote(body=unknown)))
    for running, check in (([3, 1, 3], "tdx.module.level"), ([6, 1, 1], "tdx.tcb.level.none")):
        below = intel.domain(svn=bytes([6, 1, 3]), svn2=bytes(running))
        assert failed(judge(intel, intel.quote(body=below))) >= {check}
    info = intel.tcb_info()
    info["tdxModuleIdentities"][0]["tcbLevels"][1]["tcbStatus"] = "Revoked"
    revoked = judge(intel, intel.quote(body=intel.domain(svn2=bytes([5, 1, 3]))), intel.collateral(tcb_info=info))
    assert (revoked.status, revoked.ok) == ("Revoked", False)
    preserved = intel.domain(svn=bytes([5, 1, 3]), svn2=bytes([6, 1, 3]))
    assert judge(intel, intel.quote(body=preserved), accept_statuses=["TDRelaunchAdvised"]).ok


def test_convergence() -> None:
    rows = [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "UpToDate", "OutOfDateConfigurationNeeded"),
        ("UpToDate", "Revoked", "Revoked"),
        ("Revoked", "UpToDate", "Revoked"),
        ("UpToDate", "SWHardeningNeeded", "UpToDate"),
    ]
    for platform, part, status in rows:
        assert tcb.converge(platform, ["UpToDate", part]) == status
    assert tcb.relaunch("OutOfDate", "ConfigurationNeeded") == "TDRelaunchAdvisedConfigurationNeeded"
    assert tcb.relaunch("OutOfDateConfigurationNeeded", "UpToDate") == "TDRelaunchAdvisedConfigurationNeeded"
    assert tcb.relaunch("Revoked", "UpToDate") == "Revoked"


def test_attributes_of_domains(intel: Intel) -> None:
    rows: list[tuple[dict[str, Any], dict[str, Any], set[str]]] = [
        ({"attributes": 1}, {}, {"tdx.policy.debug"}),
        ({"attributes": 2}, {}, {"tdx.policy.debug"}),
        ({"attributes": 1}, {"debug": "any"}, set()),
        ({"attributes": 1 << 29}, {}, {"tdx.policy.attributes"}),
        ({"attributes": 1 << 29}, {"migratable": "any"}, set()),
        ({"attributes": 1 << 40}, {}, {"tdx.policy.attributes"}),
        ({"attributes": 1 << 40}, {"unknown_attributes": "any"}, set()),
        ({"attributes": 0}, {}, set()),
        ({"attributes": 0}, {"sept_ve_disable": "require"}, {"tdx.policy.attributes"}),
        ({"xfam": 1}, {}, {"tdx.policy.xfam"}),
        ({"xfam": 1 << 40 | 3}, {}, {"tdx.policy.xfam"}),
        ({"size": 885}, {}, set()),
        ({"size": 885, "service": b"\1" * 48}, {}, {"tdx.policy.service-td"}),
        ({"size": 885, "service": b"\1" * 48}, {"service_td": "any"}, set()),
        ({"size": 584}, {}, set()),
    ]
    for options, section, checks in rows:
        assert failed(judge(intel, intel.quote(body=intel.domain(**options)), **section)) == checks, options


def test_the_extended_body_of_a_domain(intel: Intel) -> None:
    """Body type 4, of which no real quote is at hand: what it says is read, and all of it is signed."""
    quote = intel.quote(body=intel.domain(size=885, service=b"\1" * 48, svn2=bytes([7, 1, 3])))
    collateral = endorse(read_collateral(intel.collateral()), intel.anchors)
    claims = verify(parse(quote, "tdx"), collateral, intel.anchors, NOW)
    assert isinstance(claims, TdxClaims)
    assert claims.verified
    assert claims.tee_tcb_svn2 == bytes([7, 1, 3]).ljust(16, b"\0").hex()
    assert claims.service_td_hashes[-1] == "01" * 48
    signed = quote.index(b"-----BEGIN")
    for bit in range(0, 8 * signed, 37):
        flipped = quote[: bit // 8] + bytes([quote[bit // 8] ^ 1 << bit % 8]) + quote[bit // 8 + 1 :]
        try:
            assert not verify(parse(flipped, "tdx"), collateral, intel.anchors, NOW).verified, bit
        except MalformedEvidence:
            continue


def test_attributes_of_enclaves(intel: Intel) -> None:
    rows: list[tuple[int, dict[str, Any], set[str]]] = [
        (0x07, {}, {"sgx.policy.attributes"}),
        (0x07, {"debug": "any"}, set()),
        (0x04, {}, {"sgx.policy.attributes"}),
        (0x15, {}, set()),
        (0x15, {"provision_key": "forbid"}, {"sgx.policy.attributes"}),
        (0x05, {"kss": "require"}, {"sgx.policy.attributes"}),
    ]
    for flags, section, checks in rows:
        body = intel.enclave(attributes=bytes([flags]).ljust(16, b"\0"))
        assert failed(judge(intel, intel.quote("SGX", body=body), kind="sgx", **section)) == checks, flags


def test_grace(intel: Intel) -> None:
    quote = intel.quote(body=intel.domain(svn=bytes([5, 1, 3])))
    assert not judge(intel, quote).ok
    assert not judge(intel, quote, platform_grace_days=150).ok
    assert judge(intel, quote, platform_grace_days=152).ok
    assert not judge(intel, intel.quote(qe_svn=7), platform_grace_days=10_000).ok
    assert judge(intel, intel.quote(qe_svn=7), qe_grace_days=600).ok
    assert not judge(intel, intel.quote(qe_svn=3), qe_grace_days=100_000).ok


def test_grace_is_for_what_is_out_of_date_and_nothing_else(intel: Intel) -> None:
    info = intel.tcb_info()
    hardening = [one | {"tcbStatus": "SWHardeningNeeded"} for one in info["tcbLevels"]]
    collateral = intel.collateral(tcb_info=info | {"tcbLevels": hardening})
    grace = {"platform_grace_days": 10_000, "qe_grace_days": 10_000}
    quote = intel.quote(qe_svn=7)
    assert failed(judge(intel, quote, collateral, **grace)) == {"tdx.policy.status"}
    assert judge(intel, quote, collateral, **grace, accept_statuses=["UpToDate", "SWHardeningNeeded"]).ok


def test_grace_from_the_last_day_that_there_is(intel: Intel) -> None:
    info = intel.tcb_info()
    levels = info["tdxModuleIdentities"][0]["tcbLevels"]
    levels[1]["tcbDate"] = "9999-12-31T00:00:00Z"
    quote = intel.quote(body=intel.domain(svn=bytes([5, 1, 3])))
    assert judge(intel, quote, intel.collateral(tcb_info=info), platform_grace_days=1_000_000).ok


def test_tcb_info_of_version_2(intel: Intel) -> None:
    info = intel.tcb_info("SGX", version=2)
    for level in info["tcbLevels"]:
        components = level["tcb"].pop("sgxtcbcomponents")
        level["tcb"] |= {f"sgxtcbcomp{index:02}svn": part["svn"] for index, part in enumerate(components, 1)}
    del info["id"]
    for reordered in ({"version": 2, **info}, {name: info[name] for name in reversed(info)}):
        verdict = judge(intel, intel.quote("SGX"), intel.collateral("SGX", tcb_info=reordered), kind="sgx")
        assert verdict.ok, verdict.failed


@pytest.mark.parametrize(
    "changes",
    [
        {"tcbType": 1},
        {"version": 4},
        {"id": "TPM"},
        {"tcbEvaluationDataNumber": -1},
        {"issueDate": "2026-05-20T00:00:00"},
        {"tdxModule": None},
        {"tcbLevels": [{"tcb": {"pcesvn": 1}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}]},
    ],
)
def test_statements_that_are_not_read(intel: Intel, changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedCollateral):
        read_collateral(intel.collateral(tcb_info=intel.tcb_info(**changes)))


@pytest.mark.parametrize("status", ["Fine", "TDRelaunchAdvised", ""])
def test_statuses_that_intel_does_not_use(intel: Intel, status: str) -> None:
    info = intel.tcb_info()
    info["tcbLevels"][0]["tcbStatus"] = status
    with pytest.raises(MalformedCollateral):
        read_collateral(intel.collateral(tcb_info=info))


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"any_workload": True, "accept_statuses": ["Revoked"]},
        {"any_workload": True, "accept_statuses": ["NotSupported"]},
        {"any_workload": True, "platform_grace_days": -1},
        {"any_workload": True, "fmspcs": ["90C06F000000"]},
        {"mrtds": ["00"]},
        {"any_workload": True, "mrtds": ["00" * 48]},
        {"mrtds": ["00" * 48], "deny_mrtds": ["00" * 48]},
    ],
)
def test_policies_that_cannot_be_applied(section: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        load_policy({"tdx": section})


def test_the_verdict_as_json(intel: Intel) -> None:
    verdict = json.loads(judge(intel, intel.quote()).to_json())
    assert list(verdict) == ["ok", "kind", "status", "claims", "checks"]
    assert "checks" not in verdict["claims"]
    assert all(
        set(check) == {"id", "outcome", "expected", "actual", "hint", "reference"} for check in verdict["checks"]
    )
