"""Finds the tools of toolchains: on PATH, beside this Python, in the project, among the packages kept for this program.

What a tool says of itself is kept in the cache, so that an unchanged project is recognised without starting anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from enarx_deploy import paths, plain_files
from enarx_deploy.errors import PackageError
from enarx_deploy.protocols import FindsForProject, MissingTool, Tool, Toolchain

if TYPE_CHECKING:
    from enarx_deploy.project import Project

_TIMEOUT = 20  # seconds that a tool may take to say its version
_ANSWERS = "answers.json"
_MOST_ANSWERS = 200
_LONGEST_ANSWER = 4096  # characters
_LARGEST_DESCRIPTION = 1 << 20  # bytes of a package.json
_VERSION = re.compile(r"\d[\w.+-]{0,63}", re.ASCII)
_OUTSIDE_OF_PROJECTS = "/"
_SECRETS = frozenset(
    {
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ENARX_DEPLOY_ID_TOKEN",
        "ENARX_DEPLOY_STEWARD_DATABASE",
        "ENARX_INSECURE_AUTH_TOKEN",
        "ENARX_OIDC_CLIENT_SECRET",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    }
)
"""Variables of this program's own that hold secrets, and that by which a CI job asks for its identity: what a build
runs is others' code, and what outlives a command has no use for them."""

LOOKED_AT = "enarx_deploy.looked_at"
"""The audit event (PEP 578) for a path whose mere presence or state decides something; Python itself has none."""


def environment_without_secrets() -> dict[str, str]:
    """This process's, without the variables of ours that hold secrets."""
    return {name: value for name, value in os.environ.items() if name not in _SECRETS}


def find(toolchain: Toolchain, project: Project) -> Tool | MissingTool:
    """The tool that a toolchain takes for this project."""
    return toolchain.find_for(project) if isinstance(toolchain, FindsForProject) else toolchain.find()


def on_path(name: str) -> str | None:
    """A program by its name: on PATH, else beside this Python, where PyPI packages put theirs."""
    return shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))


def all_on_path(name: str) -> Iterator[str]:
    """Every program of this name on PATH, the first one first, and none twice."""
    seen = set()
    for folder in os.get_exec_path():
        found = shutil.which(name, path=folder)
        if found and (real := os.path.realpath(found)) not in seen:
            seen.add(real)
            yield found


def node_packages(project: Project | None = None) -> list[Path]:
    """The `node_modules` that are looked in: the project's own, then the one kept for this program."""
    own = [project.root / "node_modules"] if project else []
    return [*own, paths.cache_dir("npm") / "node_modules"]


class InNpmPackage(NamedTuple):
    """A program that an npm package brings, and a version."""

    path: str
    version: str


def by_npm(name: str, package: str, project: Project | None = None) -> InNpmPackage | None:
    """A program of an npm package: the project's own, else one on PATH, else the one kept for this program.

    Nothing of the project is run to learn its version: its package says it, the others say it themselves.
    """
    *own, kept = node_packages(project)
    for folder in own:
        looked_at(folder / ".bin")
        found, version = shutil.which(name, path=folder / ".bin"), _described_version(folder / package)
        if found and version:
            return InNpmPackage(found, version)
    for found in (shutil.which(name), shutil.which(name, path=kept / ".bin")):
        if found and (stated := _VERSION.search(said(found, "--version"))):
            return InNpmPackage(found, stated[0])
    return None


def looked_at(path: Path) -> None:
    """Tell whoever watches what this program goes by that it looks at a path which it does not open."""
    sys.audit(LOOKED_AT, str(path))


def _described_version(package: Path) -> str:
    """The version in a package's description, which others wrote; "" where there is none that can be believed."""
    path = package / "package.json"
    try:
        with plain_files.opened(path) as file:
            text = b"".join(plain_files.chunks(file, str(path), _LARGEST_DESCRIPTION))
        version = msgspec.json.decode(text, type=_Described).version
    except (PackageError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return version if _VERSION.fullmatch(version) else ""


class _Described(msgspec.Struct):
    version: str


class InDistribution(NamedTuple):
    """A file that an installed PyPI package brings, and the package's version."""

    path: Path
    version: str


def in_distribution(name: str, file: str = "") -> InDistribution | None:
    """A file of an installed package, relative to where packages are; None where one of the two is not there.

    Found by its folder of metadata: importing `importlib.metadata` takes longer than recognising an unchanged project.
    """
    spelled = name.replace("-", "_").lower()
    for place in filter(None, sys.path):
        for folder in Path(place).glob(f"{spelled}-*.dist-info"):
            path = Path(place, file)
            looked_at(path)
            if path.exists():
                return InDistribution(path, folder.name.removesuffix(".dist-info").rpartition("-")[2])
    return None


def pypi_package(name: str, *requirements: str) -> MissingTool:
    """A tool that is not here, and that pip installs."""
    words = (sys.executable, "-P", "-m", "pip", "install", *requirements)
    return MissingTool(name=name, install=f"pip install {shlex.join(requirements)}", registry="PyPI", command=words)


def npm_package(name: str, *requirements: str) -> MissingTool:
    """A tool that is not here, and that npm installs: for this program, which changes nothing of the project."""
    words = ("npm", "install", "--prefix", str(paths.cache_dir("npm")), *requirements)
    return MissingTool(name=name, install=shlex.join(words), registry="npm", command=words)


def said(
    *words: str,
    depends_on: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    lasting: Callable[[str], bool] = lambda _answer: True,
) -> str:
    """What a tool prints when asked, or nothing where it cannot be asked or fails.

    The answer is kept, if it is a `lasting` one, for as long as PATH, the program, and the files that it `depends_on`
    are unchanged. It is asked outside of any project, whose files could have it fetch or run another.
    """
    key = _key(words, depends_on)
    return remembered(key, lambda: _asked(words, environment), lasting)


def remembered(key: str, ask: Callable[[], str], lasting: Callable[[str], bool] = lambda _answer: True) -> str:
    """The answer that is kept under a key, else the one that `ask` gives, which is kept if it is a `lasting` one."""
    answers = _answers()
    if key in answers:
        return answers[key]
    answer = ask()
    if lasting(answer):
        _keep(answers | {key: answer})
    return answer


def _asked(words: Sequence[str], environment: Mapping[str, str] | None) -> str:
    asked_in = {**os.environ, **(environment or {})}
    try:
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=_TIMEOUT, cwd=_OUTSIDE_OF_PROJECTS, env=asked_in
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return ""
    return ended.stdout.strip()[:_LONGEST_ANSWER] if ended.returncode == 0 else ""


def _key(words: Sequence[str], depends_on: Sequence[Path]) -> str:
    program = shutil.which(words[0]) or words[0]
    states = [state(Path(program)), *map(state, depends_on)]
    facts = [words, states, os.environ.get("PATH", "")]
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def state(path: Path) -> tuple[str, int, int, int, int]:
    """What changes when a file is replaced or written to; a link counts by what it leads to."""
    looked_at(path)
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0, 0, 0
    return os.path.realpath(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def answers_file() -> Path:
    """Where answers are kept; an answer in it is the same as long as what it was asked of is."""
    return paths.cache_dir("tools") / _ANSWERS


def _answers() -> dict[str, str]:
    try:
        return msgspec.json.decode(answers_file().read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def _keep(answers: dict[str, str]) -> None:
    latest = dict(list(answers.items())[-_MOST_ANSWERS:])
    paths.write_atomically(answers_file(), msgspec.json.encode(latest))
