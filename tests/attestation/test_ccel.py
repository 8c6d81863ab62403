"""An event log is worth what its replay is."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from enarx_attestation import (
    AttestationError,
    MalformedEvidence,
    Verdict,
    appraise,
    appraise_files,
    endorse,
    load_policy,
    parse,
    policy_for,
    verify,
)
from enarx_attestation.ccel import read_log, replay, with_event_log
from enarx_attestation.intel_claims import TdxClaims
from enarx_attestation.intel_collateral import read_collateral

if TYPE_CHECKING:
    from conftest import Intel

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TDX = Path(__file__).parent / "vectors/tdx/phala-v4-uptodate"


def header(algorithm: int = 0x0C, size: int = 48) -> bytes:
    body = b"Spec ID Event03\0" + bytes(4) + bytes([0, 2, 0, 2]) + struct.pack("<IHH", 1, algorithm, size) + b"\0"
    return struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(body)) + body


def event(register: int, kind: int, data: bytes, digest: bytes | None = None) -> bytes:
    digest = hashlib.sha384(data).digest() if digest is None else digest
    return struct.pack("<IIIH", register, kind, 1, 0x0C) + digest + struct.pack("<I", len(data)) + data


LOG = header() + event(1, 5, b"firmware") + event(2, 6, b"kernel") + event(2, 3, b"a note") + event(1, 5, b"tables")


def extend(*data: bytes) -> bytes:
    value = bytes(48)
    for item in data:
        value = hashlib.sha384(value + hashlib.sha384(item).digest()).digest()
    return value


def verdict() -> Verdict:
    files = {"collateral.json": (TDX / "collateral.json").read_bytes()}
    quote = (TDX / "quote.bin").read_bytes()
    at = datetime(2025, 7, 1, tzinfo=UTC)
    return appraise_files(quote, files, policy_for("tdx", any_workload=True), kind="tdx", at=at, expected=None)


@pytest.mark.parametrize("filling", [b"", bytes(100), b"\xff" * 100])
def test_replay(filling: bytes) -> None:
    events = read_log(LOG + filling)
    assert len(events) == 4
    assert replay(events) == (extend(b"firmware", b"tables"), extend(b"kernel"), bytes(48), bytes(48))
    assert all(found.data_is_measured for found in events)


def test_a_log_of_another_domain_refuses() -> None:
    before = verdict()
    assert before.ok
    after = with_event_log(before, read_log(LOG))
    assert {check.id for check in after.failed} >= {"tdx.event-log.rtmr0", "tdx.event-log.rtmr1"}


def test_the_log_of_the_domain_is_accepted() -> None:
    before = verdict()
    assert isinstance(before.claims, TdxClaims)
    claims = replace(before.claims, rtmr=tuple(value.hex() for value in replay(read_log(LOG))))
    assert with_event_log(replace(before, claims=claims), read_log(LOG)).ok


@pytest.mark.parametrize("size", [584, 648, 885], ids=["1.0", "1.5", "1.5-extended"])
def test_a_domain_in_miniature_and_its_log(size: int, intel: Intel) -> None:
    """No real pair of quote and log is at hand: the quote is signed here, over the registers that the log leads to."""
    quote = intel.quote("TDX", body=intel.domain(size=size, rtmr=replay(read_log(LOG))))
    endorsements = endorse(read_collateral(intel.collateral("TDX")), intel.anchors)
    claims = verify(parse(quote, "tdx"), endorsements, intel.anchors, NOW)
    found = appraise(claims, load_policy({"tdx": {"any_workload": True}}), expected=None)
    assert with_event_log(found, read_log(LOG)).ok
    for other in (LOG[: -len(event(1, 5, b"tables"))], LOG + event(4, 5, b"more"), LOG.replace(b"kernel", b"Kernel")):
        after = with_event_log(found, read_log(other))
        # What was measured is the digest: that the data is another shows in the event, and not in the registers.
        assert after.ok == (other.replace(b"Kernel", b"kernel") == LOG)
    assert not all(entry.data_is_measured for entry in read_log(LOG.replace(b"kernel", b"Kernel")))


@pytest.mark.parametrize(
    "log",
    [
        b"",
        header(0x0B, 32),
        LOG[:-1],
        LOG + b"\x01",
        header() + event(5, 1, b""),
        header() + struct.pack("<III", 1, 1, 0) + struct.pack("<I", 0) + b"\x01",
        header() + struct.pack("<IIIH", 1, 1, 1, 0x99) + bytes(80),
        bytes(4) + b"\x01" + bytes(100),
    ],
)
def test_malformed(log: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        read_log(log)


HEADER_FIELDS = {"type": (4, 4), "size": (28, 4), "signature": (32, 16), "count": (56, 4), "algorithm": (60, 2)}
HEADER_FIELDS |= {"digest size": (62, 2)}
UNMEASURED_OF_HEADER = {"register": (0, 4), "digest": (8, 20), "class and version": (48, 8)}
EVENT_FIELDS = {"register": (0, 4), "count": (8, 4), "algorithm": (12, 2), "digest": (14, 48), "size": (62, 4)}
FIRST, NOTE, LAST = (LOG.index(event(*entry)) for entry in ((1, 5, b"firmware"), (2, 3, b"a note"), (1, 5, b"tables")))


def flips(start: int, size: int) -> Iterator[tuple[bytes, ...] | None]:
    """The registers to which the log leads with one bit flipped, for each bit; None where it cannot be read."""
    for bit in range(8 * start, 8 * (start + size)):
        flipped = bytearray(LOG)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            yield replay(read_log(bytes(flipped)))
        except MalformedEvidence:
            yield None


@pytest.mark.parametrize("field", HEADER_FIELDS)
def test_a_damaged_field_of_the_header_makes_the_log_unreadable(field: str) -> None:
    assert set(flips(*HEADER_FIELDS[field])) == {None}


@pytest.mark.parametrize("start", [FIRST, LAST], ids=["first", "last"])
@pytest.mark.parametrize("field", EVENT_FIELDS)
def test_a_damaged_field_of_an_event_leads_to_other_registers_or_none(field: str, start: int) -> None:
    offset, size = EVENT_FIELDS[field]
    assert replay(read_log(LOG)) not in set(flips(start + offset, size))


def test_what_registers_do_not_vouch_for() -> None:
    """The header beside its form, the type of an event that is measured, and the data itself."""
    same = {replay(read_log(LOG))}
    for offset, size in UNMEASURED_OF_HEADER.values():
        assert set(flips(offset, size)) == same
    assert set(flips(FIRST + 4, 4)) == set(flips(LAST + 66, len(b"tables"))) == same
    assert same.isdisjoint(flips(NOTE + 4, 4))
    assert set(flips(NOTE + 14, 48)) == same


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_logs_meet_typed_errors_only(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(LOG)))
    with contextlib.suppress(AttestationError):
        read_log(LOG[:place] + data.draw(st.binary(max_size=40)) + LOG[place + 8 :])
