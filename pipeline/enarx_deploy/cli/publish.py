"""`enarx-deploy publish`: put a package into a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.progress import reporter
from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.models import Package
    from enarx_deploy.protocols import Attachment, SignableRegistry
    from enarx_deploy.runner import Reporter
    from enarx_signing import SigningKey


@click.command()
@common_options("manifest", "force", "registry", "sign", "locked")
@click.argument("reference")
@click.argument("package", default="")
def command(context: Context, reference: str, package: str) -> None:
    """Put a package into the registry that REFERENCE names, and print the reference with the package's digest.

    PACKAGE is a package's directory, or a reference to one in another registry, which is copied with what is attached
    to it. Without it the project is compiled and packaged first. The tag is set last: nobody sees a part of a package,
    and a publish that was interrupted can be done again. A tag that is a version names one package for ever.

    \b
    Examples:
      enarx-deploy publish dir:./packages
      enarx-deploy publish oci://registry.example/team/my-echo:1.0.0
      enarx-deploy publish oci://registry.example/team/my-echo:1.0.0 dir:./packages@sha256:HEX
    """
    from enarx_deploy import choice

    named = str(context.reference(reference))
    with reporter(context) as shown, context.plugins.boundary():
        choice.registry(named, context.plugins)  # before anything is built
        made, attachments = _package(context, package, shown)
        published = _publish(context, named, made, attachments, shown)
    record = {
        "reference": published,
        "digest": made.digest,
        "size": made.size,
        "attachments": [{"kind": one.kind, "media_type": one.media_type} for one in attachments],
    }
    context.emit(published, record)


def _package(context: Context, named: str, shown: Reporter) -> tuple[Package, list[Attachment]]:
    """The package to publish, and what is attached to it."""
    from enarx_deploy import fetching, package_attachments, package_tree, runner
    from enarx_deploy.reference import names_a_registry

    if not named:
        package: Package = runner.run(context.project(), context.plugins, shown, until="package")[-1].record
        return package, package_attachments.beside(package)
    if Path(named).is_dir():
        package = package_tree.read(Path(named))
        return package, package_attachments.beside(package)
    if not names_a_registry(named):
        raise UsageError(f"{named}: no such directory, and not a reference to a package", hint="-C DIR names a project")
    reference = context.reference(named)
    package = fetching.fetch(reference, context.plugins, shown.progress, signers=context.signers)
    return package, package_attachments.beside(package)


def _publish(context: Context, named: str, package: Package, attachments: list[Attachment], shown: Reporter) -> str:
    from enarx_deploy import choice
    from enarx_deploy.description.source import source_date
    from enarx_deploy.protocols import ArtifactRegistry, SignableRegistry

    registry = choice.registry(named, context.plugins)
    if isinstance(registry, ArtifactRegistry):
        published = registry.publish(package, named, attachments, shown.progress, source_date(context.directory))
        if context.signing_key is not None and isinstance(registry, SignableRegistry):
            shown.progress(f"signing for the tools of {registry.name}")
            payload = registry.signing_payload(published)
            registry.add_signature(published, payload, context.signing_key.sign(payload))
            _attest(context.signing_key, registry, published, attachments)
        return published
    if attachments:
        shown.note(f"the registry {registry.name!r} keeps no attachments: {len(attachments)} are left out")
    return registry.publish(package, named)


def _attest(key: SigningKey, registry: SignableRegistry, published: str, attachments: list[Attachment]) -> None:
    """Say what describes the package of what it is in its registry, for the registry's own tools."""
    from enarx_deploy import package_signing
    from enarx_deploy.protocols import AttestableRegistry

    if isinstance(registry, AttestableRegistry):
        subject = registry.attestation_subject(published)
        for _, said in package_signing.statements(attachments):
            registry.add_attestation(published, *package_signing.attestation(said, subject, key))
