"""Nonces, claims and lifetimes, with a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from enarx_attestation import der
from enarx_attestation.der_encoding import element
from enarx_steward import policy
from enarx_steward.ca import Authority
from enarx_steward.errors import Overloaded, Refused
from enarx_steward.issuance import Steward
from enarx_steward.nonces import NonceStore
from enarx_steward.root import ROOT_LIFETIME, Root

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = policy.parse(policy.for_this_machine(written_by="a test").encode())


def authority_of(accepted: policy.StewardPolicy = POLICY, at: datetime = NOW) -> Authority:
    return Authority.create(Root.create(at), accepted, at)


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
    steward = Steward(authority_of(), POLICY, audience="a", clock=lambda: NOW, nonces=NonceStore(monotonic=clock))
    challenge = steward.challenge()
    assert challenge.expires == NOW + timedelta(seconds=120)
    clock.seconds += 121
    evidence = keep.evidence(challenge.nonce, "a")
    with pytest.raises(Refused) as refused:
        steward.certify(request=keep.request(), nonce=challenge.nonce, kind="nil", evidence=evidence)
    assert refused.value.failed == ("nonce.open",)


def test_a_certificate_does_not_outlive_the_root(keep):
    end = NOW + ROOT_LIFETIME
    authority = Authority.create(Root.create(NOW), POLICY, end - timedelta(days=2))
    steward = Steward(authority, POLICY, audience="a", clock=lambda: end - timedelta(hours=1))
    nonce = steward.challenge().nonce
    certified = steward.certify(request=keep.request(), nonce=nonce, kind="nil", evidence=keep.evidence(nonce, "a"))
    leaf = x509.load_der_x509_certificate(certified.certificate)
    assert leaf.not_valid_after_utc == end


def test_the_first_certificate_is_not_older_than_the_intermediate(keep):
    steward = Steward(authority_of(), POLICY, audience="a", clock=lambda: NOW - timedelta(minutes=30))
    leaf = x509.load_der_x509_certificate(steward.certify_enarx(keep.request()))
    assert leaf.not_valid_before_utc == steward.authority.certificate.not_valid_before_utc


def test_a_request_is_judged_by_the_policy_under_which_it_came(keep):
    refusing = policy.parse(b'[ca]\ntrust_domain = "new.example"\n[kvm]\nany_workload = true\nnames = ["localhost"]\n')
    replaced = []

    def clock():
        # The time is asked for when the request is under way.
        if under_way:
            replaced.append(steward.replace_policy(refusing, authority_of(refusing)))
        return NOW

    under_way = False
    first = authority_of()
    steward = Steward(first, POLICY, audience="a", clock=clock)
    nonce, other = steward.challenge().nonce, steward.challenge().nonce
    under_way = True
    certified = steward.certify(request=keep.request(), nonce=nonce, kind="nil", evidence=keep.evidence(nonce, "a"))
    assert certified.chain[1:] == first.issuers
    x509.load_der_x509_certificate(certified.certificate).verify_directly_issued_by(first.certificate)
    assert replaced[0].policy is POLICY
    assert steward.policy is refusing
    with pytest.raises(Refused) as refused:
        steward.certify(request=keep.request(), nonce=other, kind="nil", evidence=keep.evidence(other, "a"))
    assert "policy.kind" in refused.value.failed


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_lengths_are_written_as_they_are_read(size):
    assert der.whole(element(der.OCTET_STRING, bytes(size)), der.OCTET_STRING).content == bytes(size)
