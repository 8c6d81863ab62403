"""A machine's patch level, held to collateral: AMD's and Intel's own, and machines laid out as file trees.

No such machine was asked: the firmware's answers are written after its specification, the quotes are others'.
"""

from __future__ import annotations

import ctypes
import errno
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from enarx_collateral import Store
from enarx_collateral.directory import offers
from enarx_deploy.machine import Machine, patch_level
from enarx_deploy.models import ProbeCheck

VECTORS = Path(__file__).parents[1] / "attestation/vectors"
MILAN = VECTORS / "snp/milan-v3-azure"
REPORTED = {"bl": 4, "tee": 0, "snp": 24, "ucode": 219}
CPUINFO = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7763\n\n"
GET_ID2, SNP_PLATFORM_STATUS = 8, 9


def raw(level: dict[str, int]) -> bytes:
    """A TCB_VERSION of Milan's (AMD 56860, table 3)."""
    return bytes([level["bl"], level["tee"], 0, 0, 0, 0, level["snp"], level["ucode"]])


def host(root: Path, chip: bytes, *, level: dict[str, int] = REPORTED, vlek: bool = False, sockets: int = 1) -> Machine:
    """A host whose firmware answers both questions; to the second only with room for each socket."""
    (root / "dev").mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "dev/sev").touch()
    (root / "proc/cpuinfo").write_text(CPUINFO)

    def ioctl(_descriptor: int, _request: int, command: bytearray) -> int:
        number, address, _ = struct.unpack("=IQI", command)
        if number == SNP_PLATFORM_STATUS:
            answer = struct.pack("<BBBBIII8s8s", 1, 55, 1, 1, 30, vlek << 2, 2, raw(level), raw(level))
        else:
            assert number == GET_ID2
            address, room = struct.unpack("=QI", ctypes.string_at(address, 12))
            answer = (chip + bytes(64 * (sockets - 1)))[: 64 * sockets]
            if not chip or room != len(answer):
                raise OSError(errno.EIO, "firmware says no")
        ctypes.memmove(address, answer, len(answer))
        return 0

    return Machine(root, ioctl=ioctl)


@pytest.fixture
def chip() -> bytes:
    """The chip of AMD's certificate."""
    return bytes.fromhex(json.loads((MILAN / "meta.json").read_text())["key_fields"]["chip_id"])


def filled(directory: Path, vector: Path) -> Store:
    """A store with what lies beside a piece of evidence."""
    store = Store(directory)
    names = ("vcek.der", "ca_chain.pem", "collateral.json")
    for offer in offers({name: (vector / name).read_bytes() for name in names if (vector / name).exists()}):
        store.put(offer.kind, offer.data, chain=offer.chain, role=offer.role)
    return store


def told(checks: Any) -> dict[str, ProbeCheck]:
    found = {check.name: check for check in checks}
    assert all(check.detail and (check.ok or check.hint) for check in found.values())
    return found


@pytest.mark.parametrize("sockets", [1, 2])
def test_a_level_whose_key_the_store_has_is_endorsed(tmp_path, chip, sockets):
    machine = host(tmp_path / "root", chip, sockets=sockets)
    found = told(patch_level.snp(machine, filled(tmp_path / "store", MILAN), {"milan": REPORTED}))
    assert {name: check.ok for name, check in found.items()} == {
        "TCB endorsed": True,
        "TCB newest": True,
        "TCB minimum": True,
    }
    assert "bl 4 tee 0 snp 24 ucode 219" in found["TCB endorsed"].detail


def test_a_level_without_a_key_says_how_to_fetch_it(tmp_path, chip):
    machine = host(tmp_path / "root", chip, level=REPORTED | {"ucode": 220})
    found = told(patch_level.snp(machine, filled(tmp_path / "store", MILAN), {}))
    assert not found["TCB endorsed"].ok
    assert "the store has no key of this chip for it" in found["TCB endorsed"].detail
    assert found["TCB endorsed"].hint.startswith("enarx-deploy collateral fetch --product milan")
    assert "bl4.tee0.snp24.ucode220" in found["TCB endorsed"].hint
    assert found["TCB newest"].ok


def test_a_machine_that_went_back_is_found_out_by_the_key_that_it_had(tmp_path, chip):
    machine = host(tmp_path / "root", chip, level=REPORTED | {"snp": 23})
    found = told(patch_level.snp(machine, filled(tmp_path / "store", MILAN), {}))
    assert not found["TCB newest"].ok
    assert "the store has a key of this chip for bl 4 tee 0 snp 24 ucode 219" in found["TCB newest"].detail
    assert "firmware" in found["TCB newest"].hint


