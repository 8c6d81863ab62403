"""Evidence of real hardware, and forgeries of it, with what must come of each.

A row gives the vector, the time, changes to the policy that accepts any workload without revocation lists, and the
checks that must fail; none means accepted. `*` stands for any.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from enarx_attestation import VENDOR_ANCHORS, Verdict, appraise, load_policy, parse, verify
from enarx_attestation.files import load_endorsements

VECTORS = Path(__file__).parent / "vectors"

SWHARD = {"accept_statuses": ["ConfigurationAndSWHardeningNeeded"]}
NEAR_MRTD = "f06dfda6dce1cf904d4e2bab1dc370634cf95cefa2ceb2de2eee127c9382698090d7a4a13e14c536ec6c9c3c8fa87077"

ROWS: list[tuple[str, str, Mapping[str, Any], set[str]]] = [
    ("snp/azure-vtpm-evidence-v1", "2025-02-01", {}, set()),
    ("snp/azure-vtpm-evidence-v1", "2025-01-27", {}, {"snp.certificate.validity"}),
    ("snp/azure-vtpm-evidence-v1", "2032-02-01", {}, {"snp.certificate.validity"}),
    ("snp/azure-vtpm-evidence-v1", "2025-02-01", {"revocation": "require"}, {"snp.policy.revocation"}),
    ("snp/cross-chip-vcek", "2026-03-01", {}, {"snp.tcb.reported", "snp.chip-id", "snp.report.signature"}),
    ("snp/forged-root-amd-names", "2026-03-01", {}, {"snp.root.unpinned", "snp.vek.signature"}),
    ("snp/milan-v2-debug-guest", "2024-01-01", {}, {"snp.policy.guest"}),
    ("snp/milan-v2-debug-guest", "2024-01-01", {"guest_policy": {"debug": "any"}}, set()),
    ("snp/milan-v2-enarx-csr", "2024-01-01", {}, set()),
    ("snp/milan-v2-enarx-csr", "2023-01-30", {"revocation": "require"}, set()),
    ("snp/milan-v2-enarx-csr", "2024-01-01", {"revocation": "require"}, {"snp.policy.revocation"}),
    ("snp/milan-v2-enarx-csr", "2024-01-01", {"revocation": "off"}, set()),
    ("snp/milan-v2-enarx-csr", "2022-09-01", {}, {"snp.certificate.validity"}),
    ("snp/milan-v2-enarx-csr", "2024-01-01", {"report_versions": [3, 4, 5]}, {"snp.policy.version"}),
    ("snp/milan-v2-provisional-fw", "2024-01-01", {}, set()),
    ("snp/milan-v2-provisional-fw", "2024-01-01", {"provisional_firmware": "forbid"}, {"snp.policy.provisional"}),
    ("snp/milan-v3-azure", "2026-03-01", {}, set()),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_tcb": {"milan": {"snp": 25}}}, {"snp.policy.tcb"}),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_tcb": {"milan": {"snp": 24}}}, set()),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_tcb": {"turin": {"snp": 1}}}, {"snp.policy.tcb"}),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_launch_tcb": {"milan": {"bl": 5}}}, {"snp.policy.launch-tcb"}),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_firmware": "1.56"}, {"snp.policy.firmware"}),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_abi": "1.0"}, {"snp.policy.abi"}),
    ("snp/milan-v3-azure", "2026-03-01", {"minimum_guest_svn": 3}, {"snp.policy.guest-svn"}),
    ("snp/milan-v3-azure", "2026-03-01", {"vmpl": [1]}, {"snp.policy.vmpl"}),
    ("snp/milan-v3-azure", "2026-03-01", {"signing_keys": ["VLEK"]}, {"snp.policy.signing-key"}),
    ("snp/milan-v3-azure", "2026-03-01", {"chip_ids": ["00" * 64]}, {"snp.policy.platform-id"}),
    ("snp/milan-v3-azure", "2026-03-01", {"csp_ids": ["aws"]}, {"snp.policy.platform-id"}),
    ("snp/milan-v3-azure", "2026-03-01", {"host_data": ["00" * 32]}, {"snp.policy.identity"}),
    ("snp/milan-v3-azure", "2026-03-01", {"required_mitigations": 1}, {"snp.policy.mitigations"}),
    ("snp/milan-v3-azure", "2026-03-01", {"platform_info": {"smt": "forbid"}}, {"snp.policy.platform"}),
    ("snp/milan-v3-azure", "2026-03-01", {"platform_info": {"alias_check_complete": "require"}}, set()),
    ("snp/milan-v3-azure", "2026-03-01", {"guest_policy": {"single_socket": "require"}}, {"snp.policy.guest"}),
    ("snp/milan-v3-azure", "2026-03-01", {"measured_package": True}, {"binding.launch-package"}),
    (
        "snp/milan-wrong-vcek-legacy-hwid",
        "2024-01-01",
        {},
        {"snp.vek.signature", "snp.tcb.reported", "snp.chip-id", "*"},
    ),
    ("snp/mut-measurement-bitflip", "2026-03-01", {}, {"snp.report.signature"}),
    ("snp/mut-reserved-nonzero", "2026-03-01", {}, {"snp.report.reserved", "snp.report.signature"}),
    ("snp/mut-zero-signature", "2026-03-01", {}, {"snp.report.signature"}),
    ("snp/turin-v5-fmc", "2026-03-01", {}, set()),
    ("snp/turin-v5-fmc", "2026-03-01", {"required_mitigations": 0x3F}, set()),
    ("snp/turin-v5-fmc", "2026-03-01", {"minimum_tcb": {"turin": {"fmc": 2}}}, {"snp.policy.tcb"}),
    ("snp/turin-v5-fmc", "2026-03-01", {"chip_ids": ["59790fb1c39f35c1"]}, set()),
    ("sgx/enarx-xeon-icelake-outofdate", "2025-09-01", {}, {"sgx.policy.status"}),
    ("sgx/enarx-xeon-icelake-outofdate", "2025-09-01", {"accept_statuses": ["OutOfDate"]}, set()),
    (
        "sgx/enarx-xeon-icelake-outofdate",
        "2025-09-01",
        {"accept_statuses": ["OutOfDate"], "deny_advisories": ["INTEL-SA-00657"]},
        {"sgx.policy.advisories"},
    ),
    (
        "sgx/enarx-xeon-icelake-outofdate",
        "2025-08-14",
        {"accept_statuses": ["OutOfDate"]},
        {"sgx.tcb-info.window", "*"},
    ),
    (
        "sgx/enarx-xeon-icelake-outofdate",
        "2025-09-15",
        {"accept_statuses": ["OutOfDate"]},
        {"sgx.tcb-info.window", "*"},
    ),
    ("sgx/enarx-xeon-icelake-outofdate", "2025-09-01", {"platform_grace_days": 9999}, {"sgx.policy.status"}),
    ("sgx/enarx-xeon-icelake-outofdate", "2025-09-01", {"platform_grace_days": 9999, "qe_grace_days": 9999}, set()),
    ("sgx/forged-root-intel-names", "2025-07-01", SWHARD, {"sgx.root.unpinned", "sgx.pck.signature", "*"}),
    ("sgx/mut-mrenclave-bitflip", "2025-07-01", SWHARD, {"sgx.quote.signature", "sgx.policy.status"}),
    ("sgx/occlum-debug-enclave", "2025-09-01", {}, {"sgx.policy.attributes", "sgx.policy.status"}),
    ("sgx/occlum-debug-enclave", "2025-09-01", {"accept_statuses": ["OutOfDate"]}, {"sgx.policy.attributes"}),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-01", {}, {"sgx.policy.status"}),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-01", SWHARD, set()),
    (
        "sgx/phala-nonserver-cfg-swhard",
        "2025-07-01",
        {**SWHARD, "allow_advisories": ["INTEL-SA-00289", "INTEL-SA-00615"]},
        set(),
    ),
    (
        "sgx/phala-nonserver-cfg-swhard",
        "2025-07-01",
        {**SWHARD, "allow_advisories": ["INTEL-SA-00289"]},
        {"sgx.policy.advisories"},
    ),
    ("sgx/phala-nonserver-cfg-swhard", "2025-06-19", SWHARD, {"sgx.tcb-info.window", "*"}),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-20", SWHARD, {"sgx.tcb-info.window", "*"}),
    (
        "sgx/phala-nonserver-cfg-swhard",
        "2025-07-01",
        {**SWHARD, "minimum_evaluation_number": 18},
        {"sgx.policy.evaluation"},
    ),
    (
        "sgx/phala-nonserver-cfg-swhard",
        "2025-07-01",
        {**SWHARD, "maximum_collateral_age_days": 3},
        {"sgx.policy.collateral-age"},
    ),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-01", {**SWHARD, "sgx_types": ["scalable"]}, {"sgx.policy.platform"}),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-01", {**SWHARD, "ppids": ["00" * 16]}, {"sgx.policy.platform-id"}),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-01", {**SWHARD, "minimum_isv_svn": 1}, {"sgx.policy.identity"}),
    ("sgx/phala-nonserver-cfg-swhard", "2025-07-01", {**SWHARD, "smt": "forbid"}, {"sgx.policy.platform"}),
    (
        "tdx/alibaba-v5-servicetd",
        "2026-01-30",
        {},
        {"tdx.policy.status", "tdx.policy.service-td"},
    ),
    (
        "tdx/alibaba-v5-servicetd",
        "2026-01-30",
        {"service_td": "any", "accept_statuses": ["OutOfDate"]},
        set(),
    ),
    ("tdx/azure-sept-ve-disable-off", "2025-03-01", {}, {"tdx.policy.status"}),
    ("tdx/azure-sept-ve-disable-off", "2025-03-01", {"accept_statuses": ["OutOfDate"]}, set()),
    (
        "tdx/azure-sept-ve-disable-off",
        "2025-03-01",
        {"accept_statuses": ["OutOfDate"], "sept_ve_disable": "require"},
        {"tdx.policy.attributes"},
    ),
    ("tdx/coco-debug-td", "2023-07-01T01:00:00+00:00", {}, {"tdx.policy.debug"}),
    ("tdx/coco-debug-td", "2023-07-01T01:00:00+00:00", {"debug": "any"}, set()),
    ("tdx/coco-debug-td", "2023-07-09", {"debug": "any"}, {"*", "tdx.policy.revocation"}),
    ("tdx/forged-root-intel-names", "2025-07-01", {}, {"tdx.root.unpinned", "tdx.pck.signature", "*"}),
    ("tdx/near-v4-uptodate", "2025-10-01T07:03:51+00:00", {}, set()),
    ("tdx/near-v4-uptodate", "2025-09-01", {}, {"tdx.tcb-info.window", "*"}),
    ("tdx/near-v4-uptodate", "2025-10-03", {}, {"tdx.tcb-info.window", "*"}),
    ("tdx/near-v4-uptodate", "2025-10-01T07:03:51+00:00", {"xfams": ["e702060000000000"]}, {"tdx.policy.xfam"}),
    ("tdx/near-v4-uptodate", "2025-10-01T07:03:51+00:00", {"rtmr3": ["00" * 48]}, {"tdx.policy.measurement"}),
    ("tdx/near-v4-uptodate", "2025-10-01T07:03:51+00:00", {"deny_mrtds": [NEAR_MRTD]}, {"tdx.policy.denied"}),
    ("tdx/near-v4-uptodate", "2025-10-01", {"mrtds": [NEAR_MRTD], "any_workload": False}, set()),
    ("tdx/near-v4-uptodate", "2025-10-01", {"mrtds": ["00" * 48], "any_workload": False}, {"tdx.policy.workload"}),
    ("tdx/no-matching-level-v5", "2026-03-01", {}, {"tdx.tcb.level.none", "tdx.policy.status"}),
    ("tdx/phala-v4-uptodate", "2025-07-01", {}, set()),
    ("tdx/phala-v4-uptodate", "2025-07-01", {"dynamic_platform": "forbid"}, {"tdx.policy.platform"}),
    ("tdx/phala-v4-uptodate", "2025-07-20", {}, {"tdx.tcb-info.window", "*"}),
    ("tdx/v5-td15-uptodate", "2026-01-30", {}, set()),
    ("tdx/v5-td15-uptodate", "2026-02-12", {}, {"tdx.tcb-info.window", "*"}),
    ("tdx/v5-td15-uptodate", "2026-01-12", {}, {"tdx.tcb-info.window", "*"}),
]

EVIDENCE = {"snp": "report.bin", "sgx": "quote.bin", "tdx": "quote.bin"}
LAX: Mapping[str, Mapping[str, Any]] = {
    "snp": {"any_workload": True, "revocation": "prefer"},
    "sgx": {"any_workload": True},
    "tdx": {"any_workload": True},
}


def judge(vector: str, at: str, changes: Mapping[str, Any]) -> Verdict:
    kind = vector.partition("/")[0]
    files = {path.name: path.read_bytes() for path in (VECTORS / vector).iterdir()}
    evidence = parse(files.pop(EVIDENCE[kind]), kind)
    moment = datetime.fromisoformat(at + "T00:00:00+00:00" if len(at) == 10 else at)
    claims = verify(evidence, load_endorsements(kind, files), VENDOR_ANCHORS, moment)
    return appraise(claims, load_policy({kind: {**LAX[kind], **changes}}), expected=None)


@pytest.mark.parametrize(("vector", "at", "changes", "failures"), ROWS)
def test_vector(vector: str, at: str, changes: Mapping[str, Any], failures: set[str]) -> None:
    verdict = judge(vector, at, changes)
    failed = {check.id for check in verdict.failed} - {"claims.verified"}
    assert verdict.ok == (not failures)
    assert failed >= failures - {"*"}
    assert "*" in failures or failed == failures
    assert verdict.to_json()
