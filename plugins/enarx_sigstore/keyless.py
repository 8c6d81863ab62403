"""`enarx-deploy keyless`: packages signed and checked by an identity in the place of a key (Sigstore).

Off unless the extra `sigstore` is installed, and no service is asked that was not named.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from enarx_deploy.errors import EnarxDeployError, UsageError, VerificationRefused
from enarx_deploy.hookspecs import hookimpl

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PUBLIC = "public"
_MAX_CONFIG = 1 << 20
_MAX_TOKEN = 1 << 16
_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
_package = click.argument("package", type=click.Path(exists=True, file_okay=False, path_type=Path))


def _instance(function: Decorated) -> Decorated:
    return click.option(
        "--instance",
        required=True,
        metavar="FILE|public",
        help="Trust configuration of an instance (JSON), or `public` for that of the Sigstore project.",
    )(function)


@click.group()
def keyless() -> None:
    """Sign packages, and check them, by an identity of OpenID Connect in the place of a key (Sigstore).

    No service is asked that you do not name. `--instance public` is that of the Sigstore project: its log shows to
    everyone, for ever, which digest was signed by whom.
    """


@keyless.command()
@_package
@_instance
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The identity's token. Default: that of the CI system in which this runs.",
)
@_json
def sign(package: Path, instance: str, token_file: Path | None, as_json: bool) -> None:
    """Add a signature by your identity to the package in the directory PACKAGE."""
    from sigstore.dsse import Statement
    from sigstore.sign import SigningContext

    from enarx_deploy import package_attachments, package_tree
    from enarx_deploy.protocols import Attachment
    from enarx_signing import package_signature, statement

    made = package_tree.read(package)
    said = statement.about(made.digest, package_signature.SUBJECT, package_signature.PREDICATE_TYPE, {"described": {}})
    with _faults():
        token = _identity(token_file)
        with SigningContext.from_trust_config(_configuration(instance)).signer(token) as signer:
            bundle = signer.sign_dsse(Statement(said)).to_json()
    attachment = Attachment("signature", BUNDLE_TYPE, bundle.encode())
    package_attachments.add(Path(made.root).parent, made.digest, attachment)
    signed = {"package": made.digest, "identity": token.identity}
    click.echo(json.dumps(signed) if as_json else f"{made.digest} signed by {token.identity}")


@keyless.command()
@_package
@_instance
@click.option("--identity", required=True, help="Who must have signed: an e-mail address, or the URI of a workflow.")
@click.option("--issuer", required=True, help="Who must vouch for that: the URL of the OpenID Connect provider.")
@_json
def verify(package: Path, instance: str, identity: str, issuer: str, as_json: bool) -> None:
    """Check every file of the package in the directory PACKAGE, and that this identity signed it; refuses with 3."""
    from enarx_deploy import package_attachments, package_tree
    from enarx_signing import SigningError

    made = package_tree.read(package)
    reasons = []
    for attachment in package_attachments.beside(made):
        if attachment.media_type != BUNDLE_TYPE:
            continue
        try:
            _verify(attachment.content, made.digest, instance, identity, issuer)
        except (VerificationRefused, SigningError) as error:
            reasons.append(str(error))
        else:
            found = {"package": made.digest, "identity": identity, "issuer": issuer}
            click.echo(json.dumps(found) if as_json else f"{made.digest} is whole, and signed by {identity}")
            return
    raise VerificationRefused(
        f"{made.digest}: {'; '.join(reasons) or 'no identity signed the package'}",
        hint="`keyless sign` adds a signature; was it by another identity?",
    )


def _verify(bundle: bytes, digest: str, instance: str, identity: str, issuer: str) -> None:
    """Check one bundle.

    1. The instance's authority certified the signing key for this identity, and its log has the signature.
    2. The statement is a package's signature, and about this package alone.
    """
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    from enarx_signing import package_signature, statement

    verifier = Verifier(trusted_root=_configuration(instance, offline=True).trusted_root)
    try:
        kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), Identity(identity=identity, issuer=issuer))
    except (Error, ValueError) as error:
        raise VerificationRefused(
            f"a bundle is refused: {' '.join(str(error).split())[:300]}",
            hint="are identity and issuer those of whoever signed, and the package the one that was signed?",
        ) from error
    said = statement.read(payload)
    if kind != statement.PAYLOAD_TYPE or said.predicate_type != package_signature.PREDICATE_TYPE:
        raise VerificationRefused(
            "a bundle is not the signature of a package", hint="`enarx-deploy keyless sign` makes one that is"
        )
    if not said.is_about(digest):
        raise VerificationRefused("a bundle is the signature of another package", hint="is it the right reference?")


def _configuration(instance: str, *, offline: bool = False) -> ClientTrustConfig:
    from sigstore.models import ClientTrustConfig

    if instance == PUBLIC:
        return ClientTrustConfig.production(offline=offline)
    try:
        with Path(instance).open("rb") as file:
            return ClientTrustConfig.from_json(file.read(_MAX_CONFIG).decode())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--instance {instance}: {' '.join(str(error).split())[:200]}", hint="a trust configuration, or `public`"
        ) from error


def _identity(token_file: Path | None) -> IdentityToken:
    from sigstore.oidc import IdentityToken, detect_credential

    token = detect_credential() if token_file is None else token_file.read_text()[:_MAX_TOKEN].strip()
    if not token:
        raise UsageError(
            "no identity is known here: this is no CI system that gives one", hint="give --token-file FILE"
        )
    return IdentityToken(token)


@contextmanager
def _faults() -> Iterator[None]:
    from sigstore.errors import Error

    try:
        yield
    except Error as error:
        raise EnarxDeployError(
            f"Sigstore: {' '.join(str(error).split())[:300]}", hint="is the instance reached, and the token fresh?"
        ) from error


@hookimpl
def register_commands() -> Iterable[click.Command]:
    """Nothing where Sigstore's client is not installed."""
    return [keyless] if importlib.util.find_spec("sigstore") else []
