"""Archives: the same bytes for the same content, all of it checked again, hostile ones refused within bounds."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx_attestation import parse
from enarx_collateral import RefusedArchive, RefusedCollateral, Store
from enarx_collateral.archive import MAX_ARCHIVE, export_archive, read_archive
from enarx_collateral.directory import Offer, offers

VECTORS = Path(__file__).parents[1] / "attestation" / "vectors"
NAMES = ("tdx/near-v4-uptodate", "snp/milan-v2-enarx-csr", "snp/turin-v5-fmc", "cca/tf-rmm-token")
TDX_AT = datetime(2025, 10, 1, tzinfo=UTC)

quick = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def filled(directory: Path, names: Sequence[str] = NAMES) -> Store:
    store = Store(directory)
    for name in names:
        files = {path.name: path.read_bytes() for path in (VECTORS / name).iterdir()}
        take_in(store, list(offers(files)))
    return store


def take_in(store: Store, found: Sequence[Offer]) -> list[str]:
    return [store.put(one.kind, one.data, chain=one.chain, role=one.role)[1] for one in found]


def exported(store: Store) -> bytes:
    buffer = io.BytesIO()
    export_archive(store, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return exported(filled(tmp_path_factory.mktemp("exported") / "store"))


def members(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        found = []
        for member in opened.getmembers():
            file = opened.extractfile(member)
            assert file is not None
            found.append((member, file.read()))
        return found


def packed(parts: Sequence[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as opened:
        for member, data in parts:
            opened.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, data: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in changes.items():
        setattr(made, key, value)
    return made, data


def manifest(*entries: Any, **others: Any) -> tuple[tarfile.TarInfo, bytes]:
    record = {"format": "enarx-collateral/1", "entries": list(entries), **others}
    return member("manifest.json", json.dumps(record).encode())


def test_an_archive_brings_everything_to_another_store(tmp_path: Path, archive: bytes) -> None:
    store = Store(tmp_path / "other")
    found = read_archive(io.BytesIO(archive))
    assert set(take_in(store, found)) == {"stored"}
    assert set(take_in(store, found)) == {"same"}
    assert exported(store) == archive
    evidence = parse((VECTORS / NAMES[0] / "quote.bin").read_bytes())
    assert store.find(evidence, TDX_AT)


def test_equal_stores_give_equal_bytes(tmp_path: Path, archive: bytes) -> None:
    store = filled(tmp_path / "other", tuple(reversed(NAMES)))
    assert exported(store) == archive


def test_an_archive_says_nothing_of_the_machine(archive: bytes) -> None:
    for found, _ in members(archive):
        assert (found.mtime, found.uid, found.gid, found.uname, found.gname) == (0, 0, 0, "", "")
        assert (found.mode, found.type) == (0o600, tarfile.REGTYPE)


def test_the_manifest_names_the_digest_of_each_blob(archive: bytes) -> None:
    (first, text), *blobs = members(archive)
    assert first.name == "manifest.json"
    assert {f"blobs/{hashlib.sha256(data).hexdigest()}" for _, data in blobs} == {found.name for found, _ in blobs}
    named = {entry["sha256"] for entry in json.loads(text)["entries"]}
    assert named <= {found.name.removeprefix("blobs/") for found, _ in blobs}


def test_an_empty_store_is_an_empty_archive(tmp_path: Path) -> None:
    assert read_archive(io.BytesIO(exported(Store(tmp_path / "none")))) == []


def test_what_an_archive_brings_is_verified(tmp_path: Path) -> None:
    """The digests of a forged archive are right, and it is refused item by item."""
    store = Store(tmp_path / "store")
    blob = (VECTORS / "snp/forged-root-amd-names/vcek.der").read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    item = {"kind": "vcek", "key": ["milan", "ab" * 64, "bl4.tee0.snp24.ucode219"]}
    window = {"not_before": "2020-01-01T00:00:00Z", "not_after": "2040-01-01T00:00:00Z"}
    entry = {"item": item, "sha256": digest, "size": len(blob), "order": [1, 1], **window}
    (offer,) = read_archive(io.BytesIO(packed([manifest(entry), member(f"blobs/{digest}", blob)])))
    with pytest.raises(RefusedCollateral):
        store.put(offer.kind, offer.data)
    assert store.items() == []


BLOB = member("blobs/" + hashlib.sha256(b"x").hexdigest(), b"x")
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no tar": lambda: b"x" * 10240,
    "compressed": lambda: gzip.compress(packed([manifest()])),
    "no manifest": lambda: packed([BLOB]),
    "a manifest that is no JSON": lambda: packed([member("manifest.json", b"{")]),
    "a manifest that nests": lambda: packed([member("manifest.json", b"[" * 100_000)]),
    "another format": lambda: packed([manifest(format="enarx-collateral/2")]),
    "an unknown field": lambda: packed([manifest(more=1)]),
    "a blob that nobody names": lambda: packed([manifest(), BLOB]),
    "a blob with another digest": lambda: packed([manifest(), (BLOB[0], b"y")]),
    "a blob twice": lambda: packed([manifest(), BLOB, BLOB]),
    "the manifest twice": lambda: packed([manifest(), manifest()]),
    "a name that leads upward": lambda: packed([manifest(), member("../blobs/" + "0" * 64)]),
    "an absolute name": lambda: packed([manifest(), member("/blobs/" + "0" * 64)]),
    "a symbolic link": lambda: packed([manifest(), member("blobs/x", type=tarfile.SYMTYPE, linkname="/etc/passwd")]),
    "a hard link": lambda: packed([manifest(), member("blobs/x", type=tarfile.LNKTYPE, linkname="manifest.json")]),
    "a device": lambda: packed([manifest(), member("blobs/x", type=tarfile.CHRTYPE, devmajor=1, devminor=5)]),
    "a pipe": lambda: packed([manifest(), member("blobs/x", type=tarfile.FIFOTYPE)]),
    "a directory": lambda: packed([manifest(), member("blobs", type=tarfile.DIRTYPE)]),
    "an extended header": lambda: packed([manifest(), member("blobs/ä" + "0" * 200)], tarfile.PAX_FORMAT),
    "a long name": lambda: packed([manifest(), member("blobs/" + "0" * 200)], tarfile.GNU_FORMAT),
    "a sparse file": lambda: packed([manifest()])[:1024] + sparse_header() + bytes(1024),
    "a size beyond all bounds": lambda: header_of(member("manifest.json")[0], size=8 << 30),
    "a blob that is too large": lambda: packed([manifest()])[:1024] + header_of(BLOB[0], size=(8 << 20) + 1),
    "an end that is missing": lambda: packed([manifest()])[:1024],
    "a member that is cut short": lambda: packed([manifest()])[:700],
    "something behind the end": lambda: packed([manifest()])[:2048] + b"more",
}


def header_of(found: tarfile.TarInfo, size: int) -> bytes:
    found = found.replace(deep=True)
    found.size = size
    return found.tobuf(tarfile.GNU_FORMAT)


def sparse_header() -> bytes:
    found = tarfile.TarInfo("blobs/" + "0" * 64)
    found.type = tarfile.GNUTYPE_SPARSE
    return found.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_with_a_reason(name: str) -> None:
    with pytest.raises(RefusedArchive) as refused:
        read_archive(io.BytesIO(HOSTILE[name]()))
    assert str(refused.value)
    assert refused.value.hint


class Endless(io.RawIOBase):
    """An archive that begins well and never ends: one member after another, each with the next digest in order."""

    def __init__(self, size: int) -> None:
        self.given = 0
        self._size = size
        self._waiting = packed([manifest()])[:1024]
        self._number = 0

    def read(self, size: int = -1) -> bytes:
        while len(self._waiting) < size:
            header = header_of(member(f"blobs/{self._number:064x}")[0], self._size)
            self._waiting += header + bytes(-(-self._size // 512) * 512)
            self._number += 1
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        self.given += len(data)
        return data


@pytest.mark.parametrize("size", [0, 4 << 20])
def test_an_endless_archive_is_given_up(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Even if every blob had its right digest."""
    monkeypatch.setattr("enarx_collateral.archive.hashlib.sha256", RightDigest())
    monkeypatch.setattr("enarx_collateral.archive.MAX_ENTRIES", 1000)  # so that those without bytes come to it soon
    source = Endless(size)
    with pytest.raises(RefusedArchive, match="more than"):
        read_archive(source)
    assert source.given <= MAX_ARCHIVE + (8 << 20)


