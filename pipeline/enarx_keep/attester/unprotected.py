"""A document in the place of evidence, for a Keep that no hardware protects: it says so, and vouches for nothing."""

from __future__ import annotations

import json

from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import Evidence, Probe


class Nil:
    """Of a Keep that is a process."""

    name = "no hardware, a process"
    kind = "nil"

    def __init__(self, machine: Machine) -> None:
        """A document needs nothing of the machine but what its host says that it is."""
        self._image = machine.image

    def probe(self) -> Probe:
        """It is always there."""
        return Probe(self.name, self.kind)

    def evidence(self, package: str, data: bytes) -> Evidence:
        """See `Source`. `enarx_attestation.nil` specifies the document."""
        document = {"kind": self.kind, "package": package, "report_data": data.hex()}
        if self._image:
            document["image"] = self._image
        return Evidence(self.kind, json.dumps(document, separators=(",", ":")).encode())


class Kvm(Nil):
    """Of a Keep that is a virtual machine which its host can look into."""

    name = "no hardware, a virtual machine"
    kind = "kvm"
