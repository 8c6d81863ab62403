"""Evidence by the devices of guests and enclaves: requests in the kernel's layout, and recorded answers to them."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_keep.attester import certificate_table
from enarx_keep.attester.gramine import Gramine
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.sev_guest import SNP_GET_EXT_REPORT, SNP_GET_REPORT, SevGuest
from enarx_keep.attester.tdx_guest import TDX_CMD_GET_REPORT0, TdxGuest
from enarx_keep.errors import NoEvidence

DATA = bytes(range(64))
VCEK = "63da758d-e664-4564-adc5-f4b93be8accd"
VLEK = "a8074bc2-a25a-483e-aae6-39c045a0b8a1"
ARK = "c0b406a4-a803-4952-9743-3fb6014cd0ae"
CRL = "92f81bc3-5811-4d3d-97ff-d19f88dc67ea"
REPORTS = Path(__file__).parents[2] / "attestation/vectors/snp"


def table(*entries: tuple[str, bytes]) -> bytes:
    """A table of certificates as a host lays it out."""
    offset = 24 * (len(entries) + 1)
    head, body = b"", b""
    for guid, content in entries:
        head += uuid.UUID(guid).bytes + struct.pack("<II", offset + len(body), len(content))
        body += content
    return head + bytes(24) + body


@dataclass
class Firmware:
    """The driver sev-guest with the firmware behind it, by the layout of its ioctls."""

    certificates: bytes = b""
    own_level: int = 0
    status: int = 0
    size: int = 0x4A0
    error: tuple[int, int, int] | None = None  # errno, firmware's, hypervisor's
    asked: list[int] = field(default_factory=list)

    def ioctl(self, _descriptor: int, number: int, call: Any) -> None:
        version, request, response = struct.unpack_from("<B7xQQ", bytes(call))
        assert version == 1
        self.asked.append(number)
        data, level = struct.unpack("<64sI28x", ctypes.string_at(request, 96))
        if self.error:
            struct.pack_into("<II", call, 24, *self.error[1:])
            raise OSError(self.error[0], os.strerror(self.error[0]))
        if number == SNP_GET_EXT_REPORT:
            self._hand_over(request, call)
        status = self.status or (0x16 if level < self.own_level else 0)
        report = bytearray((REPORTS / "milan-v3-azure/report.bin").read_bytes())
        report[0x50:0x90] = data
        report[0x30:0x34] = level.to_bytes(4, "little")
        answer = struct.pack("<II24x", status, 0 if status else self.size) + (b"" if status else bytes(report))
        ctypes.memmove(response, answer, len(answer))

    def _hand_over(self, request: int, call: Any) -> None:
        address, length = struct.unpack_from("<QI", ctypes.string_at(request, 112), 96)
        assert length % 4096 == 0
        assert length <= 0x4000
        if len(self.certificates) > length:
            struct.pack_into("<II", call, 24, 0, 1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        ctypes.memmove(address, self.certificates, len(self.certificates))


def guest(tmp_path: Path, device: str, ioctl: Callable[..., None], **options: Any) -> Machine:
    (tmp_path / "dev").mkdir(exist_ok=True)
    (tmp_path / "dev" / device).touch()
    return Machine(tmp_path, ioctl=ioctl, **options)


def test_the_ioctl_numbers_are_those_of_the_kernels_macros() -> None:
    def iowr(letter: str, number: int, size: int) -> int:
        return 3 << 30 | size << 16 | ord(letter) << 8 | number

    assert iowr("S", 0, 32) == SNP_GET_REPORT
    assert iowr("S", 2, 32) == SNP_GET_EXT_REPORT
    assert iowr("T", 1, 64 + 1024) == TDX_CMD_GET_REPORT0


def test_snp_with_the_hosts_certificates(tmp_path: Path) -> None:
    vcek = (REPORTS / "milan-v3-azure/vcek.der").read_bytes()
    firmware = Firmware(certificates=table((ARK, b"0root"), (VCEK, vcek), (CRL, b"0list")))
    source = SevGuest(guest(tmp_path, "sev-guest", firmware.ioctl))
    assert source.probe().kind == "snp"
    evidence = source.evidence("", DATA)
    assert evidence.kind == "snp"
    assert evidence.document[0x50:0x90] == DATA
    assert evidence.endorsements == {"vcek.der": vcek, "crl.der": b"0list"}
    assert firmware.asked == [SNP_GET_EXT_REPORT]


def test_snp_with_more_certificates_than_the_driver_takes(tmp_path: Path) -> None:
    firmware = Firmware(certificates=bytes(0x5000))
    evidence = SevGuest(guest(tmp_path, "sev-guest", firmware.ioctl)).evidence("", DATA)
    assert evidence.document[0x50:0x90] == DATA
    assert evidence.endorsements == {}
    assert firmware.asked == [SNP_GET_EXT_REPORT, SNP_GET_REPORT]


def test_snp_at_the_guests_own_privilege_level(tmp_path: Path) -> None:
    evidence = SevGuest(guest(tmp_path, "sev-guest", Firmware(own_level=2).ioctl)).evidence("", DATA)
    assert evidence.document[0x30] == 2


@pytest.mark.parametrize(
    ("firmware", "message", "hint"),
    [
        (Firmware(error=(errno.EIO, 0x16, 0)), "firmware answered with error 0x16", "56860"),
        (Firmware(error=(errno.EIO, 0xFFFFFFFF, 0)), os.strerror(errno.EIO), "56860"),
        (Firmware(error=(errno.ETIMEDOUT, 0, 2)), "hypervisor answered with error 0x2", "limits how often"),
        (Firmware(error=(errno.EIO, 0, 7)), "hypervisor answered with error 0x7", ""),
        (Firmware(error=(errno.ENOTTY, 0, 0)), os.strerror(errno.ENOTTY), "reboot"),
        (Firmware(error=(errno.EPERM, 0, 0)), os.strerror(errno.EPERM), "root"),
        (Firmware(status=0x27), "no key to sign with", "VLEK"),
        (Firmware(status=0x99), "status 0x99", ""),
        (Firmware(size=4), "4 bytes", ""),
        (Firmware(own_level=4), "any privilege level", ""),
    ],
)
def test_snp_refused(tmp_path: Path, firmware: Firmware, message: str, hint: str) -> None:
    with pytest.raises(NoEvidence, match=message) as caught:
        SevGuest(guest(tmp_path, "sev-guest", firmware.ioctl)).evidence("", DATA)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (bytes(100), {}),
        (table(), {}),
        (table((VLEK, b"0key")), {"vlek.der": b"0key"}),
        (table((VCEK, b"-----BEGIN CERTIFICATE-----\nMGtleQ==\n-----END CERTIFICATE-----\n")), {"vcek.der": b"0key"}),
        (table((VCEK, b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")), {}),
        (table((VCEK, b"not DER")), {}),
        (table((VCEK, b"")), {}),
        (table((CRL, b"0list")), {}),
        (table((ARK, b"0root")), {}),
        (table((str(uuid.UUID(int=7)), b"0what"), (VCEK, b"0key")), {"vcek.der": b"0key"}),
        (table((VCEK, b"0key"))[:-1], {}),
        (table((VCEK, b"0" * 20_000)), {}),
        (uuid.UUID(VCEK).bytes + struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF), {}),
        (uuid.UUID(VCEK).bytes + struct.pack("<I", 24), {}),
    ],
)
def test_tables_of_certificates(content: bytes, expected: dict[str, bytes]) -> None:
    assert certificate_table.read(content) == expected


@given(st.lists(st.tuples(st.sampled_from([VCEK, VLEK, CRL]), st.binary(max_size=40)), max_size=20), st.data())
def test_any_table_gives_a_bounded_answer(entries: list[tuple[str, bytes]], data: st.DataObject) -> None:
    content = bytearray(table(*entries))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = certificate_table.read(bytes(content))
    assert found.keys() <= {"vcek.der", "vlek.der", "crl.der"}
    assert all(0 < len(one) <= certificate_table.CERTIFICATE_LIMIT for one in found.values())


def module(_descriptor: int, number: int, request: bytearray) -> None:
    """The TDX module: a TDREPORT has the report data where REPORTMACSTRUCT has it, at 128."""
    assert number == TDX_CMD_GET_REPORT0
    assert len(request) == 64 + 1024
    request[64:] = (bytes(128) + request[:64]).ljust(1024, b"\0")


@dataclass
class QuotingService:
    """The host's QGS: takes one request, as Intel's qgs_msg_lib lays it out, and answers it."""

    answer: Callable[[bytes], bytes]
    ports: list[int] = field(default_factory=list)
    report: bytes = b""

    def connect(self, port: int) -> socket.socket:
        self.ports.append(port)
        ours, theirs = socket.socketpair()
        ours.settimeout(120)
        threading.Thread(target=self._serve, args=(theirs,)).start()
        return ours

    def _serve(self, stream: socket.socket) -> None:
        with stream, stream.makefile("rb") as requests:
            message = requests.read(int.from_bytes(requests.read(4), "big"))
            major, _, kind, size, _, report_size, identities = struct.unpack_from("<HHIIIII", message)
            assert (major, kind, size, report_size, identities) == (1, 0, len(message), 1024, 0)
            self.report = message[24:]
            stream.sendall(self.answer(self.report))


def response(quote: bytes, *, kind: int = 1, error: int = 0, size: int | None = None, major: int = 1) -> bytes:
    length = 24 + len(quote) if size is None else size
    message = struct.pack("<HHIIIII", major, 0, kind, length, error, 0, len(quote)) + quote
    return len(message).to_bytes(4, "big") + message


def quote(report: bytes) -> bytes:
    return bytes(48 + 520) + report[128:192] + bytes(500)


def test_tdx_by_the_hosts_quoting_service(tmp_path: Path) -> None:
    service = QuotingService(lambda report: response(quote(report)))
    source = TdxGuest(guest(tmp_path, "tdx_guest", module, connect=service.connect))
    assert source.probe().kind == "tdx"
    evidence = source.evidence("", DATA)
    assert (evidence.kind, evidence.document) == ("tdx", quote(service.report))
    assert service.ports == [4050]


@pytest.mark.parametrize(("text", "port"), [("port=4051\n", 4051), ("# port=1\nport = 7\n", 7), ("port=x", 4050)])
def test_the_port_that_the_image_configures(tmp_path: Path, text: str, port: int) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/tdx-attest.conf").write_text(text)
    service = QuotingService(lambda report: response(quote(report)))
    TdxGuest(guest(tmp_path, "tdx_guest", module, connect=service.connect)).evidence("", DATA)
    assert service.ports == [port]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda _report: response(b"", error=0x12001), "error 0x12001.*log of QGS"),
        (lambda report: response(report), "other report data"),
        (lambda _report: response(b""), "0 bytes of evidence"),
        (lambda report: response(quote(report), kind=3), "not a quote"),
        (lambda report: response(quote(report), major=2), "not a quote"),
        (lambda report: response(quote(report), size=7), "not a quote"),
        (lambda _report: b"\0\0\0\x04abcd", "cut short"),
        (lambda _report: b"\xff\xff\xff\xff", "answers with 4,294,967,295 bytes"),
        (lambda report: response(quote(report))[:100], "it broke off"),
        (lambda _report: b"", "it broke off"),
    ],
)
def test_tdx_quoting_services_that_fail(tmp_path: Path, answer: Callable[[bytes], bytes], message: str) -> None:
    machine = guest(tmp_path, "tdx_guest", module, connect=QuotingService(answer).connect)
    with pytest.raises(NoEvidence, match=message):
        TdxGuest(machine).evidence("", DATA)


def test_tdx_without_a_quoting_service(tmp_path: Path) -> None:
    def connect(_port: int) -> socket.socket:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    with pytest.raises(NoEvidence, match="is the host's quoting service"):
        TdxGuest(guest(tmp_path, "tdx_guest", module, connect=connect)).evidence("", DATA)


def test_tdx_that_may_not_be_asked(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(NoEvidence, match="root"):
        TdxGuest(guest(tmp_path, "tdx_guest", refuse)).evidence("", DATA)


@pytest.fixture
def enclave(tmp_path: Path) -> Iterator[Path]:
    """Gramine's directory; the quote is made of what was written, once it is read."""
    directory = tmp_path / "dev/attestation"
    directory.mkdir(parents=True)
    (directory / "attestation_type").write_text("dcap")
    (directory / "user_report_data").write_bytes(bytes(64))
    os.mkfifo(directory / "quote")

    def answer() -> None:
        with (directory / "quote").open("wb") as pipe:
            pipe.write(bytes(48 + 320) + (directory / "user_report_data").read_bytes() + bytes(900))

    quoting = threading.Thread(target=answer, daemon=True)
    quoting.start()
    yield tmp_path
    if quoting.is_alive():
        os.close(os.open(directory / "quote", os.O_RDONLY | os.O_NONBLOCK))
        quoting.join()


