"""Archives: what `pack` writes is read, and nothing else is, in bounded time and memory."""

from __future__ import annotations

import io
import resource
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from enarx_deploy import package_archive, package_tree
from enarx_deploy.errors import PackageError
from enarx_deploy.protocols import Attachment
from enarx_signing.statement import PAYLOAD_TYPE

WASM = b"\0asm\x01\0\0\0"
SAID = Attachment("sbom", PAYLOAD_TYPE, b"{}")


@pytest.fixture
def package(tmp_path):
    return package_tree.lay_out([("Enarx.toml", [b""]), ("assets/a", [b"a"]), ("main.wasm", [WASM])], tmp_path / "made")


@pytest.fixture
def archive(package, tmp_path) -> bytes:
    package_archive.write(package, [SAID], tmp_path / "package.tar")
    return (tmp_path / "package.tar").read_bytes()


def member(name: str, data: bytes = b"", **changes: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def refused(data: bytes, place: Path) -> str:
    with pytest.raises(PackageError) as caught:
        package_archive.read(io.BytesIO(data), place / "into", "x.tar")
    assert not (place / "into").exists() or list((place / "into").iterdir()) == []
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_package_and_what_is_said_of_it_come_out_as_they_went_in(package, archive, tmp_path):
    from enarx_deploy import package_attachments

    found = package_archive.read(io.BytesIO(archive), tmp_path / "into", "x.tar")
    assert (found.digest, found.files) == (package.digest, package.files)
    assert package_attachments.beside(found) == [SAID]


HEX = "ab" * 32
END = bytes(1024)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut short"),
        (END, "holds no package"),
        (b"PK\x03\x04" + bytes(508), "not a tar archive"),
        (member("../evil") + END, "not a file of one"),
        (member(f"{HEX}/../evil") + END, "is not part of a package"),
        (member(f"{HEX}/assets/../evil", b"x") + END, "is not a name for a package"),
        (member("/etc/passwd") + END, "not a file of one"),
        (member(f"{HEX}//etc/passwd") + END, "not a file of one"),
        (member(f"{HEX}/main.wasm", type=tarfile.SYMTYPE, linkname="/etc/passwd") + END, "not a regular file"),
        (member(f"{HEX}/main.wasm", type=tarfile.LNKTYPE, linkname="x") + END, "not a regular file"),
        (member(f"{HEX}/main.wasm", type=tarfile.CHRTYPE) + END, "not a regular file"),
        (member(f"{HEX}/main.wasm", type=tarfile.FIFOTYPE) + END, "not a regular file"),
        (member(f"{HEX}/assets", type=tarfile.DIRTYPE) + END, "not a regular file"),
        (member("./PaxHeader", b"x" * 100, type=tarfile.XHDTYPE) + END, "not a regular file"),
        (member("././@LongLink", b"x" * 100, type=tarfile.GNUTYPE_LONGNAME) + END, "not a regular file"),
        (member(f"{HEX}/Enarx.toml") * 2 + END, "comes twice, or out of its place"),
        (member(f"{HEX}/main.wasm") + member(f"{HEX}/Enarx.toml") + END, "comes twice, or out of its place"),
        (member(f"{HEX}/assets/A") + member(f"{HEX}/assets/a") + END, "upper and lower case alone"),
        (member(f"{HEX}/assets/a") + member(f"{HEX}/assets/a/b") + END, "which is a file of the package"),
        (member(f"{HEX}/main.wasm", WASM) + member(f"{'cd' * 32}/main.wasm", WASM) + END, "not a file of the package"),
        (member(f"{HEX}/main.wasm", WASM) + END, "damaged, or another package"),
        (member(f"{HEX}/Enarx.toml", size=5_000_000_000) + END, "is larger than"),
        (member(f"{HEX}.attachments/{HEX}", size=5_000_000_000) + END, "is larger than"),
        (member(f"{HEX}.attachments/{HEX}", b"{}") + member(f"{HEX}/main.wasm") + END, "is damaged"),
        (member(f"{HEX}/main.wasm", WASM) + b"\0" * 1024 + b"more", "something follows"),
    ],
    ids=[
        "empty",
        "no-members",
        "zip",
        "parent",
        "parent-in-tree",
        "parent-in-assets",
        "absolute",
        "absolute-in-tree",
        "symlink",
        "hard-link",
        "device",
        "fifo",
        "directory",
        "extended-header",
        "long-name-header",
        "duplicate",
        "out-of-order",
        "case-collision",
        "below-a-file",
        "two-packages",
        "wrong-digest",
        "bomb",
        "attachment-bomb",
        "wrong-attachment",
        "trailing",
    ],
)
def test_a_hostile_archive_is_refused_with_a_reason(data, message, tmp_path):
    assert message in refused(data, tmp_path)


def test_a_cut_archive_is_refused_wherever_it_was_cut(archive, tmp_path):
    for end in range(0, len(archive.rstrip(b"\0")) + 512, 512):
        refused(archive[:end], tmp_path)


class Endless(io.RawIOBase):
    """100,000 members, made as they are read."""

    def __init__(self, make) -> None:
        self.make, self.number, self.read_bytes, self.rest = make, 0, 0, b""

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size and self.number < 100_000:
            self.rest += self.make(self.number)
            self.number += 1
        data, self.rest = self.rest[:size], self.rest[size:]
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda number: member(f"{HEX}/assets/{number:06}"), "is over 10,000 files and folders"),
        (lambda number: member(f"{HEX}.attachments/{number:064x}", b"{}"), "more than 64 attachments"),
    ],
    ids=["files", "attachments"],
)
def test_an_archive_of_100_000_entries_is_refused_before_it_is_read_whole(make, message, tmp_path):
    file = Endless(make)
    with pytest.raises(PackageError, match=message):
        package_archive.read(file, tmp_path / "into", "x.tar")
    assert file.number < 10_100
    assert list((tmp_path / "into").glob("*")) == []


def test_a_path_too_long_for_the_form_is_told(tmp_path):
    path = "/".join(["assets", *["d" * 60] * 5, "f"])
    package = package_tree.lay_out([("main.wasm", [WASM]), (path, [b""])], tmp_path / "made")
    with pytest.raises(PackageError, match="too long for an archive"):
        package_archive.write(package, [], tmp_path / "package.tar")
    assert not (tmp_path / "package.tar").exists()


def test_a_disk_that_is_full_is_told_and_nothing_is_left(package, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(PackageError, match=r"package\.tar cannot be written: File too large"):
            package_archive.write(package, [], place / "package.tar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(place.iterdir()) == []


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path):
    place = [("Enarx.toml", [b""]), ("assets/large", [bytes(1 << 20)] * 48), ("main.wasm", [WASM])]
    package = package_tree.lay_out(place, tmp_path / "made")
    tracemalloc.start()
    package_archive.write(package, [], tmp_path / "package.tar")
    with (tmp_path / "package.tar").open("rb") as file:
        package_archive.read(file, tmp_path / "into", "x.tar")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
