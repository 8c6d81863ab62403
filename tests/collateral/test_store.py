"""What a store answers with, what it refuses, and what it survives; on the vendors' own certificates and statements."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from base64 import encodebytes
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx_attestation import VENDOR_ANCHORS, Collateral, Evidence, parse, verify
from enarx_collateral import DamagedStore, Item, MissingCollateral, RefusedCollateral, Store
from enarx_collateral.directory import offers

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"
MILAN, MILAN_AT = "snp/milan-v2-enarx-csr", datetime(2022, 12, 1, tzinfo=UTC)
TDX, TDX_AT = "tdx/near-v4-uptodate", datetime(2025, 10, 1, tzinfo=UTC)
SGX, SGX_AT = "sgx/phala-nonserver-cfg-swhard", datetime(2025, 7, 1, tzinfo=UTC)
OTHER_TDX, OTHER_TDX_AT = "tdx/phala-v4-uptodate", datetime(2025, 7, 1, tzinfo=UTC)

quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def files_of(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((VECTORS / name).iterdir())}


def evidence_of(name: str) -> Evidence:
    files = files_of(name)
    raw = next(files[key] for key in ("report.bin", "quote.bin", "token.cbor", "doc.cose") if key in files)
    return parse(raw, name.partition("/")[0])


def fill(store: Store, name: str) -> list[tuple[Item, str]]:
    return [store.put(offer.kind, offer.data, chain=offer.chain, role=offer.role) for offer in offers(files_of(name))]


def files_below(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "at"), [(MILAN, MILAN_AT), (TDX, TDX_AT), (SGX, SGX_AT), ("tdx/v5-td15-uptodate", None)]
)
def test_evidence_is_verified_with_what_the_store_gives(store: Store, name: str, at: datetime | None) -> None:
    moment = at or datetime.fromisoformat(json.loads(files_of(name)["meta.json"])["key_fields"]["T"])
    fill(store, name)
    evidence = evidence_of(name)
    claims = verify(evidence, store.find(evidence, moment), VENDOR_ANCHORS, moment)
    assert [check.id for check in claims.checks if not check.ok] == []
    assert claims.valid_until is not None
    assert claims.valid_until > moment


def test_a_platform_of_azure(store: Store) -> None:
    fill(store, "snp/azure-vtpm-evidence-v1")
    evidence = parse(files_of("snp/azure-vtpm-evidence-v1")["evidence.json"], "az-snp")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    found = store.find(evidence, at, revocation="off")
    assert verify(evidence, found, VENDOR_ANCHORS, at).verified


@pytest.mark.parametrize("kind", ["nil", "kvm", "nitro"])
def test_kinds_that_need_nothing(store: Store, kind: str) -> None:
    assert store.find(Evidence(kind=kind, raw=b""), MILAN_AT) == Collateral()
    assert not store.directory.exists()


def test_the_key_of_a_cca_platform_is_the_one_that_signed(store: Store) -> None:
    evidence = evidence_of("cca/tf-rmm-token")
    with pytest.raises(MissingCollateral, match="CCA platform"):
        store.find(evidence, MILAN_AT)
    fill(store, "cca/tf-rmm-token")
    found = store.find(evidence, MILAN_AT)
    assert len(found.platform_key_sha256) == 64  # type: ignore[attr-defined]  # it is CCA's


def test_what_is_missing_is_named_with_the_command_that_fetches_it(store: Store) -> None:
    with pytest.raises(MissingCollateral) as missing:
        store.find(evidence_of("snp/turin-v5-fmc"), datetime(2026, 3, 1, tzinfo=UTC))
    assert str(missing.value) == "VCEK of turin chip 59790fb1c39f35c1 at fmc1.bl1.tee1.snp4.ucode81 is missing"
    assert missing.value.hint == (
        "enarx-deploy collateral fetch --product turin --chip 59790fb1c39f35c1 --tcb fmc1.bl1.tee1.snp4.ucode81"
    )
    with pytest.raises(MissingCollateral) as missing:
        store.find(evidence_of(TDX), TDX_AT)
    assert len(missing.value.reasons) == 4
    assert missing.value.hint == "enarx-deploy collateral fetch --fmspc 20a06f000000 --tee tdx --ca platform"


@pytest.mark.parametrize(("at", "word"), [("2025-12-01", "ended"), ("2025-08-01", "begins")])
def test_what_is_stale_is_missing(store: Store, at: str, word: str) -> None:
    fill(store, TDX)
    with pytest.raises(MissingCollateral) as missing:
        store.find(evidence_of(TDX), datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert f"TCB info of tdx for FMSPC 20a06f000000 {word} at" in str(missing.value)


def test_a_revocation_list_is_needed_unless_named_off(store: Store) -> None:
    fill(store, "snp/milan-v3-azure")
    evidence, at = evidence_of("snp/milan-v3-azure"), datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(MissingCollateral, match="revocation list of milan") as missing:
        store.find(evidence, at)
    assert missing.value.hint == "enarx-deploy collateral fetch --product milan"
    assert verify(evidence, store.find(evidence, at, revocation="off"), VENDOR_ANCHORS, at).verified


def test_a_report_that_no_key_signed(store: Store) -> None:
    data = bytearray(files_of(MILAN)["report.bin"])
    data[0x48] = 7 << 2
    with pytest.raises(MissingCollateral, match="no key signed"):
        store.find(parse(bytes(data), "snp"), MILAN_AT)


def test_only_the_item_that_was_asked_for_is_found(store: Store) -> None:
    fill(store, SGX)
    fill(store, OTHER_TDX)
    assert store.entry(Item("tcb-info", ("tdx", "20a06f000000"))) is None
    with pytest.raises(MissingCollateral):
        store.find(evidence_of(TDX), OTHER_TDX_AT)


@pytest.mark.parametrize("name", ["snp/forged-root-amd-names", "snp/milan-wrong-vcek-legacy-hwid"])
def test_nothing_forged_enters(store: Store, name: str) -> None:
    refused = 0
    for offer in offers(files_of(name)):
        try:
            store.put(offer.kind, offer.data, chain=offer.chain)
        except RefusedCollateral:
            refused += 1
    assert refused
    assert {item.kind for item in store.items()} <= {"amd-chain"}


def test_a_revoked_intermediate_is_no_issuer(store: Store) -> None:
    with pytest.raises(RefusedCollateral):
        store.put("amd-chain", _pem(files_of("snp/genoa-revoked-ask")["ask_0x20001.der"]))


def _pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + encodebytes(der) + f"-----END {label}-----\n".encode()


def test_the_store_never_goes_back(store: Store) -> None:
    """Two genuine issues of Intel's QE identity, and of the list of its CA, of July and October 2025."""
    fill(store, OTHER_TDX)
    older = store.entry(Item("qe-identity", ("tdx",)))
    assert ("qe-identity", "stored") in {(item.kind, outcome) for item, outcome in fill(store, TDX)}
    newer = store.entry(Item("qe-identity", ("tdx",)))
    assert older is not None
    assert newer is not None
    assert newer.not_before > older.not_before
    again = {item.kind: outcome for item, outcome in fill(store, OTHER_TDX)}
    assert again["qe-identity"] == "older"
    assert again["pck-crl"] == "older"
    assert store.entry(Item("qe-identity", ("tdx",))) == newer


