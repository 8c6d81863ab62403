"""The issuers, as the stage `provision_tls` uses them: a Steward, a challenge, a chain that is checked."""

from __future__ import annotations

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import structs
from tests.dripping import dripping
from tests.ports import free_port

from enarx_attestation.der_encoding import sequence
from enarx_deploy.errors import StewardError, VerificationRefused
from enarx_deploy.project import load_project
from enarx_deploy.protocols import CertificateRequest, Challenge, Issuer, IssuerLocation
from enarx_issuers import chain, pinned_roots, selfsigned, steward, wire
from enarx_service import pace
from enarx_steward import background, policy
from enarx_steward.ca import Authority
from enarx_steward.issuance import Steward
from enarx_steward.root import Root

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    """A state directory of the test's own; what runs from it is ended."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state-of-user"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # which nothing on this machine may go through
    yield tmp_path / "state-of-user"
    background.stop(tmp_path / "state-of-user" / "steward")


@pytest.fixture
def project(tmp_path):
    """A project with this manifest."""

    def project(manifest: str = ""):
        (tmp_path / "project").mkdir(exist_ok=True)
        (tmp_path / "project" / "Enarx.toml").write_text(manifest)
        return load_project(tmp_path / "project")

    return project


def answer(keep, challenge: Challenge) -> CertificateRequest:
    """The Keep's part. Without a nonce it has nothing to bind, as under Enarx's protocol."""
    evidence = keep.evidence(challenge.nonce, challenge.audience) if challenge.nonce else b""
    return CertificateRequest(csr=keep.request(), evidence_kind="nil", evidence=evidence)


def issue(issuer, keep, project_) -> tuple[IssuerLocation, list[x509.Certificate]]:
    location = issuer.locate(project_)
    challenge = issuer.challenge(location)
    issued = issuer.issue(location, challenge, answer(keep, challenge))
    certificates = [x509.load_der_x509_certificate(der) for der in issued.chain]
    assert certificates[-1].public_bytes(Encoding.PEM).decode() == location.root_pem
    assert certificates[0].public_key() == keep.key.public_key()
    assert issued.appraisal["ok"] is True
    return location, certificates


def test_what_the_platform_handed_over_reaches_the_steward(project, keep):
    issuer = steward.Steward()
    location = issuer.locate(project())
    challenge = issuer.challenge(location)
    request = structs.replace(answer(keep, challenge), endorsements={"vcek.der": b"0key"})
    assert issuer.issue(location, challenge, request).chain
    strange = structs.replace(request, endorsements={"what.txt": b""})
    with pytest.raises(StewardError, match=r"what\.txt"):
        issuer.issue(location, issuer.challenge(location), strange)


def test_both_are_issuers():
    for module, name in ((steward, "steward"), (selfsigned, "selfsigned")):
        (issuer,) = module.register_issuers()
        assert isinstance(issuer, Issuer)
        assert issuer.name == name


def test_the_users_own_steward_is_started_and_used(project, keep, make_keep, state_dir):
    location, _ = issue(steward.Steward(), keep, project())
    assert location.url.startswith("http://127.0.0.1:")
    assert location.root_pem_path == str(state_dir / "steward" / "root.pem")
    again, _ = issue(steward.Steward(), make_keep(), project())
    assert again == location


def test_a_named_steward_is_used_and_its_root_pinned(project, keep, start):
    url = start().client.url
    location, _ = issue(steward.Steward(), keep, project(f'steward = "{url}"\n'))
    assert location.url == url
    assert Path(location.root_pem_path).read_text() == location.root_pem


def test_localhost_and_the_address_name_one_steward_of_this_machine(project, keep, start):
    url = start().client.url.replace("127.0.0.1", "localhost")
    issue(steward.Steward(), keep, project(f'steward = "{url}"\n'))


def test_a_root_that_changed_is_refused(project, keep, start):
    running = start()
    manifest = f'steward = "{running.client.url}"\n'
    location, _ = issue(steward.Steward(), keep, project(manifest))
    running.end()
    for name in ("ca.key", "root.pem"):
        (running.state / name).unlink()
    start()
    with pytest.raises(StewardError, match="another root certificate than the pinned one") as refused:
        steward.Steward().locate(project(manifest))
    assert location.root_pem_path in refused.value.hint
    with pytest.raises(StewardError, match="another root certificate than the pinned one"):
        steward.Steward().challenge(location)


def test_enarx_protocol_is_used_where_the_manifest_says_so(project, keep):
    location, (leaf, *_) = issue(steward.Steward(), keep, project('[attest]\nprotocol = "enarx"\n'))
    assert location.protocol == "enarx"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not names.get_values_for_type(x509.UniformResourceIdentifier)


def test_enarx_protocol_with_a_named_steward_needs_its_root_beforehand(project, keep, start):
    running = start()
    project_ = project(f'steward = "{running.client.url}"\n[attest]\nprotocol = "enarx"\n')
    with pytest.raises(StewardError, match="is not known") as refused:
        steward.Steward().locate(project_)
    place = refused.value.hint.removeprefix("save it (PEM) as ")
    Path(place).write_text(running.root.read_text())
    issue(steward.Steward(), keep, project_)


def test_refused_evidence_is_a_refusal_with_its_checks(project, keep):
    issuer = steward.Steward()
    location = issuer.locate(project())
    challenge = issuer.challenge(location)
    wrong = CertificateRequest(csr=keep.request(), evidence_kind="nil", evidence=keep.evidence(os.urandom(32), "x"))
    with pytest.raises(VerificationRefused, match=r"refused the evidence: binding\.report-data") as refused:
        issuer.issue(location, challenge, wrong)
    assert "fresh evidence" in refused.value.hint


def test_a_malformed_request_is_an_error_that_says_what_is_wrong(project, keep):
    issuer = steward.Steward()
    location = issuer.locate(project())
    challenge = issuer.challenge(location)
    wrong = CertificateRequest(csr=b"\x30\x00", evidence_kind="nil", evidence=b"{}")
    with pytest.raises(StewardError, match="with status 400: not a certificate request"):
        issuer.issue(location, challenge, wrong)


def test_a_request_that_enarx_protocol_refuses_is_a_refusal(project, keep):
    issuer = steward.Steward()
    location = issuer.locate(project('[attest]\nprotocol = "enarx"\n'))
    for csr, status in ((keep.request(marking=None), 401), (b"x", 400)):
        with pytest.raises(VerificationRefused, match=f"status {status}"):
            issuer.issue(location, Challenge(b"", ""), CertificateRequest(csr, "nil", b""))


def test_a_steward_that_cannot_start_is_an_error_that_says_why(project, state_dir):
    policy_file = state_dir / "steward" / "steward.toml"
    policy_file.parent.mkdir(parents=True, mode=0o700)
    policy_file.parent.parent.chmod(0o700)
    policy_file.write_text("[nil\n")
    policy_file.chmod(0o600)
    with pytest.raises(StewardError, match=r"did not start.*not TOML"):
        steward.Steward().locate(project())


def test_a_steward_that_is_not_there_is_an_error(project):
    with pytest.raises(StewardError, match="cannot be reached") as error:
        steward.Steward().locate(project(f'steward = "http://127.0.0.1:{free_port()}"\n'))
    assert "steward" in error.value.hint


def test_evidence_never_goes_in_clear_to_another_machine():
    with pytest.raises(StewardError, match="neither https nor on this machine"):
        wire.info("http://steward.example.org")


@contextmanager
def lying(answers: dict[str, tuple[int, dict[str, str], bytes]]):
    """An HTTP server that answers each path as it is told."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        do_GET = do_POST = answer  # noqa: N815 — the library's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def body(**record: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(record).encode()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ((200, {}, b"<html>"), "something else than was asked"),
        ((200, {}, b"\xff\xfe"), "something else than was asked"),
        (body(audience="x"), "something else than was asked"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "with status 302"),
        ((404, {}, b"not found"), "with status 404"),
        ((500, {}, json.dumps({"detail": "no \x1b[31m disk"}).encode()), r"with status 500: no  \[31m disk"),
        ((403, {}, b'{"checks": "x"}'), "with status 403"),
        ((200, {}, b"x" * (2 << 20)), "more than 1048576 bytes"),
    ],
    ids=["html", "noise", "half", "redirect", "missing", "failed", "odd-refusal", "huge"],
)
def test_a_server_that_is_no_steward_is_an_error(project, told, message):
    with lying({"/v1/info": told}) as url, pytest.raises(StewardError, match=message):
        steward.Steward().locate(project(f'steward = "{url}"\n'))


