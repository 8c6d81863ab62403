"""TLS on the Steward's own listener, and what its clients make of it."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.ports import free_port

from enarx_deploy.errors import StewardError
from enarx_deploy.project import load_project
from enarx_issuers import pinned_roots, steward
from enarx_steward import state as files
from enarx_steward import tls
from enarx_steward.grants import Grant
from enarx_steward.record import find
from enarx_steward.root import Root, key_pem

from .conftest import POLICY, Client

NOW = datetime.now(UTC)
LOCALHOST = Grant(dns_names=("localhost",), addresses=(), lifetime=timedelta())


@pytest.fixture
def port():
    """One that is free."""
    return free_port()


@pytest.fixture
def for_others(start, port):
    """A Steward that listens on every address, with these options, and the URL by which others know it."""

    def for_others(*options: str, scheme: str = "https"):
        url = f"{scheme}://localhost:{port}"
        policy = POLICY.replace("[ca]", f'[ca]\naudience = "{url}"')
        return start("--listen", f"0.0.0.0:{port}", *options, policy=policy), url

    return for_others


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose manifest names a Steward."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state-of-user"))

    def project(url: str):
        (tmp_path / "project").mkdir(exist_ok=True)
        (tmp_path / "project" / "Enarx.toml").write_text(f'steward = "{url}"\n')
        return load_project(tmp_path / "project")

    return project


def shown(port: int, root_pem: str, name: str = "localhost", **versions: ssl.TLSVersion) -> x509.Certificate:
    context = ssl.create_default_context(cadata=root_pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for attribute, version in versions.items():
        setattr(context, attribute, version)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=name) as channel,
    ):
        return x509.load_der_x509_certificate(channel.getpeercert(binary_form=True))


def reload(running) -> str:
    before = find(running.state).reloads
    running.process.send_signal(signal.SIGHUP)
    while (now := find(running.state)).reloads == before:
        time.sleep(0.01)
    return now.fault


def write_server_files(folder, root: Root, grant: Grant = LOCALHOST) -> tuple[str, str]:
    key, separator, chain = tls.issue(root, grant, NOW).partition(b"-----BEGIN CERTIFICATE-----")
    (folder / "server.key").write_bytes(key)
    (folder / "server.key").chmod(0o600)
    (folder / "server.pem").write_bytes(separator + chain)
    return str(folder / "server.pem"), str(folder / "server.key")


def test_for_other_machines_it_speaks_tls_1_3_under_its_own_root(for_others, port, keep):
    running, url = for_others()
    root = running.root.read_text()
    certificate = shown(port, root)
    assert certificate.subject.rfc4514_string() == "CN=Steward TLS"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    with pytest.raises(ssl.SSLError):
        shown(port, root, maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(port, root, name="keep.example.org")
    context = ssl.create_default_context(cadata=root)
    with httpx.Client(verify=context, trust_env=False, timeout=120) as http:
        client = Client(url, http)
        assert client.info()["transport"] == "own-tls"
        assert len(client.certify(keep)) == 3
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://localhost:{port}/v1/info", trust_env=False, timeout=120)


def test_openssl_accepts_the_listener(for_others, port):
    running, _ = for_others()
    words = ["-x509_strict", "-verify_return_error", "-verify_hostname", "localhost", "-CAfile", str(running.root)]
    ended = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words], input="", capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_the_issuer_pins_the_root_on_first_use_and_verifies_tls_under_it_from_then_on(for_others, project, state):
    running, url = for_others()
    issuer = steward.Steward()
    location = issuer.locate(project(url))
    assert location.root_pem == running.root.read_text()
    assert issuer.challenge(location).audience == url
    # Another Steward in its place, with a root of its own.
    assert running.end() == 0
    for name in ("ca.key", "root.pem"):
        (state / name).unlink()
    for_others()
    with pytest.raises(StewardError, match=r"TLS certificate .* is not good"):
        issuer.challenge(location)
    with pytest.raises(StewardError, match=r"TLS certificate .* is not good") as caught:
        issuer.locate(project(url))
    assert "by a way that you trust" in caught.value.hint
    assert pinned_roots.known(url).pem == location.root_pem


def test_a_root_that_was_pinned_beforehand_is_held_to_at_first_contact(for_others, project):
    running, url = for_others()
    project_ = project(url)
    path = pinned_roots.path_of(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Root.create(NOW).pem)
    with pytest.raises(StewardError, match=r"TLS certificate .* is not good"):
        steward.Steward().locate(project_)
    path.write_text("Root of our Steward:\n" + running.root.read_text())
    location = steward.Steward().locate(project_)
    assert location.root_pem == running.root.read_text()


def test_a_steward_whose_tls_is_under_another_root_than_it_shows_is_not_pinned(for_others, project, tmp_path):
    given = write_server_files(tmp_path, Root.create(NOW))
    _, url = for_others("--tls-cert", given[0], "--tls-key", given[1])
    with pytest.raises(StewardError, match=r"TLS certificate .* is not good"):
        steward.Steward().locate(project(url))
    assert pinned_roots.find(url) is None


def test_given_certificates_are_taken_up_anew_and_connections_stay(for_others, port, tmp_path, keep):
    first, second = Root.create(NOW), Root.create(NOW)
    certificate, key = write_server_files(tmp_path, first)
    running, url = for_others("--tls-cert", certificate, "--tls-key", key)
    context = ssl.create_default_context(cadata=first.pem)
    with httpx.Client(verify=context, trust_env=False, limits=httpx.Limits(max_connections=1), timeout=120) as http:
        client = Client(url, http)
        assert client.info()["transport"] == "given-tls"
        write_server_files(tmp_path, second)
        assert reload(running) == ""
        assert shown(port, second.pem)
        with pytest.raises(ssl.SSLCertVerificationError):
            shown(port, first.pem)
        assert len(client.certify(keep)) == 3  # by the connection from before


@pytest.mark.parametrize("defect", ["other-key", "open-key", "no-certificate", "missing"])
def test_a_given_certificate_that_cannot_be_used_leaves_the_old_one(for_others, port, tmp_path, defect):
    root = Root.create(NOW)
    certificate, key = write_server_files(tmp_path, root)
    running, _ = for_others("--tls-cert", certificate, "--tls-key", key)
    before = shown(port, root.pem)
    if defect == "other-key":
        (tmp_path / "server.key").write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    elif defect == "open-key":
        (tmp_path / "server.key").chmod(0o604)
    elif defect == "no-certificate":
        (tmp_path / "server.pem").write_text("")
    else:
        (tmp_path / "server.pem").unlink()
    message = {"other-key": "key values mismatch", "open-key": "everybody could use the key"}
    policy = (running.state / "steward.toml").read_text().replace("2h", "3h")
    (running.state / "steward.toml").write_text(policy)
    said = reload(running)
    assert message.get(defect, "server.pem" if defect == "missing" else "cannot be used") in said
    assert said.startswith("the certificate for TLS stays as it was: ")
    assert shown(port, root.pem) == before
    # One file that is bad keeps nothing from being taken up but itself: the policy may have to withdraw something.
    assert find(running.state).policy_sha256 == hashlib.sha256(policy.encode()).hexdigest()


def test_it_does_not_start_with_a_key_that_everybody_can_read(run, tmp_path):
    certificate, key = write_server_files(tmp_path, Root.create(NOW))
    (tmp_path / "server.key").chmod(0o644)
    ended = run("--tls-cert", certificate, "--tls-key", key)
    assert (ended.returncode, "everybody could use the key" in ended.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tls-cert", "x"], "go together"),
        (["--tls-cert", "x", "--tls-key", "y", "--insecure-http"], "exclude each other"),
    ],
)
def test_options_that_do_not_fit(run, words, message):
    ended = run(*words)
    assert (ended.returncode, message in ended.stderr) == (1, True)


def test_tls_for_others_needs_a_name_that_is_https(run, state, port):
    (state / "steward.toml").write_text(POLICY.replace("[ca]", '[ca]\naudience = "http://localhost"'))
    ended = run("--listen", f"0.0.0.0:{port}")
    assert ended.returncode == 1
    assert "for other machines this Steward speaks TLS" in ended.stderr


def test_plain_http_for_others_is_asked_for_by_name_and_said_so(for_others, http):
    running, url = for_others("--insecure-http", scheme="http")
    assert http.get(f"{url}/v1/info").json()["transport"] == "insecure-http"
    running.process.terminate()
    assert "as --insecure-http asks" in running.process.communicate(timeout=120)[1]


def test_the_own_certificate_is_kept_and_made_anew_before_it_ends(state):
    own = tls.Own(state, "https://steward.example.org:8443")
    root = files.load_root(state, NOW)
    first = own.read(NOW)
    assert (state / "tls.pem").stat().st_mode & 0o777 == 0o600
    assert own.read(NOW + timedelta(days=15)) == first
    second = own.read(NOW + timedelta(days=17))
    assert second != first
    assert own.read(NOW + timedelta(days=18)) == second
    assert tls.Own(state, "https://other.example.org").read(NOW) != second
    leaf, intermediate = x509.load_pem_x509_certificates(second)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root.certificate)


def test_another_root_needs_another_certificate(state):
    own = tls.Own(state, "https://steward.example.org")
    first = own.read(NOW)
    for name in ("ca.key", "root.pem"):
        (state / name).unlink()
    assert own.read(NOW) != first
