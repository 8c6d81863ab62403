"""What Intel's specifications say of cases that no recorded quote shows, from files to a verdict.

A row differs from what is accepted in one thing, and names the checks that must fail; none means accepted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from enarx_attestation import Verdict, appraise_files, load_policy

if TYPE_CHECKING:
    from conftest import Intel

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HARDENING, CONFIGURATION, BOTH = "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"


def judge(intel: Intel, kind: str, quote: bytes, collateral: bytes, *, at: datetime = NOW, **section: Any) -> Verdict:
    policy = load_policy({kind: {"any_workload": True, **section}})
    return appraise_files(
        quote, {"collateral.json": collateral}, policy, kind=kind, at=at, expected=None, anchors=intel.anchors
    )


def failed(verdict: Verdict) -> set[str]:
    assert verdict.ok == (not verdict.failed)
    return {check.id.partition(".")[2] for check in verdict.failed} - {"verified"}


def leveled(intel: Intel, kind: str, status: str, *advisories: str, **changes: Any) -> dict[str, Any]:
    """TCB info whose highest level has this status."""
    info = intel.tcb_info(kind, **changes)
    info["tcbLevels"][0] |= {"tcbStatus": status, "advisoryIDs": list(advisories)}
    return info


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
@pytest.mark.parametrize("mode", ["require", "prefer", "off"])
@pytest.mark.parametrize("status", [HARDENING, CONFIGURATION, BOTH, "OutOfDateConfigurationNeeded", "Revoked"])
def test_a_status_is_refused_unless_it_is_listed(intel: Intel, kind: str, mode: str, status: str) -> None:
    info = leveled(intel, kind.upper(), status, "INTEL-SA-00615")
    collateral = intel.collateral(kind.upper(), tcb_info=info)
    quote = intel.quote(kind.upper())
    verdict = judge(intel, kind, quote, collateral, revocation=mode)
    assert (verdict.status, failed(verdict)) == (status, {"policy.status"})
    if status != "Revoked":
        listed = {"revocation": mode, "accept_statuses": [status]}
        assert judge(intel, kind, quote, collateral, **listed).ok
        assert failed(judge(intel, kind, quote, collateral, **listed, allow_advisories=[])) == {"policy.advisories"}


@pytest.mark.parametrize(
    ("platform", "qe_svn", "status"),
    [
        (HARDENING, 8, HARDENING),
        (HARDENING, 7, "OutOfDate"),
        (CONFIGURATION, 7, "OutOfDateConfigurationNeeded"),
        (BOTH, 7, "OutOfDateConfigurationNeeded"),
        (BOTH, 3, "Revoked"),
    ],
)
def test_the_statuses_of_platform_and_quoting_enclave_make_one(
    intel: Intel, platform: str, qe_svn: int, status: str
) -> None:
    collateral = intel.collateral("SGX", tcb_info=leveled(intel, "SGX", platform))
    assert judge(intel, "sgx", intel.quote("SGX", qe_svn=qe_svn), collateral).status == status


def collaterals(intel: Intel, kind: str) -> dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]]:
    info, identity = intel.tcb_info(kind), intel.identity(kind)
    expired = {"tcb-info.window", "policy.status"}
    grace = {"platform_grace_days": 1000, "qe_grace_days": 1000}
    return {
        "TCB info that has expired": ({"tcb_info": info | {"nextUpdate": "2026-05-31T23:59:59Z"}}, {}, expired),
        "the same within every grace": ({"tcb_info": info | {"nextUpdate": "2026-05-31T23:59:59Z"}}, grace, expired),
        "TCB info at its last second": ({"tcb_info": info | {"nextUpdate": "2026-06-01T00:00:00Z"}}, {}, set()),
        "TCB info that is to come": ({"tcb_info": info | {"issueDate": "2026-06-01T00:00:01Z"}}, {}, expired),
        "an identity that has expired": (
            {"qe_identity": identity | {"nextUpdate": "2026-05-31T23:59:59Z"}},
            {"revocation": "off"},
            {"qe-identity.window", "policy.status"},
        ),
        "the number is the lower one of two": (
            {"qe_identity": identity | {"tcbEvaluationDataNumber": 17}},
            {"minimum_evaluation_number": 18},
            {"policy.evaluation"},
        ),
        "the numbers differ and nobody asks": ({"qe_identity": identity | {"tcbEvaluationDataNumber": 17}}, {}, set()),
        "the age is that of the older one": (
            {"tcb_info": info | {"issueDate": "2026-05-02T00:00:00Z"}},
            {"maximum_collateral_age_days": 29},
            {"policy.collateral-age"},
        ),
        "family in lower case": ({"tcb_info": info | {"fmspc": info["fmspc"].lower()}}, {}, set()),
        "another product of the signer": (
            {"qe_identity": identity | {"isvprodid": 1}},
            {},
            {"qe.identity", "policy.status"},
        ),
        "MISCSELECT under its mask": (
            {"qe_identity": identity | {"miscselect": "00000001"}},
            {},
            {"qe.identity", "policy.status"},
        ),
        "an attribute under its mask": (
            {"qe_identity": identity | {"attributes": "15" + "00" * 15}},
            {},
            {"qe.identity", "policy.status"},
        ),
        "no level at all": ({"tcb_info": info | {"tcbLevels": []}}, {}, {"*"}),
        "a signature of the other statement": (
            {"tcb_info_signature": "11" * 64},
            {},
            {"tcb-info.signature", "policy.status"},
        ),
        "what is not known beside what is": ({"tcb_info": info | {"somethingNew": {"a": 1}}}, {}, set()),
    }


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
@pytest.mark.parametrize("case", range(15))
def test_collateral(intel: Intel, kind: str, case: int) -> None:
    name, (changes, section, checks) = list(collaterals(intel, kind.upper()).items())[case]
    collateral = intel.collateral(kind.upper(), **changes)
    found = failed(judge(intel, kind, intel.quote(kind.upper()), collateral, **section))
    assert found if "*" in checks else found == checks, (name, found)


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
def test_the_signers_certificate_may_not_have_expired(intel: Intel, kind: str) -> None:
    signer = intel.signer_until(days=5)
    collateral = intel.collateral(kind.upper(), signer=signer)
    quote = intel.quote(kind.upper())
    last = NOW + timedelta(days=5)
    assert judge(intel, kind, quote, collateral, at=last).ok
    later = failed(judge(intel, kind, quote, collateral, at=last + timedelta(seconds=1)))
    assert later == {"certificate.validity", "policy.status"}


def modules(intel: Intel) -> dict[str, tuple[dict[str, Any], dict[str, Any], set[str]]]:
    info = intel.tcb_info()
    (identity,) = info["tdxModuleIdentities"]
    tenth = info | {"tdxModuleIdentities": [identity, identity | {"id": "TDX_0A"}]}
    sealed = info | {"tdxModuleIdentities": [identity | {"attributes": "0000000000000001"}]}
    ignoring = info | {"tdxModuleIdentities": [identity | {"attributesMask": "00" * 8}]}
    none = {"module.identity", "module.level", "policy.status"}
    no_identity = {"module.identity", "policy.status"}
    return {
        "version 10, in hexadecimal": ({"svn": bytes([6, 10, 3])}, tenth, set()),
        "version 16, which is not TDX_10 of version 10": ({"svn": bytes([6, 16, 3])}, tenth, none),
        "no identities": ({}, info | {"tdxModuleIdentities": []}, none),
        "attributes that the identity has and the module has not": ({}, sealed, no_identity),
        "attributes that the mask leaves out": ({"seam_attributes": b"\1"}, ignoring, set()),
        "attributes that nobody may have": ({"seam_attributes": b"\1"}, info, no_identity),
    }


@pytest.mark.parametrize("case", range(6))
def test_a_module(intel: Intel, case: int) -> None:
    name, (options, info, checks) = list(modules(intel).items())[case]
    collateral = intel.collateral(tcb_info=info)
    quote = intel.quote(body=intel.domain(**options))
    assert failed(judge(intel, "tdx", quote, collateral)) == checks, name
