"""Every check, by a service that is good but for one thing."""

from __future__ import annotations

import re
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from enarx_attestation import claims_extension as claims
from enarx_deploy.verification import verify
from enarx_steward.root import ROOT_LIFETIME, Root

NIL = "1.3.6.1.4.1.58270.1.1"
NOW = datetime.now(UTC)
PACKAGE = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
ALL = [
    "connect",
    "tls.handshake",
    "tls.version",
    "certificate.chain",
    "certificate.validity",
    "certificate.name",
    "certificate.usage",
    "certificate.key",
    "claims.present",
    "claims.marking",
    "claims.spiffe",
    "claims.backend",
    "claims.package",
]


def look(port: int, trust, host: str = "127.0.0.1", **options):
    return verify(host, port, trust, options.pop("at", datetime.now(UTC)), **options)


def failed(report) -> list[str]:
    """The checks that failed; a report with one never says yes, and never gives an answer."""
    ids = [check.id for check in report.failed]
    assert report.ok is (not ids)
    if ids:
        assert report.from_whom.startswith("from nobody")
        assert report.for_how_long.startswith("not at all")
        assert report.where.startswith("unknown")
    return ids


def test_a_good_service_passes_every_check(service, trust):
    with service.serving(service.leaf()) as port:
        report = look(port, trust())
    assert [check.id for check in report.checks] == ALL
    assert failed(report) == []


def test_the_three_answers_are_honest_about_a_nil_keep(service, trust):
    with service.serving(service.leaf()) as port:
        report = look(port, trust())
    assert "NOT from that machine" in report.from_whom
    for word in ("nil", "without hardware protection", "operator", "root", str(service.root)):
        assert word in report.from_whom
    assert re.search(r"2[0-3] h [0-9]+ min from now", report.for_how_long)
    for word in ("secp256r1", "TLSv1.3", "TLS_AES_256_GCM_SHA384", "Whether the certificate is renewed"):
        assert word in report.for_how_long
    for word in (f"127.0.0.1:{port}", "says that it runs", PACKAGE, "sees all that it does"):
        assert word in report.where
    assert "secure" not in report.from_whom + report.for_how_long + report.where


def test_the_answers_about_hardware_name_it(service, trust):
    leaf = service.changed(der=service.leaf(backend="snp", hardware=True, status="UpToDate"))
    with service.serving(leaf) as port:
        report = look(port, trust(accepted=frozenset({"snp"})))
    assert failed(report) == []
    assert "snp hardware (UpToDate)" in report.from_whom
    assert "NOT" not in report.from_whom
    assert "whether it lets the operator debug the keep is up to its policy" in report.from_whom.lower()
    assert f"Keep that runs, by that Steward's word, package {PACKAGE}" in report.where


def test_by_name_and_by_ipv6(service, trust):
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trust(), "localhost")) == []
        assert failed(look(port, trust(), name="LocalHost.")) == []
    with service.serving(service.leaf(), address="::1") as port:
        report = look(port, trust(), "::1")
    assert failed(report) == []
    assert report.endpoint == f"[::1]:{port}"


@pytest.mark.parametrize("name", ["example.org", "host.localhost", "127.0.0.2", "::2", "*", "nil Keep"])
def test_a_name_that_it_is_not_for(service, trust, name):
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trust(), name=name)) == ["certificate.name"]


def test_a_common_name_is_no_name(service, trust):
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://x/package/" + PACKAGE.replace(":", "/"))]
    )
    leaf = service.changed(drop="2.5.29.17", add=[(names, False)])
    with service.serving(leaf) as port:
        assert failed(look(port, trust(), "localhost")) == ["certificate.name"]


def test_a_wildcard_is_no_name(service, trust):
    uri = x509.UniformResourceIdentifier("spiffe://x/package/" + PACKAGE.replace(":", "/"))
    names = x509.SubjectAlternativeName([x509.DNSName("*.localhost"), uri])
    with service.serving(service.changed(drop="2.5.29.17", add=[(names, False)])) as port:
        assert failed(look(port, trust(), name="a.localhost")) == ["certificate.name"]


def test_another_root(service, trust):
    other = Root.create(NOW).pem
    with service.serving(service.leaf()) as port:
        report = look(port, trust(root_pem=other))
    assert failed(report) == ["certificate.chain"]
    assert "another root" in report.failed[0].detail


def test_another_root_with_the_same_names(service, trust):
    good = service.authority.root.certificate
    key = ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder(good.subject, good.subject, key.public_key(), good.serial_number)
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(good.public_key()), False)
        .sign(key, SHA256())
    )
    trusting = trust()
    service.authority = service.authority_of(Root(key, forged))
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trusting)) == ["certificate.chain"]


