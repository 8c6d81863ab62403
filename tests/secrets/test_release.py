"""Secrets reach the workload, and nobody between it and the Steward."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from enarx_deploy.errors import EnarxDeployError, KeepError, VerificationRefused
from enarx_deploy.host import certification, releasing
from enarx_deploy.protocols import ReleasedSecrets

from .conftest import KEY, TOKEN

NAMES = ["token", "key"]


def forms(secret: bytes) -> list[bytes]:
    """A secret as it may show: as it is, and in base64 at each of the three alignments."""
    padded = [base64.b64encode(b"\0" * shift + secret)[4:-4] for shift in range(3)]
    return [secret, secret.hex().encode(), *padded]


def test_the_workload_finds_its_secrets_and_the_host_sees_neither(keeper, vault) -> None:
    keep = keeper()
    vault.release_to(keep.package.digest)
    outcome = keep.run()
    assert (outcome.kind, outcome.code) == ("exit", 0), outcome
    assert keep.output.read_bytes() == TOKEN[::-1] + b"\n" + KEY[::-1] + b"\n"
    assert b'"release"' in keep.relayed, "the host did relay it"
    for secret in (TOKEN, KEY):
        assert not [form for form in forms(secret) if form in keep.relayed]


def test_a_policy_that_is_replaced_between_certificate_and_secrets_fails_no_release(keeper, vault) -> None:
    def later(session, names):
        vault.release_to(keep.package.digest)
        return releasing.release(session, keep.issuer, keep.project, names)

    keep = keeper(release=later)
    vault.release_to("sha256:" + "11" * 32)
    outcome = keep.run()
    assert (outcome.kind, outcome.code) == ("exit", 0), outcome
    assert keep.output.read_bytes() == TOKEN[::-1] + b"\n" + KEY[::-1] + b"\n"


def changed(released: ReleasedSecrets, **fields: object) -> ReleasedSecrets:
    return ReleasedSecrets(**{"sealed": released.sealed, "signature": released.signature} | fields)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def swapped(released: ReleasedSecrets) -> ReleasedSecrets:
    one, other = (released.sealed[name] for name in NAMES)
    return changed(released, sealed={"token": other, "key": one})


def with_one_less(released: ReleasedSecrets) -> ReleasedSecrets:
    return changed(released, sealed={"token": released.sealed["token"]})


def with_one_more(released: ReleasedSecrets) -> ReleasedSecrets:
    return changed(released, sealed={**released.sealed, "type": b""})


TAMPERED: dict[str, Callable[[ReleasedSecrets], ReleasedSecrets]] = {
    "swapped": swapped,
    "one-less": with_one_less,
    "one-more": with_one_more,
    "ciphertext": lambda released: changed(
        released, sealed={**released.sealed, "key": flipped(released.sealed["key"])}
    ),
    "signature": lambda released: changed(released, signature=flipped(released.signature)),
    "unsigned": lambda released: changed(released, signature=b""),
    "emptied": lambda released: changed(released, sealed=dict.fromkeys(NAMES, b"")),
}


def fails(keep, *words: str) -> None:
    """The Keep ends before its workload runs, and says why."""
    session = keep.start()
    with pytest.raises(EnarxDeployError):
        certification.certify(session, keep.issuer, keep.project)
    outcome = session.wait()
    assert outcome.kind == "error", outcome
    assert any(word in outcome.message for word in words), outcome
    assert keep.output.read_bytes() == b""


@pytest.mark.parametrize("defect", TAMPERED)
def test_a_release_that_the_host_changed_ends_the_keep(keeper, vault, defect) -> None:
    def tamper(session, names):
        return TAMPERED[defect](releasing.release(session, keep.issuer, keep.project, names))

    keep = keeper(release=tamper)
    vault.release_to(keep.package.digest)
    fails(keep, "not from the Steward", "other secrets came")


def test_a_release_for_another_keep_ends_this_one(keeper, vault) -> None:
    """Of the same package, by the same Steward, and relayed twice."""
    heard: list[ReleasedSecrets] = []

    def listen(session, names):
        heard.append(releasing.release(session, first.issuer, first.project, names))
        return heard[0]

    def replay(session, names):
        releasing.release(session, second.issuer, second.project, names)  # so that it waits for an answer
        return heard[0]

    first, second = keeper(release=listen), keeper(release=replay)
    assert first.package.digest == second.package.digest
    vault.release_to(first.package.digest)
    assert first.run().code == 0
    fails(second, "not from the Steward")


def test_secrets_that_the_host_made_up_are_not_believed(keeper, vault, stewards) -> None:
    """The key that they are sealed to is no secret: a Steward of the host's own could seal something to it."""
    forger = stewards("forger")

    def forge(session, names):
        return releasing.release(session, keep.issuer, theirs.project, names)

    keep, theirs = keeper(release=forge), keeper(forger)
    vault.release_to(keep.package.digest)
    forger.release_to(keep.package.digest)
    fails(keep, "not from the Steward")


def test_secrets_that_are_refused_end_the_keep_with_the_reason(keeper, vault) -> None:
    keep = keeper()
    vault.release_to("sha256:" + "00" * 32)
    session = keep.start()
    with pytest.raises(VerificationRefused, match=r"secret\.granted") as refused:
        certification.certify(session, keep.issuer, keep.project)
    assert "[[secret]]" in refused.value.hint
    outcome = session.wait()
    assert (outcome.kind, outcome.code) == ("error", 0)
    assert outcome.message.startswith("the secrets token, key are not released: ")
    assert keep.output.read_bytes() == b""


def test_a_kind_of_evidence_that_is_not_named_gets_none(keeper, vault) -> None:
    keep = keeper()
    vault.release_to(keep.package.digest, kind="kvm")
    fails(keep, "secret.granted")


def test_an_issuer_without_secrets_is_named(keeper) -> None:
    from enarx_issuers.selfsigned import SelfSigned

    keep = keeper()
    keep.issuer = SelfSigned()
    fails(keep, "the issuer 'selfsigned' holds no secrets")


def test_a_host_that_passes_over_the_secrets_runs_nothing(keeper, vault) -> None:
    keep = keeper(release=lambda _session, _names: (_ for _ in ()).throw(KeepError("not today")))
    fails(keep, "are not released: not today")
