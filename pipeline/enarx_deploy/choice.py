"""Which provider does the work, and why: asked for by name, or found out. Every choice comes with its reason."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from enarx_deploy.errors import EnarxDeployError, KeepError, UsageError
from enarx_deploy.manifest.faults import Fault
from enarx_deploy.models import Probe, ProbeCheck
from enarx_deploy.protocols import ArtifactRegistry, BootsImage, Elsewhere, HasGuests, HasOwnTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from enarx_deploy.manifest import Loaded, OwnTable
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Backend, Issuer, KeepProcess, Registry, Target, Toolchain

DEFAULT_TARGET = "local"
COMMAND = "command"  # the toolchain that runs `[build] command`


def toolchain(project: Project, plugins: PluginManager) -> tuple[Toolchain | None, str]:
    """That of `[build] command`, else the one that `[build] toolchain` names, else the first that knows the sources.

    None where there is none. One that looks for a file about the whole project goes before those that know a suffix.
    """
    if project.manifest.build.command:
        return plugins.get("toolchain", COMMAND), "the command of [build] command builds, and no toolchain"
    named = project.manifest.build.toolchain
    if named:
        return plugins.get("toolchain", named), f"toolchain {named}: [build] toolchain names it"
    fits = [(candidate, reason) for candidate in plugins.all("toolchain") if (reason := candidate.detect(project))]
    if not fits:
        return None, ""
    fits.sort(key=lambda fit: not getattr(fit[0], "by_project_file", False))
    chosen, reason = fits[0]
    others = "".join(f", {other.name} ({why})" for other, why in fits[1:])
    also = f"; would fit too: {others[2:]}" if others else ""
    return chosen, f"toolchain {chosen.name}: {reason}{also}; [build] toolchain or --set build.toolchain=NAME overrides"


def backend(
    project: Project, plugins: PluginManager, *, here: bool = False, starts: bool = True
) -> tuple[Backend, str]:
    """The backend asked for, else the strongest that the machine has where it will run; never one below `minimum`.

    That is this machine where it runs `here`, else whichever the target starts Keeps on. Where it `starts` nothing,
    this machine need not have one that is asked for: what its Keeps measure to is worked out anywhere. Where an image
    is named, its Keeps boot that. Raises KeepError where that machine cannot do it, UsageError where a name is unknown
    or too weak.
    """
    asked = project.settings.backend
    if project.settings.image and not here:
        _require_place_for_image(project, plugins)
    if asked:
        chosen, reason = booting(plugins.get("backend", asked), project.settings.image), "as asked for"
        _require_strength(chosen, reason, project, plugins)
        probed = _probed(project, plugins, here=here)
        if starts or probed is not _here:
            _require_available(probed(chosen))
    else:
        chosen, reason = _strongest(plugins, _probed(project, plugins, here=here), project.settings.image)
        _require_strength(chosen, reason, project, plugins)
    if not here and isinstance(place := target(project, plugins), HasGuests):
        chosen = place.in_guest(chosen)
    return chosen, f"backend {chosen.name}: {reason}{'' if chosen.hardware else '; no hardware protects this Keep'}"


def booting(chosen: Backend, image: str) -> Backend:
    """A backend whose Keeps boot the image in a directory, if one is named. Raises UsageError where they boot none."""
    if not image:
        return chosen
    if not isinstance(chosen, BootsImage):
        raise UsageError(
            f"a Keep of kind {chosen.name} boots no image, and {image} is named",
            hint="leave out --image (ENARX_DEPLOY_IMAGE, `image` of [deploy.NAME]), or name --backend kvm, snp or tdx",
        )
    return chosen.booting(Path(image))


def _require_place_for_image(project: Project, plugins: PluginManager) -> None:
    place = target(project, plugins)
    if not getattr(place, "takes_image", False):
        raise UsageError(
            f"the image {project.settings.image} is on this machine, and target {place.name!r} does not take it along",
            hint="leave out --image (ENARX_DEPLOY_IMAGE, `image` of [deploy.NAME]): Keeps there boot what is there",
        )


@contextlib.contextmanager
def prepared(asked: str, plugins: PluginManager, stderr_fd: int) -> Iterator[None]:
    """Have the backend that will most likely be chosen begin a Keep, if it can; what is wrong, `backend` says.

    It is ended with the context, whether it was started or not.
    """
    process = _prepare(asked, plugins, stderr_fd)
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _prepare(asked: str, plugins: PluginManager, stderr_fd: int) -> KeepProcess | None:
    from enarx_deploy.protocols import CanPrepare

    with contextlib.suppress(EnarxDeployError):
        likely = plugins.get("backend", asked) if asked else _strongest(plugins)[0]
        if isinstance(likely, CanPrepare):
            return likely.prepare(stderr_fd)
    return None


def target(project: Project, plugins: PluginManager) -> Target:
    """The target of `--target` or of the environment in use, else this machine.

    Raises UsageError where there is none of that name, ManifestError for a table that no target has as its own.
    """
    chosen = plugins.get("target", project.settings.target or DEFAULT_TARGET)
    check_own_tables(project.settings.own_tables, plugins)
    return chosen


def check_names(loaded: Loaded, plugins: PluginManager) -> None:
    """Look up who builds and who certifies, where a manifest names them. Raises ManifestError."""
    build, attest = loaded.manifest.build, loaded.manifest.attest
    named: list[tuple[Literal["toolchain", "issuer"], str, str]] = [("issuer", "attest", attest.issuer)]
    if build.toolchain:
        named.append(("toolchain", "build", build.toolchain))
    faults = []
    for kind, table, name in named:
        try:
            plugins.get(kind, name)
        except UsageError as error:
            faults.append(Fault((table, kind), str(error), error.hint))
    loaded.places.require(faults)


def check_own_tables(tables: Mapping[str, OwnTable], plugins: PluginManager) -> None:
    """Hold the tables that targets have of their own to the form that each has for it. Raises ManifestError."""
    for name, table in tables.items():
        forms = {one.name: one.own_table for one in plugins.all("target") if isinstance(one, HasOwnTable)}
        if name not in forms:
            known = ", ".join(sorted(forms)) or "none here does"
            raise table.refuse(f"no target {name!r} has a table of its own", f"targets that have one: {known}")
        table.read_as(forms[name])


def issuer(project: Project, plugins: PluginManager) -> Issuer:
    """The issuer that `[attest] issuer` names."""
    return plugins.get("issuer", project.manifest.attest.issuer)


def registry(reference: str, plugins: PluginManager) -> Registry:
    """The registry that understands a reference. Raises UsageError."""
    for candidate in plugins.all("registry"):
        if reference.startswith(tuple(candidate.schemes)):
            return candidate
    known = ", ".join(scheme for candidate in plugins.all("registry") for scheme in candidate.schemes)
    raise UsageError(f"no registry understands {reference}", hint=f"a reference begins with one of {known}")


def artifact_registry(reference: str, plugins: PluginManager) -> ArtifactRegistry:
    """The same, if it keeps attachments and can be asked what it has. Raises UsageError."""
    found = registry(reference, plugins)
    if not isinstance(found, ArtifactRegistry):
        raise UsageError(
            f"the registry {found.name!r} can publish and fetch, and nothing else",
            hint="its plugin would have to implement `ArtifactRegistry` (docs/reference/hooks.md)",
        )
    return found


def _probed(project: Project, plugins: PluginManager, *, here: bool) -> Callable[[Backend], Probe]:
    """How a backend is looked at: on this machine, or on those that the target starts Keeps on."""
    if here:
        return _here
    place = target(project, plugins)
    if not isinstance(place, Elsewhere):
        return _here
    there = {probe.backend: probe for probe in place.probes(project)}
    unknown = ProbeCheck(name="backend", ok=False, detail=f"target {place.name!r} says nothing of it")
    return lambda backend: there.get(
        backend.name, Probe(backend=backend.name, available=False, hardware=backend.hardware, checks=[unknown])
    )


def _here(backend: Backend) -> Probe:
    return backend.probe()


def _strongest(
    plugins: PluginManager, probed: Callable[[Backend], Probe] = _here, image: str = ""
) -> tuple[Backend, str]:
    """The strongest that there is, of those that boot an image where one is named."""
    lacking: list[str] = []
    for provided in sorted(plugins.all("backend"), key=lambda backend: -backend.strength):
        if getattr(provided, "by_name_only", False) or (image and not isinstance(provided, BootsImage)):
            continue
        candidate = booting(provided, image)
        probe = probed(candidate)
        if probe.available:
            passed_over = f" ({'; '.join(lacking)})" if lacking else ""
            return candidate, f"the strongest that this machine has{passed_over}"
        lacking.append(f"{candidate.name}: {_first_fault(probe)[0]}")
    raise KeepError(
        f"this machine has no backend that can be used ({'; '.join(lacking) or 'none is installed'})",
        hint="`enarx-deploy platform` shows each backend, check by check",
    )


def _require_available(probe: Probe) -> None:
    if not probe.available:
        fault, hint = _first_fault(probe)
        raise KeepError(
            f"backend {probe.backend!r} cannot be used on this machine: {fault}",
            hint=hint or f"`enarx-deploy platform {probe.backend}` shows check by check what it needs",
        )


def _first_fault(probe: Probe) -> tuple[str, str]:
    for check in probe.checks:
        if check.required and not check.ok:
            return f"{check.name}: {check.detail}", check.hint
    return "not available", ""


def _require_strength(chosen: Backend, reason: str, project: Project, plugins: PluginManager) -> None:
    minimum = project.settings.minimum
    if minimum and chosen.strength < _strength(minimum, project, plugins):
        raise UsageError(
            f"backend {chosen.name!r} is weaker than {minimum!r}, the minimum of [deploy.{project.settings.deploy}] "
            f"({reason})",
            hint="deploy on a machine that has it (`enarx-deploy platform`), or lower `minimum` in the manifest",
        )


def _strength(minimum: str, project: Project, plugins: PluginManager) -> int:
    try:
        return plugins.get("backend", minimum).strength
    except UsageError as error:
        raise UsageError(
            f"nothing here is known to be as strong as {minimum!r}, the minimum of [deploy.{project.settings.deploy}]: "
            f"{error}",
            hint=error.hint,
        ) from error
