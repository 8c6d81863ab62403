"""The archive in which a package's files travel: what is written is read, and nothing else is."""

from __future__ import annotations

import contextlib
import io
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy import package_tree
from enarx_deploy.errors import PackageError
from enarx_registries import oci_tar

NAME = st.text("abcdefgXYZ0189._:-", min_size=1, max_size=40).filter(lambda name: name not in (".", ".."))
PATH = st.lists(NAME, min_size=1, max_size=12).map("/".join)


def archive(files: dict[str, bytes]) -> bytes:
    members = [(path, len(data), lambda data=data: [data]) for path, data in files.items()]
    return b"".join(oci_tar.write(members))


def read(data: bytes, size: int = 700) -> dict[str, bytes]:
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    return {path: b"".join(content) for path, content in oci_tar.read(chunks, "it")}


@given(st.dictionaries(PATH, st.binary(max_size=1500), max_size=5), st.integers(1, 2000))
def test_what_is_written_is_read_in_chunks_of_any_size(files: dict[str, bytes], size: int) -> None:
    assert read(archive(files), size) == files


@given(st.dictionaries(PATH, st.binary(max_size=600), min_size=1, max_size=4))
def test_other_tools_read_it_too(files: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(files))) as opened:
        assert {member.name: opened.extractfile(member).read() for member in opened} == files
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in opened} == {(0, 0, 0, "")}


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(PackageError):
        read(data)


@given(st.data())
def test_a_change_of_any_byte_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(archive({"assets/a": b"content", "assets/" + "x" * 120: b"more"}))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PackageError):
        read(bytes(whole))


def with_member(**attributes: object) -> bytes:
    member = tarfile.TarInfo("assets/a")
    for name, value in attributes.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


def of_records(records: bytes) -> bytes:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    return header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + with_member()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "something else than plain files"),
        (with_member(type=tarfile.LNKTYPE, linkname="x"), "something else than plain files"),
        (with_member(type=tarfile.CHRTYPE), "something else than plain files"),
        (with_member(type=tarfile.DIRTYPE), "something else than plain files"),
        (with_member(type=tarfile.GNUTYPE_SPARSE), "something else than plain files"),
        (with_member(size=1 << 20), "ends in the middle"),
        (with_member()[:512], "ends in the middle"),
        (b"", "ends in the middle"),
        (with_member() + b"x" * 512, "goes on after its end"),
        (of_records(b"18 size=100000000\n"), "an extension that is not known"),
        (of_records(b"99 path=assets/b\n"), "an extension that is not known"),
        (of_records(b"17 path=assets/b\n17 path=assets/c\n"), "an extension that is not known"),
        (of_records(b"x" * 20_000), "something else than plain files"),
    ],
)
def test_what_is_more_than_plain_files_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        read(data)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["../evil"], "is not part of a package"),
        (["assets/../evil"], "is not a name for a package"),
        (["/etc/passwd"], "is not part of a package"),
        (["assets//a"], "is not a name for a package"),
        (["assets/a\\b"], "is not a name for a package"),
        (["assets/A", "assets/a"], "in upper and lower case alone"),
        (["assets/a", "assets/a"], "assets/a"),
        (["assets/a", "assets/a/b"], "which is a file of the package"),
        ([f"assets/{number}" for number in range(100_000)], "is over 10,000 files and folders"),
        (["/".join(["assets", *["d"] * 40])], "lies deeper than 32 directories"),
    ],
    ids=[
        "parent", "parent-in-assets", "absolute", "empty-name", "backslash",
        "case-collision", "duplicate", "below-a-file", "100000-entries", "deep",
    ],
)  # fmt: skip
def test_a_hostile_archive_leaves_nothing_and_is_refused_with_a_reason(
    paths: list[str], message: str, tmp_path: Path
) -> None:
    members = oci_tar.write([(path, 1, lambda: [b"x"]) for path in paths])
    module = ("main.wasm", iter([b"\0asm\1\0\0\0"]))
    with pytest.raises(PackageError, match=message):
        package_tree.lay_out(itertools.chain([module], oci_tar.read(members, "it")), tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_an_archive_is_read_without_holding_it() -> None:
    size = 1 << 30

    def endless() -> Iterator[bytes]:
        yield with_member(size=size)[:512]
        for _ in range(1 << 10):
            yield bytes(1 << 20)
        yield bytes(1024)

    for _, content in oci_tar.read(endless(), "it"):
        assert sum(map(len, content)) == size
