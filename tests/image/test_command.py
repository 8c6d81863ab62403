"""`enarx-deploy image` as a user sees it."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from tests.keep_image import CACHE

from enarx_image import build
from enarx_image import image as images
from enarx_image.errors import WrongImage

pytestmark = pytest.mark.timeout(900)  # whichever test comes first waits for the image
PACKAGE = "sha256:" + "ab" * 32


@pytest.fixture
def copy(image, tmp_path) -> Path:
    """An image of the test's own, to be changed."""
    return Path(shutil.copytree(image.folder, tmp_path / "image"))


def test_the_same_inputs_make_the_same_bytes_elsewhere_and_later(enarx_deploy, image):
    """Each file is compared; the other directory is below the home of this test."""
    before = os.umask(0o077)
    try:
        ended = enarx_deploy(
            *("--json", "image", "verify", str(image.folder), "--rebuild", "--debs", str(CACHE / "debs")),
            env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"},
            timeout=800,
        )
    finally:
        os.umask(before)
    assert ended.returncode == 0, ended.stderr
    verified = json.loads(ended.stdout)
    assert (verified["digest"], verified["rebuilt"]) == (image.digest, True)


def test_an_image_of_other_packages_is_not_made_again_by_their_programs(enarx_deploy, copy):
    """Whoever made it could have named any program as its compiler."""
    record = json.loads((copy / "image.json").read_bytes())
    (tool,) = [one for one in record["pins"]["packages"] if one["name"] == "zstd"]
    tool["sha256"] = "ab" * 32
    (copy / "image.json").write_bytes(json.dumps(record).encode())
    words = ("image", "verify", str(copy), "--rebuild", "--debs", "/nowhere")
    refused = enarx_deploy(*words)
    assert refused.returncode == 3
    assert f"was made from other packages than this version pins: zstd {tool['version']}" in refused.stderr
    assert "--trust-pins" in refused.stderr
    trusted = enarx_deploy(*words, "--trust-pins")
    assert trusted.returncode == 1
    assert "/nowhere has no" in trusted.stderr


def test_an_image_that_is_there_is_not_made_again(enarx_deploy, image, copy):
    ended = enarx_deploy("--json", "image", "build", "--output", str(copy), "--debs", "/nowhere")
    assert json.loads(ended.stdout)["digest"] == image.digest


def test_a_folder_with_other_files_is_not_replaced_which_is_said_before_anything_is_fetched(enarx_deploy, copy):
    (copy / "thesis.odt").write_text("for years")
    ended = enarx_deploy("image", "build", "--output", str(copy), "--force", "--debs", "/nowhere")
    assert ended.returncode == 1
    assert "holds what is no image: thesis.odt" in ended.stderr
    assert (copy / "thesis.odt").read_text() == "for years"


def test_a_disk_that_is_full_is_told_and_leaves_nothing(enarx_deploy, debs, tmp_path):
    """By a limit of the size of files, which is below that of the kernel."""
    words = ("image", "build", "--output", str(tmp_path / "image"), "--debs", str(CACHE / "debs"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, before[1]))
    try:
        ended = enarx_deploy(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.returncode == 1
    assert "File too large\n  hint: is there room on that disk" in ended.stderr, ended.stderr
    assert list(tmp_path.glob("*image*")) == []


def test_old_images_of_the_cache_are_forgotten(tmp_path):
    for age in range(6):
        (tmp_path / f"images/{age}").mkdir(parents=True)
        os.utime(tmp_path / f"images/{age}", (0, age))
    build.forget_old(tmp_path)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["2", "3", "4", "5"]


def test_before_the_first_build_it_is_told_how_to_make_one(enarx_deploy):
    ended = enarx_deploy("image", "show")
    assert ended.returncode == 1
    assert "there is no image for this version yet" in ended.stderr
    assert "enarx-deploy image build" in ended.stderr


def test_what_is_large_in_it_is_shown_first(enarx_deploy, image):
    shown = enarx_deploy("image", "show", str(image.folder)).stdout
    lines = shown.splitlines()
    assert lines[0] == f"{image.digest} {image.folder}"
    assert f"Linux {image.record.kernel_version}, Debian trixie" in lines
    first = next(n for n, line in enumerate(lines) if line.startswith("FILE, BEFORE COMPRESSION"))
    assert "_libwasmtime.so" in lines[first + 1]
    assert "wasmtime 50" in lines[first + 1]
    whole = json.loads(enarx_deploy("--json", "image", "show", str(image.folder)).stdout)
    assert {file["path"] for file in whole["record"]["files"]} >= {"init", "usr/bin/python3.13"}


def test_measurements_are_told_by_part_and_for_a_package(enarx_deploy, image):
    measured = json.loads(enarx_deploy("--json", "image", "measure", str(image.folder), "--package", PACKAGE).stdout)
    assert set(measured) == {"kernel", "initrd", "cmdline", "image", "kvm"}
    assert measured["image"] == image.digest
    words = ("--json", "image", "measure", str(image.folder), "--package", PACKAGE, "--code", PACKAGE)
    taking = json.loads(enarx_deploy(*words).stdout)
    assert {name for name in taking if taking[name] != measured[name]} == {"cmdline", "image", "kvm"}
    wrong = enarx_deploy("image", "measure", str(image.folder), "--package", "sha256:12")
    assert wrong.returncode == 2
    assert "no SHA-256 digest" in wrong.stderr


def test_verify_refuses_a_changed_part_and_says_which(enarx_deploy, copy):
    with (copy / "cmdline").open("a") as file:
        file.write(" debug")
    ended = enarx_deploy("image", "verify", str(copy))
    assert ended.returncode == 3
    assert "cmdline is sha256:" in ended.stderr
    assert "kernel" not in ended.stderr


def edited(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / name).read_bytes())
        change(document)
        (folder / name).write_text(json.dumps(document))

    return edit


