"""`enarx-deploy collateral`, as a process of its own, on the vendors' certificates and statements."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Play, Vendor

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"
MILAN = VECTORS / "snp/milan-v3-azure"
TDX = VECTORS / "tdx/near-v4-uptodate"
TDX_AT = "2025-10-01T07:03:51Z"
CHIP = (MILAN / "report.bin").read_bytes()[0x1A0:0x1E0].hex()
VCEK = f"/vcek/v1/Milan/{CHIP}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"

Command = Callable[..., Any]


UNREACHABLE = "http://localhost:9"
"""A proxy that nobody runs: what a test asks of a vendor by mistake goes nowhere."""


@pytest.fixture
def collateral(enarx_deploy: Any, tmp_path: Path) -> Command:
    """Run `enarx-deploy collateral` on a store of the test's own."""

    def run(*words: object, store: str = "store", **options: Any) -> Any:
        place = {
            "ENARX_DEPLOY_COLLATERAL_STORE": str(tmp_path / store),
            "HTTPS_PROXY": UNREACHABLE,
            "NO_PROXY": "localhost",
        }
        return enarx_deploy("collateral", *map(str, words), env=place, **options)

    return run


def test_without_a_network(collateral: Command, enarx_deploy: Any, tmp_path: Path) -> None:
    """Import, export, carry, import, appraise: the way of the how-to."""
    assert collateral("import", TDX).returncode == 0
    archive = tmp_path / "collateral.tar"
    exported = collateral("export", archive)
    assert exported.stdout.startswith(f"{archive}: 4 items, ")
    imported = collateral("import", archive, store="other")
    assert imported.stdout == "4 items are there\n"
    assert "QE identity of tdx: stored" in imported.stderr
    again = collateral("export", tmp_path / "again.tar", store="other")
    assert again.returncode == 0
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    shown = collateral("show", "--evidence", TDX / "quote.bin", "--at", TDX_AT, store="other")
    assert shown.returncode == 0
    assert "TCB info of tdx for FMSPC 20a06f000000" in shown.stdout
    words = ("--kind", "tdx", "--any-workload", "--at", TDX_AT, "--collateral", "--store", str(tmp_path / "other"))
    appraised = enarx_deploy("appraise", str(TDX / "quote.bin"), *words)
    assert appraised.returncode == 0, appraised.stderr
    assert appraised.stdout.startswith("accepted: tdx evidence")


def test_what_is_there_and_what_is_missing(collateral: Command) -> None:
    collateral("import", TDX)
    shown = collateral("show", "--at", "2025-12-01")
    assert shown.returncode == 0
    head, *rows = shown.stdout.splitlines()
    assert head.split() == ["ITEM", "FROM", "UNTIL", "(UTC)", "STATE"]
    assert [row.split()[-1] for row in rows] == ["STALE", "STALE", "valid", "STALE"]
    missing = collateral("show", "--json", "--evidence", TDX / "quote.bin", "--at", "2025-12-01")
    assert missing.returncode == 1
    assert "hint: enarx-deploy collateral fetch --fmspc 20a06f000000 --tee tdx --ca platform" in missing.stderr
    record = json.loads(missing.stdout)
    assert len(record["missing"]) == 3
    assert {entry["entry"]["item"]["kind"] for entry in record["entries"]} == {
        "pck-crl",
        "qe-identity",
        "root-crl",
        "tcb-info",
    }


def test_an_empty_store(collateral: Command, tmp_path: Path) -> None:
    assert collateral("show").stdout.startswith("the store is empty: `enarx-deploy collateral fetch`")
    exported = collateral("export", tmp_path / "x.tar")
    assert exported.returncode == 1
    assert "the store is empty" in exported.stderr
    assert not (tmp_path / "x.tar").exists()


def test_appraise_says_what_to_fetch(enarx_deploy: Any, tmp_path: Path) -> None:
    words = ("--kind", "snp", "--any-workload", "--at", "2026-03-01", "--collateral", "--store", str(tmp_path / "none"))
    appraised = enarx_deploy("appraise", "--json", str(MILAN / "report.bin"), *words)
    assert appraised.returncode == 3
    (check,) = json.loads(appraised.stdout)["checks"]
    assert check["id"] == "collateral.malformed"
    assert (
        f"enarx-deploy collateral fetch --product milan --chip {CHIP} --tcb bl4.tee0.snp24.ucode219" in check["actual"]
    )
    assert "enarx-deploy collateral fetch --product milan" in appraised.stderr


def test_appraise_takes_endorsements_from_one_place(enarx_deploy: Any) -> None:
    words = ("--kind", "snp", "--any-workload", "--collateral", "--endorsements", str(MILAN))
    ended = enarx_deploy("appraise", str(MILAN / "report.bin"), *words)
    assert ended.returncode == 2
    assert "exclude each other" in ended.stderr


def test_a_policy_that_names_revocation_off_needs_no_list(
    collateral: Command, enarx_deploy: Any, tmp_path: Path
) -> None:
    collateral("import", MILAN)
    words = (
        "--kind",
        "snp",
        "--any-workload",
        "--at",
        "2026-03-01",
        "--collateral",
        "--store",
        str(tmp_path / "store"),
    )
    assert enarx_deploy("appraise", str(MILAN / "report.bin"), *words).returncode == 3
    assert enarx_deploy("appraise", str(MILAN / "report.bin"), *words, "--revocation", "off").returncode == 0


def test_import_stores_what_is_good_and_names_what_is_not(collateral: Command, tmp_path: Path) -> None:
    place = tmp_path / "brought"
    shutil.copytree(VECTORS / "snp/forged-root-amd-names", place)
    shutil.copy(MILAN / "ca_chain.pem", place)
    brought = collateral("import", "--json", place)
    assert brought.returncode == 3
    record = json.loads(brought.stdout)
    assert record["ok"] is False
    assert {item["origin"]: item["state"] for item in record["items"]} == {
        "ca_chain.pem": "stored",
        "vcek.der": "refused",
    }
    assert "not issued by a pinned intermediate" in brought.stderr


