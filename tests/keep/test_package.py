"""What the host sends as a package is believed only as far as its digest goes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy import package_tree
from enarx_deploy.errors import PackageError
from enarx_deploy.host import delivery
from enarx_keep import package
from enarx_keep.channel import Reader, encode
from enarx_keep.errors import BadMessage, BadPackage, KeepFault

MODULE = b"\0asm\1\0\0\0"
MANIFEST = b"args = []\n"
DIRECTORY = package.DIRECTORY_TYPE


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def entry(content: bytes, kind: str = "application/octet-stream") -> dict[str, object]:
    encoded = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"digest": {"sha-256": encoded}, "length": len(content), "type": kind}


def listing(**names: dict[str, object]) -> bytes:
    return json.dumps(names).encode()


def node(path: str, content: bytes, **changes: object) -> bytes:
    return encode({"type": "node", "path": path, "size": len(content)} | changes) + content


def receive(stream: bytes, root: str) -> package.Files:
    return package.receive(Reader(io.BytesIO(stream).read), root)


ROOT = listing(**{"Enarx.toml": entry(MANIFEST), "main.wasm": entry(MODULE)})
GOOD = [node("", ROOT), node("Enarx.toml", MANIFEST), node("main.wasm", MODULE)]


def test_a_good_package() -> None:
    assert receive(b"".join(GOOD), digest(ROOT)) == {"Enarx.toml": MANIFEST, "main.wasm": MODULE}


def test_folders_are_paths() -> None:
    inner = listing(b=entry(b"B"))
    root = listing(a=entry(inner, DIRECTORY), c=entry(b"C"))
    stream = node("", root) + node("a", inner) + node("a/b", b"B") + node("c", b"C")
    assert receive(stream, digest(root)) == {"a/b": b"B", "c": b"C"}


def test_what_the_host_delivers_is_taken(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for path, content in {
        "main.wasm": MODULE,
        "Enarx.toml": MANIFEST,
        "assets/a/b.txt": b"B",
        "roots/ca.pem": b"P",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    made = package_tree.read(tree)
    files = receive(b"".join(delivery.messages(made)), made.digest)
    assert files == {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_wrong_digest(number: int) -> None:
    stream = [part[:-1] + bytes([part[-1] ^ 1]) if index == number else part for index, part in enumerate(GOOD)]
    with pytest.raises(BadPackage, match="its digest is"):
        receive(b"".join(stream), digest(ROOT))


def test_another_package() -> None:
    with pytest.raises(BadPackage, match="its digest is"):
        receive(b"".join(GOOD), digest(b"another"))


@pytest.mark.parametrize(
    "stream",
    [
        [GOOD[0], node("extra", b""), *GOOD[1:]],
        [GOOD[0], GOOD[2], GOOD[1]],
        [GOOD[0], node("../Enarx.toml", MANIFEST), GOOD[2]],
        [node("/", ROOT), *GOOD[1:]],
        [encode({"type": "node", "path": 1, "size": 2}), *GOOD],
        [encode({"type": "boot"}), *GOOD],
        [encode({"type": "node", "path": ""}), *GOOD],
        [encode({"type": "node", "path": "", "size": True}), *GOOD],
        [encode({"type": "node", "path": "", "size": -1}), *GOOD],
        [encode({"type": "node", "path": "", "size": 1.0}), *GOOD],
        [(1 << 30).to_bytes(4, "big"), *GOOD],
        [(3).to_bytes(4, "big") + b"{]}", *GOOD],
        [(2).to_bytes(4, "big") + b"[]", *GOOD],
        [(4).to_bytes(4, "big") + b"\xff\xfe\xfd\xfc", *GOOD],
    ],
    ids=[
        *("extra-node", "other-order", "path-upwards", "root-as-slash", "path-no-text", "no-node", "no-size"),
        *("size-bool", "size-negative", "size-float", "message-too-long", "not-json", "not-an-object", "not-utf-8"),
    ],
)
def test_what_is_not_of_the_protocol(stream: list[bytes]) -> None:
    with pytest.raises(BadMessage):
        receive(b"".join(stream), digest(ROOT))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a b", "a\n", "a\0", "ä", "a\\b", "..\n"])
def test_names_that_are_not_allowed(name: str) -> None:
    root = listing(**{name: entry(b"x")})
    with pytest.raises(BadPackage, match="not allowed"):
        receive(node("", root) + node(name, b"x"), digest(root))


@pytest.mark.parametrize(
    "bad",
    [
        *(b"[]", b"null", b"{", b"[" * 100_000, b'{"a": 1}', b'{"a": {}}', b'{"a": {"digest": "x"}}'),
        *(b'{"a": {}, "a": {}}', b'{"a": {"digest": {"sha-256": "AA==", "sha-256": "AA=="}}}'),
        *(b'{"a": {"digest": {"sha-256": 1}}}', b'{"a": {"digest": {"sha-256": "?"}}}'),
    ],
)
def test_a_listing_that_is_none(bad: bytes) -> None:
    with pytest.raises(BadPackage):
        receive(node("", bad), digest(bad))


def test_a_digest_of_another_length_fits_nothing() -> None:
    root = b'{"a": {"digest": {"sha-256": "AAAA"}}}'
    with pytest.raises(BadPackage, match="its digest is"):
        receive(node("", root) + node("a", b""), digest(root))


def test_too_large_a_file() -> None:
    root = listing(a=entry(b""))
    with pytest.raises(BadPackage, match="is over"):
        receive(node("", root) + encode({"type": "node", "path": "a", "size": package.TOTAL_LIMIT}), digest(root))


def test_too_large_a_listing() -> None:
    root = b'{"a": %s}' % (b" " * package.DIRECTORY_LIMIT)
    with pytest.raises(BadPackage, match="too large"):
        receive(node("", root), digest(root))


def test_too_many_names() -> None:
    root = listing(**{f"n{number}": {} for number in range(package.NAMES_LIMIT + 1)})
    with pytest.raises(BadPackage):
        receive(node("", root), digest(root))


def test_too_deep() -> None:
    content, nodes = b"x", [b"x"]
    for _ in range(package.DEPTH_LIMIT + 2):
        kind = DIRECTORY if len(nodes) > 1 else "text/plain"
        content = listing(d=entry(content, kind))
        nodes.append(content)
    stream = b"".join(node("/".join(["d"] * depth), content) for depth, content in enumerate(reversed(nodes)))
    with pytest.raises(BadPackage, match="too deep"):
        receive(stream, digest(nodes[-1]))


def test_truncated_anywhere() -> None:
    stream = b"".join(GOOD)
    for length in range(len(stream)):
        with pytest.raises(EOFError):
            receive(stream[:length], digest(ROOT))


@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_are_a_fault_or_an_end(data: bytes, behind_a_good_root: bool) -> None:
    stream = GOOD[0] + data if behind_a_good_root else data
    with pytest.raises((KeepFault, EOFError)):
        receive(stream, digest(ROOT))


JSON: Callable[..., st.SearchStrategy[object]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "path", "size", "digest", "sha-256", "a"]), inner, max_size=4)
    ),
)


@given(JSON, st.binary(max_size=20))
def test_arbitrary_listings_are_a_fault_or_an_end(value: object, rest: bytes) -> None:
    root = json.dumps(value).encode()
    try:
        assert receive(node("", root) + rest, digest(root)) == {}
        assert value == {}
    except (KeepFault, EOFError):
        pass


@given(JSON)
def test_arbitrary_messages_are_a_fault_or_an_end(value: object) -> None:
    text = json.dumps(value).encode()
    with pytest.raises((KeepFault, EOFError)):
        receive(len(text).to_bytes(4, "big") + text, digest(ROOT))


def test_a_large_package_is_delivered_in_pieces_of_bounded_size(tmp_path: Path) -> None:
    large = [bytes(1 << 20)] * 8
    made = package_tree.lay_out(
        [("Enarx.toml", [MANIFEST]), ("assets/large", large), ("main.wasm", [MODULE])], tmp_path
    )
    pieces = list(delivery.messages(made))
    assert max(map(len, pieces)) == 1 << 20
    assert receive(b"".join(pieces), made.digest)["assets/large"] == b"".join(large)


def test_a_file_that_was_changed_since_is_never_delivered_whole(tmp_path: Path) -> None:
    made = package_tree.lay_out([("Enarx.toml", [MANIFEST]), ("main.wasm", [MODULE])], tmp_path)
    (Path(made.root) / "main.wasm").write_bytes(MODULE[:-1])
    with pytest.raises(PackageError, match="was changed while it was read"):
        list(delivery.messages(made))
    (Path(made.root) / "main.wasm").write_bytes(bytes(len(MODULE)))
    with pytest.raises(BadPackage, match="its digest is"):
        receive(b"".join(delivery.messages(made)), made.digest)
