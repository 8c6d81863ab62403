"""Real OCI registries: Debian's docker-registry, plain, and with TLS and a password."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.ports import free_port

from enarx_deploy import package_tree
from enarx_deploy.models import Package

USER, PASSWORD = "ann", "s3cret"
MODULE = b"\0asm\x01\0\0\0"


@dataclass(frozen=True)
class Server:
    """A registry that runs: HOST:PORT, and the root of its certificate ("" where it speaks in clear)."""

    host: str
    root: str
    data: Path

    def reference(self, repository: str, tag: str = "1.0.0") -> str:
        return f"oci://{self.host}/{repository}:{tag}"

    def get(self, path: str, accept: str = "*/*") -> httpx.Response:
        return httpx.get(f"http://{self.host}/v2/{path}", headers={"Accept": accept}, timeout=120)


@contextlib.contextmanager
def docker_registry(place: Path, more: str = "", root: str = "") -> Iterator[Server]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed: apt-get install docker-registry")
    port = free_port()
    config = place / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {place}/data}}, delete: {{enabled: true}}}}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n{more}"
    )
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        await_port(process, port, place / "log")
        yield Server(f"127.0.0.1:{port}", root, place / "data")
    finally:
        process.kill()
        process.wait()


def await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(1200):
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"the registry does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with docker_registry(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With TLS and a password (USER and PASSWORD)."""
    if shutil.which("htpasswd") is None:
        pytest.skip("htpasswd is not installed: apt-get install apache2-utils")
    place = tmp_path_factory.mktemp("locked")
    root = make_certificates(place)
    command = ["htpasswd", "-Bbn", USER, PASSWORD]
    (place / "htpasswd").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    more = (
        f"  tls: {{certificate: {place}/leaf.pem, key: {place}/leaf.key}}\n"
        f"auth: {{htpasswd: {{realm: shelves, path: {place}/htpasswd}}}}\n"
    )
    with docker_registry(place, more, str(root)) as server:
        yield server


def make_certificates(place: Path) -> Path:
    """A root and a leaf for 127.0.0.1; returns the root's file."""
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate("root", root_key, "root", root_key, ca=True)
    leaf = certificate("leaf", leaf_key, "root", root_key, ca=False)
    (place / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (place / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (place / "leaf.key").write_bytes(leaf_key.private_bytes(*form))
    return place / "root.pem"


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(key_usage(ca=ca), critical=True)
    )
    if not ca:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def make_package(place: Path, files: dict[str, bytes]) -> Package:
    """A package with these files beside its module."""
    for name, content in {"main.wasm": MODULE, "Enarx.toml": b"", **files}.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return package_tree.read(place)


def log_in(config: Path, host: str, user: str = USER, password: str = PASSWORD) -> Path:
    """A file of logins as docker writes it; returns its directory, for DOCKER_CONFIG."""
    config.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (config / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return config


@pytest.fixture(autouse=True)
def no_logins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's own logins is seen."""
    home = tmp_path / "nobody"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
