"""Which RuntimeClass runs a backend's pods, and what a cluster must have been given for it."""

from __future__ import annotations

from typing import NamedTuple

from enarx_deploy.errors import UsageError


class Runtime(NamedTuple):
    """A RuntimeClass ("" for the cluster's default), whether its pods are guests whose memory a CPU protects, and who
    installs it."""

    name: str
    confidential: bool
    installed_by: str


_KATA = "kata-deploy, with the shim enabled: helm install kata-deploy … --set shims.{shim}.enabled=true"

ATTESTED = ("snp", "tdx")
"""Backends whose pods give evidence of the guest that they run in."""

RUNTIMES = {
    "nil": Runtime("", confidential=False, installed_by=""),
    "snp": Runtime("kata-qemu-snp", confidential=True, installed_by=_KATA.format(shim="qemu-snp")),
    "tdx": Runtime("kata-qemu-tdx", confidential=True, installed_by=_KATA.format(shim="qemu-tdx")),
    "sgx": Runtime("enarx", confidential=False, installed_by="whoever sets up the nodes, whose devices its pods need"),
    "kvm": Runtime("enarx", confidential=False, installed_by="whoever sets up the nodes, whose devices its pods need"),
}
"""By the backend's name."""


def for_backend(backend: str, override: str | None) -> Runtime:
    """The runtime of a backend, or the user's own. Raises UsageError where neither is known."""
    known = RUNTIMES.get(backend)
    if known is None and override is None:
        raise UsageError(
            f"no RuntimeClass is known for backend {backend!r}",
            hint="name one: runtime_class in [deploy.NAME.kubernetes]",
        )
    if override is None and known is not None:
        return known
    same = next((one for one in RUNTIMES.values() if one.name == override), None)
    return same or Runtime(override or "", bool(known and known.confidential), "whoever set up the cluster")
