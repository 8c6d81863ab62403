"""A registry or a host that is not what it should be: the Keep ends before it runs anything, and says why."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
from collections.abc import Callable

import pytest
from tests.ports import free_port

from enarx_deploy.errors import EnarxDeployError, KeepError, VerificationRefused
from enarx_deploy.host import sockets

from .conftest import DRAWBRIDGE, MANIFEST, MARKER

WASM = b"\0asm\1\0\0\0"


@pytest.fixture(scope="module")
def authority():
    """Whom the Keep is told to believe about its registry: here, the host's own."""
    return DRAWBRIDGE.StewardInMiniature()


@pytest.fixture
def context(authority, tmp_path) -> ssl.SSLContext:
    """A server's, which believes any certificate of a client."""
    authority.server_files(tmp_path)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    return made


def roots_of(authority) -> list[str]:
    der = ssl.PEM_cert_to_DER_cert(authority.root.pem)
    return [base64.b64encode(der).decode()]


def good_package() -> tuple[str, dict[str, bytes]]:
    """Digest and nodes of a package that would be run."""
    package = DRAWBRIDGE.make_package({"main.wasm": WASM, "Enarx.toml": MANIFEST % (MARKER, 0)})
    return package.root.sha256, {path: body for path, (body, _) in package.nodes.items()}


