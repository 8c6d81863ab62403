"""The image boots, in a machine without KVM and without hardware protection."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from tests import qemu

_ATTEMPTS = 2  # emulation has been seen to hang in one boot of a few hundred
_SECONDS = 120.0
PORTS = ("org.enarx.log.0", "org.enarx.sallyport.0")


class Boot(NamedTuple):
    """A machine that has ended: QEMU's exit status, and what came by each port and by the serial console."""

    status: int
    by_port: dict[str, str]
    serial: str


def boot(image, folder: Path) -> Boot:
    """Start a machine and wait for its end."""
    command = [qemu.program(), "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1"]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{folder}/serial"]
    command += ["-kernel", image.kernel, "-initrd", image.initrd, "-append", image.cmdline]
    command += ["-device", "virtio-serial-pci"]
    for number, port in enumerate(PORTS):
        command += ["-chardev", f"file,id=c{number},path={folder / port}"]
        command += ["-device", f"virtserialport,chardev=c{number},name={port}"]
    for attempt in range(_ATTEMPTS):
        try:
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False)
            break
        except subprocess.TimeoutExpired:
            if attempt + 1 == _ATTEMPTS:
                raise
    told = {port: (folder / port).read_text(errors="replace") for port in PORTS}
    return Boot(ended.returncode, told, (folder / "serial").read_text(errors="replace"))


@pytest.fixture(scope="module")
def booted(image, tmp_path_factory) -> Boot:
    return boot(image, tmp_path_factory.mktemp("boot"))


def test_the_machine_gets_ready_and_starts_a_keep(booted):
    log = booted.by_port["org.enarx.log.0"]
    assert "keep: ready; without sev-guest, tdx-guest" in log
    assert "keep: the Keep ended with status" in log


def test_the_machine_switches_itself_off(booted):
    assert booted.status == 0


def test_the_kernel_says_nothing_on_a_serial_console(booted):
    assert booted.serial == ""
