"""The backends snp and tdx as pods have them: the guest is Kata's, and so is what it measures to."""

from __future__ import annotations

from enarx_deploy.errors import KeepError
from enarx_deploy.models import Package, Probe, ProbeCheck, ReferenceValues
from enarx_deploy.protocols import Backend, KeepProcess, Launch
from enarx_kubernetes import runtime_class


class KataGuest:
    """What a backend is called and how strong it is, without an image of its own."""

    hardware = True

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.aliases = backend.aliases
        self.evidence = backend.evidence
        self.strength = backend.strength

    def probe(self) -> Probe:
        """See `probes`."""
        return _probe(self.name, available=True, hardware=True, detail=_LATER)

    def measure(self, package: Package) -> ReferenceValues:
        """The package alone: what Kata's guest measures to is for whoever launches it to say, and the policy's."""
        return ReferenceValues(
            backend=self.name,
            hardware=True,
            package=package.digest,
            measurements={},
            policy={self.name: {"packages": [package.digest]}},
        )

    def start(self, launch: Launch) -> KeepProcess:
        """A cluster starts it."""
        raise KeepError(
            f"a Keep for package {launch.package_digest} is started by the cluster, and not here",
            hint="deploy it to the target kubernetes",
        )


_LATER = "the nodes say so when the pod starts; its RuntimeClass is looked for first"


def probes(asked: str) -> list[Probe]:
    """What a cluster offers: nil, and where it is asked for by name, a guest. No cluster is asked for that."""
    guests = [
        _probe(name, available=bool(asked), hardware=True, detail=_LATER if asked else "it is not asked for by name")
        for name in runtime_class.ATTESTED
    ]
    others = [
        _probe(name, available=False, hardware=name != "kvm", detail="a pod gives no evidence of this kind")
        for name in sorted(runtime_class.RUNTIMES.keys() - {"nil", *runtime_class.ATTESTED})
    ]
    return [_probe("nil", available=True, hardware=False, detail="any node runs it"), *guests, *others]


def _probe(name: str, *, available: bool, hardware: bool, detail: str) -> Probe:
    hint = "" if available else f"a cluster takes {', '.join(('nil', *runtime_class.ATTESTED))}: --backend NAME"
    check = ProbeCheck(name="cluster", ok=available, detail=detail, hint=hint)
    return Probe(backend=name, available=available, hardware=hardware, checks=[check])
