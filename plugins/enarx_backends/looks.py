"""What a probe has of a backend's own: each thing is looked for as a start would, and hardware comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from enarx_deploy.errors import EnarxDeployError
from enarx_deploy.machine import Machine, for_backend
from enarx_deploy.models import Probe, ProbeCheck

Looks = Mapping[str, Callable[[], str]]
"""By the name of a check: answers what was found, or raises EnarxDeployError."""


def checks(looks: Looks) -> Iterator[ProbeCheck]:
    """A check for each: what was found, or why not and what to do."""
    for name, look in looks.items():
        try:
            yield ProbeCheck(name=name, ok=True, detail=look())
        except EnarxDeployError as error:
            yield ProbeCheck(name=name, ok=False, detail=str(error), hint=error.hint)


def probe(backend: str, machine: Machine, looks: Looks) -> Probe:
    """What a machine offers for a backend whose Keeps hardware protects: the rest is looked for if nothing lacks."""
    found = for_backend(backend, machine)
    if all(check.ok for check in found):
        found += checks(looks)
    return Probe(backend=backend, available=all(check.ok for check in found), hardware=True, checks=found)
