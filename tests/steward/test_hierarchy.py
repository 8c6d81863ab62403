"""Root, the intermediate of each policy, and leaves, as clients of several makes see them."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enarx_attestation.claims_extension import KeepClaims
from enarx_steward import policy
from enarx_steward import state as files
from enarx_steward.ca import Authority, Leaf
from enarx_steward.errors import ConfigurationError
from enarx_steward.root import INTERMEDIATE_LIFETIME, Root

NOW = datetime.now(UTC)
CLAIMS = KeepClaims(
    backend="nil",
    hardware=False,
    status="Unprotected",
    package="sha256:" + "ab" * 32,
    evidence_sha256=None,
    report_data=None,
    nonce_bound=True,
    policy_sha256="01" * 32,
)
GO_CLIENT = """\
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

func main() {
	pem, _ := os.ReadFile(os.Args[1])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, ServerName: os.Args[3], MinVersion: tls.VersionTLS13}
	connection, err := tls.Dial("tcp", os.Args[2], config)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	connection.Close()
}
"""


def policy_for(*names: str, domain: str = "example.org") -> policy.StewardPolicy:
    listed = ", ".join(f'"{name}"' for name in names)
    text = f'[ca]\ntrust_domain = "{domain}"\n[nil]\nany_workload = true\nnames = [{listed}]\n'
    return policy.parse(text.encode())


BOTH = policy_for("localhost", "keep.example.org", "127.0.0.1", "::1")


class Service:
    """A TLS server with a leaf of an authority; `names` are those of another policy, which the leaf should not have."""

    def __init__(self, authority: Authority, keep, folder: Path, names: policy.StewardPolicy = BOTH) -> None:
        leaf = Leaf(
            key=keep.key.public_key(), claims=CLAIMS, grant=names.grants["nil"], trust_domain=names.trust_domain
        )
        chain = [authority.issue(leaf, NOW), *authority.issuers]
        pems = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain]
        self.file, self.root = folder / "service.pem", folder / "root.pem"
        key = keep.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.file.write_bytes(b"".join([*pems[:-1], key]))
        self.root.write_text(authority.root_pem)

    @contextmanager
    def serving(self):
        """Yields the port."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield listener.getsockname()[1]
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def python_says(service: Service, name: str) -> str:
    context = ssl.create_default_context(cafile=service.root)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with service.serving() as port, socket.create_connection(("127.0.0.1", port)) as plain:
        try:
            context.wrap_socket(plain, server_hostname=name).close()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return ""


def openssl_says(service: Service, name: str) -> str:
    words = ["-x509_strict", "-verify_return_error", "-tls1_3", "-CAfile", str(service.root)]
    check = ["-verify_ip", name] if name[0].isdigit() or ":" in name else ["-verify_hostname", name]
    with service.serving() as port:
        ended = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words, *check],
            input="",
            capture_output=True,
            text=True,
        )
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


