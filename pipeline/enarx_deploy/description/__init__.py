"""What is said of a package: what went in (CycloneDX), and from what and how it was made (SLSA).

Both are in-toto statements whose subject is the package's digest. Nothing in them is of this moment, this machine or
this user: the same sources make the same bytes anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.description.source import find_source

if TYPE_CHECKING:
    from enarx_deploy.models import Module, Package
    from enarx_deploy.package_signing import Statements
    from enarx_deploy.project import Project


def describe(project: Project, module: Module, package: Package) -> Statements:
    """Both statements about a package that was just made. Raises PackageError where a lock file cannot be read."""
    from enarx_deploy.description import provenance, sbom
    from enarx_deploy.description.lock_files import locked

    source = find_source(project.root)
    dependencies = locked(project)
    return {
        "sbom": sbom.statement(module, package, dependencies, source.moment),
        "provenance": provenance.statement(project, module, package, dependencies, source),
    }
