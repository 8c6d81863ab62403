"""The layer with this program and what it depends on, as they are installed here, without caches, tests or scripts."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

from enarx_deploy.errors import UsageError
from enarx_kubernetes.image import bytecode
from enarx_kubernetes.image.layer import Entry, File

PLACE = "/opt/enarx-deploy"
"""Where the layer's packages are, for PYTHONPATH."""

ROOMS = (
    "enarx_deploy",
    "enarx_sallyport",
    "enarx_keep",
    "enarx_attestation",
    "enarx_collateral",
    "enarx_toml",
    "enarx_files",
    "enarx_service",
    "enarx_drawbridge",
    "enarx_signing",
    "enarx_steward",
    "enarx_backends",
    "enarx_issuers",
)
"""What of this program runs in a cluster: host process, Keep, and Steward. Compilers and registries do not."""

_GROUP, _IN_PODS = "enarx_deploy", "enarx_deploy.pod"
_PLUGINS = ("nil", "steward")
_DISTRIBUTION = "enarx-deploy"
_OF_STEWARDS = ("psycopg", "psycopg-binary", "python-pkcs11")  # database and token, where they are installed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|tests?)/|\.(pyc|pyi|pyx|pxd)$|^\.\./|(^|/)(RECORD|INSTALLER|direct_url\.json)$"
)
_NOT_NEEDED = {"tomlkit", "watchfiles", "rich", "cyclonedx-python-lib"}  # for terminals, editors and packaging
_NOT_OF_KEEPS = {"sqlalchemy", "starlette", "uvicorn", "pyjwt"}

SERVING = f"{PLACE}/serving.py"
STEWARD_STATE = f"{PLACE}/steward_state.py"
"""What pods run beside the program itself."""


def entries(*, steward: bool = False) -> dict[str, Entry]:
    """The layer's entries, for a Keep's host process or for a Steward.

    Raises UsageError where something that is needed is not installed.
    """
    made = sources(steward=steward)
    return made | bytecode.beside(made)


def sources(*, steward: bool = False) -> dict[str, Entry]:
    """The same without what is compiled of them."""
    made: dict[str, Entry] = {}
    for room in ROOMS:
        made |= {f"{PLACE}/{room}/{path}": File(file) for path, file in _package(room)}
    made |= {f"{PLACE}/{path}": File(content) for path, content in own_metadata()}
    for distribution in _closure(steward=steward):
        made |= {f"{PLACE}/{path}": File(file) for path, file in _files(distribution)}
    made |= {place: File(Path(__file__).with_name(Path(place).name)) for place in (SERVING, STEWARD_STATE)}
    return made


def _package(name: str) -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{name} is not installed whole", hint="install enarx-deploy again")
    root = Path(next(iter(spec.submodule_search_locations)))
    for file in sorted(root.rglob("*")):
        path = str(file.relative_to(root))
        if file.is_file() and not _LEFT_OUT.search(path):
            yield path, file


def own_metadata() -> Iterator[tuple[str, bytes]]:
    """What lets the program find its plugins, for those that are of use in a pod."""
    distribution = importlib.metadata.distribution(_DISTRIBUTION)
    place = f"enarx_deploy-{distribution.version}.dist-info"
    yield (
        f"{place}/METADATA",
        f"Metadata-Version: 2.1\nName: {_DISTRIBUTION}\nVersion: {distribution.version}\n".encode(),
    )
    points = distribution.entry_points
    taken = [one for one in points if one.group == _IN_PODS or (one.group == _GROUP and one.name in _PLUGINS)]
    kept = sorted(f"{one.name} = {one.value}" for one in taken)
    yield f"{place}/entry_points.txt", "\n".join([f"[{_GROUP}]", *kept, ""]).encode()


def _closure(*, steward: bool) -> list[Distribution]:
    """What is depended on, directly or not. What a marker leaves out is not installed, and so not there."""
    found: dict[str, Distribution] = {}
    left_out = _NOT_NEEDED if steward else _NOT_NEEDED | _NOT_OF_KEEPS
    waiting = [*_required(importlib.metadata.distribution(_DISTRIBUTION)), *(_OF_STEWARDS if steward else ())]
    while waiting:
        name = waiting.pop()
        if name in found or name in left_out:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except PackageNotFoundError:
            continue
        waiting += _required(found[name])
    return [found[name] for name in sorted(found)]


def _required(distribution: Distribution) -> list[str]:
    names = []
    for requirement in distribution.requires or ():
        name = _NAME.match(requirement)
        if name and "extra ==" not in requirement:
            names.append(re.sub(r"[-_.]+", "-", name[0]).lower())
    return names


def _files(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    for file in sorted(distribution.files or (), key=str):
        path = Path(str(distribution.locate_file(file)))
        if not _LEFT_OUT.search(str(file)) and path.is_file():
            yield str(file), path
