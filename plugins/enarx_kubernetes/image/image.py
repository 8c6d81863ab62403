"""The image of a Keep: an interpreter, this program, and one package; and that of a Steward, without the last."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enarx_deploy.errors import UsageError
from enarx_deploy.models import Package
from enarx_kubernetes.image import base, runtime
from enarx_kubernetes.image.layer import Entry, File, Layer

PACKAGES = "/packages"
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"PYTHONPATH={runtime.PLACE}",
    "PYTHONDONTWRITEBYTECODE=1",
    "PYTHONUNBUFFERED=1",
    "HOME=/run/enarx",
)
KEEP = ("python3", "-m", "enarx_deploy.host.pod")
"""What the image of a Keep runs, before the arguments of the pod."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """Layers from the bottom up, on top of `base` (a reference, or "" where the first layer is the bottom)."""

    layers: tuple[Layer, ...]
    configuration: dict[str, Any] = field(default_factory=dict)
    base: str = ""


def of_keep(package: Package, base_image: str) -> Image:
    """Runs `python -m enarx_deploy.host.pod`. Raises UsageError."""
    return _image((*_below(base_image, steward=False), Layer(_package(package))), base_image, KEEP)


def of_steward(base_image: str) -> Image:
    """Runs `python -m enarx_steward`. Raises UsageError."""
    return _image(_below(base_image, steward=True), base_image, ("python3", "-m", "enarx_steward"))


def _below(base_image: str, *, steward: bool) -> tuple[Layer, ...]:
    program = runtime.entries(steward=steward)
    if base_image:
        return (Layer(program),)
    libraries = [
        one.content
        for one in program.values()
        if isinstance(one, File) and isinstance(one.content, Path) and ".so" in one.content.name
    ]
    return (Layer(base.entries(libraries)), Layer(program))


def _package(package: Package) -> dict[str, Entry]:
    """The tree as a store has it, and what is said of the package beside it."""
    root = Path(package.root)
    place = f"{PACKAGES}/{package.digest.removeprefix('sha256:')}"
    made: dict[str, Entry] = {f"{place}/{file.path}": File(root / file.path) for file in package.files}
    beside = root.with_name(f"{root.name}.attachments")
    if beside.is_dir() and not beside.is_symlink():
        made |= {f"{place}.attachments/{one.name}": File(one) for one in sorted(beside.iterdir()) if one.is_file()}
    return made


def _image(layers: tuple[Layer, ...], base_image: str, program: tuple[str, ...]) -> Image:
    return Image(
        layers,
        {
            "created": "1970-01-01T00:00:00Z",
            "architecture": _architecture(),
            "os": "linux",
            "config": {
                "User": f"{base.USER}:{base.USER}",
                "Env": list(ENVIRONMENT),
                "Entrypoint": list(program),
                "WorkingDir": "/",
            },
        },
        base_image,
    )


def _architecture() -> str:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise UsageError(f"no image can be built on {machine}", hint=f"build on one of {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[machine]
