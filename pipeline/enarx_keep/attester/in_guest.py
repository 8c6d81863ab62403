"""Of a Keep that is a process in a guest which hardware protects, as in a pod of Kata Containers.

Such a Keep is jailed, and reaches no device. It names the report data, which commits to its key; the program that
started it is in the same guest, and has the guest attest them (`hardware.GUEST`). It needs no more trust than it has:
whoever is in the guest can ask for a report, and none of them has this Keep's key.
"""

from __future__ import annotations

from enarx_keep.attester.choice import Place
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import Evidence, Probe


class _Beside:
    name = "the guest, by the program that started this Keep"
    kind: str

    def __init__(self, machine: Machine) -> None:
        """Nothing of the machine is looked at from the jail."""

    def probe(self) -> Probe:
        """Whoever started this Keep has looked."""
        return Probe(self.name, self.kind)

    def evidence(self, package: str, data: bytes) -> Evidence:  # noqa: ARG002 - hardware evidence names no package
        """The report data alone, in the place of the evidence over them."""
        return Evidence(self.kind, data)


class _BesideSnp(_Beside):
    kind = "snp"


class _BesideTdx(_Beside):
    kind = "tdx"


SNP = Place((), _BesideSnp)
TDX = Place((), _BesideTdx)
