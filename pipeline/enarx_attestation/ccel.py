"""The event log of a TDX domain (CCEL): what was measured into its registers, replayed.

TCG PC Client Platform Firmware Profile, section 10 (the crypto-agile log); UEFI specification, section 38.4.1 (the
registers). A log is the host's word; it is worth something once its replay gives the registers of a quote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from .checks import Rule, Sheet
from .errors import InvalidArgument, MalformedEvidence
from .intel_claims import TdxClaims
from .model import Verdict

MAX_SIZE: Final = 1 << 22
"""Most bytes of a log."""
MAX_EVENTS: Final = 1 << 14
"""Most events of a log."""
REGISTERS: Final = 4
_SHA384: Final = 0x000C
_NO_ACTION: Final = 3
_SPECIFICATION: Final = b"Spec ID Event03\0"
_SIZES: Final = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32}
"""Bytes of a digest by TCG algorithm."""

RULES: Final = {
    "tdx.event-log.form": Rule(
        "Give /sys/firmware/acpi/tables/data/CCEL of the domain, whole.",
        "TCG PC Client Platform Firmware Profile, section 10",
    ),
    **{
        f"tdx.event-log.rtmr{index}": Rule(
            "The log is not that of this domain, or was altered: do not draw conclusions from it.",
            "UEFI specification, section 38.4.1",
        )
        for index in range(REGISTERS)
    },
}


class Event(msgspec.Struct, frozen=True):
    """One measurement."""

    register: int
    """0 is MRTD, to which nothing is added at run time; 1 to 4 are RTMR0 to RTMR3."""
    type: int
    digest: bytes
    """SHA-384, which was added to the register."""
    data: bytes
    """What the log says was measured. Only for some types is the digest that of the data."""

    @property
    def data_is_measured(self) -> bool:
        """Whether the digest is that of the data, so that the data is as good as the register."""
        return hashlib.sha384(self.data).digest() == self.digest


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        field = self.data[self.position : self.position + size]
        if len(field) != size:
            raise MalformedEvidence("the event log is cut short")
        self.position += size
        return field

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def at_end(self) -> bool:
        """Whether only filling follows: the firmware hands over a fixed area."""
        # The front of the rest is looked at first, for looking at all of it after each event would take quadratic time.
        front = self.data[self.position : self.position + 12]
        if front.strip(b"\0") and front.strip(b"\xff"):
            return False
        rest = self.data[self.position :]
        if rest.strip(b"\0") and rest.strip(b"\xff"):
            raise MalformedEvidence("something stands in the filling of the event log")
        return True


def read_log(data: bytes) -> tuple[Event, ...]:
    """The events of a log, in order. Raises `MalformedEvidence`."""
    if len(data) > MAX_SIZE:
        raise MalformedEvidence(f"an event log has at most {MAX_SIZE} bytes, not {len(data)}")
    cursor = _Cursor(data)
    _read_header(cursor)
    events: list[Event] = []
    while not cursor.at_end():
        if len(events) == MAX_EVENTS:
            raise MalformedEvidence(f"an event log has at most {MAX_EVENTS} events")
        events.append(_read_event(cursor))
    return tuple(events)


def replay(events: Iterable[Event]) -> tuple[bytes, ...]:
    """The values that RTMR0 to RTMR3 have after these events."""
    registers = [bytes(48)] * REGISTERS
    for event in events:
        if event.type != _NO_ACTION and event.register > 0:
            index = event.register - 1
            registers[index] = hashlib.sha384(registers[index] + event.digest).digest()
    return tuple(registers)


def with_event_log(verdict: Verdict, events: Iterable[Event]) -> Verdict:
    """A TDX verdict with a check for each register: that replaying the log gives what the quote says.

    Raises `InvalidArgument` for a verdict over another kind.
    """
    if not isinstance(verdict.claims, TdxClaims):
        raise InvalidArgument("an event log belongs to a verdict over TDX")
    sheet = Sheet(RULES)
    for index, (wanted, value) in enumerate(zip(verdict.claims.rtmr, replay(events), strict=True)):
        sheet.check(f"tdx.event-log.rtmr{index}", wanted == value.hex(), wanted, value.hex())
    return replace(verdict, checks=verdict.checks + sheet.done())


def with_log_of_file(verdict: Verdict, data: bytes) -> Verdict:
    """The same with a log that is read first; one that cannot be read is a refusal, and its check says why."""
    try:
        return with_event_log(verdict, read_log(data))
    except MalformedEvidence as exc:
        sheet = Sheet(RULES)
        sheet.check("tdx.event-log.form", False, "a crypto-agile log with SHA-384", exc)
        return replace(verdict, checks=verdict.checks + sheet.done())


def _read_header(cursor: _Cursor) -> None:
    """The first event, in the older form, that names the algorithms of the others."""
    cursor.take(4)
    if cursor.number(4) != _NO_ACTION:
        raise MalformedEvidence("the event log does not begin with its specification")
    cursor.take(20)
    header = _Cursor(cursor.take(cursor.number(4)))
    if header.take(16) != _SPECIFICATION:
        raise MalformedEvidence("the event log is not of the crypto-agile form")
    header.take(8)
    algorithms = {header.number(2): header.number(2) for _ in range(min(header.number(4), len(_SIZES)))}
    if algorithms.get(_SHA384) != _SIZES[_SHA384]:
        raise MalformedEvidence("the event log has no SHA-384 digests")


def _read_event(cursor: _Cursor) -> Event:
    register, kind, count = cursor.number(4), cursor.number(4), cursor.number(4)
    if register > REGISTERS or count > len(_SIZES):
        raise MalformedEvidence(f"an event is of register {register} with {count} digests")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = cursor.number(2)
        if algorithm not in _SIZES or algorithm in digests:
            raise MalformedEvidence(f"a digest is of algorithm {algorithm:#x}, unknown or given twice")
        digests[algorithm] = cursor.take(_SIZES[algorithm])
    if _SHA384 not in digests:
        raise MalformedEvidence("an event has no SHA-384 digest")
    return Event(register, kind, digests[_SHA384], cursor.take(cursor.number(4)))
