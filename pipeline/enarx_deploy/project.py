"""The project that stages work on: a directory, its manifest, and what the command line asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from enarx_deploy.manifest import Loaded, Manifest, OwnTable
    from enarx_deploy.models import PackageSource
    from enarx_signing import SigningKey

S = TypeVar("S", bound=msgspec.Struct)

MANIFEST_NAME = "Enarx.toml"
WORK_DIRECTORY = ".enarx"


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line, merged with the environment in use.

    An empty string means that nobody asked: the stage or the runner chooses, and says what it chose.
    """

    deploy: str = ""  # NAME of the environment in use: [deploy.NAME] with its overlay
    backend: str = ""  # a backend's name or alias
    minimum: str = ""  # the weakest backend that may be chosen
    image: str = ""  # the directory of the image that Keeps boot, in place of the one of this version
    target: str = ""  # a target's name
    cluster: str = ""  # the cluster that a target of that kind starts Keeps in: a context of the kubeconfig
    host: str = ""  # the machine that a remote target starts Keeps on
    replicas: int = 1  # Keeps that serve behind one endpoint
    own_tables: Mapping[str, OwnTable] = field(default_factory=dict)  # [deploy.NAME.TARGET], by TARGET
    keep_name: str = ""  # the Keep's name
    metrics: str = ""  # HOST:PORT where the host process serves metrics
    force: bool = False  # run every stage, even where its inputs are unchanged
    wait_lock: float | None = None  # seconds to wait for another run in the project; None for the default
    locked: bool = False  # refuse whatever differs from Enarx.lock
    source: PackageSource | None = None  # from where the Keep fetches its package, which this machine does not see


@dataclass(frozen=True)
class Project:
    """A project directory as read once, at the start of a command.

    `manifest_text` is the manifest after `--set` and without `deploy`, as it goes into the package. `manifest_file` is
    None where the project has none, and the manifest is then Enarx's default. `manifest_as_written` is the file's text,
    or None where `--set` made another of it.
    """

    root: Path
    manifest: Manifest
    manifest_file: Path | None
    manifest_text: bytes
    manifest_as_written: str | None = None
    settings: Settings = field(default_factory=Settings)
    warnings: tuple[str, ...] = ()
    signing_key: SigningKey | None = None  # what signs its package

    @property
    def name(self) -> str:
        """What its Keeps are called: the name in the `[deploy.NAME]` table in use, else that of the directory."""
        return self.settings.keep_name or self.root.name or "project"

    def own_table(self, target: str, struct: type[S]) -> S:
        """What `[deploy.NAME.TARGET]` says, or `struct` with its defaults. Raises ManifestError."""
        table = self.settings.own_tables.get(target)
        return struct() if table is None else table.read_as(struct)

    @property
    def work_dir(self) -> Path:
        """Where records and products are kept: `.enarx` in the project. The runner makes it."""
        return self.root / WORK_DIRECTORY


def load_project(
    directory: Path,
    *,
    overrides: Sequence[str] = (),
    manifest_file: Path | None = None,
    asked: Settings | None = None,
    environment: str | None = "",
    signing_key: SigningKey | None = None,
) -> Project:
    """Read the project in `directory`: its manifest, with `overrides` (`KEY=VALUE`) laid over it.

    `environment` is the name of one, or anything else for the one that is used when none is named; None is for a
    command that takes none. Raises ManifestError, UsageError.
    """
    from enarx_deploy.manifest import load

    root = directory.resolve()
    own = root / MANIFEST_NAME
    loaded = load(manifest_file or (own if own.exists() else None), overrides, environment)
    return Project(
        root=root,
        manifest=loaded.manifest,
        manifest_file=loaded.path,
        manifest_text=loaded.text,
        manifest_as_written=loaded.as_written,
        settings=_in_environment(loaded, asked or Settings(), root),
        warnings=tuple(loaded.warnings),
        signing_key=signing_key,
    )


def deployed_as(project: Project, asked: Settings, directory: Path, overrides: Sequence[str] = ()) -> Project:
    """The project that a fetched package stands for, deployed as was asked for and nothing else.

    A package does not say where it is deployed. Where `asked.target` is an environment of the project in `directory`,
    that one does; `overrides` are about `deploy`. Raises ManifestError.
    """
    settings = named_environment(directory, asked, overrides)
    return replace(project, settings=replace(settings, source=project.settings.source))


def named_environment(directory: Path, asked: Settings, overrides: Sequence[str] = ()) -> Settings:
    """What was asked for, in the environment of the project in `directory` that `asked.target` names, if it names one.

    Otherwise `overrides` alone say what holds. Raises ManifestError.
    """
    from enarx_deploy.manifest import load

    file = directory / MANIFEST_NAME
    if asked.target and file.exists():
        loaded = load(file, overrides, asked.target)
        if loaded.environment == asked.target:
            return _in_environment(loaded, asked, directory.resolve())
    return _in_environment(load(None, overrides, asked.target), asked, directory.resolve())


def _in_environment(loaded: Loaded, asked: Settings, root: Path) -> Settings:
    """What was asked for, and for the rest what the environment in use says. Paths are relative to `root`."""
    table = loaded.manifest.deploy.get(loaded.environment)
    if table is None:
        return asked
    # A target that is no environment's name overrides the environment's target only: its `minimum` still holds.
    return replace(
        asked,
        deploy=loaded.environment,
        backend=asked.backend or table.backend or "",
        minimum=table.minimum or "",
        image=asked.image or (str(Path(root, table.image)) if table.image else ""),
        target=table.target if asked.target in ("", loaded.environment) else asked.target,
        host=table.host or "",
        replicas=table.replicas,
        own_tables=loaded.own_tables,
        keep_name=table.name or "",
        metrics=asked.metrics or table.metrics or "",
    )
