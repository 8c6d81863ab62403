"""Which source a Keep's evidence comes from. The host names a kind; what it gets is what is found.

How the Keep was built says where it looks (`Place`), for that is measured, and what the host says is not:

* `PROCESS`: nowhere. Devices of the machine vouch for the machine, and not for a process that its root can look into; a
  hardware report about it would be a lie. So its evidence is nil, by construction.
* `VIRTUAL_MACHINE`: configfs-tsm, then `/dev/sev-guest`, then `/dev/tdx_guest`; kvm if none of them is there at all.
* `ENCLAVE`: Gramine's `/dev/attestation`, and nothing else.
* `GUEST`, for a process in such a machine that starts Keeps there: as a virtual machine, and nothing if none is there.

The first source of hardware evidence that is found decides. The host cannot talk a Keep down: a Keep that has such a
source, be it one that fails, gives no evidence without hardware, and one that is asked for another kind than was found
does not start. Nor can it talk one up: a Keep that finds no hardware has none to show.

The last three are in `hardware.py`, which a process has no use for and does not import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from enarx_keep.attester.machine import Machine
from enarx_keep.attester.source import Probe, Source
from enarx_keep.attester.unprotected import Nil
from enarx_keep.channel import Message, encoded
from enarx_keep.errors import NoEvidence


class Place(NamedTuple):
    """What a Keep was built to be: sources of hardware evidence in order, and what it says if there is none.

    `has_signals` says that what its code does wrong comes back as a signal. `package` is the only package that it may
    run, where that was fixed with the rest.
    """

    hardware: tuple[Callable[[Machine], Source], ...]
    otherwise: Callable[[Machine], Source] | None
    has_signals: bool = True
    package: str = ""

    @property
    def can_be_jailed(self) -> bool:
        """Whether evidence takes no device of the machine, so that the Keep can give up its files from the start."""
        return not self.hardware


PROCESS = Place((), Nil)


class Chosen(NamedTuple):
    """The source that was found, and the kind of its evidence."""

    kind: str
    source: Source

    def shown(self, package: str, report_data: bytes) -> Message:
        """Evidence over 64 bytes of report data, as fields of a message. Raises NoEvidence."""
        evidence = self.source.evidence(package, report_data)
        message: Message = {"kind": self.kind, "evidence": encoded(evidence.document)}
        if evidence.endorsements:
            message["endorsements"] = {name: encoded(content) for name, content in evidence.endorsements.items()}
        return message


def choose(kind: str, place: Place, machine: Machine) -> Chosen:
    """The source for evidence of `kind`, which the host asked for. Raises NoEvidence, with what every probe found."""
    found, probes = _look(place, machine)
    if found is None or found.kind != kind:
        has = f"it has {found.kind} ({found.source.name})" if found else "it has none"
        said = "; ".join(f"{probe.source}: {probe.why_not}" for probe in probes if probe.why_not)
        raise NoEvidence(f"this Keep cannot give evidence of kind {kind!r}: {has}", hint=said)
    return found


def _look(place: Place, machine: Machine) -> tuple[Chosen | None, list[Probe]]:
    probes = []
    for kind_of_source in place.hardware:
        source = kind_of_source(machine)
        probe = source.probe()
        probes.append(probe)
        if probe.kind:
            return Chosen(probe.kind, source), probes
    if place.otherwise is None or any(probe.present for probe in probes):
        return None, probes
    source = place.otherwise(machine)
    return Chosen(source.probe().kind, source), probes
