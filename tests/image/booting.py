"""Boots the image with a second archive over its own, which makes another image to whoever measures it; emulated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests import qemu

from enarx_image import cpio
from enarx_image.image import Image

_ATTEMPTS = 2  # emulation has been seen to hang in one boot of a few hundred
_SECONDS = 120.0
_LOG, _SALLYPORT = "org.enarx.log.0", "org.enarx.sallyport.0"


class Boot(NamedTuple):
    """A machine that has ended: QEMU's exit status, what came by the log's port and by the serial console."""

    status: int
    log: str
    serial: str

    @property
    def found(self) -> dict[str, Any]:
        """What the probe found."""
        (line,) = [line for line in self.log.splitlines() if line.startswith("found ")]
        return dict(json.loads(line.removeprefix("found ")))


def booted_with(image: Image, added: Iterable[cpio.Entry], folder: Path) -> Boot:
    """The machine's end, once it has booted with these files beside the image's, or in the place of its own."""
    initrd = image.initrd.read_bytes()
    (folder / "initrd").write_bytes(initrd + bytes(-len(initrd) % 4) + cpio.archive(added))
    command: list[str | Path] = [qemu.program(), "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1"]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{folder}/serial"]
    command += ["-kernel", image.kernel, "-initrd", folder / "initrd", "-append", image.cmdline]
    command += ["-device", "virtio-serial-pci"]
    for port in (_LOG, _SALLYPORT):
        command += ["-chardev", f"file,id={port},path={folder / port}"]
        command += ["-device", f"virtserialport,chardev={port},name={port}"]
    return Boot(_run(command), (folder / _LOG).read_text(errors="replace"), (folder / "serial").read_text())


def _run(command: list[str | Path]) -> int:
    for _ in range(_ATTEMPTS - 1):
        try:
            return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired:
            continue
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False).returncode
