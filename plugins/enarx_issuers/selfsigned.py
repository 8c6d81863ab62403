"""Certificates that nobody vouches for: an authority made for one Keep, in this process, and thrown away with it.

For trying a program, and for clients that pin this very root. Challenge, evidence and appraisal are the Steward's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from enarx_deploy import paths
from enarx_deploy.errors import StewardError, VerificationRefused
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import CertificateRequest, Challenge, Issued, Issuer, IssuerLocation

if TYPE_CHECKING:
    from enarx_deploy.project import Project
    from enarx_steward.issuance import Steward

ROOT_FILE = "selfsigned-root.pem"
AUDIENCE = "selfsigned"
POLICY = b"""\
[ca]
trust_domain = "localhost"

[nil]
any_workload = true
legacy_binding = true
names = ["localhost", "127.0.0.1", "::1"]

[kvm]
any_workload = true
legacy_binding = true
names = ["localhost", "127.0.0.1", "::1"]
"""
"""Whoever can run a Keep here could sign for it as well, so nothing more is asked of it."""


class SelfSigned:
    """Makes an authority at `locate`, and forgets its key once it has issued."""

    name = "selfsigned"
    renews = False

    def __init__(self) -> None:
        self._stewards: dict[str, Steward] = {}  # by root certificate

    def locate(self, project: Project) -> IssuerLocation:
        from enarx_steward import policy
        from enarx_steward.ca import Authority
        from enarx_steward.issuance import Steward, utc_now
        from enarx_steward.root import Root

        accepted, now = policy.parse(POLICY), utc_now()
        root = Root.create(now, name="Throw-away root, nobody vouches for it:")
        self._stewards[root.pem] = Steward(Authority.create(root, accepted, now), accepted, audience=AUDIENCE)
        return IssuerLocation(
            url="",
            root_pem=root.pem,
            root_pem_path=_write_root(project.work_dir, root.pem),
            protocol=project.manifest.attest.protocol,
        )

    def challenge(self, location: IssuerLocation) -> Challenge:
        if location.protocol == "enarx":
            return Challenge(nonce=b"", audience="")
        return Challenge(nonce=self._steward(location).challenge().nonce, audience=AUDIENCE)

    def issue(self, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:
        from enarx_issuers import chain
        from enarx_steward.errors import Refused, StewardFault

        try:
            issued = _issue(self._steward(location), location, challenge, request)
        except Refused as refused:
            raise VerificationRefused(
                f"the evidence is refused: {', '.join(refused.failed)}", hint=refused.hint
            ) from None
        except StewardFault as fault:
            raise StewardError(str(fault), hint=fault.hint) from fault
        chain.check(issued.chain, request.csr, location.root_pem)
        del self._stewards[location.root_pem]
        return issued

    def _steward(self, location: IssuerLocation) -> Steward:
        steward = self._stewards.get(location.root_pem)
        if steward is None:
            raise StewardError("this authority has issued already, or is another process's", hint="locate a new one")
        return steward


def _issue(steward: Steward, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:
    if location.protocol == "enarx":
        leaf = steward.certify_enarx(request.csr)
        return Issued(chain=(leaf, *steward.authority.issuers), appraisal={"ok": True, "checks": []})
    certified = steward.certify(
        request=request.csr,
        nonce=challenge.nonce,
        kind=request.evidence_kind,
        evidence=request.evidence,
        package=request.package,
    )
    return Issued(chain=certified.chain, appraisal=msgspec.to_builtins(certified.appraisal))


def _write_root(directory: Path, root_pem: str) -> str:
    """Leave the root where the project's records are, for clients to pin; a run without a project has no such place."""
    if not directory.is_dir():
        return ""
    paths.write_atomically(directory / ROOT_FILE, root_pem.encode(), mode=0o644)
    return str(directory / ROOT_FILE)


@hookimpl
def register_issuers() -> Iterable[Issuer]:
    """Called when an issuer is first needed."""
    return [SelfSigned()]
