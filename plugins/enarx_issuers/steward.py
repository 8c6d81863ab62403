"""Certificates from a Steward: the one that the manifest names, else the one that this machine keeps for its user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from enarx_deploy import paths
from enarx_deploy.errors import StewardError
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import (
    CertificateRequest,
    Challenge,
    Issued,
    Issuer,
    IssuerLocation,
    ReleasedSecrets,
    SecretsRequest,
)

if TYPE_CHECKING:
    from enarx_deploy.project import Project
    from enarx_issuers import wire

STATE = "steward"
"""The directory of the user's own Steward, below the state directory."""


class Steward:
    """Speaks v1, or Enarx's protocol where the manifest says so; never one in the place of the other.

    Manifest keys read: `steward`, the URL; `[attest] protocol`, `v1` or `enarx`.
    """

    name = "steward"
    renews = True

    def locate(self, project: Project) -> IssuerLocation:
        from enarx_issuers import pinned_roots

        protocol = project.manifest.attest.protocol
        url = project.manifest.steward
        if url is None:
            return _own_steward(protocol)
        root = pinned_roots.known(url) if protocol == "enarx" else pinned_roots.pin(url, _info(url).roots)
        return IssuerLocation(url=url, root_pem=root.pem, root_pem_path=str(root.path), protocol=protocol)

    def challenge(self, location: IssuerLocation) -> Challenge:
        from enarx_issuers import wire

        if location.protocol == "enarx":
            return Challenge(nonce=b"", audience="")
        info = wire.info(location.url, location.root_pem)
        if location.root_pem not in info.roots:
            raise StewardError(
                f"the Steward at {location.url} has another root certificate than the pinned one",
                hint=f"pinned: {location.root_pem_path}; find out why it changed before you replace that file",
            )
        wire.check_audience(location.url, info.audience)
        return Challenge(nonce=wire.nonce(location.url, location.root_pem), audience=info.audience)

    def issue(self, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:
        from enarx_issuers import chain, wire

        if location.protocol == "enarx":
            issued = wire.certificate_enarx(location.url, request, location.root_pem)
        else:
            issued = wire.certificate(location.url, challenge, request, location.root_pem)
        chain.check(issued.chain, request.csr, location.root_pem)
        return issued

    def release(self, location: IssuerLocation, challenge: Challenge, request: SecretsRequest) -> ReleasedSecrets:
        from enarx_issuers import wire

        return wire.secrets(location.url, challenge, request, location.root_pem)


def _own_steward(protocol: Literal["v1", "enarx"]) -> IssuerLocation:
    from enarx_steward import background
    from enarx_steward.errors import ConfigurationError

    try:
        running = background.ensure(paths.state_dir(STATE))
    except ConfigurationError as error:
        raise StewardError(str(error), hint=error.hint) from error
    root = paths.state_dir(STATE) / "root.pem"
    return IssuerLocation(
        url=running.url,
        root_pem=root.read_text(),
        root_pem_path=str(root),
        protocol=protocol,
    )


def _info(url: str) -> wire.Info:
    from enarx_issuers import pinned_roots, wire

    pinned = pinned_roots.find(url)
    return wire.introduction(url) if pinned is None else wire.info(url, pinned.pem)


@hookimpl
def register_issuers() -> Iterable[Issuer]:
    """Called when an issuer is first needed."""
    return [Steward()]
