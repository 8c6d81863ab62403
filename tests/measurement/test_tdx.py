"""MRTD from a firmware's own table. There is no known answer of others here: the records are written out once more."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_measurement import MeasurementFault, mrtds
from enarx_measurement.tdx_launch import Section, sections

CODE = Section(0x1000, 0x1000, 0xFFC8_4000, 0x2000, 0, 1)
VARIABLES = Section(0, 0x1000, 0xFFC0_0000, 0x1000, 1, 0)
HAND_OFF = Section(0, 0, 0x80_9000, 0x1000, 2, 0)
LATER = Section(0, 0, 0x100_0000, 0x4000, 4, 2)


def firmware(*rows: Section, metadata: bytes | None = None, count: int | None = None) -> bytes:
    """A firmware of 16 KiB: variables, code, the table of sections, and OVMF's table that tells where that is."""
    code = bytes(range(256)) * 16
    table = metadata or struct.pack("<4sIII", b"TDVF", 16 + 32 * len(rows), 1, len(rows) if count is None else count)
    table += b"".join(struct.pack("<IIQQII", *row) for row in rows)
    entry = (
        (0x1000).to_bytes(4, "little")
        + struct.pack("<H", 22)
        + uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
    )
    footer = struct.pack("<H", 22 + 18) + uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
    end = entry + footer + bytes(32)
    return bytes(0x1000) + code + bytes(0x1000) + table.ljust(0x1000 - len(end), b"\0") + end


def records(content: bytes, section: Section, together: int) -> bytes:
    said = b""
    for start in range(0, section.size, together):
        for page in range(start, start + together, 4096):
            said += b"MEM.PAGE.ADD" + bytes(4) + (section.address + page).to_bytes(8, "little") + bytes(104)
        if section.attributes & 1:
            for at in range(start, start + together, 256):
                said += b"MR.EXTEND" + bytes(7) + (section.address + at).to_bytes(8, "little") + bytes(104)
                said += content[at : at + 256]
    return said


def test_the_two_orders_of_hosts_give_two_values():
    made = firmware(CODE, VARIABLES, HAND_OFF, LATER)
    content = (bytes(range(256)) * 16).ljust(0x2000, b"\0")
    expected = []
    for together in (4096, None):
        said = b"".join(
            records(content if row is CODE else b"", row, together or row.size) for row in (CODE, VARIABLES, HAND_OFF)
        )
        expected.append(hashlib.sha384(said).hexdigest())
    assert list(mrtds(made)) == expected
    assert len(set(expected)) == 2


def test_memory_that_is_added_later_does_not_count():
    assert mrtds(firmware(CODE, LATER)) == mrtds(firmware(CODE))


def test_a_byte_of_the_code_changes_both():
    one, other = firmware(CODE), bytearray(firmware(CODE))
    other[0x1234] ^= 1
    assert not set(mrtds(one)) & set(mrtds(bytes(other)))


@pytest.mark.parametrize(
    "row",
    [
        CODE._replace(data_offset=0x4000),
        CODE._replace(raw_size=0x3000),
        CODE._replace(size=0x1800),
        CODE._replace(address=0xFFC8_4001),
        CODE._replace(address=(1 << 52) - 0x1000),
        CODE._replace(size=1 << 40),
    ],
    ids=["outside-the-file", "more-than-its-memory", "part-of-a-page", "not-aligned", "no-such-address", "too-large"],
)
def test_a_section_that_cannot_be_is_refused(row):
    with pytest.raises(MeasurementFault, match="section at"):
        mrtds(firmware(row))


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        bytes(0x4000),
        firmware(CODE, metadata=struct.pack("<4sIII", b"XXXX", 48, 1, 1)),
        firmware(CODE, metadata=struct.pack("<4sIII", b"TDVF", 48, 2, 1)),
        firmware(CODE, count=65),
    ],
    ids=["empty", "no-table", "other-signature", "other-version", "too-many-sections"],
)
def test_what_is_no_firmware_for_tdx_is_refused(damaged):
    with pytest.raises(MeasurementFault):
        mrtds(damaged)


def test_sections_of_much_memory_are_refused_before_they_are_hashed():
    with pytest.raises(MeasurementFault, match="bytes of memory"):
        mrtds(firmware(*[HAND_OFF._replace(size=1 << 26)] * 3))


@given(st.binary(min_size=64, max_size=64), st.integers(min_value=0, max_value=0x4000 - 64))
def test_damage_anywhere_gives_the_rooms_own_error_or_an_answer(piece, at):
    made = firmware(CODE, VARIABLES)
    made = made[:at] + piece + made[at + len(piece) :]
    with contextlib.suppress(MeasurementFault):
        assert len(sections(made)) <= 64
