"""TLS servers with certificates that are good, or bad in one way."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enarx_attestation.claims_extension import KeepClaims
from enarx_deploy.verification import Trust
from enarx_steward import policy
from enarx_steward.ca import Authority, Leaf, policy_subject
from enarx_steward.root import Root, self_signed

PACKAGE = "sha256:" + "ab" * 32
NOW = datetime.now(UTC)
CLAIMS = KeepClaims(
    backend="nil",
    hardware=False,
    status="Unprotected",
    package=PACKAGE,
    evidence_sha256="cd" * 32,
    report_data="ef" * 64,
    nonce_bound=True,
    policy_sha256="01" * 32,
)
POLICY = policy.parse(policy.for_this_machine(written_by="a test").encode())
GRANT = POLICY.grants["nil"]


class Service:
    """A TLS server that answers with nothing, on a thread of its own."""

    claims = CLAIMS
    grant = GRANT

    def __init__(self, tmp_path: Path) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._signer = ec.generate_private_key(ec.SECP256R1())
        self.authority = self.authority_of(self.root_of(NOW - timedelta(days=30)))
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._file = tmp_path / "service.pem"
        self.root = tmp_path / "root.pem"
        self.root.write_text(self.authority.root_pem)

    def root_of(self, at: datetime) -> Root:
        """The same root, made at another time."""
        return Root(self._root_key, self_signed(self._root_key, at))

    def authority_of(
        self, root: Root, at: datetime = NOW - timedelta(days=2), subject: x509.Name | None = None
    ) -> Authority:
        """The intermediate that signs, under a root."""
        name = subject or policy_subject(POLICY)
        certificate = root.certify(self._signer.public_key(), name, POLICY.grants.values(), at)
        return Authority(self._signer, certificate, root)

    def leaf(self, at: datetime = NOW, lifetime: timedelta = timedelta(hours=24), **changes: object) -> bytes:
        """A certificate as the Steward issues them; `changes` are claims that it should not have."""
        claims = msgspec.structs.replace(CLAIMS, **changes)
        grant = msgspec.structs.replace(GRANT, lifetime=lifetime)
        leaf = Leaf(key=self.key.public_key(), claims=claims, grant=grant, trust_domain="localhost")
        return self.authority.issue(leaf, at)

    def changed(self, *, drop: str = "", add: list[tuple[x509.ExtensionType, bool]] = (), der: bytes = b"") -> bytes:
        """The same certificate without an extension, or with one in its place, signed by the same authority."""
        good = x509.load_der_x509_certificate(der or self.leaf())
        builder = (
            x509.CertificateBuilder()
            .subject_name(good.subject)
            .issuer_name(good.issuer)
            .public_key(good.public_key())
            .serial_number(good.serial_number)
            .not_valid_before(good.not_valid_before_utc)
            .not_valid_after(good.not_valid_after_utc)
        )
        for extension in good.extensions:
            if extension.oid.dotted_string != drop:
                builder = builder.add_extension(extension.value, extension.critical)
        for value, critical in add:
            builder = builder.add_extension(value, critical)
        return builder.sign(self._signer, SHA256()).public_bytes(Encoding.DER)

    @contextmanager
    def serving(self, leaf: bytes, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, address: str = "127.0.0.1"):
        """Serve with a certificate; yields the port."""
        certificate = x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        above = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in self.authority.issuers]
        self._file.write_bytes(b"".join([certificate, *above, key]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = version
        context.load_cert_chain(self._file)

        def answer(connection: socket.socket) -> None:
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)

        with listening(answer, address) as port:
            yield port


@contextmanager
def listening(answer, address: str = "127.0.0.1"):
    """A TCP server that gives each connection to a function; yields its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        if not ended.is_set():
                            answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            socket.create_connection(server.getsockname()[:2]).close()
            thread.join()


@pytest.fixture
def service(tmp_path):
    """A service, and the authority that its certificates come from."""
    return Service(tmp_path)


@pytest.fixture
def listen():
    """A TCP server that gives each connection to a function."""
    return listening


@pytest.fixture
def trust(service):
    """What a client trusts who expects just this service."""

    def trust(**changes: object) -> Trust:
        good = Trust(
            root_pem=service.authority.root_pem,
            root_path=service.root,
            accepted=frozenset({"nil"}),
            accepted_by="--accept",
            package=PACKAGE,
            package_from="--package",
        )
        return msgspec.structs.replace(good, **changes)

    return trust
