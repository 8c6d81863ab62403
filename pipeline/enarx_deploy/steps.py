"""What the runner must know of each stage: what goes in, what decides that it can be skipped, whom it works with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from enarx_deploy import __version__, choice, records, tool_bytes, tools, wasm_opt
from enarx_deploy.description.source import find_source
from enarx_deploy.errors import PackageError
from enarx_deploy.models import (
    Deployment,
    Identity,
    KeepStatus,
    Module,
    Package,
    Record,
    ReferenceValues,
    StageName,
)
from enarx_deploy.protocols import BootsImage, HasGuests, MissingTool
from enarx_deploy.stages.compile import source_digests
from enarx_deploy.stages.provision_tls import needs_certificate

if TYPE_CHECKING:
    from enarx_deploy.models import PackageSource
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.project import Project
    from enarx_deploy.protocols import Backend, Issuer, Target, Toolchain

T = TypeVar("T")
_NOT_FILES = ("system", "steward")  # words of [tls.NAME] roots that name no file


@dataclass
class Work:
    """One run: the project, the records made so far, and the providers, each chosen when a stage first needs it.

    `starts` says whether it comes to Keeps, and is not over before.
    """

    project: Project
    plugins: PluginManager
    note: Callable[[str], None]
    made: dict[StageName, Any] = field(default_factory=dict)
    starts: bool = True

    @functools.cached_property
    def toolchain(self) -> Toolchain | None:
        return self._say(choice.toolchain(self.project, self.plugins))

    @functools.cached_property
    def backend(self) -> Backend:
        return self._say(choice.backend(self.project, self.plugins, starts=self.starts))

    @functools.cached_property
    def target(self) -> Target:
        return choice.target(self.project, self.plugins)

    @functools.cached_property
    def issuer(self) -> Issuer:
        return choice.issuer(self.project, self.plugins)

    @property
    def slot(self) -> str:
        """Which of the project's deployments this is: one for each `[deploy.NAME]` table and target."""
        return f"{self.project.settings.deploy}@{self.target.name}"

    def keep(self, deployment: Deployment) -> KeepStatus | None:
        """What the target says now of a Keep that was deployed."""
        target = self.plugins.get("target", deployment.target)
        return next((status for status in target.keeps() if status.id == deployment.id), None)

    def _say(self, chosen: tuple[T, str]) -> T:
        provider, why = chosen
        if why:
            self.note(why)
        return provider


@dataclass(frozen=True)
class Step:
    """One stage as the runner sees it.

    `inputs` is everything that the record depends on, in a form that JSON has, and `inputs_after` the same when the
    record is made, since a build may learn of more files that it reads. `usable` says of an old record whether what it
    speaks of is still there and as recorded.
    """

    stage: StageName
    record: type[Record]
    slot: Callable[[Work], str]
    inputs: Callable[[Work], dict[str, Any]]
    arguments: Callable[[Work], dict[str, Any]]
    usable: Callable[[Work, Any], bool]
    inputs_after: Callable[[dict[str, Any], Any], dict[str, Any]] = lambda inputs, _record: inputs


def inputs_digest(work: Work, stage: StageName, inputs: dict[str, Any]) -> str:
    """The digest of a stage's inputs and of what every stage depends on: this program, and who takes part."""
    versions = {plugin.name: plugin.version for plugin in work.plugins.plugins}
    asked = [[name, versions.get(name, __version__)] for name in work.plugins.plugins_of_stage(stage)]
    return records.digest_of_inputs({"version": __version__, "plugins": asked, "inputs": inputs})


def file_is(path: Path, digest: str) -> bool:
    """Whether a file is there and has this digest."""
    try:
        return records.digest_of_file(path) == digest
    except OSError:
        return False


def _compile_inputs(work: Work) -> dict[str, Any]:
    build = msgspec.to_builtins(work.project.manifest.build)
    if work.toolchain is None:
        return {"build": build}
    tool = tools.find(work.toolchain, work.project)
    used = wasm_opt.used(work.project)
    if not isinstance(tool, MissingTool):
        used.append(tool)
    return {
        "build": build,
        "toolchain": work.toolchain.name,
        "tool": "" if isinstance(tool, MissingTool) else tool.version,
        "optimizer": [one.version for one in wasm_opt.used(work.project)],
        "tool_bytes": tool_bytes.digest(*used),
        "sources": source_digests(work.project, work.toolchain),
    }


def _compile_inputs_after(inputs: dict[str, Any], module: Any) -> dict[str, Any]:
    return inputs | {"sources": module.inputs} if inputs.get("toolchain") == module.toolchain else inputs


def _module_usable(work: Work, module: Module) -> bool:
    """The module is as built. Its own list of inputs counts too: a plugin's stage may read what no toolchain lists."""
    inputs = module.inputs.items()
    unchanged = all(file_is(work.project.root / name, digest) for name, digest in inputs)
    return bool(inputs) and unchanged and file_is(Path(module.path), module.sha256)


