"""The Keep's image, as the backends whose Keeps are virtual machines boot it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


def find() -> image.Image:
    """The image of this version. Raises KeepError."""
    from enarx_image import build, pins  # which are heavy, and of no use where no Keep is started
    from enarx_image.errors import ImageError

    try:
        return build.find(paths.cache_dir("image"), pins.load())
    except ImageError as error:
        raise KeepError(f"the Keep's image: {error}", hint=error.hint) from error


def memory(launch: Launch) -> int:
    """Bytes of the machine of a Keep."""
    return BASE_MEMORY + (launch.memory_bytes or UNKNOWN_WORKLOAD)


@contextmanager
def bootable(found: image.Image) -> Iterator[qemu.Boot]:
    """The parts of an image in sealed memory, where they have the digests that were recorded. Raises KeepError."""
    from enarx_image import image, measurement
    from enarx_image.errors import ImageError

    with ExitStack() as opened:
        descriptors = {}
        for name, path, part in (
            ("kernel", found.kernel, found.record.kernel),
            ("initrd", found.initrd, found.record.initrd),
        ):
            try:
                content = image.content(path)
                descriptor = qemu.sealed(content, name)
            except (OSError, ImageError) as error:
                raise KeepError(f"{path}: {error}") from error
            opened.callback(os.close, descriptor)
            if measurement.sha256(content) != part.sha256:
                raise KeepError(f"{path} was changed while it was read", hint="`enarx-deploy image verify` says how")
            descriptors[name] = descriptor
        yield qemu.Boot(descriptors["kernel"], descriptors["initrd"], found.cmdline)
