"""The default `package`: the module, the manifest and the assets as one tree, described and signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import UsageError
from enarx_deploy.hookspecs import hookimpl

if TYPE_CHECKING:
    from enarx_deploy.models import Module, Package
    from enarx_deploy.package_signing import Statements
    from enarx_deploy.project import Project


@hookimpl
def package(project: Project, module: Module) -> Package:
    """Lay the tree out under `.enarx`, and beside it what is said of it. Raises PackageError."""
    from enarx_deploy import package_tree
    from enarx_deploy.description import describe

    made = package_tree.build(project, module)
    _attach(project, made, describe(project, module, made))
    return made


def _attach(project: Project, made: Package, statements: Statements) -> None:
    """Keep the statements beside the package, signed if there is a key; signed ones that say the same are kept."""
    from enarx_deploy import package_attachments, package_signing

    store = Path(made.root).parent
    if project.signing_key is None:
        there = package_attachments.load(store, made.digest)
        if package_signing.signatures(there) and dict(package_signing.statements(there)) == statements:
            return
        if project.manifest.package.sign:
            raise UsageError(
                "the manifest asks for a signed package, and there is no key for it",
                hint="give --sign KEY, or take `sign` out of [package]",
            )
    keys = [] if project.signing_key is None else [project.signing_key]
    package_attachments.replace(store, made.digest, package_signing.attachments(made.digest, statements, keys))