class RightDigest:
    """A hash whose digests are the numbers of the calls."""

    def __init__(self) -> None:
        self._number = -1

    def __call__(self, _data: bytes) -> RightDigest:
        self._number += 1
        return self

    def hexdigest(self) -> str:
        return f"{self._number:064x}"


@quick
@given(st.data())
def test_a_changed_byte_brings_nothing_else(archive: bytes, data: st.DataObject) -> None:
    """It is refused, or what it brings is what the archive brought, under the same or another claim of what it is."""
    good = {(one.data, one.chain) for one in read_archive(io.BytesIO(archive))}
    position = data.draw(st.integers(0, len(archive) - 1))
    changed = bytearray(archive)
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        found = read_archive(io.BytesIO(bytes(changed)))
    except RefusedArchive:
        return
    blobs = {part for pair in good for part in pair}
    assert all({one.data, one.chain} <= blobs | {None} for one in found)


@quick
@given(st.data())
def test_a_part_of_an_archive_is_refused(archive: bytes, data: st.DataObject) -> None:
    ending = len(archive.rstrip(b"\0"))
    with pytest.raises(RefusedArchive):
        read_archive(io.BytesIO(archive[: data.draw(st.integers(0, ending))]))


@quick
@given(st.binary(max_size=3000))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedArchive):
        read_archive(io.BytesIO(data))
