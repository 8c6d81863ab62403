"""The default `package`: the module, the manifest and the assets as one content-addressed tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.hookspecs import hookimpl

if TYPE_CHECKING:
    from enarx_deploy.models import Module, Package
    from enarx_deploy.project import Project


@hookimpl
def package(project: Project, module: Module) -> Package:
    """Lay the tree out under `.enarx`. Raises PackageError."""
    from enarx_deploy import package_tree

    return package_tree.build(project, module)
