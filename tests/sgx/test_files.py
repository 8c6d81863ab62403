"""Where an enclave's files come from and go to: Gramine's libraries, the image's files, and the folder of one Keep."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.sgx import gramine_stand_in

from enarx_backends import gramine_installed
from enarx_backends.enclave import Folder, remove_abandoned
from enarx_deploy.errors import KeepError
from enarx_image import cpio, initramfs, measurement
from enarx_image.errors import WrongImage
from enarx_image.image import File, Image, Part


@pytest.fixture
def installed(tmp_path, monkeypatch):
    programs = gramine_stand_in.install(tmp_path / "gramine", b"pal", b"libos", tmp_path / "attestation")
    monkeypatch.setenv("PATH", str(programs))
    return programs / "gramine-sgx"


def test_gramine_is_what_its_program_says_that_it_is(installed):
    found = gramine_installed.find()
    assert (found.program, found.pal, found.libos, found.version) == (str(installed), b"pal", b"libos", "1.9")


def test_a_gramine_that_tells_no_version_is_taken_for_what_it_measures_to(installed):
    installed.write_text(installed.read_text().replace("--version", "--no-such-option"))
    installed.write_text(installed.read_text().replace("exec ", "exit 2 # "))
    assert gramine_installed.find().version == ""


def break_version(program, prefix):
    program.write_text(program.read_text().replace("Gramine 1.9", "Gramine 1.8"))


def break_place(program, prefix):
    program.write_text(program.read_text().replace("LIBPAL_PATH", "ELSEWHERE"))


def break_library(program, prefix):
    (prefix / "lib/gramine/sgx/libpal.so").unlink()


def break_libos(program, prefix):
    (prefix / "lib/gramine/libsysdb.so").unlink()


def remove_program(program, prefix):
    program.unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_version, "of version 1.8, and 1.9 is needed"),
        (break_place, "does not say where its libpal.so is"),
        (break_library, "libpal.so: No such file"),
        (break_libos, "libsysdb.so: No such file"),
        (remove_program, "there is no gramine-sgx here"),
    ],
    ids=["too-old", "no-place", "no-pal", "no-library-os", "not-installed"],
)
def test_a_gramine_that_cannot_be_used_says_why_and_what_to_do(installed, tmp_path, damage, said):
    damage(installed, tmp_path / "gramine")
    with pytest.raises(KeepError, match=said) as caught:
        gramine_installed.find()
    assert "install Gramine 1.9" in caught.value.hint


def test_an_images_files_are_those_of_its_record_and_links_lead_to_them(image):
    files = initramfs.files(image)
    recorded = {file.path: file.sha256 for file in image.record.files}
    linked = files.keys() - recorded.keys()
    assert linked == {"lib64/ld-linux-x86-64.so.2"}
    assert {path: measurement.sha256(files[path]) for path in recorded} == recorded
    assert files["lib64/ld-linux-x86-64.so.2"] == files["usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"]


def test_a_changed_byte_of_an_image_gives_no_files(image, tmp_path):
    copied = Image(tmp_path, image.record, image.cmdline)
    content = bytearray(image.initrd.read_bytes())
    content[len(content) // 2] ^= 1
    copied.initrd.write_bytes(content)
    with pytest.raises(WrongImage, match="was changed"):
        initramfs.files(copied)


def test_a_record_that_has_another_file_gives_no_files(image, tmp_path):
    first, *others = image.record.files
    other = msgspec.structs.replace(first, sha256="sha256:" + "00" * 32)
    forged = msgspec.structs.replace(image.record, files=(other, *others))
    copied = Image(tmp_path, forged, image.cmdline)
    copied.initrd.write_bytes(image.initrd.read_bytes())
    with pytest.raises(WrongImage, match="does not have this"):
        initramfs.files(copied)


def of(entries, image, folder) -> Image:
    """An image whose initramfs has these entries, and whose record says so."""
    packed = zstandard.compress(cpio.archive(entries))
    files = [File(entry.path, len(entry.content), measurement.sha256(entry.content), "") for entry in entries]
    part = Part(measurement.sha256(packed), len(packed))
    made = Image(folder, msgspec.structs.replace(image.record, initrd=part, files=tuple(files)), "")
    made.initrd.write_bytes(packed)
    return made


@pytest.mark.parametrize("target", ["file", "../a/file", "/a/file", "../../../../a/file", "other"])
def test_a_link_leads_to_its_file_as_in_the_kernel(image, tmp_path, target):
    entries = [cpio.file("a/file", b"content", ""), cpio.link("a/other", "file", ""), cpio.link("a/link", target, "")]
    assert initramfs.files(of(entries, image, tmp_path))["a/link"] == b"content"


@pytest.mark.parametrize("target", ["link", "nowhere", "../a/file", "", "/"])
def test_a_link_that_leads_nowhere_is_no_file(image, tmp_path, target):
    with pytest.raises(WrongImage, match="leads to no file"):
        initramfs.files(of([cpio.file("file", b"content", ""), cpio.link("b/link", target, "")], image, tmp_path))


@pytest.mark.parametrize(
    "path", ["../file", "usr/lib/../../../file", "/file", "usr//file", "usr/./file", "usr/\0file", ""]
)
@pytest.mark.parametrize("make", [lambda path: cpio.file(path, b"x", ""), lambda path: cpio.link(path, "file", "")])
def test_a_name_that_leads_out_of_a_folder_is_that_of_no_image(image, tmp_path, path, make):
    entries = [cpio.file("file", b"content", ""), make(path)]
    with pytest.raises(WrongImage, match="is no name of a file"):
        initramfs.files(of(entries, image, tmp_path))


@given(st.binary(max_size=200), st.integers(0, 250))
def test_arbitrary_bytes_are_an_archive_or_refused(noise, at):
    whole = cpio.archive([cpio.file("name", b"content", ""), cpio.link("other", "name", "")])
    with contextlib.suppress(ValueError):
        assert all(len(entry.content) <= len(whole) for entry in cpio.read(whole[:at] + noise + whole[at:]))


def test_an_archive_is_read_as_it_was_written():
    entries = [cpio.file("a/b", b"content", ""), cpio.link("a/c", "b", ""), cpio.device("d", 1, 3, 0o600)]
    read = {entry.path: entry for entry in cpio.read(cpio.archive(entries))}
    assert [read[entry.path] for entry in entries] == entries
    assert stat.S_ISDIR(read["a"].mode)


@pytest.mark.parametrize("cut", [0, 1, 100, 120, 300])
def test_an_archive_that_is_cut_short_is_refused(cut):
    whole = cpio.archive([cpio.file("name", b"content" * 100, "")])
    with pytest.raises(ValueError, match="byte"):
        list(cpio.read(whole[:cut]))


def test_an_enclaves_folder_is_its_users_alone_and_goes_with_it(tmp_path):
    folder = Folder(tmp_path, {"keep.manifest.sgx": b"m", "root/usr/bin/python3": b"p"})
    assert (folder.path / "root/usr/bin/python3").read_bytes() == b"p"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "keep.manifest.sgx").stat().st_mode) == 0o600
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_written_leave_no_folder(tmp_path):
    with pytest.raises(KeepError) as caught:
        Folder(tmp_path, {"a": b"file", "a/b": b"below a file"})
    assert "room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_host_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    used = Folder(tmp_path, {"file": b""})
    left = (
        "import os, pathlib, sys\nfrom enarx_backends.enclave import Folder\n"
        "Folder(pathlib.Path(sys.argv[1]), {'file': b''})\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", left, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 2
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [used.path]
    used.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_stays_where_locks_of_folders_are_not_seen_as_on_nfs(tmp_path, monkeypatch):
    lock = fcntl.flock

    def of_files_alone(descriptor: int, how: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", of_files_alone)
    used = Folder(tmp_path, {"file": b""})
    remove_abandoned(tmp_path)
    assert (used.path / "file").exists()
    used.remove()


def test_a_link_that_is_named_as_a_folder_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "enclave-link").symlink_to(tmp_path / "precious")
    remove_abandoned(tmp_path)
    assert list((tmp_path / "precious").iterdir()) == []


def test_a_folder_that_another_start_took_for_abandoned_is_made_again(tmp_path, monkeypatch):
    made: list[str] = []
    make = tempfile.mkdtemp

    def and_another_start(**how: Any) -> str:
        made.append(make(**how))
        if len(made) == 1:
            remove_abandoned(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", and_another_start)
    folder = Folder(tmp_path, {"file": b"content"})
    assert len(made) == 2
    assert (folder.path / "file").read_bytes() == b"content"
    remove_abandoned(tmp_path)
    assert (folder.path / "file").exists()
    folder.remove()