def _package_inputs(work: Work) -> dict[str, Any]:
    files = {name: records.digest_of_file(work.project.root / name) for name in packaged_files(work.project)}
    return {
        "module": work.made["compile"].sha256,
        "manifest": records.digest_of(work.project.manifest_text),
        "files": files,
        "source": msgspec.to_builtins(find_source(work.project.root)),
        "signer": None if work.project.signing_key is None else work.project.signing_key.public.id,
    }


def packaged_files(project: Project) -> Iterator[str]:
    """Every file of the project that its manifest has packaged, relative to the project."""
    named = [asset.source for asset in project.manifest.package.assets]
    named += [root for tls in project.manifest.tls.values() for root in tls.roots if root not in _NOT_FILES]
    for name in sorted(set(named)):
        path = project.root / name
        found = path.rglob("*") if path.is_dir() else [path]
        yield from sorted(str(file.relative_to(project.root)) for file in found if file.is_file())


def _package_usable(work: Work, package: Package) -> bool:
    from enarx_deploy import package_attachments, package_tree

    try:
        if work.project.signing_key and not any(one.kind == "signature" for one in package_attachments.beside(package)):
            return False
        return package_tree.read(Path(package.root), package.digest) == package
    except (PackageError, OSError):
        return False


def _attest_inputs(work: Work) -> dict[str, Any]:
    return {
        "package": work.made["package"].digest,
        "backend": work.backend.name,
        "guests": work.target.name if isinstance(work.target, HasGuests) else "",
        "image": work.backend.image_digest() if isinstance(work.backend, BootsImage) else "",
        "attest": msgspec.to_builtins(work.project.manifest.attest),
    }


def _deploy_inputs(work: Work) -> dict[str, Any]:
    return {
        "reference_values": msgspec.to_builtins(work.made["attest"]),
        "backend": work.backend.name,
        "target": work.target.name,
        "name": work.project.name,
        "metrics": work.project.settings.metrics,
        "host": work.project.settings.host,
        "image": work.project.settings.image,
        "replicas": work.project.settings.replicas,
        "own_tables": {name: own.content for name, own in work.project.settings.own_tables.items()},
        "cluster": work.project.settings.cluster,
        **_source_inputs(work.project.settings.source),
    }


def _source_inputs(source: PackageSource | None) -> dict[str, Any]:
    """Without the signatures: another one that somebody adds is no cause to replace a Keep."""
    return {} if source is None else {"source": msgspec.to_builtins(msgspec.structs.replace(source, signatures=[]))}


def _deployment_usable(work: Work, deployment: Deployment) -> bool:
    """The Keep waits for its first certificate, or serves with one that is still valid, or needs none."""
    status = work.keep(deployment)
    if status is None or status.state not in ("starting", "running"):
        return False
    return status.state == "starting" or not needs_certificate(work.project) or _certified(work, deployment, status)


def _certified(work: Work, deployment: Deployment, status: KeepStatus) -> bool:
    digest = inputs_digest(work, "provision_tls", _provision_inputs(deployment))
    identity = records.current(work.project.work_dir, "provision_tls", work.slot, digest, Identity)
    # The Keep may have renewed its certificate since, so that its own word on it is the newer one.
    return identity is not None and _in_future(status.certificate_not_after or identity.not_after)


def _in_future(moment: str) -> bool:
    return datetime.fromisoformat(moment) > datetime.now(UTC)


def _provision_inputs(deployment: Deployment) -> dict[str, Any]:
    return {"deployment": msgspec.to_builtins(deployment)}


COMPILE = Step(
    stage="compile",
    record=Module,
    slot=lambda _work: "",
    inputs=_compile_inputs,
    arguments=lambda work: {"toolchain": work.toolchain},
    usable=_module_usable,
    inputs_after=_compile_inputs_after,
)
PACKAGE = Step(
    stage="package",
    record=Package,
    slot=lambda _work: "",
    inputs=_package_inputs,
    arguments=lambda work: {"module": work.made["compile"]},
    usable=_package_usable,
)
ATTEST = Step(
    stage="attest",
    record=ReferenceValues,
    slot=lambda work: work.backend.name,
    inputs=_attest_inputs,
    arguments=lambda work: {"package": work.made["package"], "backend": work.backend},
    usable=lambda _work, _values: True,
)
DEPLOY = Step(
    stage="deploy",
    record=Deployment,
    slot=lambda work: work.slot,
    inputs=_deploy_inputs,
    arguments=lambda work: {
        "package": work.made["package"],
        "reference_values": work.made["attest"],
        "backend": work.backend,
        "target": work.target,
    },
    usable=_deployment_usable,
)
PROVISION_TLS = Step(
    stage="provision_tls",
    record=Identity,
    slot=lambda work: work.slot,
    inputs=lambda work: _provision_inputs(work.made["deploy"]),
    arguments=lambda work: {"deployment": work.made["deploy"], "target": work.target, "issuer": work.issuer},
    usable=lambda _work, _identity: True,  # whether the Keep still serves with it was asked for `deploy`
)
STEPS = (COMPILE, PACKAGE, ATTEST, DEPLOY, PROVISION_TLS)