def test_the_store_goes_back_no_more_where_the_newer_bytes_are_lost(store: Store) -> None:
    fill(store, TDX)
    for path in files_below(store.directory / "blobs"):
        path.write_bytes(b"damaged")
    again = {item.kind: outcome for item, outcome in fill(store, OTHER_TDX)}
    assert (again["qe-identity"], again["pck-crl"]) == ("older", "older")
    assert {item.kind: outcome for item, outcome in fill(store, TDX)}["pck-crl"] == "stored"


def test_the_same_item_in_another_form_is_the_same(store: Store) -> None:
    files = files_of(MILAN)
    fill(store, MILAN)
    armoured = {
        "vcek.pem": _pem(files["vcek.der"]) + files["ca_chain.pem"],
        "crl.pem": _pem(files["crl_milan.der"], "X509 CRL"),
    }
    outcomes = [store.put(offer.kind, offer.data) for offer in offers(armoured)]
    assert {(item.kind, outcome) for item, outcome in outcomes} == {("vcek", "same"), ("amd-crl", "same")}


def test_what_is_there_is_not_written_again(store: Store) -> None:
    fill(store, TDX)
    before = {path: path.stat().st_mtime_ns for path in files_below(store.directory)}
    assert {outcome for _, outcome in fill(store, TDX)} == {"same"}
    assert {path: path.stat().st_mtime_ns for path in files_below(store.directory)} == before


