"""What a Keep answers while its workload runs, whatever its host sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_keep.channel import decode
from enarx_keep.running import Running

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(st.sampled_from(["type", "id", "nonce", "audience", "chain", "root"]), JSON, max_size=6)


def answered(message: bytes) -> dict[str, Any]:
    answer = Running(None).answer(message)
    assert int.from_bytes(answer[:4], "big") == len(answer) - 4
    return decode(answer[4:])


def test_a_look_is_answered_under_its_number() -> None:
    assert answered(b'{"type": "look", "id": 7}') == {"type": "alive", "id": 7}


@pytest.mark.parametrize("kind", ["challenge", "certificate", "boot", ""])
def test_a_keep_without_a_certificate_refuses_all_else(kind: str) -> None:
    refused = answered(json.dumps({"type": kind, "id": 3}).encode())
    assert (refused["type"], refused["id"]) == ("refused", 3)
    assert repr(kind) in refused["message"]


@given(st.binary(max_size=64) | MESSAGES.map(lambda message: json.dumps(message).encode()))
def test_whatever_comes_is_answered(message: bytes) -> None:
    assert answered(message)["type"] == "refused"