SHELL = {"path": "usr/bin/sh", "size": 3, "sha256": PACKAGE, "origin": "dash 0.5.12-12"}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (edited("image.json", lambda record: record["files"].append(SHELL)), "usr/bin/sh"),
        (edited("image.json", lambda record: record["files"].remove(record["files"][0])), "does not list"),
        (edited("image.json", lambda record: record["files"][0].update(size=1)), "does not list"),
        (edited("sbom.cdx.json", lambda sbom: sbom["components"].pop()), "is not the SBOM of this image"),
        (edited("sbom.cdx.json", lambda sbom: sbom["metadata"].pop("component")), "is not the SBOM of this image"),
        (lambda folder: (folder / "sbom.cdx.json").write_text("[" * 100_000), "sbom.cdx.json"),
        (lambda folder: (folder / "sbom.cdx.json").unlink(), "sbom.cdx.json: No such file"),
        (lambda folder: (folder / "cmdline").write_bytes(b"quiet\xff"), "cmdline: not in ASCII"),
    ],
    ids=["file-added", "file-left-out", "size", "component", "subject", "nested", "no-sbom", "command-line"],
)
def test_verify_refuses_a_description_of_something_else(enarx_deploy, copy, damage, told):
    damage(copy)
    ended = enarx_deploy("image", "verify", str(copy))
    assert (ended.returncode, told in ended.stderr) == (3, True), ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("part", ["kernel", "image.json"])
def test_what_is_no_file_is_not_waited_for(enarx_deploy, copy, part):
    (copy / part).unlink()
    os.mkfifo(copy / part)
    ended = enarx_deploy("image", "verify", str(copy))
    assert (ended.returncode, f"{part}: not a file" in ended.stderr) == (3, True), ended.stderr


def test_who_is_faster_with_the_same_image_has_made_it(image, tmp_path, monkeypatch):
    folder, rename = tmp_path / "image", Path.rename

    def make(made: Path, *_: object) -> None:
        for place in (made, folder):
            shutil.copytree(image.folder, place, dirs_exist_ok=True)

    def renamed(path: Path, target: Path) -> Path:
        if path == folder:
            raise FileNotFoundError  # it was not there yet when this one looked
        return rename(path, target)

    monkeypatch.setattr(build, "_make", make)
    monkeypatch.setattr(Path, "rename", renamed)
    assert build.build(folder, image.record.pins, {}, lambda _: None).digest == image.digest


def test_verify_refuses_another_image_than_the_one_that_was_named(enarx_deploy, image):
    ended = enarx_deploy("image", "verify", str(image.folder), "--digest", PACKAGE)
    assert ended.returncode == 3
    assert f"is the image {image.digest}, not {PACKAGE}" in ended.stderr


def test_an_image_that_its_inputs_do_not_make_is_told_by_part_and_file(image, copy):
    """A fraud whose record fits: what `verify --rebuild` finds, which has made the image again."""
    (copy / "initrd").write_bytes(b"another")
    record = json.loads((copy / "image.json").read_bytes())
    record["files"][0]["sha256"] = PACKAGE
    (copy / "image.json").write_bytes(json.dumps(record).encode())
    with pytest.raises(WrongImage, match=rf"in: initrd, image\.json \(in it: {record['files'][0]['path']}\)"):
        images.require_same(images.read(copy), image)


