"""Renewal over HTTP: a new certificate in the place of one that this Steward issued."""

from __future__ import annotations

import base64
import hashlib
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509

from enarx_steward import database
from enarx_steward import policy as policy_file
from enarx_steward.ca import Authority
from enarx_steward.errors import MalformedRequest, Refused
from enarx_steward.issuance import Steward
from enarx_steward.issuance_log import IssuanceLog
from enarx_steward.root import Root

KVM = '[kvm]\nany_workload = true\nnames = ["localhost"]\n'
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def issued(answer: httpx.Response) -> list[bytes]:
    return [base64.b64decode(one) for one in answer.raise_for_status().json()["chain"]]


def first(client, keep) -> list[bytes]:
    nonce = client.nonce()
    return issued(client.ask(keep.request(), nonce, keep.evidence(nonce, client.audience)))


def renew(client, keep, chain: list[bytes], /, **changes) -> httpx.Response:
    nonce = changes.pop("nonce", None) or client.nonce()
    evidence = changes.pop("evidence", None) or keep.evidence(nonce, client.audience)
    body = {
        "csr": encoded(keep.request()),
        "nonce": encoded(nonce),
        "evidence": {"kind": changes.pop("kind", "nil"), "data": encoded(evidence)},
        "chain": [encoded(one) for one in chain],
    }
    return client.http.post(f"{client.url}/v1/renew", json=body | changes)


def failed(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 403, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["hint"]
    return answer.json()["checks"]


def test_a_certificate_is_renewed_for_the_same_key_or_another(steward, keep, make_keep):
    old = first(steward, keep)
    for holder in (keep, make_keep()):
        leaf, *issuers = (x509.load_der_x509_certificate(der) for der in issued(renew(steward, holder, old)))
        leaf.verify_directly_issued_by(issuers[0])
        assert leaf.public_key() == holder.key.public_key()
        assert leaf.serial_number != x509.load_der_x509_certificate(old[0]).serial_number


def test_the_log_says_whose_place_a_certificate_takes(start, keep):
    running = start()
    old = first(running.client, keep)
    new = issued(renew(running.client, keep, old))
    with closing(database.open_file(running.state / "issuance.db")) as opened:
        entries = [entry.decision() for entry in IssuanceLog(opened).walk()]
    digests = [hashlib.sha256(chain[0]).hexdigest() for chain in (old, new)]
    assert [entry.certificate_sha256 for entry in entries] == digests
    assert [entry.renewal_of for entry in entries] == [None, digests[0]]


def test_everything_is_appraised_anew(steward, keep):
    old, nonce = first(steward, keep), steward.nonce()
    assert "binding.report-data" in failed(renew(steward, keep, old, evidence=keep.evidence(nonce, steward.audience)))
    assert failed(renew(steward, keep, old, nonce=b"n" * 32)) == ["nonce.open"]


def test_another_package_is_refused(steward, keep, make_keep):
    other = make_keep(package="sha256:" + "cd" * 32)
    assert failed(renew(steward, other, first(steward, keep))) == ["renewal.package"]


def test_another_kind_is_refused(start, keep):
    running = start(policy=f'[ca]\ntrust_domain = "a"\n[nil]\nany_workload = true\nnames = ["localhost"]\n{KVM}')
    client, nonce = running.client, running.client.nonce()
    evidence = keep.evidence(nonce, client.audience).replace(b'"nil"', b'"kvm"')
    answer = renew(client, keep, first(client, keep), nonce=nonce, evidence=evidence, kind="kvm")
    assert failed(answer) == ["renewal.backend"]


def test_a_certificate_of_another_steward_is_refused(steward, start, keep):
    foreign = first(start().client, keep)
    assert failed(renew(steward, keep, foreign)) == ["renewal.certificate"]
    mixed = [foreign[0], *first(steward, keep)[1:]]
    assert failed(renew(steward, keep, mixed)) == ["renewal.certificate"]


def test_an_intermediate_is_no_certificate_to_renew(steward, keep):
    answer = renew(steward, keep, first(steward, keep)[1:])
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    "change",
    [{"chain": []}, {"chain": ["AAAA", "AAAA"]}, {"chain": ["AAAA"] * 5}, {"chain": "AAAA"}, {"chain": None}],
    ids=["empty", "no-certificates", "too-long", "no-list", "none"],
)
def test_what_is_no_chain_is_malformed(steward, keep, change):
    answer = renew(steward, keep, [], **change)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def der_with(chain: list[bytes], position: int, old: str, new: str) -> list[bytes]:
    """The chain with something else in one of its certificates, of the same length."""
    changed = chain[position].replace(bytes.fromhex(old), bytes.fromhex(new))
    assert changed != chain[position]
    return [*chain[:position], changed, *chain[position + 1 :]]


