"""The issuer `acme`: certificates for the names that the manifest lists, by the account that the user made.

It looks at no evidence, so that what it brings says who controls a name, and nothing of a Keep.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from enarx_acme import accounts
from enarx_acme.accounts import Account
from enarx_deploy.errors import StewardError, UsageError
from enarx_deploy.protocols import CertificateRequest, Challenge, Issued, IssuerLocation
from enarx_files.turns import take

if TYPE_CHECKING:
    from enarx_deploy.project import Project

AUDIENCE: Final = "acme"
_TURN: Final = 60.0
"""Seconds that an order waits for another one of the same account."""


class Acme:
    """Manifest keys read: `[acme] names`, the DNS names; `[acme] directory`, where there are several accounts."""

    name = "acme"
    renews = True
    appraises = False

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}  # by directory: until when the server asked to be left alone

    def locate(self, project: Project) -> IssuerLocation:
        """The account, which need not be reached for that."""
        if project.settings.source is not None:
            raise UsageError(
                "a Keep that fetches its package needs a certificate before it knows the names that the package lists",
                hint="deploy it without --attest-first, or have a Steward issue the certificate",
            )
        wanted = project.manifest.acme
        account = accounts.choose(wanted.directory)
        return IssuerLocation(
            url=account.directory,
            root_pem=account.root_pem,
            root_pem_path=str(account.root_path),
            names=wanted.names,
        )

    def challenge(self, location: IssuerLocation) -> Challenge:  # noqa: ARG002 - the protocol's
        """Of our own: nobody looks at what the Keep answers."""
        return Challenge(nonce=secrets.token_bytes(32), audience=AUDIENCE)

    def issue(self, location: IssuerLocation, challenge: Challenge, request: CertificateRequest) -> Issued:  # noqa: ARG002 - the protocol's
        """Order a certificate. Raises StewardError."""
        from enarx_issuers import chain

        _require_names(request.csr, location.names)
        self._require_patience(location.url)
        account = accounts.choose(location.url)
        with _turn(account):
            issued = self._order(account, request.csr, location.names)
        chain.check(issued, request.csr, location.root_pem)
        _require_certified(issued[0], location.names)
        return Issued(chain=issued, appraisal={})

    def _order(self, account: Account, csr: bytes, names: Sequence[str]) -> tuple[bytes, ...]:
        try:
            from enarx_acme.client import AskedToWait
            from enarx_acme.ordering import order
        except ImportError as error:
            raise StewardError(
                f"the issuer acme needs its client library ({error})", hint="pip install 'enarx-deploy[acme]'"
            ) from error
        try:
            return order(account, csr, names)
        except AskedToWait as error:
            self._not_before[account.directory] = time.time() + error.seconds
            raise

    def _require_patience(self, directory: str) -> None:
        left = self._not_before.get(directory, 0.0) - time.time()
        if left > 0:
            raise StewardError(
                f"{directory} asked to be left alone for {left:.0f} s more", hint="what the Keep has stays in use"
            )


@contextlib.contextmanager
def _turn(account: Account) -> Iterator[None]:
    """One order of an account at a time, also of other processes: they would answer on the same port."""
    descriptor = os.open(accounts.path_of(account.directory), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not take(descriptor, _TURN):
            raise StewardError("another Keep's certificate is being ordered, which takes long", hint="try again")
        yield
    finally:
        os.close(descriptor)


def _require_names(csr: bytes, names: Sequence[str]) -> None:
    """The request must be for the manifest's names, all of them and no other."""
    try:
        request = x509.load_der_x509_csr(csr)
        asked = _names(request) if request.is_signature_valid else None
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise StewardError(f"the Keep's certificate request cannot be read: {error}") from error
    if asked != sorted(names) or len(request.subject):
        raise StewardError(
            f"the Keep asks for {', '.join(asked or []) or 'no name'}, and the manifest lists {', '.join(names)}",
            hint="is it the Keep of this manifest?",
        )


def _require_certified(leaf: bytes, names: Sequence[str]) -> None:
    """The certificate must be for the manifest's names, all of them and no other."""
    certified = _names(x509.load_der_x509_certificate(leaf))
    if certified != sorted(names):
        raise StewardError(f"the certificate is for {', '.join(certified)}", hint="nothing was handed to the Keep")


def _names(holder: x509.Certificate | x509.CertificateSigningRequest) -> list[str]:
    try:
        found = holder.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return sorted(str(name.value) for name in found)