def test_a_signature_is_asked_for_and_names_who_signed(enarx_deploy, copy):
    enarx_deploy("key", "generate", "image.key", "--no-passphrase")
    enarx_deploy("key", "generate", "other.key", "--no-passphrase")
    for name in ("image", "other"):
        enarx_deploy("key", "trust", f"{name}.key.pub", "--name", name, "--trust", f"{name}.toml")
    unsigned = enarx_deploy("image", "verify", str(copy), "--trust", "image.toml")
    assert unsigned.returncode == 3
    assert "nobody signed" in unsigned.stderr
    elsewhere = enarx_deploy.directory / "notes"
    elsewhere.write_text("of mine")
    (copy / "signature.dsse.json").symlink_to(elsewhere)
    signed = enarx_deploy("image", "build", "--output", str(copy), "--sign", "image.key")
    assert (signed.returncode, "is signed as it was found" in signed.stderr) == (0, True), signed.stderr
    assert elsewhere.read_text() == "of mine"
    good = enarx_deploy("image", "verify", str(copy), "--trust", "image.toml")
    assert "signed by image (" in good.stdout, good.stderr
    assert enarx_deploy("image", "verify", str(copy), "--trust", "other.toml").returncode == 3
    (copy / "sbom.cdx.json").write_text("{}")
    changed = enarx_deploy("image", "verify", str(copy), "--trust", "image.toml")
    assert changed.returncode == 3
    assert "sbom.cdx.json" in changed.stderr


def test_the_sbom_names_packages_files_and_what_only_built_it(image):
    document = json.loads((image.folder / "sbom.cdx.json").read_text())
    assert document["specVersion"] == "1.6"
    assert document["metadata"]["component"]["version"] == image.digest
    scopes = {one["name"]: one.get("scope") for one in document["components"]}
    assert scopes["libc6"] == "required"
    assert scopes["zstd"] == "excluded"
    hashes = {one["name"]: one["hashes"][0]["content"] for one in document["components"] if "hashes" in one}
    assert all(hashes[file.path] == file.sha256.removeprefix("sha256:") for file in image.record.files)
    purls = {one.get("purl") for one in document["components"]}
    assert "pkg:pypi/wasmtime@50.0.1" in purls


def in_the_initramfs(packed: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content of each entry, by the kernel's own description (initramfs buffer format)."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    at = 0
    while data[at : at + 6] == b"070701":
        mode, size, name_size = (int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in (1, 6, 11))
        begin = at + 110 + name_size + -(110 + name_size) % 4
        yield data[at + 110 : at + 110 + name_size - 1].decode(), mode, data[begin : begin + size]
        at = begin + size + -size % 4


def test_every_file_that_the_kernel_unpacks_is_in_the_sbom_by_its_digest_and_nothing_else_is_there(image):
    document = json.loads((image.folder / "sbom.cdx.json").read_text())
    listed = {
        one["bom-ref"].removeprefix("file:"): one["hashes"][0]["content"]
        for one in document["components"]
        if one["bom-ref"].startswith("file:")
    }
    entries = [entry for entry in in_the_initramfs(image.initrd.read_bytes()) if entry[0] != "TRAILER!!!"]
    files = {name: hashlib.sha256(content).hexdigest() for name, mode, content in entries if stat.S_ISREG(mode)}
    assert len(files) > 50
    assert files == listed
    assert {name for name, mode, _ in entries if stat.S_ISCHR(mode)} == {"dev/console", "dev/null"}
    assert not any(
        stat.S_ISBLK(mode) or mode & 0o6222
        for _, mode, _ in entries
        if not stat.S_ISLNK(mode) and not stat.S_ISCHR(mode)
    )


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")
def test_who_asks_an_archive_that_cannot_be_reached_is_told_before_and_after(enarx_deploy, tmp_path):
    refused = enarx_deploy("image", "lock", str(tmp_path / "pins.toml"), "--mirror", "http://127.0.0.1:1", timeout=120)
    assert refused.returncode == 1
    assert refused.stderr.startswith("asking http://127.0.0.1:1 what ")
    assert "apt complains: " in refused.stderr
    assert "try --mirror URL" in refused.stderr
    assert not (tmp_path / "pins.toml").exists()
