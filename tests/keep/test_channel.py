"""The control stream: bounded, and read to the byte however it comes in pieces."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_keep.channel import MESSAGE_LIMIT, PAYLOAD_LIMIT, Reader, encode, field
from enarx_keep.errors import BadMessage


def trickle(data: bytes, most: int):
    stream = io.BytesIO(data)
    return lambda size: stream.read(min(size, most))


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=4), st.integers(1, 9))
def test_what_is_sent_is_received(messages: list[dict[str, str]], most: int) -> None:
    messages = [message | {"type": "x"} for message in messages]
    reader = Reader(trickle(b"".join(map(encode, messages)), most))
    assert [reader.message() for _ in messages] == messages
    with pytest.raises(EOFError):
        reader.message()


def test_the_longest_message_and_one_byte_more() -> None:
    longest = {"type": "", "a": "x" * (MESSAGE_LIMIT - len('{"type":"","a":""}'))}
    assert Reader(io.BytesIO(encode(longest)).read).message() == longest
    with pytest.raises(BadMessage, match="too long"):
        encode(longest | {"a": longest["a"] + "x"})
    with pytest.raises(BadMessage, match="too long"):
        Reader(io.BytesIO((MESSAGE_LIMIT + 1).to_bytes(4, "big")).read).message()


@pytest.mark.parametrize("size", [-1, PAYLOAD_LIMIT + 1, 1 << 80])
def test_sizes_out_of_bounds_ask_for_nothing(size: int) -> None:
    asked: list[int] = []

    def read(most: int) -> bytes:
        asked.append(most)
        return b""

    with pytest.raises(BadMessage):
        Reader(read).payload(size)
    assert asked == []


def test_a_large_payload_is_not_reserved_before_it_comes() -> None:
    asked: list[int] = []

    def read(most: int) -> bytes:
        asked.append(most)
        return b""

    with pytest.raises(EOFError):
        Reader(read).payload(PAYLOAD_LIMIT)
    assert asked == [1 << 20]


@pytest.mark.parametrize("text", [b"", b"{}", b'{"type": 1}', b'"type"', b"{" * 100_000, b'{"type":"x"}x', b"NaN"])
def test_what_is_no_message(text: bytes) -> None:
    with pytest.raises(BadMessage):
        Reader(io.BytesIO(len(text).to_bytes(4, "big") + text).read).message()


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1, str), (None, str), (1.0, int), ("1", int)])
def test_fields_are_of_their_type_exactly(value: object, kind: type) -> None:
    with pytest.raises(BadMessage, match="of type"):
        field({"type": "x", "name": value}, "name", kind)
