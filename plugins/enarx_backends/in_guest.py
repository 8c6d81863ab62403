"""The backends snp and tdx as they are in a pod: a Keep that is a process of a guest which hardware protects.

They are for images of pods alone, whose runtime makes the guest (Kata Containers), and stand in the group of entry
points that those take. The guest is measured when it is launched, and attests what the Keep commits to. Not yet run on
hardware.
"""

from __future__ import annotations

from collections.abc import Iterable

from enarx_backends.nil import Nil
from enarx_backends.protected import STRENGTH
from enarx_deploy.errors import KeepError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Package, Probe, ProbeCheck, ReferenceValues
from enarx_deploy.protocols import Attested, Backend, KeepProcess, Launch
from enarx_keep.attester.choice import Chosen, choose
from enarx_keep.attester.hardware import GUEST
from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import REPORT_DATA
from enarx_keep.errors import NoEvidence


class InGuest(Nil):
    """A child process, in its jail, whose evidence is the guest's."""

    hardware = True
    strength = STRENGTH

    def __init__(self, kind: str, machine: Machine | None = None) -> None:
        self.name = self.evidence = kind
        self.program = (
            f"from enarx_keep.attester.in_guest import {kind.upper()} as place; "
            "from enarx_keep.__main__ import main; main(place)"
        )
        self._machine = machine or Machine()

    def probe(self) -> Probe:
        """What a process needs, and the guest's attester."""
        checks = [*super().probe().checks, self._attester()]
        return Probe(
            backend=self.name, available=all(check.ok for check in checks), hardware=self.hardware, checks=checks
        )

    def measure(self, package: Package) -> ReferenceValues:
        """Not from within: the guest is measured by whoever has what it is launched from."""
        raise KeepError(
            f"a guest does not say what package {package.digest} must measure to in it",
            hint="measure the guest with the tools that launch it",
        )

    def start(self, launch: Launch) -> KeepProcess:
        """Start the Keep where the guest can vouch for it, and nowhere else. Raises KeepError."""
        self._found()
        return super().start(launch)

    def attest(self, report_data: bytes) -> Attested:
        """See `Attests`."""
        if len(report_data) != REPORT_DATA:
            raise KeepError(f"the Keep wants {len(report_data)} bytes attested, and report data are {REPORT_DATA}")
        try:
            evidence = self._found().source.evidence("", report_data)
        except NoEvidence as error:
            raise KeepError(f"the guest does not attest the Keep: {error}") from error
        return Attested(evidence.document, dict(evidence.endorsements))

    def _attester(self) -> ProbeCheck:
        try:
            found = self._found()
        except KeepError as error:
            return ProbeCheck(name="attester", ok=False, detail=str(error), hint=error.hint)
        return ProbeCheck(name="attester", ok=True, detail=found.source.name)

    def _found(self) -> Chosen:
        try:
            return choose(self.name, GUEST, self._machine)
        except NoEvidence as error:
            raise KeepError(
                f"no {self.name} guest vouches for this Keep, and without its evidence it does not start; looked for: "
                f"{error.hint or error}",
                hint=f"run the pod as a guest of kind {self.name} (its RuntimeClass), as root and with the guest's "
                "/sys/kernel/config, as the rendered manifests have it",
            ) from error


@hookimpl
def register_backends() -> Iterable[Backend]:
    """Both, of which the pod is told one."""
    return [InGuest("snp"), InGuest("tdx")]
