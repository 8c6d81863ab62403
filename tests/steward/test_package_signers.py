"""`[[packages.signers]]`: who must have signed the package that a Keep runs, and what the certificate says of it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enarx_attestation import claims_extension
from enarx_signing import SigningKey, package_signature
from enarx_steward import policy
from enarx_steward.ca import Authority
from enarx_steward.errors import ConfigurationError, Refused
from enarx_steward.issuance import Steward
from enarx_steward.package_signers import MAX_SIGNATURES
from enarx_steward.root import Root

from .conftest import PACKAGE, POLICY, launch

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AUDIENCE = "https://steward.example.org"
KEY, OTHER, STRANGER = (SigningKey(Ed25519PrivateKey.generate()) for _ in range(3))
OLD_PACKAGE = "sha256:" + "cd" * 32


def entry(key: SigningKey = KEY, name: str = "release team", more: str = "") -> str:
    return f"\n[[packages.signers]]\nname = '{name}'\nkey = '''{key.public.pem}'''\n{more}\n"


def steward(*entries: str, text: str = POLICY) -> Steward:
    accepted = policy.parse((text + "".join(entries)).encode())
    authority = Authority.create(Root.create(NOW), accepted, NOW)
    return Steward(authority, accepted, audience=AUDIENCE, clock=lambda: NOW)


def signature(*keys: SigningKey, package: str = PACKAGE) -> bytes:
    return package_signature.sign(package, {}, keys)


def ask(at: Steward, keep, *signatures: bytes) -> x509.Certificate:
    nonce = at.challenge().nonce
    evidence = keep.evidence(nonce, AUDIENCE)
    certified = at.certify(request=keep.request(), nonce=nonce, kind="nil", evidence=evidence, signatures=signatures)
    return x509.load_der_x509_certificate(certified.certificate)


def objection(at: Steward, keep, *signatures: bytes) -> str:
    with pytest.raises(Refused) as caught:
        ask(at, keep, *signatures)
    assert caught.value.failed == ("packages.signed",)
    (check,) = (check for check in caught.value.checks if not check.ok)
    return str(check.actual)


def claims(leaf: x509.Certificate) -> claims_extension.KeepClaims:
    value = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(claims_extension.OID)).value
    return claims_extension.decode(value.value).claims


def test_a_package_that_a_trusted_key_signed_is_accepted_and_the_certificate_names_the_key(keep):
    leaf = ask(steward(entry(), entry(OTHER, "other")), keep, signature(KEY))
    assert claims(leaf).package_signers == (KEY.public.id,)


def test_signatures_that_do_not_count_do_no_harm_beside_one_that_does(keep):
    leaf = ask(steward(entry()), keep, b"{}", signature(STRANGER), signature(KEY, package=OLD_PACKAGE), signature(KEY))
    assert claims(leaf).package_signers == (KEY.public.id,)


@pytest.mark.parametrize(
    ("signatures", "more", "reason"),
    [
        ([], "", "nobody signed the package"),
        ([b"{}"], "", "not a DSSE envelope"),
        ([signature(STRANGER)], "", "is not trusted"),
        ([signature(KEY, package=OLD_PACKAGE)], "", "not about the package"),
        ([signature(KEY)], "revoked_at = 2026-05-31T00:00:00Z", "was revoked"),
        ([signature(KEY)], "not_after = 2026-05-31T00:00:00Z", "counted until"),
        ([signature(KEY)], "not_before = 2026-06-02T00:00:00Z", "counts from"),
    ],
    ids=["none", "not-an-envelope", "stranger", "another-package", "revoked", "ended", "not-yet"],
)
def test_what_no_trusted_key_signed_is_refused_with_the_reason(keep, signatures, more, reason):
    assert reason in objection(steward(entry(more=more)), keep, *signatures)


def test_a_policy_without_signers_asks_for_none_and_names_none(keep):
    assert claims(ask(steward(), keep, signature(KEY))).package_signers == ()


def test_a_certificate_ends_with_the_key_that_signed_the_package(keep):
    end = NOW + timedelta(minutes=30)
    leaf = ask(steward(entry(more=f"not_after = {end.isoformat()}")), keep, signature(KEY))
    assert leaf.not_valid_after_utc == end
    ends_sooner = entry(more=f"revoked_at = {(NOW + timedelta(minutes=5)).isoformat()}")
    both = steward(ends_sooner, entry(OTHER, "other", more=f"not_after = {end.isoformat()}"))
    assert ask(both, keep, signature(KEY, OTHER)).not_valid_after_utc == end


def test_enarxs_protocol_carries_no_signature_and_is_refused_where_one_is_asked_for(keep):
    with pytest.raises(Refused) as caught:
        steward(entry()).certify_enarx(keep.request())
    assert caught.value.failed == ("packages.signed",)
    assert "Enarx's protocol can carry none" in caught.value.hint


def test_names_can_depend_on_who_signed(keep):
    rule = f"\n[[grant]]\npackage_signer = '{OTHER.public.id}'\nnames = ['other.example.org']\n"
    at = steward(entry(), entry(OTHER, "other"), rule)
    names = [
        ask(at, keep, signature(key)).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for key in (KEY, OTHER)
    ]
    assert "localhost" in names[0].get_values_for_type(x509.DNSName)
    assert names[1].get_values_for_type(x509.DNSName) == ["other.example.org"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry() + entry(), "is listed twice"),
        (entry(more="since = 2026-01-01"), "unknown field `since`"),
        ("\n[[packages.signers]]\nname = 'x'\nkey = 'y'\n", "the key of 'x': this is not a public key"),
        (f"\n[[grant]]\npackage_signer = '{'ab' * 32}'\nnames = ['a.example.org']\n", "no key of [[packages.signers]]"),
    ],
    ids=["twice", "unknown-key", "not-a-key", "grant-for-a-stranger"],
)
def test_a_list_that_is_wrong_starts_no_steward(text, message):
    with pytest.raises(ConfigurationError) as caught:
        steward(text)
    assert message in str(caught.value)


def test_the_request_carries_the_signatures(state, http, keep):
    (state / "steward.toml").write_text(POLICY + entry())
    running = launch(state, http)
    client = running.client
    statuses = []
    for signatures in ([], [signature(KEY)], [signature(KEY)] * (MAX_SIGNATURES + 1), [bytes(65_537)]):
        nonce = client.nonce()
        body = {
            "csr": base64.b64encode(keep.request()).decode(),
            "nonce": base64.b64encode(nonce).decode(),
            "evidence": {"kind": "nil", "data": base64.b64encode(keep.evidence(nonce, client.audience)).decode()},
            "signatures": [base64.b64encode(one).decode() for one in signatures],
        }
        answer = client.http.post(f"{client.url}/v1/certificate", json=body)
        statuses.append((answer.status_code, answer.json().get("checks")))
    assert running.end() == 0
    assert statuses == [(403, ["packages.signed"]), (200, None), (400, None), (400, None)]