@pytest.fixture
def go_says(tmp_path):
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    (tmp_path / "main.go").write_text(GO_CLIENT)
    (tmp_path / "go.mod").write_text("module client\n\ngo 1.21\n")
    environment = os.environ | {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    subprocess.run(["go", "build", "-o", "client", "."], cwd=tmp_path, env=environment, check=True)

    def say(service: Service, name: str) -> str:
        with service.serving() as port:
            words = [str(tmp_path / "client"), str(service.root), f"127.0.0.1:{port}", name]
            return subprocess.run(words, capture_output=True, text=True).stdout

    return say


@pytest.fixture
def authority():
    return Authority.create(Root.create(NOW), BOTH, NOW)


@pytest.mark.parametrize("name", ["localhost", "keep.example.org", "127.0.0.1", "::1"])
def test_python_and_openssl_take_the_chain_for_each_name_of_the_policy(authority, keep, tmp_path, name):
    service = Service(authority, keep, tmp_path)
    assert python_says(service, name) == ""
    assert openssl_says(service, name) == ""


def test_go_takes_the_chain_too(authority, keep, tmp_path, go_says):
    service = Service(authority, keep, tmp_path)
    for name in ("localhost", "127.0.0.1"):
        assert go_says(service, name) == ""
    only_names, only_addresses = policy_for("localhost"), policy_for("127.0.0.1")
    for accepted, name in ((only_names, "localhost"), (only_addresses, "127.0.0.1")):
        service = Service(Authority.create(authority.root, accepted, NOW), keep, tmp_path, accepted)
        assert go_says(service, name) == ""
        assert python_says(service, name) == ""
    foreign = Service(Authority.create(authority.root, only_names, NOW), keep, tmp_path)
    assert "not permitted" in go_says(foreign, "keep.example.org") or "excluded" in go_says(foreign, "keep.example.org")


@pytest.mark.parametrize(
    ("permitted", "named"),
    [
        (policy_for("localhost"), policy_for("localhost", "keep.example.org")),
        (policy_for("localhost"), policy_for("localhost", "127.0.0.1")),
        (policy_for("localhost", "127.0.0.1"), policy_for("localhost", "127.0.0.2")),
        (policy_for("localhost", "127.0.0.1"), policy_for("localhost", "::1")),
        (policy_for("127.0.0.1"), policy_for("127.0.0.1", "localhost")),
    ],
    ids=["name", "address-where-there-are-names", "address", "other-family", "name-where-there-are-addresses"],
)
def test_a_key_of_an_intermediate_is_worth_nothing_for_names_outside_its_policy(keep, tmp_path, permitted, named):
    authority = Authority.create(Root.create(NOW), permitted, NOW)
    service = Service(authority, keep, tmp_path, named)
    assert "subtree violation" in python_says(service, "localhost")


def test_an_intermediate_signs_no_authorities(authority):
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = authority.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    names = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert usage.key_cert_sign
    assert not usage.crl_sign
    assert not usage.digital_signature
    assert names.critical
    assert BOTH.sha256 in authority.certificate.subject.rfc4514_string()


def before(authority):
    """The certificates of the intermediates that came before one."""
    return [one.certificate for one in authority.predecessors]


def test_a_policy_keeps_its_intermediate_and_another_gets_its_own(state):
    first = files.load_authority(state, BOTH, NOW)
    again = files.load_authority(state, BOTH, NOW + timedelta(days=2))
    other = files.load_authority(state, policy_for("localhost"), NOW + timedelta(days=3))
    back = files.load_authority(state, BOTH, NOW + timedelta(days=4))
    assert first.certificate == again.certificate == back.certificate
    assert other.certificate.subject != first.certificate.subject
    assert before(other) == [first.certificate]
    assert other.root.pem == first.root.pem


def test_an_intermediate_is_renewed_before_it_ends_and_forgotten_after(state):
    first = files.load_authority(state, BOTH, NOW)
    later = NOW + timedelta(days=17)
    assert not first.lasts(later)
    second = files.load_authority(state, BOTH, later)
    assert second.certificate.not_valid_after_utc > first.certificate.not_valid_after_utc
    assert before(second) == [first.certificate]
    third = files.load_authority(state, BOTH, NOW + INTERMEDIATE_LIFETIME + timedelta(seconds=1))
    assert (third.certificate, third.predecessors) == (second.certificate, ())
    assert len(list((state / "intermediates").iterdir())) == 1


def test_a_clock_that_goes_back_before_the_intermediate_gets_another(state):
    files.load_root(state, NOW - timedelta(days=10))
    ahead = files.load_authority(state, BOTH, NOW)
    behind = files.load_authority(state, BOTH, NOW - timedelta(days=5))
    assert behind.certificate != ahead.certificate
    assert behind.certificate.not_valid_before_utc < NOW - timedelta(days=5)
    assert before(behind) == [ahead.certificate]


def test_another_root_has_intermediates_of_its_own(state):
    first = files.load_authority(state, BOTH, NOW)
    for name in ("ca.key", "root.pem"):
        (state / name).unlink()
    second = files.load_authority(state, BOTH, NOW)
    assert second.certificate != first.certificate
    second.certificate.verify_directly_issued_by(second.root.certificate)


def test_the_key_of_an_intermediate_is_for_nobody_else(state, run, start):
    assert start().end() == 0
    (path,) = (state / "intermediates").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o640)
    ended = run()
    assert ended.returncode == 1
    assert f"{path}: others could read the key (mode 0640)" in ended.stderr


@pytest.mark.parametrize("defect", ["empty", "no-certificate", "key-of-another", "noise"])
def test_an_intermediate_that_cannot_be_used_is_named(state, defect):
    files.load_authority(state, BOTH, NOW)
    (path,) = (state / "intermediates").iterdir()
    key, separator, certificate = path.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    other = Authority.create(Root.create(NOW), BOTH, NOW).to_pem().partition(separator)[0]
    path.write_bytes(
        {"empty": b"", "no-certificate": key, "key-of-another": other + separator + certificate, "noise": b"\xff" * 99}[
            defect
        ]
    )
    with pytest.raises(ConfigurationError, match=path.name) as caught:
        files.load_authority(state, BOTH, NOW)
    assert "a new one is made" in caught.value.hint


def test_the_intermediates_are_listed_with_their_windows(start, state, keep):
    first = start()
    (only,) = first.client.info()["intermediates"]
    assert only["policy_sha256"] == first.client.info()["policy_sha256"]
    leaf, intermediate, root = first.client.certify(keep)
    assert only["sha256"] == intermediate.fingerprint(SHA256()).hex()
    assert first.end() == 0
    text = (state / "steward.toml").read_text().replace("2h", "3h")
    second = start(policy=text)
    now_first, before = second.client.info()["intermediates"]
    assert before == only
    assert now_first["policy_sha256"] == second.client.info()["policy_sha256"] != before["policy_sha256"]
    assert second.client.info()["roots_pem"] == [root.public_bytes(Encoding.PEM).decode()]
    # What the old policy vouched for is good under the same root until it ends.
    leaf.verify_directly_issued_by(intermediate)
    assert leaf.not_valid_after_utc < datetime.fromisoformat(before["not_after"])
