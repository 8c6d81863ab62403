"""The reader of DER: one spelling for each value, bounds kept, and the short way as strict as the long one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx_attestation import der
from enarx_attestation.der import DerError, Element


def slow_pairs(parent: Element) -> list[tuple[bytes, bytes]]:
    found, position = [], parent.body
    while position < parent.end:
        member = der.element(parent.data, position, parent.end)
        if member.tag != der.SEQUENCE:
            raise DerError("not a sequence")
        identifier = der.element(parent.data, member.body, member.end)
        value = der.element(parent.data, identifier.end, member.end)
        if identifier.tag != der.OID or value.end != member.end:
            raise DerError("not a pair")
        found.append((identifier.content, value.raw))
        position = member.end
    return found


def slow_children(parent: Element) -> list[bytes]:
    found, position = [], parent.body
    while position < parent.end:
        child = der.element(parent.data, position, parent.end)
        found.append(child.raw)
        position = child.end
    return found


GENUINE = bytes.fromhex(
    "300b0603550403" + "0c04" + "41424344" + "3007060155" + "0402" + "0102" + "3006060155" + "0201" + "05"
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, len(GENUINE)), st.binary(max_size=6), st.integers(0, 4))
def test_the_short_way_is_as_strict_as_the_long_one(place: int, noise: bytes, drop: int) -> None:
    body = GENUINE[:place] + noise + GENUINE[place + drop :]
    parent = Element(b"\xff\xff" + body + b"\x05\x00", der.SEQUENCE, 0, 2, 2 + len(body))
    for quick, slow in (
        (lambda: [(id, value.raw) for id, value in der.pairs(parent)], lambda: slow_pairs(parent)),
        (lambda: [child.raw for child in der.children(parent)], lambda: slow_children(parent)),
    ):
        try:
            wanted: object = slow()
        except DerError:
            with pytest.raises(DerError):
                quick()
        else:
            assert quick() == wanted


@pytest.mark.parametrize(
    "data",
    ["", "30", "3080", "308101ff", "30820001ff", "3003020101ff", "1f8101ff", "3085000000000100", "30060201"],
)
def test_elements_that_are_not_read(data: str) -> None:
    with pytest.raises(DerError):
        der.whole(bytes.fromhex(data), der.SEQUENCE)


@pytest.mark.parametrize("data", ["0200", "02020001", "0202ff80", "030100", "0101"])
def test_integers_that_are_not_read(data: str) -> None:
    with pytest.raises(DerError):
        der.integer(der.element(bytes.fromhex(data), 0, len(data) // 2))


@pytest.mark.parametrize(("data", "value"), [("020100", 0), ("0201ff", -1), ("02020080", 128), ("0203010000", 65536)])
def test_integers(data: str, value: int) -> None:
    assert der.integer(der.whole(bytes.fromhex(data), der.INTEGER)) == value


def test_times() -> None:
    def time(tag: int, text: bytes) -> datetime:
        return der.time(der.whole(bytes([tag, len(text)]) + text, tag))

    assert time(der.UTC_TIME, b"491231235959Z") == datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert time(der.UTC_TIME, b"500101000000Z") == datetime(1950, 1, 1, tzinfo=UTC)
    assert time(der.GENERALIZED_TIME, b"20500101000000Z") == datetime(2050, 1, 1, tzinfo=UTC)
    for tag, text in [
        (der.UTC_TIME, b"5001010000Z"),
        (der.UTC_TIME, b"500101000000+"),
        (der.UTC_TIME, b"501301000000Z"),
        (der.UTC_TIME, b"5001010000 0Z"),
        (der.GENERALIZED_TIME, b"20500101000060Z"),
        (der.GENERALIZED_TIME, b"00000101000000Z"),
        (der.GENERALIZED_TIME, b"20500101000000.5Z"),
        (der.INTEGER, b"20500101000000Z"),
    ]:
        with pytest.raises(DerError):
            time(tag, text)


def test_identifiers() -> None:
    assert der.oid("1.2.840.113741.1.13.1").hex() == "2a864886f84d010d01"
    assert der.oid("2.5.4.3").hex() == "550403"
