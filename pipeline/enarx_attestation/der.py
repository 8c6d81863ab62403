"""A reader of DER, strict and bounded (X.690, section 10 and 11).

Our own because AMD's endorsement keys have serial number 0, which the X.509 reader of `cryptography` is going to
refuse, and because a verifier must see the exact bytes of every field. Only what certificates, revocation lists and
Intel's extension use is supported: low tag numbers, definite lengths in their shortest form. Every function here raises
`DerError` for bytes that are not what it reads.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OID: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31


class DerError(ValueError):
    """The bytes are not DER of the shape asked for."""


class Element(NamedTuple):
    """One element: its tag, and where its header, its content and the element itself end up in the buffer."""

    data: bytes
    tag: int
    start: int
    body: int
    end: int

    @property
    def content(self) -> bytes:
        """The content, without tag and length."""
        return self.data[self.body : self.end]

    @property
    def raw(self) -> bytes:
        """The whole element."""
        return self.data[self.start : self.end]


def element(data: bytes, start: int, end: int) -> Element:
    """The element at `start`, which must end at or before `end`."""
    if end - start < 2:
        raise DerError("element is cut short")
    tag = data[start]
    if tag & 0x1F == 0x1F:
        raise DerError("high tag numbers are not supported")
    length = data[start + 1]
    body = start + 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or end - body < size:
            raise DerError("length is indefinite, too long or cut short")
        length = int.from_bytes(data[body : body + size], "big")
        if length < 0x80 or length >> (8 * (size - 1)) == 0:
            raise DerError("length is not in its shortest form")
        body += size
    if length > end - body:
        raise DerError("element is longer than what holds it")
    return Element(data, tag, start, body, body + length)


def whole(data: bytes, tag: int) -> Element:
    """The one element that `data` consists of; trailing bytes are an error."""
    found = element(data, 0, len(data))
    if found.tag != tag or found.end != len(data):
        raise DerError(f"expected exactly one element with tag {tag:#x}")
    return found


def children(parent: Element) -> list[Element]:
    """The elements inside a constructed element."""
    data, _, _, position, end = parent
    found: list[Element] = []
    while position < end:
        # Nearly all elements are short; calling `element` for them doubles the time that a certificate takes.
        body = position + 2
        stop = body + data[position + 1] if body <= end else 0
        if body <= stop <= end and stop - body < 0x80 and data[position] & 0x1F != 0x1F:
            found.append(Element(data, data[position], position, body, stop))
        else:
            found.append(element(data, position, end))
        position = found[-1].end
    return found


def fields(parent: Element, *tags: int | None) -> list[Element]:
    """The elements inside `parent`, which must have exactly these tags; None stands for any."""
    found = children(parent)
    if len(found) != len(tags):
        raise DerError("unexpected fields")
    for tag, child in zip(tags, found, strict=True):
        if tag is not None and tag != child.tag:
            raise DerError("unexpected fields")
    return found


def pairs(parent: Element) -> list[tuple[bytes, Element]]:
    """The members of a SEQUENCE OF or SET OF SEQUENCE { OBJECT IDENTIFIER, ANY }: identifier (its content), value."""
    data, _, _, position, end = parent
    found: list[tuple[bytes, Element]] = []
    while position < end:
        # As in `children`: members are short, and there are dozens of them in each certificate.
        head = data[position : position + 4]
        stop, middle = position + 2, position + 4
        if len(head) == 4 and head[0] == SEQUENCE and head[1] < 0x80 and head[2] == OID and head[3] < 0x80:
            stop, middle = stop + head[1], middle + head[3]
        if stop > end or middle + 2 > stop or middle + 2 + data[middle + 1] != stop or data[middle + 1] >= 0x80:
            member = element(data, position, end)
            identifier, value = fields(member, OID, None)
            if member.tag != SEQUENCE:
                raise DerError("expected an identifier and a value")
            found.append((identifier.content, value))
            position = member.end
            continue
        if data[middle] & 0x1F == 0x1F:
            raise DerError("high tag numbers are not supported")
        found.append((data[position + 4 : middle], Element(data, data[middle], middle, middle + 2, stop)))
        position = stop
    return found


def only(parent: Element, tag: int) -> Element:
    """The only element inside `parent`."""
    return fields(parent, tag)[0]


def integer(found: Element) -> int:
    """The value of an INTEGER, in its shortest form."""
    content = found.content
    if found.tag != INTEGER or not content:
        raise DerError("expected an INTEGER")
    if len(content) > 1 and (content[0], content[1] >> 7) in {(0, 0), (0xFF, 1)}:
        raise DerError("INTEGER is not in its shortest form")
    return int.from_bytes(content, "big", signed=True)


def boolean(found: Element) -> bool:
    """The value of a BOOLEAN."""
    if found.tag != BOOLEAN or found.content not in {b"\x00", b"\xff"}:
        raise DerError("expected a BOOLEAN")
    return found.content == b"\xff"


def bit_string(found: Element) -> bytes:
    """The bytes of a BIT STRING of whole bytes."""
    content = found.content
    if found.tag != BIT_STRING or not content or content[0] != 0:
        raise DerError("expected a BIT STRING of whole bytes")
    return content[1:]


def octets(found: Element) -> bytes:
    """The bytes of an OCTET STRING."""
    if found.tag != OCTET_STRING:
        raise DerError("expected an OCTET STRING")
    return found.content


def text(found: Element) -> str:
    """The text of a UTF8String, PrintableString or IA5String."""
    if found.tag not in {UTF8_STRING, PRINTABLE_STRING, IA5_STRING}:
        raise DerError("expected a string")
    try:
        return found.content.decode("utf-8" if found.tag == UTF8_STRING else "ascii")
    except UnicodeDecodeError as exc:
        raise DerError("string is not in its character set") from exc


def time(found: Element) -> datetime:
    """The value of a UTCTime or GeneralizedTime in the form of RFC 5280, section 4.1.2.5: seconds, and Z."""
    digits = found.content
    if found.tag == UTC_TIME and len(digits) == 13:
        digits = (b"20" if digits[:2] < b"50" else b"19") + digits
    elif found.tag != GENERALIZED_TIME or len(digits) != 15:
        raise DerError("expected a time with seconds")
    if digits[14:] != b"Z" or not digits[:14].isdigit():
        raise DerError("time is not in the form YYYYMMDDHHMMSSZ")
    year = int(digits[:4])
    month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(4, 14, 2))
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as exc:
        raise DerError("time does not exist") from exc


def oid(dotted: str) -> bytes:
    """The content bytes of an OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return b"".join(_base128(arc) for arc in (first * 40 + second, *rest))


def _base128(arc: int) -> bytes:
    digits = [arc & 0x7F]
    while arc := arc >> 7:
        digits.append(arc & 0x7F | 0x80)
    return bytes(reversed(digits))