def test_nobody_else_can_reach_it(store: Store) -> None:
    fill(store, TDX)
    for path in (store.directory, *store.directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_directory_that_others_can_write_to_is_refused(store: Store) -> None:
    store.directory.mkdir(mode=0o700)
    store.directory.chmod(0o777)
    with pytest.raises(DamagedStore, match="others can write"):
        fill(store, TDX)


def test_a_second_search_reads_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, TDX)
    fill(store, MILAN)
    cases = [(evidence_of(TDX), TDX_AT), (evidence_of(MILAN), MILAN_AT)]
    first = [store.find(*case) for case in cases]
    monkeypatch.setattr("os.open", _no_more)
    second = [store.find(*case) for case in cases]
    assert second == first
    assert second[0] is first[0]


def _no_more(*_: object, **__: object) -> int:
    raise AssertionError("a file was opened")


def test_one_file_under_two_names_is_each_items_own_or_damaged(store: Store) -> None:
    fill(store, TDX)
    (own,) = store.items("tcb-info", "tdx")
    assert store.entry(own) is not None
    other = Item("tcb-info", ("tdx", "00" * 6))
    os.link(store.directory / "entries" / own.path, store.directory / "entries" / other.path)
    assert store.entry(own) is not None
    with pytest.raises(DamagedStore, match="speaks of another item"):
        store.entry(other)


def test_what_another_process_wrote_is_seen(store: Store) -> None:
    fill(store, OTHER_TDX)
    evidence = evidence_of(OTHER_TDX)
    old = store.find(evidence, OTHER_TDX_AT)
    fill(Store(store.directory), TDX)
    Store(store.directory).sweep()
    with pytest.raises(MissingCollateral, match="QE identity of tdx begins at"):
        store.find(evidence, OTHER_TDX_AT)
    assert old is not None


@pytest.mark.parametrize("part", ["blobs", "entries"])
def test_damage_is_named_and_healed_by_storing_anew(store: Store, part: str) -> None:
    fill(store, MILAN)
    for path in files_below(store.directory / part):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(MissingCollateral, match="damaged") as missing:
        Store(store.directory).find(evidence_of(MILAN), MILAN_AT)
    assert "fetch anew" in missing.value.hint
    assert "stored" in {outcome for _, outcome in fill(store, MILAN)}
    assert Store(store.directory).find(evidence_of(MILAN), MILAN_AT)


def test_a_lost_blob_is_missing_collateral(store: Store) -> None:
    fill(store, MILAN)
    for path in files_below(store.directory / "blobs"):
        path.unlink()
    with pytest.raises(MissingCollateral, match="lost"):
        store.find(evidence_of(MILAN), MILAN_AT)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_not_read(store: Store, make: Callable[[Path], None]) -> None:
    fill(store, MILAN)
    for path in files_below(store.directory / "blobs"):
        path.unlink()
        make(path)
    with pytest.raises(MissingCollateral):
        store.find(evidence_of(MILAN), MILAN_AT)


def test_sweep_removes_what_nobody_needs_and_nothing_else(store: Store) -> None:
    fill(store, OTHER_TDX)
    fill(store, TDX)
    (store.directory / "new" / "left").write_bytes(b"half")
    count = len(files_below(store.directory / "blobs"))
    store.sweep()
    assert not files_below(store.directory / "new")
    assert len(files_below(store.directory / "blobs")) < count
    assert Store(store.directory).find(evidence_of(TDX), TDX_AT)
    assert all(store.holds(entry) for item in store.items() if (entry := store.entry(item)))


