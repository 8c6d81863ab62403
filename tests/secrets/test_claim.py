"""What the Keep makes of an answer to its claim: the host may send anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enarx_keep.attester.choice import Chosen
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.unprotected import Nil
from enarx_keep.channel import encoded
from enarx_keep.errors import BadMessage, KeepFault, SecretsRefused
from enarx_keep.secrets import Claim
from enarx_sallyport import Guest, Host

PACKAGE = "sha256:" + "ab" * 32
CHALLENGE = {"type": "challenge", "nonce": encoded(bytes(32)), "audience": "steward"}


@pytest.fixture(scope="module")
def claim() -> Iterator[Claim]:
    """A claim that waits for its answer."""
    import os

    host = Host(files=0, connections=0, ring_bytes=4096)
    guest = Guest(os.dup(host.block_fd), os.dup(host.doorbell_fd))
    made = Claim(guest, PACKAGE, Chosen("nil", Nil(Machine())), ["token"])
    asked = made.request(CHALLENGE)
    assert (asked["type"], asked["names"], asked["kind"]) == ("claim", ["token"], "nil")
    yield made
    vars(made).clear()  # what was raised still has the claim, and a guest half has to go on the thread that made it
    host.finish(0)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=80).map(encoded),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just("token"), inner),
    max_leaves=6,
)


@given(
    answer=st.fixed_dictionaries(
        {"type": st.sampled_from(["release", "refused", "challenge"])},
        optional={"sealed": VALUES, "signature": VALUES, "message": VALUES},
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_of_the_hosts_own_is_a_release(claim: Claim, answer: dict[str, object]) -> None:
    with pytest.raises(KeepFault):
        claim.take(answer)


def test_a_good_form_without_the_stewards_signature_is_not_believed(claim: Claim) -> None:
    sealed = {"token": encoded(bytes(64))}
    with pytest.raises(SecretsRefused, match="not from the Steward"):
        claim.take({"type": "release", "sealed": sealed, "signature": encoded(b"x")})
    with pytest.raises(BadMessage, match="other secrets"):
        claim.take({"type": "release", "sealed": {}, "signature": encoded(b"x")})
