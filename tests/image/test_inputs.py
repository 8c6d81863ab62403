"""What an image is made from: packages that are checked before they are read, and pins that say what is wanted."""

from __future__ import annotations

import io
import tarfile

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.keep_image import CACHE

from enarx_image import archive, build, cpio, deb, lock, pins, tree
from enarx_image.errors import BadPins, MissingInput, MovedOn, WrongInput
from enarx_image.pins import Package
from enarx_image.unpacked import Unpacked

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=8), min_size=1, max_size=3).map("/".join)


def package(files: dict[str, bytes], *, links: dict[str, str] | None = None, member: str = "data.tar.xz") -> bytes:
    """A Debian package with these files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz", preset=0) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", member: data.getvalue()}
    return b"!<arch>\n" + b"".join(ar_member(name, content) for name, content in members.items())


def ar_member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def test_the_files_and_links_that_are_wanted_are_read():
    made = package({"usr/lib/a": b"1", "usr/share/b": b"2"}, links={"usr/lib/c": "a"})
    found = list(deb.members(made, "it", lambda path: path.startswith("usr/lib")))
    assert found == [deb.Member("usr/lib/a", b"1"), deb.Member("usr/lib/c", b"", "a")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"", "no archive of ar", id="empty"),
        pytest.param(b"!<arch>\n", "no data.tar.xz", id="no-members"),
        pytest.param(package({"a": b""}, member="data.tar.zst"), "data.tar.zst", id="other-compression"),
        pytest.param(package({"a": b"12345"})[:-40], "no Debian package", id="cut-short"),
        pytest.param(package({"../a": b""}), "out of its root", id="path-above-the-root"),
        pytest.param(package({}, links={"usr/a": "../../etc"}), "out of its root", id="link-above-the-root"),
    ],
)
def test_a_package_that_is_none_is_named(content, told):
    with pytest.raises(WrongInput, match=told) as refused:
        list(deb.members(content, "libodd", lambda _: True))
    assert "libodd" in str(refused.value)


@pytest.mark.parametrize(
    ("files", "links"),
    [
        pytest.param({"usr/lib/x/../../../../a": b"1"}, {"usr/lib/x": "../.."}, id="by-a-path-through-a-link"),
        pytest.param({"usr/y/a": b"1"}, {"usr/x": "..", "usr/y": "x/../../usr"}, id="by-a-link-through-a-link"),
    ],
)
def test_links_of_packages_lead_nowhere_else(tmp_path, files, links):
    """Word for word these paths stay inside; the links in them do not."""
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    unpacked = Unpacked(root)
    pin = Package(name="odd", version="1", architecture="amd64", use="image", size=1, sha256="0" * 64)
    unpacked.add(pin, package({}, links=links))
    with pytest.raises(WrongInput):
        unpacked.add(pin, package(files))
    assert not [path for path in tmp_path.rglob("a") if path.is_file()]


@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_package_is_refused_or_read(noise, place):
    made = package({"usr/lib/a": b"content"})
    damaged = made[:place] + noise + made[place + len(noise) :]
    try:
        list(deb.members(damaged, "it", lambda _: True))
    except WrongInput:
        return


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=6))
def test_an_archive_for_the_kernel_holds_what_was_put_in_sorted_behind_its_directories(contents):
    made = cpio.archive([cpio.file(f"{path}.f", content, "") for path, content in contents.items()])
    found = read_newc(made)
    assert {path: content for path, (_, content) in found.items() if path.endswith(".f")} == {
        f"{path}.f": content for path, content in contents.items()
    }
    assert list(found) == sorted(found)
    parents = {path.rpartition("/")[0] for path in found} - {""}
    assert all(found[parent][0] == 0o040555 for parent in parents)


def read_newc(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by path, by the kernel's description of the format."""
    found, place = {}, 0
    while True:
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        mode, time, size, length = fields[1], fields[5], fields[6], fields[11]
        name = data[place + 110 : place + 110 + length - 1].decode()
        start = (place + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        assert time == 0
        found[name] = mode, data[start : start + size]
        place = (start + size + 3) // 4 * 4


def test_a_package_of_other_bytes_is_refused_and_the_wanted_ones_are_named(tmp_path, debs):
    wanted = next(pins.load().of("tool"))
    (tmp_path / wanted.file_names[0]).write_bytes(debs[wanted.name][:-1] + b"x")
    with pytest.raises(WrongInput, match="is not the package that is pinned") as refused:
        archive.obtain([wanted], tmp_path, archive.Archive(tmp_path, "trixie"), tmp_path)
    assert wanted.sha256 in refused.value.hint


def test_a_folder_of_packages_that_lacks_one_says_which(tmp_path):
    with pytest.raises(MissingInput, match=r"has no linux-image-.*deb"):
        build.obtain(pins.load(), tmp_path, tmp_path, "", lambda _: None)


def test_packages_are_found_by_the_name_that_the_archive_gives_them(tmp_path, debs):
    wanted = next(one for one in pins.load().packages if ":" in one.version)
    by_apt, by_archive = wanted.file_names
    assert "%3a" in by_apt
    assert "%3a" not in by_archive
    (tmp_path / by_archive).write_bytes(debs[wanted.name])
    assert archive.obtain([wanted], tmp_path, archive.Archive(tmp_path, "trixie"), tmp_path) == {
        wanted.name: debs[wanted.name]
    }


def test_an_archive_that_moved_on_is_told_with_both_versions_and_the_way_out(tmp_path, debs):
    """Asked is Debian's archive itself, for a version that it never had."""
    old = msgspec.structs.replace(next(pins.load().of("tool")), version="0.1-1")
    with pytest.raises(MovedOn, match=f"the archive has {old.name} .* now, and 0.1-1 is pinned") as moved:
        archive.obtain([old], tmp_path, archive.Archive(CACHE / "apt", "trixie"), None)
    assert "image lock" in moved.value.hint
    assert "--mirror" in moved.value.hint


@pytest.mark.parametrize(
    ("mirror", "told"),
    [("file:///nowhere", "apt cannot read the archive"), ("http://127.0.0.1:1", "apt complains: .*refused")],
)
def test_a_mirror_that_cannot_be_reached_is_told(tmp_path, mirror, told):
    unreachable = archive.Archive(tmp_path, "trixie", mirror)
    with pytest.raises(MissingInput, match=rf"(?s){told}") as missing:
        archive.obtain(pins.load().packages[:1], tmp_path, unreachable, None)
    assert "--debs DIR" in missing.value.hint


def test_pins_are_written_as_they_are_read(tmp_path):
    place = tmp_path / "pins.toml"
    place.write_bytes(lock.written(pins.load()))
    assert pins.load(place) == pins.load()
    assert place.read_bytes() == pins.BUILT_IN.read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(("suite = ", "sweet = "), "sweet", id="unknown-key"),
        pytest.param(('use = "tool"', 'use = "fun"'), "use", id="unknown-use"),
        pytest.param(('sha256 = "', 'sha256 = "z'), "sha256", id="digest-that-is-none"),
        pytest.param(('suite = "trixie"', "suite = "), "line", id="no-toml"),
        pytest.param(('name = "zstd"', 'name = "../zstd"'), "name", id="name-that-is-a-path"),
        pytest.param(('name = "zstd"', 'name = "-o"'), "name", id="name-that-is-an-option"),
    ],
)
def test_pins_that_cannot_be_used_are_named(tmp_path, change, told):
    place = tmp_path / "pins.toml"
    place.write_text(pins.BUILT_IN.read_text().replace(*change))
    with pytest.raises(BadPins, match=told) as bad:
        pins.load(place)
    assert str(place) in str(bad.value)


def test_wasmtime_is_installed_as_it_is_pinned():
    for pin in pins.load().installed:
        tree.check_installed(pin)


def test_another_version_of_a_distribution_is_refused(image):
    pin = msgspec.structs.replace(image.record.pins.installed[0], version="49.0.0")
    with pytest.raises(WrongInput, match=r"50.*is installed, and 49\.0\.0 is pinned"):
        tree.check_installed(pin)


def test_changed_files_of_a_distribution_are_refused(image):
    pin = msgspec.structs.replace(image.record.pins.installed[0], sha256="0" * 64)
    with pytest.raises(WrongInput, match="are not those that are pinned") as refused:
        tree.check_installed(pin)
    assert "--force-reinstall" in refused.value.hint
