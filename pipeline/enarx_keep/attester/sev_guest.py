"""SNP evidence by `/dev/sev-guest`, for kernels without configfs-tsm (Linux 5.19 and later).

include/uapi/linux/sev-guest.h and SEV-SNP Firmware ABI (56860), section 7.3, table 22 to 25.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import struct

from enarx_keep.attester import certificate_table
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import Evidence, Probe, check_commitment
from enarx_keep.errors import NoEvidence

DEVICE = "dev/sev-guest"
SNP_GET_REPORT = 0xC0205300
SNP_GET_EXT_REPORT = 0xC0205302
REPORT_SIZE = 0x4A0
CERTIFICATES_SIZE = 0x4000
"""Most bytes of certificates that the driver takes (`SEV_FW_BLOB_MAX_SIZE`)."""
LEVELS = 4
"""Privilege levels (VMPL) of a guest."""

_MESSAGE_VERSION = 1
_TOO_SHORT, _BUSY = 1, 2  # what the hypervisor says (SNP_GUEST_VMM_ERR_*)
_RESPONSE = struct.Struct("<II24x")  # status, size of the report
_INVALID_PARAMETERS, _INVALID_KEY = 0x16, 0x27  # status of MSG_REPORT_RSP
_HINTS = {
    errno.EPERM: "run the Keep as root: only root may ask",
    errno.EACCES: "run the Keep as root: only root may ask",
    errno.ENOTTY: "the kernel gave up its key for the firmware, as it does after a fault: reboot the guest",
    errno.EBUSY: "the firmware is busy; ask again later",
    errno.ETIMEDOUT: "the hypervisor limits how often a guest may ask; ask again later",
    errno.EAGAIN: "the hypervisor limits how often a guest may ask; ask again later",
    errno.EIO: "see the firmware's error in SEV-SNP Firmware ABI (56860), table of status codes",
}


class _ReportRequest(ctypes.Structure):
    _fields_ = (("user_data", ctypes.c_uint8 * 64), ("vmpl", ctypes.c_uint32), ("reserved", ctypes.c_uint8 * 28))


class _ExtendedRequest(ctypes.Structure):
    _fields_ = (("report", _ReportRequest), ("certs_address", ctypes.c_uint64), ("certs_len", ctypes.c_uint32))


class _GuestRequest(ctypes.Structure):
    _fields_ = (
        ("msg_version", ctypes.c_uint8),
        ("req_data", ctypes.c_uint64),
        ("resp_data", ctypes.c_uint64),
        ("fw_error", ctypes.c_uint32),
        ("vmm_error", ctypes.c_uint32),
    )


class SevGuest:
    """See the module."""

    name = "/dev/sev-guest"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def probe(self) -> Probe:
        """Whether the driver has made its device."""
        if not self._machine.has(DEVICE):
            return Probe(self.name, why_not="there is no such device: not an SNP guest, or sev-guest is not loaded")
        return Probe(self.name, "snp", present=True)

    def evidence(self, package: str, data: bytes) -> Evidence:  # noqa: ARG002 — hardware evidence names no package
        """See `Source`. Asks for the highest privilege that this guest has."""
        for level in range(LEVELS):
            report, certificates = self._ask_at(level, data)
            if report is not None:
                check_commitment("snp", report, data, self.name)
                return Evidence("snp", report, certificate_table.read(certificates))
        raise NoEvidence(f"{self.name}: the firmware gives no report for any privilege level")

    def _ask_at(self, level: int, data: bytes) -> tuple[bytes | None, bytes]:
        """The report, with certificates if the host has any that fit; None if this level is not ours."""
        report = _ReportRequest(user_data=(ctypes.c_uint8 * 64)(*data), vmpl=level)
        certificates = ctypes.create_string_buffer(CERTIFICATES_SIZE)
        extended = _ExtendedRequest(
            report=report, certs_address=ctypes.addressof(certificates), certs_len=CERTIFICATES_SIZE
        )
        with contextlib.suppress(_CertificatesDoNotFit):
            return self._request(SNP_GET_EXT_REPORT, extended), certificates.raw
        return self._request(SNP_GET_REPORT, report), b""

    def _request(self, number: int, request: ctypes.Structure) -> bytes | None:
        """What the firmware answers. Raises NoEvidence, or _CertificatesDoNotFit."""
        response = ctypes.create_string_buffer(4000)
        call = _GuestRequest(
            msg_version=_MESSAGE_VERSION, req_data=ctypes.addressof(request), resp_data=ctypes.addressof(response)
        )
        try:
            self._machine.ioctl(DEVICE, number, call)
        except OSError as error:
            if call.vmm_error == _TOO_SHORT and number == SNP_GET_EXT_REPORT:
                raise _CertificatesDoNotFit from error
            raise NoEvidence(_what(self.name, call, error), hint=_hint(call, error)) from error
        return _report(response.raw, self.name)


class _CertificatesDoNotFit(Exception):
    """The host has more certificates than the driver takes: the report is asked for without them."""


def _report(response: bytes, source: str) -> bytes | None:
    """The report in a MSG_REPORT_RSP; None if the guest may not have one for this level."""
    status, size = _RESPONSE.unpack_from(response)
    if status == _INVALID_PARAMETERS:
        return None
    if status == _INVALID_KEY:
        raise NoEvidence(f"{source}: the firmware has no key to sign with", hint="the host must load a VLEK")
    if status or size != REPORT_SIZE:
        raise NoEvidence(f"{source}: the firmware answered with status {status:#x} and {size:,} bytes")
    return response[_RESPONSE.size : _RESPONSE.size + size]


def _what(source: str, call: _GuestRequest, error: OSError) -> str:
    """Which of the three said no: the firmware, the hypervisor, or the kernel."""
    if call.vmm_error:
        return f"{source}: the hypervisor answered with error {call.vmm_error:#x}"
    if call.fw_error and call.fw_error != 0xFFFFFFFF:  # all ones: the firmware was not asked
        return f"{source}: the firmware answered with error {call.fw_error:#x}"
    return f"{source}: {error.strerror}"


def _hint(call: _GuestRequest, error: OSError) -> str:
    return _HINTS[errno.EAGAIN] if call.vmm_error == _BUSY else _HINTS.get(error.errno or 0, "")