def test_a_level_below_what_the_own_steward_asks_for_says_both(tmp_path, chip):
    wanted = REPORTED | {"ucode": 221}
    found = told(patch_level.snp(host(tmp_path / "root", chip), Store(tmp_path / "store"), {"milan": wanted}))
    assert not found["TCB minimum"].ok
    assert "ucode 219; your Steward's policy asks for bl 4 tee 0 snp 24 ucode 221" in found["TCB minimum"].detail
    assert "TCB newest" not in found


def test_a_chip_that_does_not_say_which_it_is_is_told(tmp_path):
    found = told(patch_level.snp(host(tmp_path / "root", b""), Store(tmp_path / "store"), {}))
    assert "does not say which it is" in found["TCB endorsed"].detail


def test_of_keys_that_a_provider_lends_none_is_looked_for(tmp_path, chip):
    machine = host(tmp_path / "root", chip, vlek=True)
    assert list(patch_level.snp(machine, Store(tmp_path / "store"), {})) == []


def test_where_the_firmware_is_silent_nothing_is_said(tmp_path):
    assert list(patch_level.snp(Machine(tmp_path), Store(tmp_path / "store"), {})) == []


@pytest.mark.parametrize(
    ("vector", "at", "ok", "detail"),
    [
        ("tdx/near-v4-uptodate", "2025-10-01T07:03:51Z", True, "UpToDate"),
        ("sgx/enarx-xeon-icelake-outofdate", None, False, "OutOfDate"),
        ("sgx/phala-nonserver-cfg-swhard", None, False, "ConfigurationAndSWHardeningNeeded"),
    ],
)
def test_a_quote_tells_the_level_by_the_tcb_info_of_its_family(tmp_path, vector, at, ok, detail):
    meta = json.loads((VECTORS / vector / "meta.json").read_text())["key_fields"]
    moment = datetime.fromisoformat((at or meta["T"]).replace("Z", "+00:00"))
    store = filled(tmp_path / "store", VECTORS / vector)
    quote = (VECTORS / vector / "quote.bin").read_bytes()
    check = patch_level.by_quote(vector.partition("/")[0], quote, store, moment)
    assert (check.ok, check.detail.split(";")[0]) == (ok, detail)
    assert ok or check.hint
    later = patch_level.by_quote(vector.partition("/")[0], quote, store, moment + timedelta(days=400))
    assert not later.ok
    assert "collateral fetch" in later.hint


def test_a_quote_without_collateral_says_what_to_fetch(tmp_path):
    quote = (VECTORS / "tdx/near-v4-uptodate/quote.bin").read_bytes()
    check = patch_level.by_quote("tdx", quote, Store(tmp_path / "store"), datetime(2025, 10, 1, tzinfo=UTC))
    assert not check.ok
    assert "20a06f000000" in check.detail + check.hint


@pytest.mark.parametrize(
    ("kind", "vector", "why"),
    [
        ("tdx", "sgx/phala-nonserver-cfg-swhard", "TEE type 0x0, not 0x81"),
        ("sgx", "sgx/mut-mrenclave-bitflip", "the quote is not good"),
    ],
    ids=["of-another-kind", "changed"],
)
def test_a_quote_that_is_not_good_tells_no_level(tmp_path, kind, vector, why):
    store = filled(tmp_path / "store", VECTORS / "sgx/phala-nonserver-cfg-swhard")
    quote = (VECTORS / vector / "quote.bin").read_bytes()
    check = patch_level.by_quote(kind, quote, store, datetime(2025, 7, 1, tzinfo=UTC))
    assert not check.ok
    assert why in check.detail
    assert check.hint


def test_platform_takes_a_quote_for_one_kind_and_says_what_is_lacking(enarx_deploy):
    quote = str(VECTORS / "tdx/near-v4-uptodate/quote.bin")
    shown = json.loads(enarx_deploy("platform", "tdx", "--quote", quote, "--json").stdout)
    (check,) = [check for check in shown[0]["checks"] if check["name"] == "TCB level"]
    assert not check["ok"]
    assert "--fmspc 20a06f000000" in check["hint"]
    refused = enarx_deploy("platform", "--quote", quote)
    assert refused.returncode == 2
    assert "of one kind" in refused.stderr
