"""The hooks: five stages, and the registrations of providers.

A stage hook takes the records made before it and returns one record; the first plugin that returns something other
than None has answered (plugins registered later are asked first). Built-ins implement exactly these hooks.

An implementation names only the arguments that it uses. `progress` takes one line of what is going on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from enarx_deploy.models import Deployment, Identity, Module, Package, ReferenceValues
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Backend, Issuer, Progress, Registry, Target, Toolchain

NAME = "enarx_deploy"
hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)


@hookspec(firstresult=True)
def compile(project: Project, toolchain: Toolchain | None, progress: Progress) -> Module | None:
    """Called first, to turn the project's sources into one wasm module; `toolchain` is None where none fits them."""


@hookspec(firstresult=True)
def package(project: Project, module: Module, progress: Progress) -> Package | None:
    """Called after `compile`, to make the content-addressed tree that attestation speaks about."""


@hookspec(firstresult=True)
def attest(project: Project, package: Package, backend: Backend, progress: Progress) -> ReferenceValues | None:
    """Called after `package`, to say what the package must measure to on the chosen backend."""


@hookspec(firstresult=True)
def deploy(
    project: Project,
    package: Package,
    reference_values: ReferenceValues,
    backend: Backend,
    target: Target,
    progress: Progress,
) -> Deployment | None:
    """Called after `attest`, to start the Keep on the chosen target; the Keep then waits for its certificate."""


@hookspec(firstresult=True)
def provision_tls(
    project: Project, deployment: Deployment, target: Target, issuer: Issuer, progress: Progress
) -> Identity | None:
    """Called after `deploy`, to have evidence appraised and to hand the Keep the certificates it serves with."""


@hookspec
def register_toolchains() -> Iterable[Toolchain]:
    """Called when a stage first needs a toolchain, to collect the source languages."""
    raise NotImplementedError


@hookspec
def register_backends() -> Iterable[Backend]:
    """Called when a backend is first needed, to collect the hardware targets."""
    raise NotImplementedError


@hookspec
def register_targets() -> Iterable[Target]:
    """Called when a target is first needed, to collect the places where Keeps are started."""
    raise NotImplementedError


@hookspec
def register_registries() -> Iterable[Registry]:
    """Called when a registry is first needed, to collect the places where packages are published."""
    raise NotImplementedError


@hookspec
def register_issuers() -> Iterable[Issuer]:
    """Called when an issuer is first needed, to collect the sources of certificates."""
    raise NotImplementedError


@hookspec
def register_commands() -> Iterable[click.Command]:
    """Called when the command line is parsed and no built-in command has the name, to collect commands."""
    raise NotImplementedError
