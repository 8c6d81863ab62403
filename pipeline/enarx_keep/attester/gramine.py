"""SGX evidence by Gramine's `/dev/attestation`: Gramine documentation, "Attestation and secret provisioning".

1. `attestation_type` says how the enclave was built to attest: `dcap` is what verifiers take; EPID has ended.
2. Write the report data to `user_report_data`.
3. Read `quote`, for which Gramine asks the host's quoting enclave.
"""

from __future__ import annotations

import errno

from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import EVIDENCE_LIMIT, Evidence, Probe, check_commitment
from enarx_keep.errors import NoEvidence

DIRECTORY = "dev/attestation"
_HINTS = {
    errno.EACCES: "the host's quoting enclave gives no quote: is aesmd running, and the platform registered?",
    errno.EPERM: "the host's quoting enclave gives no quote: is aesmd running, and the platform registered?",
    errno.ENOENT: 'build the enclave with `sgx.remote_attestation = "dcap"`',
}


class Gramine:
    """See the module."""

    name = "/dev/attestation"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def probe(self) -> Probe:
        """How the enclave attests."""
        try:
            kind = self._machine.read(f"{DIRECTORY}/attestation_type", 64).decode(errors="replace").strip()
        except OSError as error:
            present = error.errno != errno.ENOENT
            return Probe(self.name, why_not=f"not an enclave of Gramine's ({error.strerror})", present=present)
        if kind != "dcap":
            why_not = f'its type is {kind!r}; build the enclave with `sgx.remote_attestation = "dcap"`'
            return Probe(self.name, why_not=why_not, present=True)
        return Probe(self.name, "sgx", present=True)

    def evidence(self, package: str, data: bytes) -> Evidence:  # noqa: ARG002 — hardware evidence names no package
        """See `Source`."""
        try:
            self._machine.write(f"{DIRECTORY}/user_report_data", data)
            quote = self._machine.read(f"{DIRECTORY}/quote", EVIDENCE_LIMIT)
        except OSError as error:
            raise NoEvidence(f"{self.name}: {error.strerror}", hint=_HINTS.get(error.errno or 0, "")) from error
        check_commitment("sgx", quote, data, self.name)
        return Evidence("sgx", quote)
