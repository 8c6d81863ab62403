"""Every error that a user is meant to see.

    EnarxDeployError                 exit status 1
    ├── UsageError                   2   the command line, or a value given with it
    ├── ManifestError                2   Enarx.toml: file, line and column are known
    ├── VerificationRefused          3   the peer or its evidence was looked at and refused
    ├── PluginError                  1   a plugin failed; names the plugin
    │   └── NoStageAnswered          1   no plugin took a stage
    ├── BuildError                   1   a toolchain is missing or failed
    ├── ModuleError                  2   the module is not one that a Keep can run
    ├── PackageError                 1   a package is unsafe, damaged, or not found
    │   └── NotPublished             1   a registry was asked, and has no such package
    ├── LockError                    1   something differs from Enarx.lock, and --locked was asked for
    ├── RegistryError                1   a registry cannot be reached, or refused
    ├── KeepError                    1   a Keep could not be started or died
    └── StewardError                 1   the Steward cannot be reached, or refused
        └── StewardAway              1   it is not there now, and may be in a moment

Each carries one line that says what is wrong and where, and one line (`hint`) that says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class EnarxDeployError(Exception):
    """Head of the tree: `str(error)` is one line of what and where, `hint` one line of what to do."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(EnarxDeployError):
    """The command line, an environment variable, or a value given with them is wrong."""

    exit_status = 2


class ManifestError(EnarxDeployError):
    """The manifest is wrong. `line` and `column` count from 1; 0 means that the fault has no place in the file.

    `problems` holds every fault that was found, this one first; each is a ManifestError with its own place.
    """

    exit_status = 2

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        place = ":".join([file, *(str(n) for n in (line, column) if n)]) if file else ""
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.problems: list[ManifestError] = [self]


class VerificationRefused(EnarxDeployError):
    """A verification was carried out and its answer is no."""

    exit_status = 3


class PluginError(EnarxDeployError):
    """Code of a plugin failed; the message names the plugin and its distribution."""


class NoStageAnswered(PluginError):
    """No plugin answered a stage hook; `tried` names those that were asked."""

    def __init__(self, stage: str, tried: list[str]) -> None:
        super().__init__(
            f"no plugin answered the stage {stage!r} (asked: {', '.join(tried) or 'none'})",
            hint="`enarx-deploy plugins` lists the plugins and their hooks; is one disabled by ENARX_DEPLOY_DISABLE?",
        )
        self.stage = stage
        self.tried = tried


class BuildError(EnarxDeployError):
    """A toolchain is missing, or the build that it ran failed."""


class ModuleError(EnarxDeployError):
    """The module cannot run in a Keep: not wasm, no entry point, or imports that a Keep does not provide."""

    exit_status = 2


class PackageError(EnarxDeployError):
    """A package is unsafe, damaged, or cannot be found."""


class NotPublished(PackageError):
    """A registry was asked for a package, and says that it has none, or that it was withdrawn."""


class LockError(EnarxDeployError):
    """What was made is not what Enarx.lock has, or that cannot be read."""


class RegistryError(EnarxDeployError):
    """A registry cannot be reached, refused a login, or answered with what makes no sense."""


class KeepError(EnarxDeployError):
    """A Keep could not be started, or died before it served."""


class StewardError(EnarxDeployError):
    """The Steward cannot be reached, or refused to issue."""


class StewardAway(StewardError):
    """The Steward is not there now. Nothing is wrong with what was asked, so that it is worth asking again."""
