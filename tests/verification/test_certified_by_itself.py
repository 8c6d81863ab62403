"""Keeps that get their certificate by themselves: what a log says of it counts only if the Steward issued it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from tests.verification.conftest import NOW, Service

from enarx_deploy.errors import StewardError
from enarx_deploy.protocols import Issued, IssuerLocation
from enarx_deploy.stages.provision_tls import _under_root


def checked(service: Service, *chain: bytes) -> Issued:
    location = IssuerLocation("https://steward.example.org", service.authority.root_pem, "root.pem")
    return _under_root(Issued(chain=chain, appraisal={}), location)


def of_a_stranger(issuer: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A certificate that names this issuer, who knows nothing of it, signed by `key` or by its own."""
    name = x509.load_der_x509_certificate(issuer).subject
    own = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateBuilder(name, name, own.public_key(), x509.random_serial_number())
    made = made.not_valid_before(NOW).not_valid_after(NOW + timedelta(hours=1))
    return made.sign(key or own, SHA256()).public_bytes(Encoding.DER)


def test_what_the_steward_issued_counts(service):
    chain = (service.leaf(), *service.authority.issuers)
    assert checked(service, *chain).chain == chain


def test_a_chain_that_only_ends_in_the_root_does_not(service):
    """As a line that somebody had the workload write into its log."""
    intermediate, root = service.authority.issuers
    for chain in ((of_a_stranger(intermediate), intermediate, root), (of_a_stranger(root), root), (root,)):
        with pytest.raises(StewardError, match="was not issued by https://steward") as refused:
            checked(service, *chain)
        assert "log" in refused.value.hint


def test_nor_one_that_another_keep_has_issued(service):
    leaf = service.leaf()
    with pytest.raises(StewardError, match="was not issued by"):
        checked(service, of_a_stranger(leaf, service.key), leaf, *service.authority.issuers)


def test_another_root_and_what_is_no_certificate_are_named(service):
    with pytest.raises(StewardError, match="another root"):
        checked(service, service.leaf(), service.authority.issuers[0])
    with pytest.raises(StewardError, match="no certificate"):
        checked(service, b"odd", *service.authority.issuers)
