"""The image boots, in a machine without KVM and without hardware protection, and what its Keep can do there.

Another program stands in the Keep's place and tells: the kernel unpacks a second archive over the image's own, which
makes another image to whoever measures it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests import qemu

from enarx_image import cpio

pytestmark = pytest.mark.timeout(900)  # whichever test comes first waits for the image
_ATTEMPTS = 2  # emulation has been seen to hang in one boot of a few hundred
_SECONDS = 120.0
_LOG, _SALLYPORT = "org.enarx.log.0", "org.enarx.sallyport.0"
_PROBE = Path(__file__).with_name("probe.py")


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


@pytest.fixture(scope="module")
def booted(image, tmp_path_factory) -> Boot:
    folder = tmp_path_factory.mktemp("boot")
    initrd = image.initrd.read_bytes()
    more = cpio.archive([cpio.file("usr/lib/keep/enarx_keep/life.py", _PROBE.read_bytes(), "")])
    (folder / "initrd").write_bytes(initrd + bytes(-len(initrd) % 4) + more)
    command = [qemu.program(), "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1"]
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


def test_the_machine_gets_ready_starts_a_keep_and_switches_itself_off(booted):
    assert "keep: ready; without sev-guest, tdx-guest" in booted.log
    assert "keep: the Keep ended with status" in booted.log
    assert booted.status == 0


def test_the_kernel_says_nothing_on_a_serial_console(booted):
    assert booted.serial == ""


def test_the_keep_is_a_user_without_rights(booted):
    assert booted.found["ids"] == [[65534] * 3, [65534] * 3, []]
    assert {value.lstrip("0") for name, value in booted.found["status"].items() if name.startswith("Cap")} == {""}
    assert booted.found["status"]["NoNewPrivs"] == "1"
    assert booted.found["parent"] == 1


def test_everything_is_read_only_and_where_no_hardware_gives_evidence_there_is_nowhere_to_ask(booted):
    assert booted.found["mounts"] == ["/", "/proc", "/sys"]
    assert booted.found["read-only"] == ["/", "/proc", "/sys"]


def test_there_are_no_devices_and_no_network_beside_the_ports(booted):
    assert booted.found["devices"] == ["console", "log", "null", "sallyport"]
    assert booted.found["interfaces"] == ["lo"]
    assert booted.found["modules"] == ["configfs", "tsm"]


def test_what_would_change_the_machine_is_refused(booted):
    attempts = booted.found["attempts"]
    assert [what for what, answer in attempts.items() if answer == "done"] == []
    assert attempts["write a file"] == "Read-only file system"
    assert attempts["load a module"] == "Operation not permitted"