def test_an_expired_certificate_of_the_right_root(service, trust):
    leaf = service.leaf(NOW - timedelta(hours=3), timedelta(hours=2))
    with service.serving(leaf) as port:
        report = look(port, trust())
    assert failed(report) == ["certificate.validity"]


def test_a_certificate_of_tomorrow(service, trust):
    with service.serving(service.leaf(NOW + timedelta(days=1))) as port:
        assert failed(look(port, trust())) == ["certificate.validity"]


def test_the_time_of_the_caller_counts_too(service, trust):
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trust(), at=NOW + timedelta(days=2))) == ["certificate.validity"]


def test_an_expired_certificate_of_another_root(service, trust):
    with service.serving(service.leaf(NOW - timedelta(hours=3), timedelta(hours=2))) as port:
        report = look(port, trust(root_pem=Root.create(NOW).pem))
    assert failed(report) == ["certificate.chain", "certificate.validity"]


def test_a_root_that_has_ended_makes_a_certificate_of_today_worthless(service, trust):
    ended = service.root_of(NOW - ROOT_LIFETIME - timedelta(days=1))
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trust())) == []
        assert failed(look(port, trust(root_pem=ended.pem))) == ["certificate.validity"]


def test_a_certificate_that_rfc_5280_does_not_allow(service, trust):
    with service.serving(service.changed(drop="2.5.29.35")) as port:  # its authority's key identifier
        report = look(port, trust())
    assert failed(report) == ["certificate.chain"]
    assert "Missing" in report.failed[0].detail


@pytest.mark.parametrize(
    ("oid", "value", "critical"),
    [
        ("2.5.29.37", x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        ("2.5.29.37", None, False),
        ("2.5.29.19", x509.BasicConstraints(True, None), True),
        ("2.5.29.15", x509.KeyUsage(False, False, False, False, True, False, False, False, False), True),
        ("2.5.29.15", x509.KeyUsage(True, False, False, False, False, True, False, False, False), True),
        ("2.5.29.15", None, True),
    ],
    ids=["clients-only", "no-extended-usage", "authority", "no-signatures", "signs-certificates", "no-usage"],
)
def test_a_certificate_that_is_not_a_tls_servers(service, trust, oid, value, critical):
    leaf = service.changed(drop=oid, add=[(value, critical)] if value else [])
    with service.serving(leaf) as port:
        assert "certificate.usage" in failed(look(port, trust()))


def test_another_kind_of_key(service, trust):
    service.key = ec.generate_private_key(ec.SECP521R1())
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trust())) == ["certificate.key"]


def test_an_older_tls(service, trust):
    with service.serving(service.leaf(), version=ssl.TLSVersion.TLSv1_2) as port:
        assert failed(look(port, trust())) == ["tls.version"]


def test_no_claims(service, trust):
    with service.serving(service.changed(drop=claims.OID)) as port:
        report = look(port, trust())
    assert failed(report) == ["claims.present"]
    assert report.claims is None


@pytest.mark.parametrize("value", [b"", b"\x0c\x02{}", b"\xff" * 100, b"\x0c" * 20_000])
def test_claims_that_cannot_be_read(service, trust, value):
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(claims.OID), value)
    with service.serving(service.changed(drop=claims.OID, add=[(extension, False)])) as port:
        assert failed(look(port, trust())) == ["claims.present"]


def test_a_marking_that_is_missing_or_wrong(service, trust):
    marking = x509.ObjectIdentifier(NIL)
    snp = service.leaf(backend="snp", hardware=True)
    for leaf in (
        service.changed(drop=NIL),
        service.changed(drop=NIL, add=[(x509.UnrecognizedExtension(marking, b"\x05\x00"), False)]),
        service.changed(der=snp, add=[(x509.UnrecognizedExtension(marking, b""), False)]),
    ):
        with service.serving(leaf) as port:
            report = look(port, trust(accepted=frozenset({"nil", "snp"})))
        assert failed(report) == ["claims.marking"]


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["spiffe://localhost/package/" + OTHER.replace(":", "/")],
        ["spiffe://localhost/package/" + PACKAGE.replace(":", "/")] * 2,
        ["spiffe://localhost/x/package/" + PACKAGE.replace(":", "/")],
        ["spiffe://localhost/package/" + PACKAGE.replace(":", "/") + "/x"],
        ["https://localhost/package/" + PACKAGE.replace(":", "/")],
    ],
    ids=["none", "other", "two", "longer-before", "longer-after", "not-spiffe"],
)
def test_a_spiffe_uri_that_does_not_agree(service, trust, uris):
    names = [x509.DNSName("localhost"), *map(x509.UniformResourceIdentifier, uris)]
    leaf = service.changed(drop="2.5.29.17", add=[(x509.SubjectAlternativeName(names), False)])
    with service.serving(leaf) as port:
        assert failed(look(port, trust(), "localhost")) == ["claims.spiffe"]


