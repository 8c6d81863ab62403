"""The project that stages work on: a directory, its manifest, and what the command line asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy.errors import UsageError

if TYPE_CHECKING:
    from enarx_deploy.manifest import Manifest
    from enarx_deploy.models import PackageSource
    from enarx_signing import SigningKey

MANIFEST_NAME = "Enarx.toml"
WORK_DIRECTORY = ".enarx"


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line, merged with the `[deploy.NAME]` table in use.

    An empty string means that nobody asked: the stage or the runner chooses, and says what it chose.
    """

    deploy: str = ""  # NAME of the [deploy.NAME] table in use
    backend: str = ""  # a backend's name or alias
    minimum: str = ""  # the weakest backend that may be chosen
    target: str = ""  # a target's name
    keep_name: str = ""  # the Keep's name
    metrics: str = ""  # HOST:PORT where the host process serves metrics
    force: bool = False  # run every stage, even where its inputs are unchanged
    locked: bool = False  # refuse whatever differs from Enarx.lock
    source: PackageSource | None = None  # from where the Keep fetches its package, which this machine does not see


@dataclass(frozen=True)
class Project:
    """A project directory as read once, at the start of a command.

    `manifest_text` is the manifest after `--set`, as it goes into the package. `manifest_file` is None where the
    project has none, and the manifest is then Enarx's default.
    """

    root: Path
    manifest: Manifest
    manifest_file: Path | None
    manifest_text: bytes
    settings: Settings = field(default_factory=Settings)
    warnings: tuple[str, ...] = ()
    signing_key: SigningKey | None = None  # what signs its package

    @property
    def name(self) -> str:
        """What its Keeps are called: the name in the `[deploy.NAME]` table in use, else that of the directory."""
        return self.settings.keep_name or self.root.name or "project"

    @property
    def work_dir(self) -> Path:
        """Where records and products are kept: `.enarx` in the project. The runner makes it."""
        return self.root / WORK_DIRECTORY


def load_project(
    directory: Path,
    *,
    overrides: Sequence[str] = (),
    manifest_file: Path | None = None,
    backend: str = "",
    target: str = "",
    metrics: str = "",
    force: bool = False,
    locked: bool = False,
    signing_key: SigningKey | None = None,
) -> Project:
    """Read the project in `directory`: its manifest, with `overrides` (`KEY=VALUE`) laid over it.

    `target` names a `[deploy.NAME]` table or, where none has the name, a target. Raises ManifestError, UsageError.
    """
    from enarx_deploy.manifest import load

    root = directory.resolve()
    own = root / MANIFEST_NAME
    loaded = load(manifest_file or (own if own.exists() else None), overrides)
    return Project(
        root=root,
        manifest=loaded.manifest,
        manifest_file=loaded.path,
        manifest_text=loaded.text,
        settings=_settings(
            loaded.manifest,
            Settings(backend=backend, target=target, metrics=metrics, force=force, locked=locked),
        ),
        warnings=tuple(loaded.warnings),
        signing_key=signing_key,
    )


def _settings(manifest: Manifest, asked: Settings) -> Settings:
    target = asked.target
    if not manifest.deploy:
        return asked
    # A target that is no table's name overrides the table's target only: its `minimum` still holds.
    name = target if target in manifest.deploy else _default_table(list(manifest.deploy))
    table = manifest.deploy[name]
    return Settings(
        deploy=name,
        backend=asked.backend or table.backend or "",
        minimum=table.minimum or "",
        target=table.target if target in ("", name) else target,
        keep_name=table.name or "",
        metrics=asked.metrics or table.metrics or "",
        force=asked.force,
        locked=asked.locked,
    )


def _default_table(names: list[str]) -> str:
    if "default" in names:
        return "default"
    if len(names) == 1:
        return names[0]
    raise UsageError(
        f"the manifest has {len(names)} [deploy] tables: {', '.join(names)}",
        hint="say which with --target NAME, or name one of them `default`",
    )
