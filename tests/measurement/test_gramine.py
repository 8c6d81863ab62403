"""Gramine's enclave, page by page, with a PAL that is made here. Not compared with what `gramine-sgx-sign` makes, which
was not at hand, but with a second implementation after the source of the loader that builds it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sgx.elf import CODE, DATA, ENTRY, PAL, elf

from enarx_measurement import MeasurementFault
from enarx_measurement.gramine_enclave import PRODUCT_ID, SVN, Enclave, body, measure, pages
from enarx_measurement.sgx_enclave import PAGE, Page, PageFlags, Unmeasured

MIB = 1 << 20
RX = PageFlags.REG | PageFlags.R | PageFlags.X
RW = PageFlags.REG | PageFlags.R | PageFlags.W


def enclave(**changes: object) -> Enclave:
    return Enclave(manifest=b"[loader]\n", pal=PAL, size=8 * MIB, threads=2)._replace(**changes)


def each_page(made: Enclave) -> Iterator[Page]:
    for part in pages(made):
        if isinstance(part, Unmeasured):
            yield from (Page(at, part.flags, None) for at in part.places)
        else:
            yield part


def by_place(made: Enclave) -> dict:
    return {page.offset: page for page in each_page(made)}


def word(page, at: int) -> int:
    return struct.unpack_from("<Q", page.content, at)[0]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_page_from_the_heap_to_the_end_is_there_once(threads):
    made = enclave(threads=threads)
    places = [page.offset for page in each_page(made)]
    assert sorted(places) == list(range(0x10000, made.size, PAGE))


def test_the_manifest_is_at_the_end_read_only_and_ends_in_a_zero():
    manifest = b"m" * (PAGE + 1)
    found = by_place(enclave(manifest=manifest))
    last = [found[8 * MIB - 2 * PAGE], found[8 * MIB - PAGE]]
    assert b"".join(page.content for page in last) == manifest.ljust(2 * PAGE, b"\0")
    assert {page.flags for page in last} == {PageFlags.REG | PageFlags.R}


def test_a_manifest_that_fills_its_page_takes_another_for_its_zero():
    found = by_place(enclave(manifest=b"m" * PAGE))
    assert found[8 * MIB - 2 * PAGE].content == b"m" * PAGE
    assert found[8 * MIB - PAGE].content == bytes(PAGE)


def test_each_thread_has_its_frames_its_words_and_its_stacks():
    made = enclave()
    found = by_place(made)
    control = sorted((page for page in found.values() if page.flags == PageFlags.TCS), key=lambda page: page.offset)
    assert len(control) == 2
    tls = control[-1].offset - 3 * PAGE  # below the control pages are two pages of words
    for number, tcs in enumerate(control):
        own = found[tls + number * PAGE]
        assert own.flags == RW
        frames = word(tcs, 0x10)
        assert (word(tcs, 8), struct.unpack_from("<II", tcs.content, 0x18)) == (0, (0, 2))
        assert frames == control[0].offset + 2 * PAGE + number * 8 * PAGE
        assert found[word(tcs, 0x20) - ENTRY].flags == RX  # the entry point, from where the PAL begins
        assert (word(tcs, 0x30), word(tcs, 0x38)) == (0, own.offset)
        assert struct.unpack_from("<II", tcs.content, 0x40) == (0xFFF, 0xFFF)
        assert word(own, 0) == own.offset
        assert word(own, 8) == 0xBADBADBADBAD
        assert (word(own, 0x110), word(own, 0x118)) == (made.size, tcs.offset)
        assert word(own, 0x120) == tls - number * 64 * PAGE
        low, high = word(own, 0x130), word(own, 0x138)
        assert (low, high) == (tls - 2 * 64 * PAGE - (number + 1) * 16 * PAGE, low + 16 * PAGE)
        assert (word(own, 0x148), word(own, 0x150)) == (frames, frames + 4 * PAGE - 184)
        assert (word(own, 0x1A0), word(own, 0x1A8)) == (len(made.manifest) + 1, 0x10000)
        assert word(own, 0x1B0) == word(tcs, 0x20) - ENTRY


def test_the_pal_is_there_segment_by_segment_with_its_rights():
    found = by_place(enclave())
    pal = word(found[max(at for at, page in found.items() if page.flags == PageFlags.TCS)], 0x20) - ENTRY
    code = [found[pal], found[pal + PAGE]]
    assert b"".join(page.content for page in code) == CODE.ljust(2 * PAGE, b"\0")
    assert {page.flags for page in code} == {RX}
    data = [found[pal + number * PAGE] for number in (2, 3, 4)]
    assert b"".join(page.content for page in data) == (bytes(0xF00) + DATA).ljust(3 * PAGE, b"\0")
    assert {page.flags for page in data} == {RW}


def test_the_heap_is_not_measured_but_that_it_is_there():
    heap = by_place(enclave())[0x10000]
    assert (heap.flags, heap.content) == (RW | PageFlags.X, None)
    assert measure(enclave()) != measure(enclave(size=16 * MIB))


@pytest.mark.parametrize(
    "other",
    [
        enclave(manifest=b"[loader]\r"),
        enclave(pal=elf((0x1000, 0, 5, CODE[:-1] + b"\0", len(CODE)))),
        enclave(threads=3),
    ],
    ids=["manifest", "pal", "threads"],
)
def test_whatever_is_changed_it_measures_to_something_else(other):
    assert measure(other) != measure(enclave())
    assert len(measure(other)) == 32


@pytest.mark.parametrize(
    ("pal", "said"),
    [
        (b"", "no ELF"),
        (b"not an ELF file at all", "no ELF"),
        (PAL[:0x2000], "does not hold"),
        (elf((0x1000, 0x10000, 5, CODE, len(CODE))), "anywhere"),
        (elf((0x1000, 0x800, 5, CODE, len(CODE))), "mapped"),
        (elf((0x1000, 0, 5, CODE, 1 << 40)), "does not hold"),
        (elf(), "anywhere"),
    ],
    ids=["empty", "no-elf", "cut-short", "fixed-place", "between-pages", "huge", "no-segments"],
)
def test_a_pal_that_is_none_is_refused(pal, said):
    with pytest.raises(MeasurementFault, match=said):
        measure(enclave(pal=pal))


@settings(max_examples=40)
@given(st.binary(max_size=200), st.integers(0, 63))
def test_arbitrary_headers_are_a_pal_or_refused(noise, at):
    damaged = PAL[:at] + noise + PAL[at + len(noise) :]
    try:
        found = list(pages(enclave(pal=damaged, size=2 * MIB, threads=1)))
    except MeasurementFault:
        return
    assert all(isinstance(part, Unmeasured) or len(part.content) == PAGE for part in found)


def test_an_enclave_without_room_for_its_threads_says_what_to_do():
    with pytest.raises(MeasurementFault, match="no room for 40 threads") as caught:
        measure(enclave(threads=40))
    assert "[resources]" in caught.value.hint


def test_what_is_signed_forbids_debugging_and_leaves_the_vector_extensions_to_the_machine():
    asked = body(bytes(range(32)))
    assert asked.debug is False
    assert asked.mrenclave == bytes(range(32))
    assert (asked.product_id, asked.svn) == (PRODUCT_ID, SVN)
    flags, features = struct.unpack("<QQ", asked.attribute_mask)
    assert flags == (1 << 64) - 1
    assert (1 << 64) - 1 - features == 1 << 2 | 0b111 << 5 | 0b11 << 17  # AVX, AVX-512, AMX


def laid_out_by_areas(manifest: bytes, size: int, threads: int, code: bytes, data: bytes, before: int) -> str:
    """MRENCLAVE once more, by Gramine's loader (`host_main.c`): areas from the end downwards, measured in turn.

    The PAL is one of two segments: code at its beginning, and data `before` bytes behind a page's, then zeros.
    """
    page, manifest = 4096, manifest + b"\0"
    whole = -(-len(manifest) // page) * page
    code = code.ljust(-(-len(code) // page) * page, b"\0")
    data = (bytes(before) + data).ljust(-(-(before + 0x1200) // page) * page, b"\0")
    digest = hashlib.sha256(b"ECREATE\0" + struct.pack("<IQ", 4, size) + bytes(44))

    def add(at: int, flags: int, content: bytes, measured: bool = True) -> None:
        for page_at in range(0, len(content), page):
            digest.update(b"EADD".ljust(8, b"\0") + struct.pack("<QQ", at + page_at, flags) + bytes(40))
            for chunk in range(page_at, page_at + page if measured else page_at, 256):
                digest.update(b"EEXTEND\0" + struct.pack("<Q", at + chunk) + bytes(48))
                digest.update(content[chunk : chunk + 256])

    end, area = size, {}
    stacks = [(f"stack {n}", 64 * page) for n in range(threads)] + [(f"signals {n}", 16 * page) for n in range(threads)]
    sizes = [("manifest", whole), ("frames", threads * 8 * page), ("control", threads * page), ("own", threads * page)]
    for name, room in [*sizes, *stacks, ("pal", len(code) + len(data))]:
        end -= room
        area[name] = end
    control, own = bytearray(threads * page), bytearray(threads * page)
    for n in range(threads):
        frames = area["frames"] + n * 8 * page
        for offset, form, value in (
            *((0x10, "<Q", frames), (0x1C, "<I", 2), (0x20, "<Q", area["pal"] + ENTRY)),
            *((0x38, "<Q", area["own"] + n * page), (0x40, "<I", 0xFFF), (0x44, "<I", 0xFFF)),
        ):
            struct.pack_into(form, control, n * page + offset, value)
        words = {0: area["own"] + n * page, 8: 0xBADBADBADBAD, 0x110: size, 0x118: area["control"] + n * page}
        words |= {0x120: area[f"stack {n}"] + 64 * page, 0x148: frames, 0x150: frames + 4 * page - 184}
        words |= {0x130: area[f"signals {n}"], 0x138: area[f"signals {n}"] + 16 * page}
        words |= {0x1A0: len(manifest), 0x1A8: 0x10000, 0x1B0: area["pal"]}
        for offset, value in words.items():
            struct.pack_into("<Q", own, n * page + offset, value)
    add(area["manifest"], 0x201, manifest.ljust(whole, b"\0"))
    add(area["frames"], 0x203, bytes(threads * 8 * page))
    add(area["control"], 0x100, bytes(control))
    add(area["own"], 0x203, bytes(own))
    for name, room in stacks:
        add(area[name], 0x203, bytes(room))
    add(area["pal"], 0x205, code)
    add(area["pal"] + len(code), 0x203, data)
    add(0x10000, 0x207, bytes(area["pal"] - 0x10000), measured=False)
    return digest.hexdigest()


@pytest.mark.parametrize("threads", [1, 3, 8])
@pytest.mark.parametrize("manifest", [b"", b"[loader]\n", b"m" * 4095, b"m" * 4096, b"m" * 9000])
def test_it_measures_to_what_the_loaders_areas_hash_to(manifest, threads):
    made = enclave(manifest=manifest, threads=threads)
    assert measure(made).hex() == laid_out_by_areas(manifest, 8 * MIB, threads, CODE, DATA, 0xF00)
