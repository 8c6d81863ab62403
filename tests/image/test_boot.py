"""The image boots, in a machine without KVM and without hardware protection, and what its Keep can do there.

Another program stands in the Keep's place and tells: the kernel unpacks a second archive over the image's own, which
makes another image to whoever measures it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.image.booting import Boot, booted_with

from enarx_image import cpio

pytestmark = pytest.mark.timeout(900)  # whichever test comes first waits for the image
_PROBE = Path(__file__).with_name("probe.py")


@pytest.fixture(scope="module")
def booted(image, tmp_path_factory) -> Boot:
    probe = cpio.file("usr/lib/keep/enarx_keep/life.py", _PROBE.read_bytes(), "")
    return booted_with(image, [probe], tmp_path_factory.mktemp("boot"))


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