def test_a_steward_that_is_silent_is_given_up(project, monkeypatch):
    monkeypatch.setattr(wire, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StewardError, match="cannot be reached"):
        wire.info(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("drips_from", ["head", "body"])
def test_a_steward_that_answers_a_byte_at_a_time_is_given_up(monkeypatch, drips_from):
    monkeypatch.setattr(pace, "PATIENCE", 0.2)
    with dripping(drips_from) as host, pytest.raises(StewardError, match="cannot be reached"):
        wire.info(f"http://{host}")


def test_a_steward_that_answers_for_ever_is_given_up_at_any_pace(monkeypatch):
    monkeypatch.setattr(wire, "_ALTOGETHER", 0.3)
    with dripping("interim") as host, pytest.raises(StewardError, match="cannot be reached"):
        wire.info(f"http://{host}")


def test_a_steward_that_takes_a_request_by_and_by_is_given_up(monkeypatch):
    monkeypatch.setattr(wire, "_ALTOGETHER", 0.3)
    ended = threading.Event()

    def take(listener: socket.socket) -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            while not ended.wait(0.02) and connection.recv(4096):
                pass

    request = CertificateRequest(csr=bytes(1 << 26), evidence_kind="nil", evidence=b"")
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(take, listener)
        try:
            with pytest.raises(StewardError, match="cannot be reached"):
                wire.certificate_enarx(f"http://127.0.0.1:{listener.getsockname()[1]}", request)
        finally:
            ended.set()


def test_a_refusal_without_end_is_told_in_a_few_lines():
    checks = [f"check.{number}" for number in range(10_000)]
    refusal = 403, {}, json.dumps({"checks": checks, "hint": "x" * 10_000}).encode()
    with lying({"/v1/certificate": refusal}) as url, pytest.raises(VerificationRefused) as caught:
        wire.certificate(url, Challenge(nonce=b"", audience=""), CertificateRequest(b"", "nil", b""))
    assert "check.15, and 9984 more" in str(caught.value)
    assert len(f"{caught.value}{caught.value.hint}") < 2000


def test_a_steward_that_stands_before_another_is_refused(project):
    root = Root.create(NOW).pem
    info = body(audience="https://steward.example.org", root_pem=root, policy_sha256="")
    with lying({"/v1/info": info}) as url:
        location = IssuerLocation(url, root, "")
        with pytest.raises(StewardError, match=r"calls itself 'https://steward\.example\.org'"):
            steward.Steward().challenge(location)


def test_of_several_that_are_shown_different_roots_at_first_one_pins_its_own():
    shown = [Root.create(NOW).pem for _ in range(6)]
    together = threading.Barrier(len(shown))

    def meet(pem: str) -> str | None:
        together.wait(60)
        with suppress(StewardError):
            return pinned_roots.pin("https://steward.example", [pem]).pem
        return None

    with ThreadPoolExecutor(len(shown)) as pool:
        pinned = [pem for pem in pool.map(meet, shown) if pem is not None]
    assert len(pinned) == 1
    assert pinned_roots.known("https://steward.example").pem == pinned[0]


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "two"])
def test_a_root_that_is_none_is_not_pinned(project, pem):
    if pem == "two":
        pem = Root.create(NOW).pem * 2
    info = body(audience="", root_pem=pem, policy_sha256="")
    with lying({"/v1/info": info}) as url:
        with pytest.raises(StewardError, match="something else than one certificate"):
            steward.Steward().locate(project(f'steward = "{url}"\n'))
        assert not pinned_roots.path_of(url).exists()