@pytest.mark.parametrize("accepted", [frozenset(), frozenset({"snp", "kvm"})])
def test_a_backend_that_is_not_accepted(service, trust, accepted):
    with service.serving(service.leaf()) as port:
        report = look(port, trust(accepted=accepted))
    assert failed(report) == ["claims.backend"]


def test_another_package(service, trust):
    with service.serving(service.leaf(package=OTHER)) as port:
        report = look(port, trust())
        assert failed(report) == ["claims.package"]
        assert OTHER in report.failed[0].detail
        assert failed(look(port, trust(any_workload=True))) == ["claims.package"]


def test_a_package_that_nobody_expects_must_be_asked_for(service, trust):
    with service.serving(service.leaf()) as port:
        assert failed(look(port, trust(package=None))) == ["claims.package"]
        assert failed(look(port, trust(package=None, any_workload=True))) == []


def test_a_certificate_of_enarx_protocol_names_no_package(service, trust):
    leaf = service.leaf(package=None, evidence_sha256=None, report_data=None, nonce_bound=False)
    with service.serving(leaf) as port:
        assert failed(look(port, trust())) == ["claims.package"]
        report = look(port, trust(package=None, any_workload=True))
    assert failed(report) == []
    assert "a package that it does not name" in report.where


def test_words_of_the_peer_cannot_steer_a_terminal(service, trust):
    names = x509.SubjectAlternativeName([x509.DNSName("\x1b[2Jlocalhost" + "x" * 2000)])
    with service.serving(service.changed(drop="2.5.29.17", add=[(names, False)])) as port:
        report = look(port, trust())
    for check in report.checks:
        assert check.detail.isprintable()
        assert len(check.detail) <= 500


def test_words_of_the_steward_cannot_either(service, trust):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "\x1b[2J\x9b2J\u202e a Steward")])
    service.authority = service.authority_of(service.authority.root, subject=name)
    with service.serving(service.leaf()) as port:
        report = look(port, trust())
    assert failed(report) == []
    for said in (report.from_whom, report.for_how_long, report.where, report.certificate["issuer"]):
        assert said.isprintable()


def test_a_closed_port_is_not_reachable(trust, listen):
    with listen(lambda _: None) as port:
        pass
    report = look(port, trust())
    assert failed(report) == ["connect"]
    assert not report.reachable


def test_a_name_that_does_not_resolve_is_not_reachable(trust):
    report = look(1, trust(), "nowhere.invalid")
    assert failed(report) == ["connect"]
    assert not report.reachable


@pytest.mark.parametrize(
    ("says", "detail"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "not TLS, such as plain HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not TLS, such as plain HTTP"),
        (b"", "closed the connection"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "the handshake failed"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "no version of TLS from 1.2 on"),
    ],
    ids=["http", "ssh", "closes", "alert", "too-old"],
)
def test_what_is_not_tls_is_refused(trust, listen, says, detail):
    def answer(connection):
        connection.recv(10_000)
        connection.sendall(says)

    with listen(answer) as port:
        report = look(port, trust())
    assert failed(report) == ["tls.handshake"]
    assert report.reachable
    assert detail in report.failed[0].detail


def test_silence_is_refused_in_time(trust, listen):
    with listen(lambda connection: connection.recv(10_000) and connection.recv(1)) as port:
        report = look(port, trust(), patience=timedelta(seconds=0.5))
    assert failed(report) == ["tls.handshake"]
    assert "says nothing for 0.5 seconds" in report.failed[0].detail


def test_a_drip_of_bytes_is_refused_in_time(trust, listen):
    """For as long as anybody waits for more."""

    def drip(connection):
        with suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # a ServerHello of 16 KiB begins
            while True:
                connection.sendall(b"\x03")
                time.sleep(0.1)

    with listen(drip) as port:
        report = look(port, trust(), patience=timedelta(seconds=0.5))
    assert failed(report) == ["tls.handshake"]
    assert "for 0.5 seconds" in report.failed[0].detail