VERSION = ("a003020102", "a003020104")
EC_KEY = ("06072a8648ce3d0201", "06072a8648ce3d0209")
DNS_NAME = ("82096c6f63616c686f7374", "a3096c6f63616c686f7374")  # as an address of X.400


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("flaw", [VERSION, EC_KEY, DNS_NAME], ids=["version-5", "unknown-key", "x400-address"])
def test_a_chain_with_flaws_that_its_reader_meets_late_is_malformed_or_refused(steward, keep, position, flaw):
    if position == 1 and flaw == DNS_NAME:
        pytest.skip("an intermediate has no names")
    answer = renew(steward, keep, der_with(first(steward, keep), position, *flaw))
    assert answer.json()["code"] in {"malformed", "refused"}, answer.text
    assert answer.status_code in {400, 403}


class Clock:
    """A clock that stands still until it is set on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def make_steward(clock: Clock, grace: str = "") -> Steward:
    text = f'[ca]\ntrust_domain = "a"\n{grace}\n[nil]\nany_workload = true\nnames = ["localhost"]\nlifetime = "1h"\n'
    accepted = policy_file.parse(text.encode())
    return Steward(Authority.create(Root.create(NOW), accepted, NOW), accepted, audience="a", clock=clock)


def certify(steward: Steward, keep, renewed=None) -> tuple[bytes, ...]:
    nonce = steward.challenge().nonce
    return steward.certify(
        request=keep.request(), nonce=nonce, kind="nil", evidence=keep.evidence(nonce, "a"), renewed=renewed
    ).chain


@pytest.mark.parametrize(
    ("grace", "minutes", "accepted"),
    [("", 60, True), ("", 61, False), ('renewal_grace = "30m"', 90, True), ('renewal_grace = "30m"', 91, False)],
    ids=["at-its-end", "ended", "within-grace", "after-grace"],
)
def test_a_certificate_that_ended_is_renewed_within_the_policys_grace_alone(keep, grace, minutes, accepted):
    clock = Clock()
    steward = make_steward(clock, grace)
    old = certify(steward, keep)
    clock.now += timedelta(minutes=minutes)
    if accepted:
        assert certify(steward, keep, old) != old
        return
    with pytest.raises(Refused) as refused:
        certify(steward, keep, old)
    assert refused.value.failed == ("renewal.age",)


def test_a_certificate_of_an_earlier_policy_is_renewed_under_the_present_one(keep):
    clock = Clock()
    steward = make_steward(clock)
    old = certify(steward, keep)
    text = b'[ca]\ntrust_domain = "a"\n[nil]\nany_workload = true\nnames = ["new.example"]\n'
    present = policy_file.parse(text)
    steward.replace_policy(present, Authority.create(steward.authority.root, present, NOW))
    leaf = x509.load_der_x509_certificate(certify(steward, keep, old)[0])
    assert leaf.subject.rfc4514_string().startswith("CN=new.example")


def test_a_chain_that_cannot_be_read_leaves_the_challenge_open(keep):
    steward = make_steward(Clock())
    nonce = steward.challenge().nonce
    fields = {"request": keep.request(), "nonce": nonce, "kind": "nil", "evidence": keep.evidence(nonce, "a")}
    with pytest.raises(MalformedRequest):
        steward.certify(**fields, renewed=[b"", b""])
    steward.certify(**fields)
