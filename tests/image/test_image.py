"""What an image is: what is in it, what it measures to, and what is found when it was changed."""

from __future__ import annotations

import ast
import hashlib
import shutil
import stat
import sys
from pathlib import Path

import pytest

from enarx_image import contents, measurement
from enarx_image import image as images
from enarx_image.errors import MissingImage, WrongImage

pytestmark = pytest.mark.timeout(900)  # whichever test comes first waits for the image
PACKAGE = "sha256:" + "ab" * 32


@pytest.fixture
def copy(image, tmp_path) -> Path:
    """An image of the test's own, to be changed."""
    return Path(shutil.copytree(image.folder, tmp_path / "image"))


def test_an_image_holds_no_shell_and_no_other_program(image):
    programs = [file.path for file in image.record.files if "/bin/" in file.path or "/sbin/" in file.path]
    assert programs == ["usr/bin/python3.13"]
    assert not [file.path for file in image.record.files if file.path.endswith((".py", ".sh", ".a", ".h"))]


def test_each_file_says_where_it_is_from(image):
    assert [file.path for file in image.record.files if not file.origin] == []


def test_the_command_line_has_no_console_and_no_other_first_program(image):
    words = image.cmdline.split()
    assert not [word for word in words if word.startswith(("console=", "init=", "rdinit=", "earlyprintk"))]
    assert {"lockdown=confidentiality", "module.sig_enforce=1", "panic=-1"} <= set(words)
    assert image.cmdline == (image.folder / "cmdline").read_text()


def test_every_module_of_the_keep_is_there(image):
    paths = {file.path for file in image.record.files}
    left_out = contents.contents().left_out["enarx_keep"]
    expected = {
        f"usr/lib/keep/enarx_keep/{source.relative_to(KEEP)}c"
        for source in KEEP.rglob("*.py")
        if source.name not in left_out or source.parent != KEEP
    }
    assert expected - paths == set()
    assert f"usr/lib/keep/enarx_keep/{left_out[0]}c" not in paths


def test_what_the_keep_imports_of_the_standard_library_is_listed_or_built_in(image):
    """Also what it imports only when it needs it, which no trace of a run would show."""
    listed = {*contents.contents().python.modules, *contents.contents().python.extensions}
    left_out = contents.contents().left_out["enarx_keep"]
    imported = set()
    for source in KEEP.rglob("*.py"):
        if source.name not in left_out:
            imported |= {name for name in _imported(source) if name.partition(".")[0] in sys.stdlib_module_names}
    built_in = {"_thread", "abc", "codecs", "collections.abc", "errno", "fcntl", "io", "os", "stat", "sys", "time"}
    assert imported - listed - built_in == set()


def test_parts_are_what_the_record_says(image):
    for name in ("kernel", "initrd", "cmdline"):
        content = (image.folder / name).read_bytes()
        part = getattr(image.record, name)
        assert (part.size, part.sha256) == (len(content), "sha256:" + hashlib.sha256(content).hexdigest())


def test_an_image_is_read_only_for_others(image):
    assert {stat.S_IMODE(path.stat().st_mode) for path in image.folder.iterdir()} == {0o644}


@pytest.mark.parametrize("part", ["kernel", "initrd", "cmdline"])
def test_a_changed_byte_is_found_in_its_part(copy, part):
    content = bytearray((copy / part).read_bytes())
    content[-1] ^= 1
    (copy / part).write_bytes(content)
    with pytest.raises(WrongImage, match=f"{part} is sha256:.*was recorded") as refused:
        images.check(copy)
    assert refused.value.parts == (part,)


def test_a_part_that_is_missing_is_named(copy):
    (copy / "initrd").unlink()
    with pytest.raises(WrongImage, match="initrd"):
        images.check(copy)


def test_a_record_whose_digest_is_not_that_of_its_parts_is_refused(copy):
    record = (copy / "image.json").read_text()
    (copy / "image.json").write_text(record.replace(images.read(copy).digest, PACKAGE))
    with pytest.raises(WrongImage, match="digest"):
        images.check(copy)


def test_a_folder_without_an_image_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingImage) as missing:
        images.check(tmp_path)
    assert missing.value.hint == "`enarx-deploy image build`"


def test_an_image_measures_to_what_the_formula_says():
    """Worked out by hand from the definition at the head of the module."""
    kernel, initrd, cmdline = (hashlib.sha256(part).digest() for part in (b"kernel", b"initrd", b"panic=-1"))
    length = (32).to_bytes(4, "big")
    expected = hashlib.sha256(b"wasm-tee/image/v1" + length + kernel + length + initrd + length + cmdline).digest()
    digests = [f"sha256:{part.hex()}" for part in (kernel, initrd, cmdline)]
    assert measurement.image_digest(*digests) == f"sha256:{expected.hex()}"
    with_package = hashlib.sha256(b"wasm-tee/kvm/v1" + length + expected + length + bytes.fromhex("ab" * 32))
    assert measurement.kvm(f"sha256:{expected.hex()}", PACKAGE) == f"sha256:{with_package.hexdigest()}"


@pytest.mark.parametrize("digest", ["sha256:", "sha256:ab", PACKAGE + "00"])
def test_what_is_no_digest_is_not_measured(digest):
    with pytest.raises(ValueError, match="no SHA-256 digest"):
        measurement.kvm(PACKAGE, digest)


KEEP = Path(__file__).parents[2] / "pipeline/enarx_keep"


def _imported(source: Path) -> set[str]:
    """The modules that a file imports anywhere, but for types alone."""
    found = set()
    tree = ast.parse(source.read_text())
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    return found
