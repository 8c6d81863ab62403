"""The digest of a package, held to an implementation of Drawbridge's directory form of this test's own.

It follows the form as Enarx's client computes it: walk the tree, digest every file four times, list a directory as
compact JSON with its names in the order of their bytes, and go on upwards.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_deploy import package_tree
from enarx_deploy.errors import PackageError

TYPES = {".wasm": "application/wasm", ".toml": "application/toml"}
DIRECTORY = "application/vnd.drawbridge.directory.v1+json"

NAMES = st.text("abcXYZ019._:-", min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
TREES = st.recursive(
    st.binary(max_size=200), lambda below: st.dictionaries(NAMES, below, min_size=1, max_size=5), max_leaves=12
)


def entry(data: bytes, media_type: str) -> str:
    """The JSON of an entry."""
    digests = ",".join(
        f'"{name}":"{base64.b64encode(hashlib.new(name.replace("-", ""), data).digest()).decode()}"'
        for name in ("sha-224", "sha-256", "sha-384", "sha-512")
    )
    return f'{{"digest":{{{digests}}},"length":{len(data)},"type":"{media_type}"}}'


def listing(directory: Path) -> bytes:
    """The JSON of a directory, in which directories without files are not listed."""
    lines = []
    for path in sorted(directory.iterdir(), key=lambda path: os.fsencode(path.name)):
        if path.is_dir():
            body, media_type = listing(path), DIRECTORY
            if body == b"{}":
                continue
        else:
            body, media_type = path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream")
        lines.append(f'"{path.name}":{entry(body, media_type)}')
    return f"{{{','.join(lines)}}}".encode()


def lay_out(tree: bytes | dict[str, object], path: Path) -> None:
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    path.mkdir()
    for name, below in tree.items():
        lay_out(below, path / name)  # type: ignore[arg-type]  # a recursive strategy has no type


@settings(max_examples=60, deadline=None)
@given(assets=st.dictionaries(NAMES, TREES, max_size=5), module=st.binary(max_size=100), manifest=st.binary(max_size=9))
def test_the_digest_is_what_another_program_computes(assets, module: bytes, manifest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "tree")
        lay_out({"main.wasm": module, "Enarx.toml": manifest, "assets": assets}, place)
        try:
            package = package_tree.read(place)
        except PackageError as error:
            assert "differs from" in str(error)  # noqa: PT017  # the one rule that these trees can break
            return
        expected = hashlib.sha256(listing(place)).hexdigest()
        assert package.digest == f"sha256:{expected}"
        copied = package_tree.copy(place, Path(folder, "store"))
        assert (copied.digest, Path(copied.root).name) == (package.digest, expected)


def test_bytes_decide_the_order_of_names_and_nothing_of_a_language_does(tmp_path: Path) -> None:
    place = tmp_path / "tree"
    names = ["-", ".", ":", "A", "Z", "_", "b", "y", "0", "9", "a-b", "a.b", "a:b", "aC", "a_b", "a0"]
    lay_out({"main.wasm": b"", "assets": {f"{name}x": b"" for name in names}}, place)
    assert package_tree.read(place).digest == f"sha256:{hashlib.sha256(listing(place)).hexdigest()}"


@pytest.mark.parametrize("bits", [0o4755, 0o2755, 0o1777, 0o000])
def test_what_a_file_may_do_here_is_no_part_of_the_package(tmp_path: Path, bits: int) -> None:
    if bits == 0 and os.geteuid():
        pytest.skip("root alone reads what nobody may")
    lay_out({"main.wasm": b"", "assets": {"a": b"a"}}, tmp_path / "tree")
    before = package_tree.read(tmp_path / "tree").digest
    (tmp_path / "tree/assets/a").chmod(bits)
    copied = package_tree.copy(tmp_path / "tree", tmp_path / "store")
    assert copied.digest == before
    assert Path(copied.root, "assets/a").stat().st_mode & 0o7133 == 0


def test_two_names_of_one_file_are_two_files_of_the_package(tmp_path: Path) -> None:
    lay_out({"main.wasm": b"m", "assets": {"a": b"a"}}, tmp_path / "tree")
    os.link(tmp_path / "tree/assets/a", tmp_path / "tree/assets/b")
    copied = package_tree.copy(tmp_path / "tree", tmp_path / "store")
    assert [file.path for file in copied.files] == ["assets/a", "assets/b", "main.wasm"]
    assert Path(copied.root, "assets/a").stat().st_nlink == 1


@pytest.mark.parametrize(
    "name",
    ["é", "e\u0301", "a ", "a\\b", "a\x7f", "\uff21", "\udcff", "a\u200b", "ß", "\u0130"],
    ids=ascii,
)
def test_a_name_that_machines_read_in_more_than_one_way_is_refused(tmp_path: Path, name: str) -> None:
    lay_out({"main.wasm": b"", "assets": {name: b""}}, tmp_path / "tree")
    with pytest.raises(PackageError, match="is not a name for a package") as caught:
        package_tree.read(tmp_path / "tree")
    assert str(caught.value).isprintable()


def test_a_name_longer_than_any_disk_takes_is_refused_as_a_name(tmp_path: Path) -> None:
    files = [("main.wasm", [b""]), (f"assets/{'n' * 256}", [b""])]
    with pytest.raises(PackageError, match="is not a name for a package"):
        package_tree.lay_out(files, tmp_path / "store")
    assert package_tree.lay_out([files[0], (f"assets/{'n' * 255}", [b""])], tmp_path / "store").files


def test_a_file_that_grows_for_ever_ends_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_tree, "TOTAL_LIMIT", 1 << 20)
    lay_out({"main.wasm": b"", "assets": {"sparse": b""}}, tmp_path / "tree")
    os.truncate(tmp_path / "tree/assets/sparse", 1 << 40)
    with pytest.raises(PackageError, match=r"sparse is larger than 1,048,576 bytes|over 1,048,576 bytes"):
        package_tree.copy(tmp_path / "tree", tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []
