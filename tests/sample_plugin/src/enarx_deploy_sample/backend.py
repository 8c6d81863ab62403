"""A kind of Keep that no machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.errors import KeepError
from enarx_deploy.models import Package, Probe, ProbeCheck, ReferenceValues

if TYPE_CHECKING:
    from enarx_deploy.protocols import KeepProcess, Launch


class Paper:
    """Measures a package, and can start none."""

    name = "paper"
    aliases = ("cardboard",)
    hardware = False
    evidence = "paper"
    strength = -1  # weaker than every other: never taken unless it is named

    def probe(self) -> Probe:
        check = ProbeCheck(name="printer", ok=False, detail="no printer is connected", hint="connect a printer")
        return Probe(backend=self.name, available=False, hardware=False, checks=[check])

    def measure(self, package: Package) -> ReferenceValues:
        return ReferenceValues(
            backend=self.name,
            hardware=False,
            package=package.digest,
            measurements={"watermark": package.digest},
            policy={"paper": {"watermark": package.digest}},
        )

    def start(self, launch: Launch) -> KeepProcess:
        raise KeepError(f"a paper Keep cannot run {launch.package_digest}", hint="name another backend")
