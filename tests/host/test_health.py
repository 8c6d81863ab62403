"""What a look at a Keep that serves finds, of a server that the Keep is played by."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from enarx_deploy.errors import KeepError
from enarx_deploy.host import looking, requests, state
from enarx_deploy.host.health import Inside
from enarx_deploy.manifest import Listen
from enarx_deploy.models import Endpoint, KeepStatus

NOW = datetime.now(UTC)


class Root:
    """A root, and servers that it certifies."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a root")])
        self.certificate = self._certify(self._name, self._key, NOW + timedelta(days=1), ca=True)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def server(self, place: Path, ends: datetime) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a Keep")])
        certificate = self._certify(name, key, ends, ca=False)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (place / "keep.pem").write_bytes(pem + certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(place / "keep.pem")
        return context

    def _certify(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime, *, ca: bool
    ) -> x509.Certificate:
        made = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(NOW - timedelta(days=2)).not_valid_after(ends)
        return made.add_extension(x509.BasicConstraints(ca, None), critical=True).sign(self._key, hashes.SHA256())


class Keep:
    """What a look asks of a session: a socket, on which this accepts."""

    is_full = False
    listeners = ((Listen(name="echo", prot="tls", port=443), None),)

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def counters(self) -> dict[str, int]:
        return {"accepted": 0}

    def accept_on(self, _: Listen, listener: socket.socket) -> None:
        threading.Thread(target=self._serve, args=(listener.dup(),), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                self._context.wrap_socket(connection, server_side=True).close()


def looks_at(context: ssl.SSLContext, place: Path) -> Inside:
    return Inside(cast("Any", Keep(context)), place)


def test_a_certificate_that_has_ended_lets_no_clients_in_and_ends_no_keep(tmp_path: Path) -> None:
    """A Keep that is started in its place would have none at all while its Steward is away."""
    root = Root()
    inside = looks_at(root.server(tmp_path, ends=NOW - timedelta(hours=1)), tmp_path)
    with pytest.raises(KeepError, match="expired"):
        inside.check(root.der, 60)
    inside.check_again(root.der, 60)


def test_a_certificate_of_another_root_is_found_at_every_look(tmp_path: Path) -> None:
    inside = looks_at(Root().server(tmp_path, ends=NOW + timedelta(hours=1)), tmp_path)
    for look in (inside.check, inside.check_again):
        with pytest.raises(KeepError, match="does not speak TLS with its certificate"):
            look(Root().der, 60)


class Drips(Keep):
    """Begins a record of TLS, and sends what is in it a byte at a time."""

    def _serve(self, listener: socket.socket) -> None:
        with listener, listener.accept()[0] as connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while True:
                connection.sendall(b"\x02")
                time.sleep(0.05)


def test_a_keep_that_answers_a_byte_at_a_time_is_not_waited_for(tmp_path: Path) -> None:
    root = Root()
    inside = Inside(cast("Any", Drips(root.server(tmp_path, ends=NOW + timedelta(hours=1)))), tmp_path)
    with pytest.raises(KeepError, match="did not shake hands: timed out"):
        inside.check(root.der, 1)


def test_each_socket_of_a_keep_has_its_time(tmp_path: Path, monkeypatch) -> None:
    endpoints = [Endpoint(name=f"{number}", host="localhost", port=number, prot="tls") for number in range(1, 4)]
    status = KeepStatus(
        id="k", name="k", state="running", backend="nil", target="local", package="", endpoints=endpoints, created=""
    )
    state.write_status(tmp_path, status)
    ended = threading.Event()
    limits = []

    def asked(_: Path, request: requests.Request, timeout: float) -> requests.Request:
        limits.append((request["within"], timeout))
        ended.set()
        return {}

    monkeypatch.setattr(requests, "ask", asked)
    looks = state.Looks(interval=1, timeout=7, threshold=1)
    assert looking.until_unhealthy(tmp_path, looks, ended, lambda: True, print) == ""
    ((within, limit),) = limits
    assert within == 7
    assert limit > 3 * within
