"""TDX evidence by `/dev/tdx_guest` and the host's quoting service, for guests without configfs-tsm.

1. TDX_CMD_GET_REPORT0 (include/uapi/linux/tdx-guest.h) has the module make a TDREPORT over the report data. It is for
   this machine alone: a TDREPORT is no quote, and nobody elsewhere can verify it.
2. The quoting service on the host (QGS) has the quoting enclave make a quote of it. The guest reaches it by vsock, as
   Intel's libtdx_attest does: each message behind its length (u32, big-endian), of the layout of Intel's qgs_msg_lib.

The older GetQuote hypercall by way of the driver (TDX_CMD_GET_QUOTE) was never in Linux and is not used.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import EVIDENCE_LIMIT, REPORT_DATA, Evidence, Probe, check_commitment
from enarx_keep.errors import NoEvidence

DEVICE = "dev/tdx_guest"
CONFIGURATION = "etc/tdx-attest.conf"
TDX_CMD_GET_REPORT0 = 0xC4405401
REPORT_SIZE = 1024
DEFAULT_PORT = 4050

_HEADER = struct.Struct("<HHIII")  # major, minor, type, size of the whole message, error
_LENGTHS = struct.Struct("<II")  # of two fields that follow
_VERSION = (1, 0)
_GET_QUOTE, _QUOTE = 0, 1
_DOWN = "is the host's quoting service (QGS) running, and configured for vsock?"


class TdxGuest:
    """See the module."""

    name = "/dev/tdx_guest"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def probe(self) -> Probe:
        """Whether the driver has made its device."""
        if not self._machine.has(DEVICE):
            return Probe(self.name, why_not="there is no such device: not a TDX guest, or tdx_guest is not loaded")
        return Probe(self.name, "tdx", present=True)

    def evidence(self, package: str, data: bytes) -> Evidence:  # noqa: ARG002 — hardware evidence names no package
        """See `Source`."""
        quote = self._quote(self._report(data))
        check_commitment("tdx", quote, data, self.name)
        return Evidence("tdx", quote)

    def _report(self, data: bytes) -> bytes:
        request = bytearray(data) + bytes(REPORT_SIZE)
        try:
            self._machine.ioctl(DEVICE, TDX_CMD_GET_REPORT0, request)
        except OSError as error:
            hint = "run the Keep as root: only root may ask" if error.errno in (errno.EPERM, errno.EACCES) else ""
            raise NoEvidence(f"{self.name}: {error.strerror}", hint=hint) from error
        return bytes(request[REPORT_DATA:])

    def _quote(self, report: bytes) -> bytes:
        """Have the host's service turn a TDREPORT into a quote."""
        body = _LENGTHS.pack(len(report), 0) + report
        message = _HEADER.pack(*_VERSION, _GET_QUOTE, _HEADER.size + len(body), 0) + body
        port = self._port()
        try:
            with self._machine.connect(port) as stream:
                stream.sendall(len(message).to_bytes(4, "big") + message)
                length = int.from_bytes(_receive(stream, 4), "big")
                if length > EVIDENCE_LIMIT:
                    raise NoEvidence(f"the quoting service on port {port} answers with {length:,} bytes")
                return read_quote(_receive(stream, length))
        except (OSError, EOFError) as error:
            why = getattr(error, "strerror", None) or "it broke off"
            raise NoEvidence(f"the quoting service on port {port}: {why}", hint=_DOWN) from error

    def _port(self) -> int:
        """The port that the guest's image configures, as `port=NUMBER`."""
        with contextlib.suppress(OSError):
            for line in self._machine.read(CONFIGURATION, 4096).decode(errors="replace").splitlines():
                name, _, value = line.partition("=")
                if name.strip() == "port" and value.strip().isdecimal():
                    return int(value)
        return DEFAULT_PORT


def _receive(stream: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = stream.recv(size - len(received))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def read_quote(message: bytes) -> bytes:
    """The quote in an answer of the service. Raises NoEvidence."""
    if len(message) < _HEADER.size + _LENGTHS.size:
        raise NoEvidence("the quoting service's answer is cut short")
    major, _, kind, size, fault = _HEADER.unpack_from(message)
    if fault:
        raise NoEvidence(
            f"the quoting service answers with error {fault:#x}",
            hint="the host's operator finds its meaning in the log of QGS; often the platform is not registered (PCCS)",
        )
    identity, quote = _LENGTHS.unpack_from(message, _HEADER.size)
    at = _HEADER.size + _LENGTHS.size + identity
    if major != _VERSION[0] or kind != _QUOTE or size != len(message) or at + quote != len(message):
        raise NoEvidence("the quoting service's answer is not a quote")
    return message[at:]