POLICY = policy.parse(policy.for_this_machine(written_by="a test").encode())


def in_process(root: Root, at: datetime = NOW) -> Steward:
    return Steward(Authority.create(root, POLICY, at), POLICY, audience="a", clock=lambda: at)


@pytest.fixture
def honest():
    """A Steward in this process."""
    return in_process(Root.create(NOW))


def test_a_good_chain_is_good(honest, keep):
    chain.check(
        [honest.certify_enarx(keep.request()), *honest.authority.issuers], keep.request(), honest.authority.root_pem
    )


def test_chains_that_are_not_good_are_refused(honest, keep, make_keep):
    above, root = honest.authority.issuers, honest.authority.root
    old = Root.create(NOW - timedelta(days=9))
    other, late = in_process(Root.create(NOW)), in_process(root, NOW + timedelta(days=2))
    ended = in_process(old, NOW - timedelta(days=8))
    request, inner = keep.request(), make_keep()
    inner_leaf = honest.certify_enarx(inner.request())
    # A Keep that signs certificates with its own.
    usurper = Steward(Authority(inner.key, x509.load_der_x509_certificate(inner_leaf), root), POLICY, audience="a")
    good = honest.certify_enarx(request)
    defects = (
        ("is for another key", [inner_leaf, *above], root),
        ("does not lead to the pinned root", [other.certify_enarx(request), *other.authority.issuers], root),
        ("cannot be checked", [other.certify_enarx(request), *above], root),
        ("cannot be checked", [good, above[1]], root),
        ("is not an authority", [usurper.certify_enarx(request), inner_leaf, *above], root),
        ("has 0 certificates", [], root),
        ("has 1 certificates", [above[1]], root),
        ("has 9 certificates", [good, *[above[1]] * 8], root),
        ("first certificate is an authority's", [*above, above[1]], root),
        ("it is not valid now", [late.certify_enarx(request), *late.authority.issuers], root),
        ("it is not valid now", [ended.certify_enarx(request), *ended.authority.issuers], old),
        ("error parsing asn1 value", [b"\x30\x00", *above], root),
    )
    for message, certificates, pinned in defects:
        with pytest.raises(StewardError, match=message):
            chain.check(certificates, request, pinned.pem)