def test_sgx_by_gramine(enclave: Path) -> None:
    source = Gramine(Machine(enclave))
    assert source.probe().kind == "sgx"
    evidence = source.evidence("", DATA)
    assert (evidence.kind, evidence.document[368:432]) == ("sgx", DATA)


@pytest.mark.parametrize("kind", ["none", "epid"])
def test_an_enclave_that_does_not_attest_by_dcap(tmp_path: Path, kind: str) -> None:
    (tmp_path / "dev/attestation").mkdir(parents=True)
    (tmp_path / "dev/attestation/attestation_type").write_text(kind)
    probe = Gramine(Machine(tmp_path)).probe()
    assert (probe.kind, probe.present) == ("", True)
    assert repr(kind) in probe.why_not


def test_gramine_that_gives_no_quote(tmp_path: Path) -> None:
    (tmp_path / "dev/attestation").mkdir(parents=True)
    (tmp_path / "dev/attestation/user_report_data").touch()
    with pytest.raises(NoEvidence, match="remote_attestation"):
        Gramine(Machine(tmp_path)).evidence("", DATA)


@pytest.mark.parametrize("source", [SevGuest, TdxGuest, Gramine])
def test_a_machine_without_the_device(tmp_path: Path, source: Any) -> None:
    probe = source(Machine(tmp_path)).probe()
    assert (probe.kind, probe.present) == ("", False)
    assert probe.why_not
