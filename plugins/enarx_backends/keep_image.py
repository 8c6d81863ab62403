"""The Keep's image, as the backends whose Keeps are virtual machines boot it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_backends import qemu
from enarx_deploy import paths
from enarx_deploy.errors import KeepError
from enarx_deploy.protocols import Launch

if TYPE_CHECKING:
    from enarx_image import image

BASE_MEMORY = 320 << 20
"""Bytes of a machine beside what the workload may have: the kernel, the image, the interpreter and the engine."""
UNKNOWN_WORKLOAD = 1 << 30
"""Bytes for a workload whose manifest the host has not seen."""


def find(folder: Path | None) -> image.Image:
    """The image in a folder, or that of this version; its parts are not read. Raises KeepError."""
    from enarx_image import build, pins  # which are heavy, and of no use where no Keep is started
    from enarx_image import image as images

    with _faults():
        return images.look(folder) if folder else build.find(paths.cache_dir("image"), pins.load())


def files(found: image.Image, within: tuple[str, ...], without: tuple[str, ...]) -> dict[str, bytes]:
    """Files of an image by path: those whose paths begin so, and not so. Raises KeepError."""
    from enarx_image import initramfs

    with _faults():
        everything = initramfs.files(found)
    return {
        path: content
        for path, content in everything.items()
        if path.startswith(within) and not path.startswith(without)
    }


def memory(launch: Launch) -> int:
    """Bytes of the machine of a Keep."""
    return BASE_MEMORY + (launch.memory_bytes or UNKNOWN_WORKLOAD)


@contextmanager
def bootable(found: image.Image) -> Iterator[qemu.Boot]:
    """The parts of an image in sealed memory, where they have the digests that were recorded. Raises KeepError.

    Each is read and hashed here, once: what is booted are these bytes, whatever was looked at before.
    """
    from enarx_image import image as images
    from enarx_image import measurement

    with ExitStack() as opened:
        descriptors, digests = {}, {}
        for name, path in ((images.KERNEL, found.kernel), (images.INITRD, found.initrd)):
            try:
                with _faults():
                    content = images.content(path)
                descriptors[name] = qemu.sealed(content, name)
            except OSError as error:
                raise KeepError(f"{path}: {error.strerror}", hint="`enarx-deploy image verify` looks at it") from error
            opened.callback(os.close, descriptors[name])
            digests[name] = measurement.sha256(content)
        with _faults():
            images.require_recorded(found, digests)
        yield qemu.Boot(descriptors[images.KERNEL], descriptors[images.INITRD], found.cmdline)


@contextmanager
def _faults() -> Iterator[None]:
    """Errors of the image's room as those of a Keep that cannot be started."""
    from enarx_image.errors import ImageError

    try:
        yield
    except ImageError as error:
        raise KeepError(f"the Keep's image: {error}", hint=error.hint) from error