def test_a_steward_that_answers_with_another_keys_certificate_is_caught(honest, keep, make_keep):
    foreign = [honest.certify_enarx(make_keep().request()), *honest.authority.issuers]
    with lying({"/": (200, {}, sequence(reversed(foreign)))}) as url:
        location = IssuerLocation(url, honest.authority.root_pem, "", "enarx")
        with pytest.raises(StewardError, match="another key than was asked for"):
            steward.Steward().issue(location, Challenge(b"", ""), answer(keep, Challenge(b"", "")))


def test_a_path_that_is_none_is_an_error(honest, keep):
    with lying({"/": (200, {}, b"\x30\x05abc")}) as url:
        location = IssuerLocation(url, honest.authority.root_pem, "", "enarx")
        with pytest.raises(StewardError, match="not a PkiPath"):
            steward.Steward().issue(location, Challenge(b"", ""), answer(keep, Challenge(b"", "")))


def test_selfsigned_makes_an_authority_for_one_keep(project, keep, make_keep):
    issuer = selfsigned.SelfSigned()
    first, (*_, root) = issue(issuer, keep, project())
    second, _ = issue(issuer, make_keep(), project())
    assert first.root_pem != second.root_pem
    assert first.url == ""
    assert "nobody vouches for it" in root.subject.rfc4514_string()


def test_selfsigned_forgets_its_key_when_it_has_issued(project, keep):
    issuer = selfsigned.SelfSigned()
    location = issuer.locate(project())
    challenge = issuer.challenge(location)
    request = answer(keep, challenge)
    issuer.issue(location, challenge, request)
    with pytest.raises(StewardError, match="has issued already"):
        issuer.issue(location, challenge, request)


def test_selfsigned_leaves_its_root_with_the_projects_records(project, keep):
    project_ = project()
    assert selfsigned.SelfSigned().locate(project_).root_pem_path == ""
    project_.work_dir.mkdir()
    location = selfsigned.SelfSigned().locate(project_)
    assert Path(location.root_pem_path).read_text() == location.root_pem
    assert Path(location.root_pem_path).parent == project_.work_dir


def test_selfsigned_refuses_evidence_that_is_not_for_it(project, keep):
    issuer = selfsigned.SelfSigned()
    location = issuer.locate(project())
    challenge = issuer.challenge(location)
    wrong = CertificateRequest(keep.request(), "nil", keep.evidence(challenge.nonce, "elsewhere"))
    with pytest.raises(VerificationRefused, match=r"binding\.report-data"):
        issuer.issue(location, challenge, wrong)


def test_selfsigned_by_enarx_protocol(project, keep):
    location, _ = issue(selfsigned.SelfSigned(), keep, project('[attest]\nprotocol = "enarx"\n'))
    assert location.protocol == "enarx"