def answer(body: bytes, status: str = "200 OK", length: int | None = None, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n"
    return head.encode() + body


def asked(connection: ssl.SSLSocket) -> str | None:
    """The path of the next request below the tree's root, or None at the end."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        piece = connection.recv(4096)
        if not piece:
            return None
        request += piece
    return request.split()[1].decode().partition("/tree")[2].lstrip("/")


def serving(respond: Callable[[str, dict[str, bytes]], bytes], nodes: dict[str, bytes], most: int = 100):
    """Answer requests as `respond` says, `most` on one connection."""

    def handle(connection: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(most):
                path = asked(connection)
                if path is None:
                    return
                connection.sendall(respond(path, nodes))

    return handle


HOSTILE: dict[str, tuple[Callable[[str, dict[str, bytes]], bytes], str]] = {
    "another-root": (lambda _, nodes: answer(nodes["main.wasm"]), "the package: its digest is sha256:"),
    "another-node": (
        lambda path, nodes: answer(nodes[path][:-1] + b"\xff" if path == "main.wasm" else nodes[path]),
        "main.wasm: its digest is sha256:",
    ),
    "longer-node": (
        lambda path, nodes: answer(nodes[path] + b"\0" if path == "main.wasm" else nodes[path]),
        "it sends 9 bytes, and at most 8 can be right",
    ),
    "endless-body": (lambda _, nodes: answer(nodes[""], length=10**12 - 1), "at most 1,000,000 can be right"),
    "early-end": (lambda _, nodes: answer(nodes[""], length=len(nodes[""]) + 1), "Connection reset"),
    "redirect": (lambda *_: answer(b"", "302 Found", more="Location: https://evil.example/\r\n"), "not followed"),
    "nonsense": (lambda *_: b"\0" * 20_000 + b"\r\n\r\n", "head of its answer is too long"),
    "bomb-of-names": (
        lambda *_: answer(json.dumps({f"n{number}": {} for number in range(20_000)}).encode()),
        "digest is",
    ),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_a_registry_that_sends_something_else(keeper, serve, context, authority, defect) -> None:
    respond, why = HOSTILE[defect]
    digest, nodes = good_package()

    server = serve(serving(respond, nodes, most=1 if defect == "early-end" else 100), context)
    keep = keeper(digest, server.port, roots_of(authority))
    with pytest.raises(KeepError, match="the Keep did not start"):
        keep.run()
    outcome = keep.session.wait()
    assert (outcome.kind, keep.session.endpoints) == ("error", [])
    assert why in outcome.message, outcome


def test_a_listing_of_a_good_digest_that_names_too_much(keeper, serve, context, authority) -> None:
    """A package can be hostile itself."""
    listing = json.dumps({f"n{number}": {} for number in range(10_001)}).encode()
    server = serve(serving(lambda *_: answer(listing), {}), context)
    keep = keeper(f"sha256:{hashlib.sha256(listing).hexdigest()}", server.port, roots_of(authority))
    with pytest.raises(KeepError):
        keep.run()
    assert "has no SHA-256 digest" in keep.session.wait().message


def test_a_registry_that_is_down(keeper) -> None:
    port = free_port()
    keep = keeper(f"sha256:{'ab' * 32}", port, [])
    with pytest.raises(KeepError, match=f"cannot connect to the registry localhost port {port}: Connection refused"):
        keep.run()
    assert "cannot connect to the registry" in keep.session.wait().message


def test_a_registry_under_a_root_that_the_keep_was_not_told(keeper, registry) -> None:
    keep = keeper(f"sha256:{'ab' * 32}", registry.port, [])
    with pytest.raises(KeepError):
        keep.run()
    assert "TLS with localhost: invalid peer certificate: UnknownIssuer" in keep.session.wait().message


def test_a_port_that_the_host_does_not_open(keeper, registry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        manifest = MANIFEST % (MARKER, taken.getsockname()[1])
        digest = registry.publish("2.0.0", {"main.wasm": WASM, "Enarx.toml": manifest})
        roots = [base64.b64encode(ssl.PEM_cert_to_DER_cert(registry.roots.read_text())).decode()]
        keep = keeper(digest, registry.port, roots, "2.0.0")
        with pytest.raises(EnarxDeployError, match=r"cannot listen on 127\.0\.0\.1"):
            keep.run()
    outcome = keep.session.wait()
    assert outcome.message.startswith("its host does not open what the manifest lists: cannot listen"), outcome


DEFECTIVE = {
    "no-such-kind": '[[files]]\nkind = "%s"\n',
    "no-string": 'env = { TOKEN = ["%s"] }\n',
    "no-number": '[[files]]\nkind = "listen"\nname = "a"\nprot = "tls"\nport = 0\n[tls.a]\nhandshake_timeout = "%s"\n',
    "no-variable": '[[secrets]]\nname = "a"\nenv = "%s="\n',
    "unknown-key": "[network]\n%s = 1\n",
    "twice-a-key": "[%s]\n[%s]\n",
    "no-such-root": (
        '[[files]]\nkind = "listen"\nname = "a"\naddr = "127.0.0.1"\nprot = "tls"\nport = 0\n'
        '[tls.a]\nclient_auth = "require"\nroots = ["%s.pem"]\n'
    ),
    "no-path": '[[package.assets]]\nguest = "%s/../.."\n',
}


@pytest.mark.parametrize("defect", DEFECTIVE)
def test_what_is_wrong_in_a_manifest_is_told_to_its_host_without_its_values(keeper, registry, defect) -> None:
    secret = MARKER.decode()
    text = DEFECTIVE[defect].replace("%s", secret)
    tag = f"3.0.{list(DEFECTIVE).index(defect)}"
    digest = registry.publish(tag, {"main.wasm": WASM, "Enarx.toml": text.encode()})
    roots = [base64.b64encode(ssl.PEM_cert_to_DER_cert(registry.roots.read_text())).decode()]
    keep = keeper(digest, registry.port, roots, tag)
    with pytest.raises(KeepError) as told:
        keep.run()
    outcome = keep.session.wait()
    assert outcome.message.startswith("Enarx.toml asks for what this Keep cannot give: "), outcome
    assert "life.py:" in outcome.message or "manifest.py:" in outcome.message, outcome
    assert secret not in outcome.message
    assert secret not in f"{told.value} {told.value.hint}"


def test_a_host_that_connects_the_keep_to_another_server(
    keeper, registry, serve, context, authority, monkeypatch
) -> None:
    """Which has a certificate, but not one under the roots that the Keep was told."""
    other = serve(lambda _connection: None, context)
    monkeypatch.setattr(sockets, "dial", lambda *_: socket.create_connection(("127.0.0.1", other.port)))
    roots = [base64.b64encode(ssl.PEM_cert_to_DER_cert(registry.roots.read_text())).decode()]
    keep = keeper(f"sha256:{'ab' * 32}", registry.port, roots)
    with pytest.raises(KeepError):
        keep.run()
    assert "invalid peer certificate" in keep.session.wait().message


def test_a_package_that_the_steward_denies_is_never_asked_for(keeper, steward) -> None:
    digest = f"sha256:{'cd' * 32}"
    steward.accept(f'[packages]\ndeny = ["{digest}"]\n')
    try:
        with socket.create_server(("127.0.0.1", 0)) as registry:
            registry.setblocking(False)
            with pytest.raises(VerificationRefused, match=r"packages\.denied"):
                keeper(digest, registry.getsockname()[1], []).run()
            with pytest.raises(BlockingIOError):
                registry.accept()
    finally:
        steward.accept("")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "needs"},
        {"type": "needs", "secrets": 3},
        {"type": "opens", "files": 3},
        {"type": "opens", "files": [None]},
        {"type": "opens", "files": [{"kind": "listen"}]},
        {"type": "opens", "files": [{"kind": "null"}] * 65},
        {"type": "opens", "files": [], "network": {"connect": ["a.example:1"], "connections": 65}},
        {"type": "opens", "files": [], "network": {"connect": [], "steward": "https://evil.example"}},
    ],
    ids=str,
)
def test_a_keep_that_asks_for_what_no_manifest_can_list_gets_nothing(keeper, message) -> None:
    keep = keeper(f"sha256:{'ab' * 32}", 1, [])
    keep.session._ended.set()  # nobody is there to be waited for
    keep.session._keep.note(message)
    with pytest.raises(KeepError):
        keep.session._come_up()
    keep.session._keep.end()
    assert keep.session.endpoints == []
