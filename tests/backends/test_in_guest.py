"""Keeps that are processes of a protected guest: where nothing vouches for them, none is started."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from enarx_backends.in_guest import InGuest
from enarx_deploy.errors import KeepError
from enarx_deploy.protocols import Attests, Launch
from enarx_keep.attester.machine import Machine

LAUNCH = Launch(block_fd=-1, doorbell_fd=-1, stderr_fd=2, package_digest=f"sha256:{'a1' * 32}", module_sha256="")


def machine(root: Path, *devices: str, **given: Any) -> Machine:
    for device in devices:
        (root / device).parent.mkdir(parents=True, exist_ok=True)
        (root / device).touch()
    return Machine(root, **given)


@pytest.mark.parametrize("kind", ["snp", "tdx"])
def test_without_an_attester_no_keep_starts_and_what_was_looked_for_is_said(kind: str, tmp_path: Path) -> None:
    with pytest.raises(KeepError, match=f"no {kind} guest vouches for this Keep") as caught:
        InGuest(kind, machine(tmp_path)).start(LAUNCH)
    for looked_for in ("configfs-tsm: /sys/kernel/config/tsm/report", "/dev/sev-guest", "/dev/tdx_guest"):
        assert looked_for in str(caught.value)
    assert "RuntimeClass" in caught.value.hint


@pytest.mark.parametrize(("asked", "there"), [("snp", "dev/tdx_guest"), ("tdx", "dev/sev-guest")])
def test_a_guest_of_another_kind_is_no_guest_of_this_one(asked: str, there: str, tmp_path: Path) -> None:
    with pytest.raises(KeepError, match=f"no {asked} guest"):
        InGuest(asked, machine(tmp_path, there)).start(LAUNCH)


def test_an_attester_that_fails_is_none(tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(KeepError, match="the guest does not attest the Keep: /dev/sev-guest"):
        InGuest("snp", machine(tmp_path, "dev/sev-guest", ioctl=refused)).attest(bytes(64))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_what_is_no_report_data_is_not_attested(size: int, tmp_path: Path) -> None:
    with pytest.raises(KeepError, match=f"wants {size} bytes attested"):
        InGuest("snp", machine(tmp_path, "dev/sev-guest")).attest(bytes(size))


def test_it_is_looked_at_check_by_check(tmp_path: Path) -> None:
    lacking = {check.name: check for check in InGuest("snp", machine(tmp_path)).probe().checks}
    assert not lacking["attester"].ok
    found = InGuest("snp", machine(tmp_path, "dev/sev-guest")).probe()
    assert {check.name: check.detail for check in found.checks}["attester"] == "/dev/sev-guest"
    assert found.hardware


def test_it_attests_for_its_keeps() -> None:
    assert isinstance(InGuest("snp"), Attests)
