"""Vendors in miniature, and a real HTTPS server on this machine that plays their services, well or badly."""

from __future__ import annotations

import importlib.util
import ipaddress
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

MINIATURES = Path(__file__).parents[1] / "attestation" / "conftest.py"


def load_miniatures() -> Any:
    """The module with vendors in miniature, which the tests of the library use too."""
    name = "vendors_in_miniature"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, MINIATURES)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@dataclass(frozen=True)
class Play:
    """One answer of the server's."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    lacking: int = 0
    """Bytes that are announced and not sent."""
    pause: float = 0.0
    """Seconds after each byte."""
    endless: bool = False
    """Send the body over and over."""


class Vendor:
    """A server with a certificate of its own. It plays what stands under a request's target, in turn, and the last for
    ever; anything else is not found."""

    def __init__(self, directory: Path) -> None:
        self.plays: dict[str, list[Play]] = {}
        self.asked: list[str] = []
        self.ca_file = directory / "server.pem"
        self.ca_file.write_bytes(certificate())
        self._ended = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that goes away is what some tests are about
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def next(self, target: str) -> Play:
        self.asked.append(target)
        plays = self.plays.get(target, [Play(status=404)])
        return plays.pop(0) if len(plays) > 1 else plays[0]

    def stop(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise ConnectionAbortedError


def handler_of(vendor: Vendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            play = vendor.next(self.path)
            self.send_response(play.status)
            for name, value in play.headers.items():
                self.send_header(name, value)
            if not play.endless:
                self.send_header("Content-Length", str(len(play.body) + play.lacking))
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            with suppress(OSError):
                self.send(play)

        def send(self, play: Play) -> None:
            while play.endless:
                self.wfile.write(play.body)
            if not play.pause:
                self.wfile.write(play.body)
                return
            for byte in play.body:
                self.wfile.write(bytes([byte]))
                vendor.wait(play.pause)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    return Handler


def certificate() -> bytes:
    """Key and certificate of localhost, for one hour."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.public_bytes(Encoding.PEM)


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    made = Vendor(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def play() -> type[Play]:
    """The answers of the server, for tests to make."""
    return Play


@pytest.fixture(scope="session")
def miniatures() -> Any:
    return load_miniatures()


@pytest.fixture(scope="session")
def amd(miniatures: Any) -> Any:
    return miniatures.Amd()


@pytest.fixture(scope="session")
def intel(miniatures: Any) -> Any:
    return miniatures.Intel()
