"""Nonces, claims and lifetimes, with a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from enarx_attestation import der
from enarx_steward import claims, policy
from enarx_steward.ca import ROOT_LIFETIME, Authority
from enarx_steward.encoding import element
from enarx_steward.errors import Overloaded, Refused
from enarx_steward.issuance import Steward
from enarx_steward.nonces import NonceStore

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = policy.parse(policy.for_this_machine(written_by="a test").encode())
CLAIMS = claims.KeepClaims(
    backend="nil",
    hardware=False,
    status="Unprotected",
    package="sha256:" + "ab" * 32,
    evidence_sha256="cd" * 32,
    report_data="ef" * 64,
    nonce_bound=True,
    policy_sha256="01" * 32,
)


class Clock:
    """A clock that stands still until it is set on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_nonce_lives_for_two_minutes():
    clock = Clock()
    store = NonceStore(monotonic=clock)
    early, late = store.open(), store.open()
    clock.seconds += 119.9
    assert store.close(early)
    clock.seconds += 0.1
    assert not store.close(late)


def test_open_nonces_are_bounded_and_the_old_make_room():
    clock = Clock()
    store = NonceStore(monotonic=clock, capacity=3)
    kept = [store.open() for _ in range(3)]
    with pytest.raises(Overloaded):
        store.open()
    assert store.close(kept[0])
    store.open()
    clock.seconds += 120
    assert len({store.open() for _ in range(3)}) == 3
    assert not store.close(kept[1])


def test_an_expired_challenge_is_refused(keep):
    clock = Clock()
    steward = Steward(
        Authority.create(NOW), POLICY, audience="a", clock=lambda: NOW, nonces=NonceStore(monotonic=clock)
    )
    challenge = steward.challenge()
    assert challenge.expires == NOW + timedelta(seconds=120)
    clock.seconds += 121
    evidence = keep.evidence(challenge.nonce, "a")
    with pytest.raises(Refused) as refused:
        steward.certify(request=keep.request(), nonce=challenge.nonce, kind="nil", evidence=evidence)
    assert refused.value.failed == ("nonce.open",)


def test_a_certificate_does_not_outlive_the_root(keep):
    end = NOW + ROOT_LIFETIME
    steward = Steward(Authority.create(NOW), POLICY, audience="a", clock=lambda: end - timedelta(hours=1))
    nonce = steward.challenge().nonce
    certified = steward.certify(request=keep.request(), nonce=nonce, kind="nil", evidence=keep.evidence(nonce, "a"))
    leaf = x509.load_der_x509_certificate(certified.certificate)
    assert leaf.not_valid_after_utc == end


def test_the_first_certificate_is_not_older_than_the_root(keep):
    steward = Steward(Authority.create(NOW), POLICY, audience="a", clock=lambda: NOW - timedelta(minutes=30))
    leaf = x509.load_der_x509_certificate(steward.certify_enarx(keep.request()))
    assert leaf.not_valid_before_utc == steward.authority.root.not_valid_before_utc


def test_a_request_is_judged_by_the_policy_under_which_it_came(keep):
    refusing = policy.parse(b'[ca]\ntrust_domain = "new.example"\n[kvm]\nany_workload = true\nnames = ["localhost"]\n')
    replaced = []

    def clock():
        # The time is asked for when the request is under way.
        if under_way:
            replaced.append(steward.replace_policy(refusing, Authority.create(NOW)))
        return NOW

    under_way = False
    first = Authority.create(NOW)
    steward = Steward(first, POLICY, audience="a", clock=clock)
    nonce, other = steward.challenge().nonce, steward.challenge().nonce
    under_way = True
    certified = steward.certify(request=keep.request(), nonce=nonce, kind="nil", evidence=keep.evidence(nonce, "a"))
    assert certified.chain[1:] == (first.root_der,)
    x509.load_der_x509_certificate(certified.certificate).verify_directly_issued_by(first.root)
    assert replaced[0].policy is POLICY
    assert steward.policy is refusing
    with pytest.raises(Refused) as refused:
        steward.certify(request=keep.request(), nonce=other, kind="nil", evidence=keep.evidence(other, "a"))
    assert "policy.kind" in refused.value.failed


def test_claims_are_read_as_they_were_written():
    assert claims.decode(claims.encode(CLAIMS)) == CLAIMS


def wrapped(text: str) -> bytes:
    return element(der.UTF8_STRING, text.encode())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x0c\x00",
        wrapped("[]"),
        wrapped('["application/json","e30",8]'),
        wrapped(f'["{claims.MEDIA_TYPE}","e30",8]'),
        wrapped(f'["{claims.MEDIA_TYPE}","!!!!",8]'),
        claims.encode(CLAIMS)[:-3] + b"4]",
        claims.encode(CLAIMS) + b" ",
        element(der.OCTET_STRING, claims.encode(CLAIMS)[4:]),
        wrapped(claims.encode(CLAIMS)[4:].decode().replace(",8]", ", 8]")),
        wrapped("[" * 4000),
        wrapped('["' + "x" * 9000),
        b"\x0c\x02\xff\xff",
    ],
)
def test_other_values_are_no_claims(value):
    with pytest.raises(claims.Malformed):
        claims.decode(value)


def test_claims_with_one_more_or_a_false_type_are_none():
    import base64

    import msgspec

    for change in ({"names": "bank"}, {"hardware": 0}, {"package": "x"}, {"backend": "nil\x1b[1m"}, {"status": ""}):
        text = base64.urlsafe_b64encode(msgspec.json.encode(msgspec.to_builtins(CLAIMS) | change)).rstrip(b"=")
        with pytest.raises(claims.Malformed):
            claims.decode(wrapped(f'["{claims.MEDIA_TYPE}","{text.decode()}",8]'))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(value):
    with pytest.raises(claims.Malformed):
        claims.decode(value)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_lengths_are_written_as_they_are_read(size):
    assert der.whole(element(der.OCTET_STRING, bytes(size)), der.OCTET_STRING).content == bytes(size)
