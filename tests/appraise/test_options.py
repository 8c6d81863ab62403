"""What the options and the policy mean, and what is a fault of the caller's."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enarx_deploy.cli.main import main

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"
MILAN = VECTORS / "snp" / "milan-v3-azure"
MILAN_MEASUREMENT = "5feee30d6d7e1a29f403d70a4198237ddfb13051a2d6976439487c609388ed7f98189887920ab2fa0096903a0c23fca1"
SNP = (MILAN / "report.bin", "--kind", "snp", "--endorsements", MILAN)
AT = ("--at", "2026-03-01T00:00:00Z")
TDX_PLACE = VECTORS / "tdx" / "near-v4-uptodate"
TDX = (TDX_PLACE / "quote.bin", "--kind", "tdx", "--endorsements", TDX_PLACE, "--at", "2025-10-01T07:03:51Z")
NIL = '{"kind":"nil","package":"sha256:' + "ab" * 32 + '","report_data":"' + "cd" * 64 + '"}'


@pytest.fixture
def policy(tmp_path):
    def write(text: str) -> tuple[str, Path]:
        path = tmp_path / "policy.toml"
        path.write_text(text)
        return "--policy", path

    return write


def outcome(answer, id: str) -> str:
    (found,) = (check["outcome"] for check in answer.record["checks"] if check["id"] == id)
    return found


# The default is strict.


@pytest.mark.parametrize("words", [(*SNP, *AT), TDX])
def test_without_a_policy_nothing_is_accepted_and_the_answer_says_what_a_policy_needs(appraise, words):
    answer = appraise(*words)
    answer.must_be_whole()
    assert answer.status == 3
    assert answer.failed == {"policy.workload", "policy.kind"}
    kind = answer.record["kind"]
    assert f"--policy FILE with a section [{kind}] that lists measurements or signers" in answer.err
    assert "or --any-workload to accept any" in answer.err


def test_an_empty_policy_accepts_nothing(appraise, policy):
    answer = appraise(*SNP, *AT, *policy(""))
    answer.must_be_whole()
    assert (answer.status, answer.failed) == (3, {"policy.kind"})


def test_a_section_that_names_no_workload_is_an_error(appraise, policy):
    answer = appraise(*SNP, *AT, *policy("[snp]\nvmpl = [0]\n"))
    assert answer.status == 2
    assert "constrains no workload: give `measurements`" in answer.err


@pytest.mark.parametrize("off", [(), ("--any-workload", "--revocation", "off")])
def test_options_do_not_add_a_kind_that_the_policy_file_lacks(appraise, policy, off):
    answer = appraise(*SNP, *AT, *policy('[tdx]\nmrtds = ["' + "00" * 48 + '"]\n'), *off)
    answer.must_be_whole()
    assert (answer.status, answer.failed) == (3, {"policy.kind"})


def test_revocation_is_required_unless_named_off(appraise):
    assert appraise(*SNP, *AT, "--any-workload").failed == {"snp.policy.revocation"}
    assert appraise(*SNP, *AT, "--any-workload", "--revocation", "require").failed == {"snp.policy.revocation"}
    for mode in ("prefer", "off"):
        answer = appraise(*SNP, *AT, "--any-workload", "--revocation", mode)
        assert answer.status == 0
        assert outcome(answer, "snp.policy.revocation") == "skipped"


def test_the_option_wins_over_the_policy_file_both_ways(appraise, policy):
    section = f'[snp]\nmeasurements = ["{MILAN_MEASUREMENT}"]\n'
    lax, strict = section + 'revocation = "off"\n', section + 'revocation = "require"\n'
    assert appraise(*SNP, *AT, *policy(lax)).status == 0
    assert appraise(*SNP, *AT, *policy(lax), "--revocation", "require").status == 3
    assert appraise(*SNP, *AT, *policy(strict), "--revocation", "prefer").status == 0


# The workload.


def test_any_workload_is_named_in_the_result(appraise, capsys):
    assert outcome(appraise(*TDX, "--any-workload"), "tdx.policy.workload") == "skipped"
    assert main(["appraise", *map(str, TDX), "--any-workload"]) == 0
    assert "named off: tdx.policy.workload, the policy accepts any workload" in capsys.readouterr().out


def test_the_measurement_of_the_policy_decides(appraise, policy):
    rest = 'revocation = "prefer"\n'
    assert appraise(*SNP, *AT, *policy(f'[snp]\nmeasurements = ["{MILAN_MEASUREMENT}"]\n{rest}')).status == 0
    other = appraise(*SNP, *AT, *policy(f'[snp]\nmeasurements = ["{"00" * 48}"]\n{rest}'))
    assert (other.status, other.failed) == (3, {"snp.policy.workload"})


def test_a_deny_list_holds_for_any_workload_too(appraise, policy):
    words = policy(f'[snp]\ndeny_measurements = ["{MILAN_MEASUREMENT}"]\n')
    answer = appraise(*SNP, *AT, *words, "--any-workload", "--revocation", "off")
    assert (answer.status, answer.failed) == (3, {"snp.policy.denied"})


def test_any_workload_contradicts_a_policy_that_names_one(appraise, policy):
    answer = appraise(*SNP, *AT, *policy(f'[snp]\nmeasurements = ["{MILAN_MEASUREMENT}"]\n'), "--any-workload")
    assert answer.status == 2
    assert "contradict each other" in answer.err


def test_a_policy_of_enarx_is_understood(appraise, policy):
    words = policy(f'[snp]\nhash = ["{MILAN_MEASUREMENT.upper()}"]\n')
    assert appraise(*SNP, *AT, *words, "--revocation", "prefer").status == 0


def test_evidence_that_anyone_can_write_needs_a_policy_that_names_its_kind(appraise, policy, tmp_path, capsys):
    document = tmp_path / "evidence.json"
    document.write_text(NIL)
    words = (document, "--kind", "nil")
    answer = appraise(*words, "--any-workload")
    assert (answer.status, answer.failed) == (3, {"policy.workload", "policy.kind"})
    assert "no hardware protects such a Keep" in answer.err
    named = appraise(*words, *policy("[nil]\nany_workload = true\n"))
    assert (named.status, named.record["status"], named.record["claims"]["hardware"]) == (0, "Unprotected", False)
    assert main(["appraise", *map(str, (*words, *policy("[nil]\nany_workload = true\n")))]) == 0
    assert "no hardware protects this Keep" in capsys.readouterr().out


def test_the_policy_of_a_steward_will_do(appraise, policy):
    rules = 'any_workload = true\nrevocation = "off"\nnames = ["localhost"]\nlifetime = "1h"\n'
    words = policy(f'[ca]\ntrust_domain = "example.org"\n[snp]\n{rules}')
    assert appraise(*SNP, *AT, *words).status == 0


# The time.


@pytest.mark.parametrize(
    "at",
    [
        "2026-03-01T00:00:00Z",
        "2026-03-01t00:00:00z",
        "2026-03-01 00:00:00+00:00",
        "2026-03-01T00:00:00.123456Z",
        "2026-03-01T00:00:00.123456789Z",
        "2026-03-01T05:30:00+05:30",
        "2026-03-01",
    ],
)
def test_a_time(appraise, at):
    answer = appraise(*SNP, "--at", at, "--any-workload", "--revocation", "prefer")
    assert answer.status == 0
    (check,) = (check for check in answer.record["checks"] if check["id"] == "snp.certificate.validity")
    assert check["actual"].startswith("2026-03-01 00:00:00")
    assert check["actual"].endswith("+00:00")


@pytest.mark.parametrize(
    "at",
    [
        "",
        "now",
        "2026-03-01T00:00:00",
        "2026-03-01T00:00Z",
        "20260301T000000Z",
        "2026-W09-7",
        "2026-02-30T00:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T00:00:00+99:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "٢٠٢٦-03-01T00:00:00Z",
        "2026-03-01T00:00:00Z\n",
    ],
)
def test_what_is_no_time_is_a_fault_of_usage(appraise, at):
    answer = appraise(*SNP, "--at", at, "--any-workload")
    assert answer.status == 2
    assert "is not a time of RFC 3339" in answer.err


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("words", [SNP, TDX[:-2]])
def test_the_ends_of_time_are_refused(appraise, at, words):
    answer = appraise(*words, "--at", at, "--any-workload")
    answer.must_be_whole()
    assert answer.status == 3


def test_the_time_is_now_by_default(appraise):
    answer = appraise(*TDX[:-2], "--any-workload")
    verified_at = datetime.fromisoformat(answer.record["claims"]["verified_at"])
    assert abs((datetime.now(UTC) - verified_at).total_seconds()) < 60
    assert (answer.status, "tdx.tcb-info.window" in answer.failed) == (3, True)


# The report data.


TDX_DATA = (
    "0001d579ba6e734a1046feb6112f852df5f4f1e44a4e7ce1755ce3b07bd6aaab04e89ca01fdf4956d2f609c2709731cb813a"
    "0000000000000000000000000000"
)


@pytest.mark.parametrize("given", [TDX_DATA, TDX_DATA.upper(), TDX_DATA.rstrip("0")])
def test_report_data_as_expected(appraise, given):
    answer = appraise(*TDX, "--any-workload", "--report-data", given)
    assert (answer.status, outcome(answer, "binding.report-data")) == (0, "passed")


@pytest.mark.parametrize("given", ["00", TDX_DATA[:-2] + "01", TDX_DATA[2:], "ff" * 64])
def test_other_report_data_is_refused(appraise, given):
    answer = appraise(*TDX, "--any-workload", "--report-data", given)
    assert (answer.status, answer.failed) == (3, {"binding.report-data"})


@pytest.mark.parametrize("given", ["", "0", "xyz", "00 00", "00" * 65, "0x00"])
def test_what_is_no_report_data_is_a_fault_of_usage(appraise, given):
    answer = appraise(*TDX, "--any-workload", "--report-data", given)
    assert answer.status == 2
    assert "is not 1 to 64 bytes in hexadecimal" in answer.err


# What cannot be read, and what cannot be meant.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[snp", "not TOML"),
        ("a = " + "[" * 100_000, "not TOML"),
        ("a = " + "1" * 10_000, "not TOML"),
        ("[snpp]\n", "unknown field `snpp`"),
        ("snp = 5\n", "snp"),
        ("snp = []\n", "snp"),
        ('[snp]\nmeasurement = ["00"]\n', "unknown field `measurement`"),
        ('[snp]\nmeasurements = ["00"]\n', "is not 96 lower-case hexadecimal digits"),
        ('[snp]\nmeasurements = "x"\n', "measurements"),
        ("#" * ((1 << 20) + 1), "at most"),
    ],
    ids=lambda value: value[:24],
)
def test_a_policy_that_cannot_be_applied_is_an_error(appraise, policy, text, said):
    answer = appraise(*SNP, *AT, *policy(text))
    assert answer.status == 2
    assert said in answer.err
    assert json.loads(answer.out)["error"]["exit_status"] == 2


def test_a_policy_may_be_a_stewards_whole_and_marked_as_text(appraise, tmp_path):
    text = (
        f'[ca]\ntrust_domain = "a"\n[log]\npublic = true\n[collateral]\nendorsements = "store"\n'
        f'[snp]\nmeasurements = ["{MILAN_MEASUREMENT}"]\nrevocation = "prefer"\nnames = ["a"]\n'
        f'[[grant]]\nkind = "snp"\nnames = ["b"]\n'
    )
    (tmp_path / "policy").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert appraise(*SNP, *AT, "--policy", tmp_path / "policy").status == 0


def test_packages_that_a_steward_denies_are_not_left_out_unsaid(appraise, policy):
    answer = appraise(*SNP, *AT, *policy(f'[snp]\nany_workload = true\n[packages]\ndeny = ["sha256:{"ab" * 32}"]\n'))
    assert (answer.status, "[packages] is applied by a Steward alone" in answer.err) == (2, True)


def test_a_policy_that_is_not_text(appraise, tmp_path):
    (tmp_path / "policy").write_bytes(b"\xff\xfe\0")
    assert appraise(*SNP, *AT, "--policy", tmp_path / "policy").status == 2


def test_what_is_not_there_is_a_fault_of_usage(appraise, tmp_path):
    nowhere = tmp_path / "nowhere"
    for words in (
        (nowhere, *SNP[1:]),
        (tmp_path, *SNP[1:]),
        (*SNP[:-1], nowhere),
        (*SNP[:-1], MILAN / "report.bin"),
        (*SNP, "--policy", nowhere),
        (*SNP, "--policy", tmp_path),
    ):
        answer = appraise(*words, *AT)
        assert answer.status == 2, words
        assert "internal error" not in answer.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_a_fault_of_usage(appraise, copy_of):
    place = copy_of("snp/milan-v3-azure")
    (place / "vcek.der").chmod(0)
    assert appraise(*SNP[:-1], place, *AT).status == 2
    (place / "report.bin").chmod(0)
    assert appraise(place / "report.bin", *SNP[1:], *AT).status == 2


@pytest.mark.parametrize("kind", ["", "sev", "SNP", "az_snp", "tpm"])
def test_an_unknown_kind_is_a_fault_of_usage(appraise, kind):
    answer = appraise(SNP[0], "--kind", kind, *SNP[3:], *AT)
    assert answer.status == 2
    assert "known kinds: az-snp, cca, kvm, nil, nitro, sgx, snp, tdx" in answer.err


def test_the_kind_is_never_guessed(appraise):
    answer = appraise(SNP[0], *SNP[3:], *AT)
    assert answer.status == 2
    assert "--kind" in answer.err


def test_revocation_means_nothing_to_a_kind_without_lists(appraise):
    place = VECTORS / "nitro" / "proper-2021"
    answer = appraise(place / "doc.cose", "--kind", "nitro", "--any-workload", "--revocation", "off")
    assert answer.status == 2
    assert "revocation" in answer.err


# What people read.


def test_people_read_the_verdict_then_what_failed_and_what_to_do(capsys):
    assert main(["appraise", *map(str, (*SNP, *AT)), "--any-workload"]) == 3
    out, err = capsys.readouterr()
    first, *rest = out.splitlines()
    assert first.startswith(f"REFUSED: snp evidence in {MILAN / 'report.bin'}, status Verified, at 2026-03-01T00:00:00")
    assert any(line.startswith("snp.policy.revocation ") and "current revocation list" in line for line in rest)
    assert "snp.report.signature" not in out
    assert err.splitlines()[0].endswith("is refused: snp.policy.revocation")


def test_explain_shows_every_check_with_its_reference(capsys):
    assert main(["appraise", *map(str, (*SNP, *AT)), "--any-workload", "--revocation", "prefer", "--explain"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("accepted: ")
    for line in (
        "passed   snp.report.signature",
        "skipped  snp.policy.workload",
        "AMD 56860 (SEV-SNP ABI), section 7.3",
    ):
        assert line in out