def test_a_file_that_is_no_archive_is_named(collateral: Command) -> None:
    ended = collateral("import", MILAN / "report.bin")
    assert ended.returncode == 3
    assert f"{MILAN / 'report.bin'}: not a tar archive" in ended.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("import", "/nowhere"), "neither a file nor a directory"),
        (("import", str(VECTORS / "roots")), "holds no collateral"),
        (("fetch",), "nothing to fetch is named"),
        (("fetch", "--product", "milan", "--tcb", "bl4"), "--chip and --tcb go together"),
        (("fetch", "--fmspc", "00"), "--fmspc needs --tee"),
        (("fetch", "--fmspc", "00/../00aaaa", "--tee", "sgx"), "not 6 bytes in hexadecimal"),
        (("fetch", "--product", "rome"), "no product line: genoa, milan, turin"),
        (("fetch", "--product", "milan", "--chip", "00", "--tcb", "bl4.tee0.snp24.ucode219"), "64 bytes"),
        (("fetch", "--product", "milan", "--chip", "00" * 64, "--tcb", "bl4"), "no TCB of milan"),
        (("fetch", "--mirror-ca", "x", "--refresh"), "--mirror-ca is about a mirror"),
        (("fetch", str(TDX / "collateral.json")), "not clear"),
        (("fetch", str(VECTORS / "cca/tf-rmm-token/token.cbor")), "no vendor gives anything"),
    ],
)
def test_wrong_usage(collateral: Command, words: tuple[str, ...], reason: str) -> None:
    ended = collateral(*words)
    assert ended.returncode == 2, ended.stderr
    assert reason in ended.stderr
    assert "hint: " in ended.stderr


def test_a_mirror_is_of_https(collateral: Command) -> None:
    ended = collateral("fetch", "--product", "milan", "--mirror", "http://pccs.example.org")
    assert ended.returncode == 1
    assert "is not the address of a mirror" in ended.stderr


def test_a_hostile_archive_is_refused(collateral: Command, tmp_path: Path) -> None:
    (tmp_path / "hostile.tar").write_bytes(b"\1" * 10240)
    ended = collateral("import", tmp_path / "hostile.tar")
    assert ended.returncode == 3
    assert "not a tar archive" in ended.stderr


def test_where_there_is_no_network(collateral: Command) -> None:
    ended = collateral("fetch", "--ca", "platform")
    assert ended.returncode == 1
    assert "trying again" in ended.stderr
    assert "2 of 2 items could not be had: https://api.trustedservices.intel.com/" in ended.stderr
    assert "fetch on another network and import" in ended.stderr


@pytest.fixture
def milan(vendor: Vendor, play: type[Play]) -> tuple[str, ...]:
    """A mirror that has what AMD has for one machine, but its revocation list; the options that name it."""
    vendor.plays |= {
        VCEK: [play(status=429), play((MILAN / "vcek.der").read_bytes())],
        "/vcek/v1/Milan/cert_chain": [play((MILAN / "ca_chain.pem").read_bytes())],
    }
    return "--mirror", vendor.url, "--mirror-ca", str(vendor.ca_file)


def test_fetch_tells_of_each_item(collateral: Command, vendor: Vendor, milan: tuple[str, ...]) -> None:
    fetched = collateral("fetch", MILAN / "report.bin", "--kind", "snp", *milan)
    assert fetched.returncode == 1
    lines = fetched.stderr.splitlines()
    assert lines[0].startswith("localhost: answered 429 Too Many Requests; trying again in ")
    assert lines[1].startswith(
        "VCEK of milan chip 4ffb5cb4fd594f3f… at bl4.tee0.snp24.ucode219: stored, until 2033-02-05"
    )
    assert lines[2].startswith("VCEK issuers of milan: stored, until 2045")
    assert "does not have it (404)" in lines[3]
    assert "1 of 3 items could not be had" in lines[4]
    again = collateral("fetch", "--json", MILAN / "report.bin", *milan)
    assert [item["state"] for item in json.loads(again.stdout)["items"]] == ["current", "current", "failed"]
    assert vendor.asked.count(VCEK) == 2


def test_the_command_of_a_hint_fetches_the_key(collateral: Command, milan: tuple[str, ...]) -> None:
    shown = collateral("show", "--evidence", MILAN / "report.bin")
    (hint,) = [line for line in shown.stderr.splitlines() if line.startswith("  hint: ")]
    words = hint.removeprefix("  hint: enarx-deploy collateral ").split()
    fetched = collateral(*words, "--json", *milan)
    assert [item["state"] for item in json.loads(fetched.stdout)["items"]] == ["stored", "stored", "failed"]


def test_a_refresh_asks_for_what_ends(collateral: Command, vendor: Vendor, milan: tuple[str, ...]) -> None:
    collateral("import", TDX)
    collateral("import", MILAN)
    refreshed = collateral("fetch", "--refresh", *milan)
    assert refreshed.returncode == 1
    assert vendor.asked == [
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "/tdx/certification/v4/qe/identity",
        "/sgx/certification/v4/rootcacrl",
        "/tdx/certification/v4/tcb?fmspc=20A06F000000",
    ]


def test_the_store_is_in_the_state_directory_if_nothing_else_is_said(enarx_deploy: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    enarx_deploy("collateral", "import", str(MILAN), env={"ENARX_DEPLOY_STATE_DIR": str(state)})
    assert (state / "collateral" / "entries" / "vcek" / "milan").is_dir()