@quick
@given(data=st.binary(max_size=400) | st.sampled_from([b"{}", b"[]", b"null", b"[" * 5000]))
def test_an_entry_of_any_bytes_is_damaged(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = Store(tmp_path_factory.mktemp("any") / "store")
    fill(store, MILAN)
    for path in files_below(store.directory / "entries"):
        path.write_bytes(data)
    with pytest.raises(DamagedStore):
        store.entry(store.items()[0])
    with pytest.raises(MissingCollateral):
        store.find(evidence_of(MILAN), MILAN_AT)


@pytest.mark.parametrize(
    "changes", [{"sha256": "../lock"}, {"size": -1}, {"not_after": "2030-01-01T00:00:00"}, {"order": []}, {"item": {}}]
)
def test_entries_that_are_none(store: Store, changes: dict[str, object]) -> None:
    fill(store, MILAN)
    for path in files_below(store.directory / "entries"):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(MissingCollateral):
        store.find(evidence_of(MILAN), MILAN_AT)
    assert "stored" in {outcome for _, outcome in fill(store, MILAN)}


@quick
@given(position=st.integers(0, 300), byte=st.integers(0, 255))
def test_a_changed_byte_of_an_entry_never_gives_other_collateral(
    tmp_path_factory: pytest.TempPathFactory, position: int, byte: int
) -> None:
    store = Store(tmp_path_factory.mktemp("byte") / "store")
    fill(store, MILAN)
    good = store.find(evidence_of(MILAN), MILAN_AT)
    for path in files_below(store.directory / "entries"):
        data = bytearray(path.read_bytes())
        data[position % len(data)] = byte
        path.write_bytes(bytes(data))
    try:
        found = Store(store.directory).find(evidence_of(MILAN), MILAN_AT)
    except MissingCollateral:
        return
    assert found == good


@quick
@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=4))
def test_no_name_leads_out_of_the_store(kind: str, key: list[str]) -> None:
    try:
        path = Path(Item(kind, tuple(key)).path)
    except ValueError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts


@pytest.mark.parametrize("key", [("..", "x"), ("sgx", "../../x"), ("sgx", "a/b"), ("sgx", ""), ("sgx", ".x")])
def test_names_that_are_none(key: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="names no collateral"):
        Item("tcb-info", key)


WRITER = """
import sys
from pathlib import Path
from enarx_collateral import Store
from enarx_collateral.directory import offers

store = Store(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for name in sys.argv[2:]:
        files = {path.name: path.read_bytes() for path in Path(name).iterdir()}
        for offer in offers(files):
            item, _ = store.put(offer.kind, offer.data, chain=offer.chain)
            (store.directory / "entries" / item.path).unlink()
    store.sweep()
"""
"""Writes for ever; it removes entries so that everything is always written anew."""


def start_writer(store: Store, *names: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(store.directory), *(str(VECTORS / name) for name in names)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def assert_whole(store: Store) -> None:
    """Every entry can be read, and everything that it names is there."""
    for item in store.items():
        entry = store.entry(item)
        assert entry is None or store.holds(entry)


@pytest.mark.parametrize("delay", [0.01, 0.05, 0.11, 0.17, 0.23])
def test_a_writer_that_is_killed_leaves_nothing_half(store: Store, delay: float) -> None:
    process = start_writer(store, TDX, MILAN)
    threading.Event().wait(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert_whole(Store(store.directory))
    fill(store, TDX)
    store.sweep()
    assert Store(store.directory).find(evidence_of(TDX), TDX_AT)
    assert not files_below(store.directory / "new")


KEEPER = """
import sys
from pathlib import Path
from enarx_collateral import Store
from enarx_collateral.directory import offers

store = Store(Path(sys.argv[1]))
for _ in range(8):
    for name in sys.argv[2:]:
        files = {path.name: path.read_bytes() for path in Path(name).iterdir()}
        for offer in offers(files):
            store.put(offer.kind, offer.data, chain=offer.chain)
    store.sweep()
"""


def test_several_that_write_at_once_lose_nothing(store: Store) -> None:
    orders = [[OTHER_TDX, TDX, MILAN], [TDX, MILAN, OTHER_TDX], [MILAN, OTHER_TDX, TDX]]
    words = [[sys.executable, "-c", KEEPER, str(store.directory), *(str(VECTORS / n) for n in o)] for o in orders]
    writers = [subprocess.Popen(one) for one in words]
    while any(writer.poll() is None for writer in writers):
        assert_whole(Store(store.directory))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert Store(store.directory).find(evidence_of(TDX), TDX_AT)
    assert Store(store.directory).find(evidence_of(MILAN), MILAN_AT)
    newest = Store(store.directory.with_name("alone"))
    fill(newest, TDX)
    item = Item("qe-identity", ("tdx",))
    assert store.entry(item) == newest.entry(item)
