"""The stages, each in a span: hooks that surround those of whoever makes the record."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, TypeVar

from enarx_deploy.errors import UsageError
from enarx_deploy.hookspecs import hookimpl
from enarx_telemetry import ASKED

if TYPE_CHECKING:
    from enarx_deploy.models import Deployment, Identity, Module, Package, ReferenceValues
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Backend, Issuer, Target, Toolchain
    from enarx_telemetry.spans import Tracer

R = TypeVar("R")
Wrapped = Generator[None, R, R]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@functools.cache
def _tracer() -> Tracer:
    """That of this process. Raises UsageError."""
    asked = os.environ.get(ASKED, "")
    if asked != "otlp":
        raise UsageError(f"{ASKED}: {asked!r} is no way to send traces", hint="there is one: otlp")
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        raise UsageError(
            f"{ASKED} asks for traces, and nothing says where they go",
            hint="set OTEL_EXPORTER_OTLP_ENDPOINT, such as http://127.0.0.1:4318; there is no default",
        )
    try:
        from enarx_telemetry.spans import Tracer
    except ImportError as error:
        raise UsageError(
            f"traces need OpenTelemetry ({error})", hint="pip install 'enarx-deploy[telemetry]'"
        ) from error
    return Tracer()


def _traced(stage: str, project: Project, attributes: Mapping[str, str]) -> Wrapped[R]:
    named = {"enarx.stage": stage, "enarx.project": project.name, **attributes}
    with _tracer().stage(stage, named) as span:
        record = yield
        for field in ("digest", "sha256", "id", "not_after"):
            if isinstance(value := getattr(record, field, None), str):
                span.set_attribute(f"enarx.{stage}.{field}", value)
        return record


@hookimpl(wrapper=True)
def compile(project: Project, toolchain: Toolchain | None) -> Wrapped[Module | None]:
    """Called around `compile`."""
    return (yield from _traced("compile", project, {"enarx.toolchain": toolchain.name if toolchain else ""}))


@hookimpl(wrapper=True)
def package(project: Project) -> Wrapped[Package | None]:
    """Called around `package`."""
    return (yield from _traced("package", project, {}))


@hookimpl(wrapper=True)
def attest(project: Project, package: Package, backend: Backend) -> Wrapped[ReferenceValues | None]:
    """Called around `attest`."""
    named = {"enarx.backend": backend.name, "enarx.package": package.digest}
    return (yield from _traced("attest", project, named))


@hookimpl(wrapper=True)
def deploy(project: Project, package: Package, backend: Backend, target: Target) -> Wrapped[Deployment | None]:
    """Called around `deploy`."""
    named = {"enarx.backend": backend.name, "enarx.target": target.name, "enarx.package": package.digest}
    return (yield from _traced("deploy", project, named))


@hookimpl(wrapper=True)
def provision_tls(project: Project, deployment: Deployment, target: Target, issuer: Issuer) -> Wrapped[Identity | None]:
    """Called around `provision_tls`."""
    named = {"enarx.keep": deployment.id, "enarx.target": target.name, "enarx.issuer": issuer.name}
    return (yield from _traced("provision_tls", project, named))
