"""Every vector, by the command and with the defaults, against what its source expects.

A row gives the vector and its evidence, the kind, the time, further options, and the checks that must fail: none
means accepted, `*` stands for further ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"

NO_CRL = ("--revocation", "prefer")
MILAN = "2026-03-01T00:00:00Z"
SWHARD = '[sgx]\naccept_statuses = ["ConfigurationAndSWHardeningNeeded"]\n'
DEBUG = '[nitro]\ndebug = "any"\n'
OUT_OF_DATE = '[{kind}]\naccept_statuses = ["OutOfDate"]\n'

ROWS = [
    # AMD. The vectors that have no revocation lists are refused by default, and that is all there is against them.
    ("snp/milan-v3-azure", "report.bin", "snp", MILAN, NO_CRL, set()),
    ("snp/milan-v3-azure", "report.bin", "snp", MILAN, ("--revocation", "off"), set()),
    ("snp/milan-v3-azure", "report.bin", "snp", MILAN, (), {"snp.policy.revocation"}),
    ("snp/milan-v3-azure", "report.bin", "snp", "2026-02-04T00:00:00Z", NO_CRL, {"snp.certificate.validity"}),
    ("snp/milan-v3-azure", "report.bin", "snp", "2033-02-06T00:00:00Z", NO_CRL, {"snp.certificate.validity"}),
    ("snp/turin-v5-fmc", "report.bin", "snp", MILAN, NO_CRL, set()),
    ("snp/turin-v5-fmc", "report.bin", "snp", MILAN, (), {"snp.policy.revocation"}),
    ("snp/milan-v2-provisional-fw", "report.bin", "snp", "2024-01-01T00:00:00Z", NO_CRL, set()),
    ("snp/milan-v2-enarx-csr", "report.bin", "snp", "2023-01-30T00:00:00Z", (), set()),
    ("snp/milan-v2-enarx-csr", "report.bin", "snp", "2023-06-01T00:00:00Z", (), {"snp.policy.revocation"}),
    ("snp/milan-v2-enarx-csr", "report.bin", "snp", "2023-06-01T00:00:00Z", NO_CRL, set()),
    ("snp/milan-v2-debug-guest", "report.bin", "snp", "2024-01-01T00:00:00Z", NO_CRL, {"snp.policy.guest"}),
    ("snp/azure-vtpm-evidence-v1", "report.bin", "snp", "2025-02-01T00:00:00Z", NO_CRL, set()),
    ("snp/azure-vtpm-evidence-v1", "report.bin", "snp", "2025-01-27T00:00:00Z", NO_CRL, {"snp.certificate.validity"}),
    ("snp/azure-vtpm-evidence-v1", "evidence.json", "az-snp", "2025-02-01T00:00:00Z", NO_CRL, set()),
    ("snp/azure-vtpm-evidence-v1", "evidence.json", "az-snp", "2025-02-01T00:00:00Z", (), {"snp.policy.revocation"}),
    ("snp/cross-chip-vcek", "report.bin", "snp", MILAN, NO_CRL, {"snp.chip-id", "snp.report.signature", "*"}),
    ("snp/forged-root-amd-names", "report.bin", "snp", MILAN, NO_CRL, {"snp.root.unpinned", "*"}),
    ("snp/milan-wrong-vcek-legacy-hwid", "report.bin", "snp", "2024-01-01T00:00:00Z", NO_CRL, {"snp.chip-id", "*"}),
    ("snp/mut-measurement-bitflip", "report.bin", "snp", MILAN, NO_CRL, {"snp.report.signature", "claims.verified"}),
    ("snp/mut-reserved-nonzero", "report.bin", "snp", MILAN, NO_CRL, {"snp.report.reserved", "*"}),
    ("snp/mut-zero-signature", "report.bin", "snp", MILAN, NO_CRL, {"snp.report.signature", "claims.verified"}),
    ("snp/genoa-revoked-ask", "ask_0x20001.der", "snp", "2022-12-01T00:00:00Z", NO_CRL, {"evidence.malformed"}),
    # Intel.
    ("sgx/phala-nonserver-cfg-swhard", "quote.bin", "sgx", "2025-07-01T00:00:00Z", (), {"sgx.policy.status"}),
    ("sgx/phala-nonserver-cfg-swhard", "quote.bin", "sgx", "2025-07-01T00:00:00Z", (SWHARD,), set()),
    (
        "sgx/phala-nonserver-cfg-swhard",
        "quote.bin",
        "sgx",
        "2025-06-19T00:00:00Z",
        (SWHARD,),
        {"sgx.tcb-info.window", "*"},
    ),
    (
        "sgx/phala-nonserver-cfg-swhard",
        "quote.bin",
        "sgx",
        "2025-07-20T00:00:00Z",
        (SWHARD,),
        {"sgx.tcb-info.window", "*"},
    ),
    ("sgx/enarx-xeon-icelake-outofdate", "quote.bin", "sgx", "2025-09-01T00:00:00Z", (), {"sgx.policy.status"}),
    ("sgx/enarx-xeon-icelake-outofdate", "quote.bin", "sgx", "2025-09-01T00:00:00Z", (OUT_OF_DATE,), set()),
    (
        "sgx/enarx-xeon-icelake-outofdate",
        "quote.bin",
        "sgx",
        "2025-09-15T00:00:00Z",
        (OUT_OF_DATE,),
        {"sgx.tcb-info.window", "*"},
    ),
    ("sgx/occlum-debug-enclave", "quote.bin", "sgx", "2025-09-01T00:00:00Z", (OUT_OF_DATE,), {"sgx.policy.attributes"}),
    ("sgx/forged-root-intel-names", "quote.bin", "sgx", "2025-07-01T00:00:00Z", (SWHARD,), {"sgx.root.unpinned", "*"}),
    ("sgx/mut-mrenclave-bitflip", "quote.bin", "sgx", "2025-07-01T00:00:00Z", (SWHARD,), {"sgx.quote.signature", "*"}),
    # These have no collateral.
    (
        "sgx/azure-corrupted-isv-signature",
        "quote.bin",
        "sgx",
        "2020-12-01T00:00:00Z",
        (OUT_OF_DATE,),
        {"collateral.malformed"},
    ),
    (
        "sgx/azure-odd-chain-order",
        "quote.bin",
        "sgx",
        "2020-12-01T00:00:00Z",
        (OUT_OF_DATE,),
        {"collateral.malformed"},
    ),
    ("sgx/encrypted-ppid-ct3", "quote.bin", "sgx", "2020-12-01T00:00:00Z", (OUT_OF_DATE,), {"collateral.malformed"}),
    ("tdx/phala-v4-uptodate", "quote.bin", "tdx", "2025-07-01T00:00:00Z", (), set()),
    ("tdx/phala-v4-uptodate", "quote.bin", "tdx", "2025-07-20T00:00:00Z", (), {"tdx.tcb-info.window", "*"}),
    ("tdx/phala-v4-uptodate", "quote.bin", "tdx", "2025-06-19T00:00:00Z", (), {"tdx.tcb-info.window", "*"}),
    ("tdx/near-v4-uptodate", "quote.bin", "tdx", "2025-10-01T07:03:51Z", (), set()),
    ("tdx/near-v4-uptodate", "quote.bin", "tdx", "2025-10-03T00:00:00Z", (), {"tdx.tcb-info.window", "*"}),
    ("tdx/v5-td15-uptodate", "quote.bin", "tdx", "2026-01-30T00:00:00Z", (), set()),
    ("tdx/v5-td15-uptodate", "quote.bin", "tdx", "2026-02-12T00:00:00Z", (), {"tdx.tcb-info.window", "*"}),
    (
        "tdx/alibaba-v5-servicetd",
        "quote.bin",
        "tdx",
        "2026-01-30T00:00:00Z",
        (),
        {"tdx.policy.status", "tdx.policy.service-td"},
    ),
    (
        "tdx/alibaba-v5-servicetd",
        "quote.bin",
        "tdx",
        "2026-01-30T00:00:00Z",
        ('[tdx]\naccept_statuses = ["OutOfDate"]\nservice_td = "any"\n',),
        set(),
    ),
    ("tdx/azure-sept-ve-disable-off", "quote.bin", "tdx", "2025-03-01T00:00:00Z", (), {"tdx.policy.status"}),
    (
        "tdx/azure-sept-ve-disable-off",
        "quote.bin",
        "tdx",
        "2025-03-01T00:00:00Z",
        (OUT_OF_DATE + 'sept_ve_disable = "require"\n',),
        {"tdx.policy.attributes"},
    ),
    ("tdx/coco-debug-td", "quote.bin", "tdx", "2023-07-01T01:00:00Z", (), {"tdx.policy.debug"}),
    ("tdx/forged-root-intel-names", "quote.bin", "tdx", "2025-07-01T00:00:00Z", (), {"tdx.root.unpinned", "*"}),
    (
        "tdx/no-matching-level-v5",
        "quote.bin",
        "tdx",
        "2026-03-01T00:00:00Z",
        (OUT_OF_DATE,),
        {"tdx.tcb.level.none", "*"},
    ),
    # The others.
    ("nitro/proper-2021", "doc.cose", "nitro", "2021-09-09T10:20:00Z", (), {"nitro.policy.debug"}),
    ("nitro/proper-2021", "doc.cose", "nitro", "2021-09-09T10:20:00Z", (DEBUG,), set()),
    ("nitro/proper-2021", "doc.cose", "nitro", "2021-09-09T10:40:00Z", (DEBUG,), {"nitro.policy.age"}),
    ("nitro/proper-2021", "doc.cose", "nitro", "2026-01-01T00:00:00Z", (), {"nitro.certificate.validity", "*"}),
    ("nitro/tampered-signature", "doc.cose", "nitro", "2021-09-09T10:20:00Z", (), {"nitro.document.signature", "*"}),
    ("cca/tf-rmm-token", "token.cbor", "cca", "2026-01-01T00:00:00Z", (), {"cca.root.unpinned", "claims.verified"}),
    ("tpm/coco-tpm-evidence", "evidence.json", "az-snp", "2026-01-01T00:00:00Z", (), {"evidence.malformed"}),
]

PROCESSES = ("snp/milan-v3-azure", "snp/forged-root-amd-names", "tdx/near-v4-uptodate", "sgx/mut-mrenclave-bitflip")


def words_of(row, directory: Path) -> list[str]:
    vector, evidence, kind, at, options, _ = row
    words = [str(VECTORS / vector / evidence), "--kind", kind, "--endorsements", str(VECTORS / vector), "--at", at]
    if options and options[0].startswith("["):
        policy = directory / "policy.toml"
        policy.write_text(options[0].replace("{kind}", kind))
        options = ("--policy", str(policy))
    return [*words, "--any-workload", *options]


def test_every_vector_has_a_row():
    assert {row[0] for row in ROWS} == {
        meta.parent.relative_to(VECTORS).as_posix() for meta in VECTORS.rglob("meta.json")
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[3]}")
def test_a_vector(row, appraise, tmp_path):
    answer = appraise(*words_of(row, tmp_path))
    answer.must_be_whole()
    wanted = row[-1]
    assert answer.record["kind"] == row[2]
    assert answer.status == (3 if wanted else 0)
    assert answer.failed >= wanted - {"*"}
    assert "*" in wanted or answer.failed - {"claims.verified"} == wanted - {"claims.verified"}


@pytest.mark.parametrize(
    ("vector", "status"),
    [
        ("snp/milan-v3-azure", "Verified"),
        ("snp/forged-root-amd-names", "Unverified"),
        ("sgx/phala-nonserver-cfg-swhard", "ConfigurationAndSWHardeningNeeded"),
        ("sgx/enarx-xeon-icelake-outofdate", "OutOfDate"),
        ("tdx/azure-sept-ve-disable-off", "OutOfDate"),
        ("tdx/phala-v4-uptodate", "UpToDate"),
        ("tdx/no-matching-level-v5", "NotSupported"),
        ("tdx/forged-root-intel-names", "Unverified"),
    ],
)
def test_the_status_is_the_vendors_word(vector, status, appraise, tmp_path):
    answer = appraise(*words_of(next(row for row in ROWS if row[0] == vector), tmp_path))
    assert answer.record["status"] == answer.record["claims"]["status"] == status


@pytest.mark.parametrize("vector", PROCESSES)
def test_a_vector_in_a_process_of_its_own(vector, appraise, enarx_deploy, tmp_path):
    row = next(row for row in ROWS if row[0] == vector)
    words = words_of(row, tmp_path)
    ended = enarx_deploy("appraise", *words, "--json")
    here = appraise(*words)
    assert (ended.returncode, json.loads(ended.stdout)) == (here.status, here.record)
    assert ended.stderr == here.err
