"""Evidence through configfs-tsm, before a kernel that behaves as its documentation says."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from enarx_keep.attester.configfs_tsm import ATTEMPTS, REPORTS, ConfigfsTsm
from enarx_keep.attester.machine import Machine
from enarx_keep.errors import NoEvidence

DATA = bytes(range(64))
OTHER = bytes(64)


def fault(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def snp_report(data: bytes, level: int = 0) -> bytes:
    report = bytearray(0x4A0)
    report[0x30:0x34] = level.to_bytes(4, "little")
    report[0x50:0x90] = data
    return bytes(report)


@dataclass
class Entry:
    generation: int = 0
    level: int = 0
    inblob: bytes = b""
    report: bytes | None = None


@dataclass
class Kernel(Machine):
    """Entries, each with a generation that every write raises, and a report that is made when it is read."""

    provider: str = "sev_guest"
    answer: Callable[[bytes, int], bytes] = snp_report
    floor: int | None = 0
    auxblob: bytes | None = b""
    loaded: bool = True
    allowed: bool = True
    before_reading: Callable[[Kernel, str], None] = lambda _kernel, _entry: None
    entries: dict[str, Entry] = field(default_factory=dict)
    made: int = 0

    def has(self, path: str) -> bool:
        if path in ("sys/kernel/config/tsm", REPORTS):
            return self.loaded
        name = path.rpartition("/")[2]
        return {"privlevel_floor": self.floor is not None, "auxblob": self.auxblob is not None}.get(name, True)

    def make_directory(self, path: str) -> None:
        if not self.allowed:
            raise fault(errno.EACCES)
        if not self.provider:
            raise fault(errno.ENXIO)
        if path in self.entries:
            raise fault(errno.EEXIST)
        self.entries[path] = Entry()
        self.made += 1

    def remove_directory(self, path: str) -> None:
        del self.entries[path]

    def write(self, path: str, data: bytes) -> None:
        place, _, name = path.rpartition("/")
        entry = self.entries[place]
        if name == "privlevel" and not (self.floor or 0) <= int(data) <= 3:
            raise fault(errno.EINVAL)
        if name == "privlevel":
            entry.level = int(data)
        else:
            assert name == "inblob"
            assert len(data) <= 64
            entry.inblob = data
        entry.generation, entry.report = entry.generation + 1, None

    def read(self, path: str, limit: int) -> bytes:
        place, _, name = path.rpartition("/")
        entry = self.entries[place]
        match name:
            case "generation":
                return b"%d\n" % entry.generation
            case "provider":
                return f"{self.provider}\n".encode()
            case "privlevel_floor":
                return b"%d\n" % (self.floor or 0)
            case "auxblob":
                return self.auxblob or b""
        assert name == "outblob"
        self.before_reading(self, place)
        if not entry.generation:
            raise fault(errno.EINVAL)
        if entry.report is None:
            entry.report = self.answer(entry.inblob, entry.level)
        if len(entry.report) > limit:
            raise fault(errno.EFBIG)
        return entry.report


def refusing(number: int) -> Callable[[bytes, int], bytes]:
    def answer(_data: bytes, _level: int) -> bytes:
        raise fault(number)

    return answer


def quote_v4(data: bytes, _level: int) -> bytes:
    return bytes(48 + 520) + data + bytes(600)


def cca_token(data: bytes, _level: int) -> bytes:
    return b"\xd9\x01\x8f" + data


@pytest.mark.parametrize(
    ("provider", "answer", "kind"),
    [("sev_guest", snp_report, "snp"), ("tdx_guest", quote_v4, "tdx"), ("arm_cca_guest", cca_token, "cca")],
)
def test_the_provider_says_the_kind(provider: str, answer: Callable[[bytes, int], bytes], kind: str) -> None:
    kernel = Kernel(provider=provider, answer=answer, floor=None, auxblob=None)
    source = ConfigfsTsm(kernel)
    probe = source.probe()
    assert (probe.kind, probe.why_not, probe.present) == (kind, "", True)
    evidence = source.evidence("", DATA)
    assert (evidence.kind, evidence.document) == (kind, answer(DATA, 0))
    assert evidence.endorsements == {}
    assert kernel.made == 2
    assert kernel.entries == {}


@pytest.mark.parametrize("floor", [0, 1, 3])
def test_the_lowest_privilege_level_that_is_allowed_is_asked_for(floor: int) -> None:
    document = ConfigfsTsm(Kernel(floor=floor)).evidence("", DATA).document
    assert document == snp_report(DATA, floor)


def test_a_question_of_somebody_else_is_not_answered_for_ours() -> None:
    meddled = []

    def meddle(kernel: Kernel, entry: str) -> None:
        if len(meddled) < ATTEMPTS - 1:
            meddled.append(entry)
            kernel.write(f"{entry}/inblob", OTHER)

    kernel = Kernel(before_reading=meddle)
    assert ConfigfsTsm(kernel).evidence("", DATA).document == snp_report(DATA)
    assert len(meddled) == ATTEMPTS - 1


def test_somebody_who_never_stops_writing_is_told_of() -> None:
    kernel = Kernel(before_reading=lambda kernel, entry: kernel.write(f"{entry}/inblob", DATA))
    with pytest.raises(NoEvidence, match="somebody else wrote"):
        ConfigfsTsm(kernel).evidence("", DATA)
    assert kernel.entries == {}


def test_a_writer_in_another_thread_never_gets_its_own_data_attested_as_ours() -> None:
    kernel, done = Kernel(), threading.Event()

    def write() -> None:
        while not done.is_set():
            for entry in list(kernel.entries):
                try:
                    kernel.write(f"{entry}/inblob", OTHER)
                except KeyError:
                    continue

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            try:
                assert ConfigfsTsm(kernel).evidence("", DATA).document[0x50:0x90] == DATA
            except NoEvidence as error:
                assert "somebody else wrote" in str(error)  # noqa: PT017 — either outcome is good
    finally:
        done.set()
        writer.join()


def test_an_empty_report_is_a_fault_with_advice() -> None:
    kernel = Kernel(provider="tdx_guest", answer=lambda _data, _level: b"")
    with pytest.raises(NoEvidence, match=r"empty.*QGS"):
        ConfigfsTsm(kernel).evidence("", DATA)
    assert kernel.entries == {}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EFBIG, "larger"),
        (errno.EBUSY, "still with the host"),
        (errno.ENXIO, "driver"),
        (errno.EPERM, "root"),
        (errno.ETIMEDOUT, "QGS"),
        (errno.EINVAL, "privilege level"),
    ],
)
def test_what_the_kernel_refuses_comes_with_advice(number: int, advice: str) -> None:
    kernel = Kernel(answer=refusing(number))
    with pytest.raises(NoEvidence, match=os.strerror(number)) as caught:
        ConfigfsTsm(kernel).evidence("", DATA)
    assert advice in caught.value.hint
    assert kernel.entries == {}


def test_a_report_that_is_too_large() -> None:
    with pytest.raises(NoEvidence, match="larger"):
        ConfigfsTsm(Kernel(answer=lambda _data, _level: bytes(1 << 20))).evidence("", DATA)


def test_a_report_over_other_data() -> None:
    with pytest.raises(NoEvidence, match="other report data"):
        ConfigfsTsm(Kernel(answer=lambda _data, _level: snp_report(OTHER))).evidence("", DATA)


def test_a_provider_that_is_not_known() -> None:
    kernel = Kernel(provider="riscv_guest")
    probe = ConfigfsTsm(kernel).probe()
    assert (probe.kind, probe.present) == ("", True)
    assert "riscv_guest" in probe.why_not
    with pytest.raises(NoEvidence, match="riscv_guest"):
        ConfigfsTsm(kernel).evidence("", DATA)


@pytest.mark.parametrize(
    ("kernel", "present", "why_not"),
    [
        (Kernel(loaded=False), False, "configfs is not mounted"),
        (Kernel(provider=""), False, "driver"),
        (Kernel(allowed=False), True, "root"),
    ],
    ids=["no-tsm", "no-provider", "not-root"],
)
def test_a_probe_says_why_not(kernel: Kernel, present: bool, why_not: str) -> None:
    probe = ConfigfsTsm(kernel).probe()
    assert (probe.kind, probe.present) == ("", present)
    assert why_not in probe.why_not


def test_a_generation_that_is_no_number(tmp_path: Path) -> None:
    class Strange(Kernel):
        def read(self, path: str, limit: int) -> bytes:
            return b"many\n" if path.endswith("generation") else super().read(path, limit)

    kernel = Strange()
    with pytest.raises(NoEvidence, match="not a number"):
        ConfigfsTsm(kernel).evidence("", DATA)
    assert kernel.entries == {}


def test_files_are_read_and_written_below_the_root(tmp_path: Path) -> None:
    """What the simulated kernel stands in for, on a real file system."""
    machine = Machine(tmp_path)
    machine.make_directory("entry")
    (tmp_path / "entry/inblob").touch()
    machine.write("entry/inblob", DATA)
    assert machine.read("entry/inblob", 64) == DATA
    assert machine.has("entry/inblob")
    assert not machine.has("entry/outblob")
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        machine.read("entry/inblob", 63)
    with pytest.raises(FileNotFoundError):
        machine.write("entry/outblob", DATA)
    (tmp_path / "entry/inblob").unlink()
    machine.remove_directory("entry")
    assert not machine.has("entry")
