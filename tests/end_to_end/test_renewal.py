"""Certificates that are renewed while the service goes on: by command, by the clock, and not at any price."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest


def leaf(service, context=None) -> bytes:
    with service.connect(context) as client:
        return client.getpeercert(binary_form=True)


def key_of(certificate: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = x509.load_der_x509_certificate(certificate).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_renew_while_connections_stay_up(service, cli, read_exactly) -> None:
    echo = service()
    first = leaf(echo)
    with echo.connect() as old:
        old.sendall(b"before\n")
        assert read_exactly(old, 7) == b"before\n"
        for words in ((), (echo.id,)):
            renewed = cli("renew", "--json", *words)
            assert renewed.returncode == 0, renewed.stderr
            (status,) = json.loads(renewed.stdout)
            assert (status["id"], status["state"], status["renewal_failure"]) == (echo.id, "running", "")
        old.sendall(b"after\n")
        assert read_exactly(old, 6) == b"after\n"
        assert old.getpeercert(binary_form=True) == first
    second = leaf(echo)
    assert second != first
    assert key_of(second) != key_of(first)
    assert echo.echoes()
    assert cli("verify", f"localhost:{echo.port}").returncode == 0


def test_a_renewal_that_fails_changes_nothing(service, cli) -> None:
    echo = service()
    client = echo.context()
    first = leaf(echo, client)
    assert cli("steward", "--stop").returncode == 0
    state = echo.state.parents[1] / "steward"
    (state / "steward.toml").write_text('[kvm]\nany_workload = true\nnames = ["a.example"]\n')
    refused = cli("renew", echo.id)
    assert refused.returncode == 1, refused.stdout
    assert "enarx-deploy: " in refused.stderr
    assert leaf(echo, client) == first
    assert echo.status()["state"] == "running"

    # Another root is not taken, though this Steward would issue.
    assert cli("steward", "--stop").returncode in (0, 1)
    shutil.rmtree(state)
    refused = cli("renew", echo.id)
    assert refused.returncode == 1
    assert "another root certificate now" in refused.stderr
    assert leaf(echo, client) == first


def test_a_keep_without_a_certificate_has_none_to_renew(service, cli) -> None:
    echo = service(prot="tcp")
    refused = cli("renew", echo.id)
    assert refused.returncode == 1
    assert "has no certificate" in refused.stderr
    assert cli("renew").stdout == "no running Keep has a certificate\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_openssl_is_given_no_ticket_and_resumes_nothing(service, tmp_path) -> None:
    """As someone checks it by hand: connect, save the session, connect with it."""
    echo = service()
    kept = tmp_path / "session.pem"
    words = ["openssl", "s_client", "-connect", f"localhost:{echo.port}", "-servername", "localhost"]
    words += ["-CAfile", str(echo.root), "-verify_return_error"]
    done = subprocess.run([*words, "-sess_out", str(kept)], input=b"hello\nQ\n", capture_output=True, timeout=60)
    assert b"TLSv1.3" in done.stdout
    assert b"New Session Ticket" not in done.stdout
    assert b"Reused" not in done.stdout
    again = subprocess.run([*words, "-reconnect"], input=b"Q\n", capture_output=True, timeout=60)
    assert b"Reused" not in again.stdout
