"""`enarx-deploy verify` as a user meets it: what it says, and its exit status."""

from __future__ import annotations

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enarx_steward.root import Root

NOW = datetime.now(UTC)
PACKAGE = "sha256:" + "ab" * 32

KEEPS = """
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Endpoint, KeepStatus

class Shore:
    name = "shore"
    def check(self, project, package, backend): raise NotImplementedError
    start = request_certificate = install_certificate = renew_certificate = logs = stop = check
    def keeps(self):
        return [
            KeepStatus(id=f"k{n}", name="oak", state=state, backend="nil", target="shore", package=package,
                       created="2026-01-01T00:00:00Z",
                       endpoints=[Endpoint(name="web", host=host, port=port, prot="tls")])
            for n, (state, package, host, port) in enumerate(STATUSES)
        ]

@hookimpl
def register_targets():
    return [Shore()]
"""


@pytest.fixture
def own_steward(enarx_deploy, service):
    """The root and the policy of a user's own Steward, where the program looks for them."""
    directory = Path(enarx_deploy.environment["ENARX_DEPLOY_STATE_DIR"]) / "steward"
    directory.parent.mkdir(mode=0o700)
    assert enarx_deploy("steward", "--init").returncode == 0
    (directory / "root.pem").write_text(service.authority.root_pem)
    return directory


@pytest.fixture
def verify(enarx_deploy, service):
    """Verify with the service's root, accepting nil and any package unless told otherwise."""

    def verify(port: int, *words: str, host: str = "localhost", root: Path = service.root):
        return enarx_deploy("verify", f"{host}:{port}", "--root", str(root), "--accept", "nil", *words)

    return verify


