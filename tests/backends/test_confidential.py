"""How confidential guests are launched: every byte of what QEMU is told, and the firmware by its digest."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest

from enarx_backends import firmware
from enarx_backends.confidential import SnpLaunch, snp, tdx
from enarx_deploy.errors import KeepError
from enarx_measurement import guest_policy

PACKAGE = bytes.fromhex("ab" * 32)
MEMORY = 512 << 20


def objects(options: tuple[str, ...]) -> dict[str, dict]:
    """The objects that QEMU is to make, by their type."""
    said = [json.loads(value) for name, value in pairwise(options) if name == "-object"]
    return {one["qom-type"]: one for one in said}


def test_an_snp_guest_is_bound_to_its_package_and_its_kernel_is_measured():
    made = snp(SnpLaunch(cbit=51, policy=guest_policy(), cpu="EPYC-v4", host_data=PACKAGE), "/ovmf.fd", MEMORY)
    guest = objects(made.options)["sev-snp-guest"]
    assert base64.b64decode(guest["host-data"]) == PACKAGE
    assert guest["kernel-hashes"] is True
    assert (guest["cbitpos"], guest["reduced-phys-bits"], guest["policy"]) == (51, 1, 0x20133)
    assert "id-block" not in guest
    assert f"confidential-guest-support={guest['id']}" in made.machine.split(",")
    assert made.options[-2:] == ("-bios", "/ovmf.fd")


def test_an_snp_guest_whose_image_is_signed_carries_block_and_proof():
    launch = SnpLaunch(51, 0x20133, "EPYC-v4", PACKAGE, id_block=b"b" * 96, id_auth=b"a" * 4096, author_key=True)
    guest = objects(snp(launch, "/ovmf.fd", MEMORY).options)["sev-snp-guest"]
    assert base64.b64decode(guest["id-block"]) == b"b" * 96
    assert base64.b64decode(guest["id-auth"]) == b"a" * 4096
    assert guest["author-key-enabled"] is True


def test_a_domain_is_bound_to_its_package_with_zeros_behind_it():
    made = tdx(PACKAGE, "/tdvf.fd", MEMORY, "/run/qgs.socket")
    guest = objects(made.options)["tdx-guest"]
    assert base64.b64decode(guest["mrconfigid"]) == PACKAGE + bytes(16)
    assert guest["sept-ve-disable"] is True
    assert guest["quote-generation-socket"] == {"type": "unix", "path": "/run/qgs.socket"}
    assert f"confidential-guest-support={guest['id']}" in made.machine.split(",")


@pytest.mark.parametrize("made", [snp(SnpLaunch(51, 0, "x", PACKAGE), "/f", MEMORY), tdx(PACKAGE, "/f", MEMORY, "/s")])
def test_its_memory_can_be_given_up_to_the_guest(made):
    memory = objects(made.options)["memory-backend-memfd"]
    assert (memory["size"], memory["share"]) == (MEMORY, True)
    assert f"memory-backend={memory['id']}" in made.machine.split(",")


def test_no_value_becomes_an_option_of_its_own():
    """A socket's path with a comma stays one value."""
    made = tdx(PACKAGE, "/tdvf.fd", MEMORY, "/run/a,b=c")
    assert objects(made.options)["tdx-guest"]["quote-generation-socket"]["path"] == "/run/a,b=c"


def test_what_is_longer_than_its_field_is_refused():
    with pytest.raises(ValueError, match="33 bytes"):
        snp(SnpLaunch(51, 0, "x", bytes(33)), "/f", MEMORY)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where this user keeps firmware; the system has none."""
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(firmware, "INSTALLED", tmp_path / "installed")
    return firmware.places("snp")[0]


def test_a_firmware_of_the_pinned_digest_is_taken(place, monkeypatch):
    place.write_bytes(b"firmware")
    pin = firmware.Pin(place.name, hashlib.sha256(b"firmware").hexdigest(), "a package")
    monkeypatch.setattr(firmware, "pin", lambda _: pin)
    assert firmware.find("snp") == place


def test_another_firmware_is_refused_by_name_and_digest(place):
    place.write_bytes(b"another firmware")
    with pytest.raises(KeepError) as caught:
        firmware.find("snp")
    said = str(caught.value)
    assert str(place) in said
    assert hashlib.sha256(b"another firmware").hexdigest() in said
    assert firmware.pin("snp").sha256 in said
    assert "ovmf-amdsev" in caught.value.hint


def test_without_a_firmware_it_is_said_where_it_is_to_be_had(place):
    with pytest.raises(KeepError, match="there is none") as caught:
        firmware.find("tdx")
    assert "ovmf-inteltdx" in caught.value.hint
