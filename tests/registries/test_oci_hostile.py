"""A registry whose artifact is good but for one thing, written down here from the form that documentation gives."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy.errors import PackageError, RegistryError
from enarx_registries import oci_http, oci_repository
from enarx_registries.oci import Oci

MODULE, MANIFEST = b"\0asm\1\0\0\0", b"args = []\n"
NOISE = hashlib.shake_128(b"").digest(4096)
WASM = "application/wasm"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def package_digest() -> str:
    def entry(data: bytes, kind: str) -> dict[str, Any]:
        digests = {
            name: base64.b64encode(hashlib.new(name.replace("-", ""), data).digest()).decode()
            for name in ("sha-224", "sha-256", "sha-384", "sha-512")
        }
        return {"digest": digests, "length": len(data), "type": kind}

    root = {"Enarx.toml": entry(MANIFEST, "application/toml"), "main.wasm": entry(MODULE, WASM)}
    return digest(json.dumps(root, separators=(",", ":")).encode())


def tar(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


class Shelf:
    """What a registry has: blobs by digest, and the manifest of every tag. A test spoils some of it."""

    def __init__(self) -> None:
        self.blobs = {digest(MODULE): MODULE}
        self.manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.put(b"{}", "application/vnd.wasm.config.v0+json"),
            "layers": [self.put(MODULE, WASM)],
            "annotations": {"dev.enarx.package.digest": package_digest(), "dev.enarx.package.size": "18"},
        }
        self.tree(tar(**{"Enarx.toml": MANIFEST}))
        self.raw = b""

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def tree(self, data: bytes) -> None:
        self.manifest["annotations"]["dev.enarx.package.tree"] = self.put(data, "x/y")["digest"]

    def answer(self, path: str) -> bytes | None:
        kind, _, name = path.removeprefix("/v2/team/echo/").partition("/")
        if kind == "manifests":
            return self.raw or json.dumps(self.manifest).encode()
        return self.blobs.get(name)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def reference(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(oci_http.time, "sleep", lambda _: None)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = shelf.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", OCI_MANIFEST)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"oci+http://127.0.0.1:{server.server_port}/team/echo:1.0.0"
        server.shutdown()


def test_the_artifact_is_good_to_begin_with(shelf: Shelf, reference: str, tmp_path: Path) -> None:
    assert Oci().fetch(reference, tmp_path / "into").digest == package_digest()


def layer(shelf: Shelf, **changes: object) -> None:
    shelf.manifest["layers"][0] |= changes


def annotation(shelf: Shelf, name: str, value: object) -> None:
    shelf.manifest["annotations"][f"dev.enarx.package.{name}"] = value


def index(shelf: Shelf) -> None:
    """One that names itself, as far as one can."""
    shelf.raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{"mediaType": OCI_INDEX, "digest": digest(b""), "size": 9}],
        }
    ).encode()


DEFECTS: dict[str, tuple[Callable[[Shelf], object], str]] = {
    "layer-of-another-type": (lambda shelf: layer(shelf, mediaType="application/octet-stream"), "is not a package"),
    "layer-in-capitals": (lambda shelf: layer(shelf, mediaType="Application/Wasm"), "is not a package"),
    "two-layers": (lambda shelf: shelf.manifest["layers"].append(shelf.put(MANIFEST, WASM)), "is not a package"),
    "no-layer": (lambda shelf: shelf.manifest.update(layers=[]), "is not a package"),
    "layers-of-nothing": (lambda shelf: shelf.manifest.update(layers=None), "is not what it should be"),
    "digest-sha512": (lambda shelf: layer(shelf, digest=digest(MODULE, "sha512")), "is not what it should be"),
    "digest-in-capitals": (lambda shelf: layer(shelf, digest=digest(MODULE).upper()), "is not what it should be"),
    "digest-upwards": (lambda shelf: layer(shelf, digest="sha256:../../../../etc"), "is not what it should be"),
    "digest-of-nothing-there": (lambda shelf: layer(shelf, digest=digest(b"gone")), "has no such thing"),
    "size-below-nothing": (lambda shelf: layer(shelf, size=-1), "is not what it should be"),
    "size-beyond-numbers": (lambda shelf: layer(shelf, size=1 << 80), "is not what it should be"),
    "package-of-sha512": (lambda shelf: annotation(shelf, "digest", digest(MODULE, "sha512")), "is not a package"),
    "package-of-a-number": (lambda shelf: annotation(shelf, "digest", 5), "is not what it should be"),
    "another-package": (lambda shelf: annotation(shelf, "digest", digest(b"")), "or another package"),
    "tree-of-nothing-there": (lambda shelf: annotation(shelf, "tree", digest(b"gone")), "has no such thing"),
    "tree-elsewhere": (lambda shelf: annotation(shelf, "tree", "https://registry.example/x"), "is not a package"),
    "listing-of-another": (
        lambda shelf: annotation(shelf, "listing", shelf.put(b'{"main.wasm": {}}', "x/y")["digest"]),
        "is not what it should be",
    ),
    "listing-too-large": (
        lambda shelf: annotation(shelf, "listing", shelf.put(bytes(17 << 20), "x/y")["digest"]),
        "is over 16,777,216 bytes",
    ),
    "tree-packed": (lambda shelf: shelf.tree(gzip.compress(tar(**{"Enarx.toml": NOISE}))), "is damaged"),
    "tree-packed-twice": (lambda shelf: shelf.tree(gzip.compress(gzip.compress(bytes(1 << 24)))), "ends in the middle"),
    "tree-with-a-module": (lambda shelf: shelf.tree(tar(**{"main.wasm": MODULE})), "lies already"),
    "tree-with-more": (
        lambda shelf: shelf.tree(tar(**{"Enarx.toml": MANIFEST, "assets/more": b""})),
        "or another package",
    ),
    "tree-that-goes-on": (lambda shelf: shelf.tree(tar(**{"Enarx.toml": MANIFEST}) + bytes(2 << 20)), "a blob is over"),
    "index": (index, "is an index of several"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_an_artifact_of_which_anything_is_wrong_is_refused_and_nothing_is_left(
    shelf: Shelf, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    spoil, message = DEFECTS[defect]
    if defect == "tree-that-goes-on":
        monkeypatch.setattr(oci_repository.Repository.unchecked_blob, "__defaults__", (1 << 20,))
    spoil(shelf)
    with pytest.raises((PackageError, RegistryError), match=message) as caught:
        Oci().fetch(reference, tmp_path / "into")
    assert str(caught.value).isprintable()
    assert caught.value.hint
    assert list((tmp_path / "into").glob("*")) == []
