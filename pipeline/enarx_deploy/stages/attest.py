"""The default `attest`: the backend says what the package must measure to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enarx_deploy.errors import PluginError
from enarx_deploy.hookspecs import hookimpl

if TYPE_CHECKING:
    from enarx_deploy.models import Package, ReferenceValues
    from enarx_deploy.protocols import Backend


@hookimpl
def attest(package: Package, backend: Backend) -> ReferenceValues:
    """The backend's reference values. Raises PluginError where they speak of something else than was asked."""
    values = backend.measure(package)
    said = (values.package, values.backend, values.hardware)
    if said != (package.digest, backend.name, backend.hardware):
        raise PluginError(
            f"backend {backend.name!r} measured something else: package, backend, hardware are {said}",
            hint="this is a fault of the plugin that brings the backend; `enarx-deploy plugins` names it",
        )
    return values