def test_a_good_service_ends_with_0_and_three_answers(service, verify):
    with service.serving(service.leaf()) as port:
        ended = verify(port, "--package", PACKAGE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("\n  ok ") == 13
    for question in ("\nfrom whom ", "\nfor how long ", "\nwhere "):
        assert question in ended.stdout


def test_the_answer_in_json(service, verify):
    with service.serving(service.leaf()) as port:
        ended = verify(port, "--package", PACKAGE, "--json")
    report = json.loads(ended.stdout)
    assert {"ok", "endpoint", "from_whom", "for_how_long", "where", "checks"} <= set(report)
    assert (report["ok"], report["endpoint"]) == (True, f"localhost:{port}")
    keys = ["id", "ok", "detail", "outcome", "hint", "reference"]
    assert all(list(check) == keys and check["ok"] and check["reference"] for check in report["checks"])
    assert (report["trust"], report["hardware"]) == ("steward", None)
    leaf = x509.load_der_x509_certificate(service.leaf())
    assert report["certificate"]["key"] == "ECDSA secp256r1"
    assert report["certificate"]["not_after"] == f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert report["claims"]["package"] == PACKAGE


def test_a_refusal_ends_with_3_and_says_why_for_each_failed_check(service, verify):
    with service.serving(service.leaf(NOW - timedelta(hours=30))) as port:
        ended = verify(port, "--package", "sha256:" + "cd" * 32)
    assert ended.returncode == 3
    assert ended.stdout.count("FAILED") == 2
    assert f"localhost:{port} is refused: certificate.validity: " in ended.stderr
    assert "claims.package: sha256:abab" in ended.stderr
    assert "  hint: " in ended.stderr


def test_a_refusal_in_json_is_one_document(service, verify):
    with service.serving(service.leaf()) as port:
        ended = verify(port, "--package", "sha256:" + "cd" * 32, "--json")
    assert ended.returncode == 3
    report = json.loads(ended.stdout)
    assert report["ok"] is False
    assert [check["id"] for check in report["checks"] if not check["ok"]] == ["claims.package"]
    assert "is refused" in ended.stderr


@pytest.mark.parametrize("file", ["--html", "--junit", "--sarif"])
def test_a_refusal_is_one_whatever_cannot_be_written(verify, listen, tmp_path, file):
    """The directory is taken away while the service is looked at: before that it was there."""
    place = tmp_path / "gone"
    place.mkdir()
    with listen(lambda _: place.rmdir()) as port:
        ended = verify(port, "--json", file, str(place / "report"))
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["ok"] is False
    assert f"{place / 'report'}: No such file or directory" in ended.stderr
    assert "tls.handshake" in ended.stderr


def test_a_plain_tls_server_ends_with_3_and_says_why(service, verify, tmp_path):
    plain = service.changed(drop="1.3.6.1.5.5.7.1.35")
    with service.serving(plain) as port:
        ended = verify(port, "--any-workload")
    assert ended.returncode == 3
    assert "the certificate does not say that anything was attested" in ended.stderr
    with service.serving(service.leaf()) as port:
        ended = verify(port, "--any-workload", root=other_root(tmp_path))
    assert ended.returncode == 3
    assert "certificate.chain: issued under another root than the pinned one" in ended.stderr


def other_root(tmp_path: Path) -> Path:
    (tmp_path / "other.pem").write_text(Root.create(NOW).pem)
    return tmp_path / "other.pem"


def test_a_server_without_tls_ends_with_3(verify, listen):
    def http(connection):
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listen(http) as port:
        ended = verify(port)
    assert ended.returncode == 3
    assert "not TLS, such as plain HTTP" in ended.stderr
    assert 'prot = "tls"' in ended.stderr


def test_a_closed_port_ends_with_1(verify, listen):
    with listen(lambda _: None) as port:
        pass
    ended = verify(port, "--json")
    assert ended.returncode == 1
    assert f"localhost:{port} does not answer" in ended.stderr
    assert "Connection refused" in ended.stderr
    assert json.loads(ended.stdout)["ok"] is False


def test_an_older_tls_ends_with_3(service, verify):
    with service.serving(service.leaf(), version=ssl.TLSVersion.TLSv1_2) as port:
        ended = verify(port, "--any-workload")
    assert ended.returncode == 3
    assert "tls.version: TLSv1.2, expected TLSv1.3" in ended.stderr


def test_another_name_must_be_asked_for(service, enarx_deploy, verify):
    with service.serving(service.leaf()) as port:
        assert verify(port, "--any-workload", host="127.0.0.2").returncode == 1
        assert verify(port, "--any-workload", "--server-name", "example.org").returncode == 3
        assert verify(port, "--any-workload", "--server-name", "127.0.0.1").returncode == 0


def test_with_a_root_of_ones_own_nothing_is_accepted_that_is_not_named(service, enarx_deploy):
    with service.serving(service.leaf()) as port:
        ended = enarx_deploy("verify", f"localhost:{port}", "--root", str(service.root), "--any-workload")
    assert ended.returncode == 3
    assert "claims.backend: nil; --accept names none that will do" in ended.stderr


def test_without_a_root_the_users_own_steward_decides(service, enarx_deploy, own_steward):
    with service.serving(service.leaf()) as port:
        words = ("verify", f"localhost:{port}", "--any-workload")
        assert enarx_deploy(*words).returncode == 0
        policy = own_steward / "steward.toml"
        before, _, kvm = policy.read_text().partition("[nil]")
        policy.write_text(f"{before}[kvm]{kvm.partition('[kvm]')[2]}")
        ended = enarx_deploy(*words)
        assert ended.returncode == 3
        assert f"claims.backend: nil; {policy} accepts kvm" in ended.stderr
        assert enarx_deploy(*words, "--accept", "nil").returncode == 0


def test_without_any_root_nothing_is_trusted_and_so_everything_refused(service, enarx_deploy):
    with service.serving(service.leaf()) as port:
        ended = enarx_deploy("verify", f"localhost:{port}")
    assert ended.returncode == 3
    assert "certificate.chain: there is no root certificate to trust" in ended.stderr
    assert "claims.backend: nil; this machine has no Steward of yours, and names none that will do" in ended.stderr
    assert "--root" in ended.stderr


def test_a_root_that_is_named_and_not_there_is_wrong_usage(enarx_deploy, tmp_path):
    ended = enarx_deploy("verify", "localhost:1", "--accept", "nil", "--root", str(tmp_path / "missing.pem"))
    assert ended.returncode == 2
    assert "there is no root certificate to trust" in ended.stderr


def test_the_keep_that_serves_the_port_says_which_package_is_expected(
    service, enarx_deploy, own_steward, install_plugin
):
    with service.serving(service.leaf()) as port:
        cases = (
            ([("running", PACKAGE, "::", port)], 0),
            ([("running", PACKAGE, "127.0.0.1", port)], 0),
            ([("running", "sha256:" + "cd" * 32, "::", port)], 3),
            ([("exited", PACKAGE, "::", port)], 3),
            ([("running", PACKAGE, "::", port + 1)], 3),
            ([("running", PACKAGE, "192.0.2.1", port)], 3),
            ([("running", PACKAGE, "::", port), ("running", "sha256:" + "cd" * 32, "::", port)], 3),
        )
        for number, (statuses, status) in enumerate(cases):
            enarx_deploy.paths.clear()
            install_plugin(f"shore{number}", f"STATUSES = {statuses!r}\n{KEEPS}")
            ended = enarx_deploy("verify", f"localhost:{port}")
            assert ended.returncode == status, (statuses, ended.stderr)
            if status:
                assert "claims.package" in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["localhost"],
        ["localhost:"],
        [":443"],
        ["localhost:0"],
        ["localhost:65536"],
        ["localhost:https"],
        ["https://localhost:443"],
        ["a" * 300 + ":443"],
        ["..:443"],
        ["localhost:443", "--package", "abab"],
        ["localhost:443", "--package", "sha256:AB"],
        ["localhost:443", "--package", PACKAGE, "--any-workload"],
        ["localhost:443", "--server-name", "a b"],
        ["localhost:443", "--root", "/nowhere"],
        ["localhost:443", "--root", "/"],
        ["localhost:443", "--root", "/dev/null"],
        [],
    ],
)
def test_wrong_usage_ends_with_2(enarx_deploy, own_steward, words):
    ended = enarx_deploy("verify", *words)
    assert ended.returncode == 2, ended.stderr
    assert "hint:" in ended.stderr or "Usage" in ended.stderr


def test_a_root_file_with_two_certificates_is_refused(enarx_deploy, tmp_path, service):
    (tmp_path / "two.pem").write_text(service.authority.root_pem * 2)
    ended = enarx_deploy("verify", "localhost:443", "--root", str(tmp_path / "two.pem"))
    assert ended.returncode == 2
    assert "not one certificate in PEM" in ended.stderr


def test_a_program_can_pin_the_root_and_openssl_agrees(service, tmp_path):
    """What `verify` accepts, a client that pins the same root accepts too."""
    context = ssl.create_default_context(cadata=service.authority.root_pem)
    leaf = service.leaf()
    with (
        service.serving(leaf) as port,
        socket.create_connection(("127.0.0.1", port)) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as tls,
    ):
        assert tls.getpeercert(binary_form=True) == x509.load_der_x509_certificate(leaf).public_bytes(Encoding.DER)
