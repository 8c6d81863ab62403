"""The backends snp and tdx, as far as a machine without the hardware goes: what they need, measure and would start."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import msgspec
import pytest
from tests import small_image

from enarx_backends import firmware
from enarx_backends.snp import Signed, Snp, signature
from enarx_backends.tdx import Tdx, log_place
from enarx_deploy.errors import KeepError
from enarx_deploy.machine import Machine
from enarx_deploy.models import Package
from enarx_deploy.testing import BackendConformance
from enarx_image.image import Image
from enarx_measurement import guest_policy, id_block

DIGEST = "sha256:" + "ab" * 32
PACKAGE = Package(digest=DIGEST, root="", size=0, files=[])


class TestSnp(BackendConformance):
    backend = Snp()


class TestTdx(BackendConformance):
    backend = Tdx()


@pytest.fixture
def image(tmp_path) -> Image:
    """An image of three small parts."""
    return Image(tmp_path, small_image.write(tmp_path), "quiet")


def amd(root: Path, cbit: int = 51) -> Machine:
    """A processor whose CPUID says where its C-bit is."""
    leaves = {0x8000_0000: (0x8000_001F, 0, 0, 0), 0x8000_001F: (0b11111, cbit | 5 << 6, 509, 100)}
    return Machine(root, cpuid=lambda leaf, _: struct.pack("<4I", *leaves.get(leaf, (0, 0, 0, 0))))


def object_of(options: tuple[str, ...], kind: str) -> dict:
    return next(one for one in map(json.loads, filter(lambda o: o.startswith("{"), options)) if one["qom-type"] == kind)


def test_enarxs_name_for_snp_is_the_same_backend(enarx_deploy):
    shown = {name: json.loads(enarx_deploy("platform", name, "--json").stdout) for name in ("snp", "sev")}
    assert shown["snp"] == shown["sev"]
    assert shown["sev"][0]["backend"] == "snp"


@pytest.mark.parametrize("name", ["snp", "sev", "tdx", "sgx"])
def test_a_machine_without_the_hardware_starts_nothing_weaker_in_its_place(enarx_deploy, name):
    (enarx_deploy.directory / "main.wat").write_text('(module (memory (export "memory") 1) (func (export "_start")))')
    ended = enarx_deploy("up", "--backend", name)
    assert ended.returncode == 1
    assert "cannot be used on this machine" in ended.stderr
    assert json.loads(enarx_deploy("keeps", "--json").stdout) == []


@pytest.mark.parametrize(("name", "lacks"), [("snp", "OVMF.amdsev.fd"), ("tdx", "OVMF.inteltdx.ms.fd")])
def test_measuring_lacks_no_hardware_and_only_what_is_measured(enarx_deploy, image, name, lacks):
    folder = Path(enarx_deploy.directory)
    (folder / "main.wat").write_text('(module (memory (export "memory") 1) (func (export "_start")))')
    (image.folder / "image.json").write_bytes(msgspec.json.encode(image.record))
    ended = enarx_deploy("attest", "--backend", name, "--image", str(image.folder))
    if (firmware.INSTALLED / lacks).exists():
        pytest.skip(f"{lacks} is installed")
    assert ended.returncode == 1
    assert f"the firmware of {name} Keeps, {lacks} of the digest" in ended.stderr


def test_a_guests_c_bit_is_its_processors(image, tmp_path):
    guest = Snp(amd(tmp_path, cbit=47)).guest(bytes.fromhex("ab" * 32), image, "/bios", 512 << 20)
    said = object_of(guest.options, "sev-snp-guest")
    assert said["cbitpos"] == 47
    assert base64.b64decode(said["host-data"]).hex() == "ab" * 32


def test_without_cpuid_no_guess_is_made(image, tmp_path):
    with pytest.raises(KeepError, match="C-bit") as caught:
        Snp(Machine(tmp_path)).guest(bytes(32), image, "/bios", 512 << 20)
    assert "cpuid" in caught.value.hint


def test_the_owners_word_goes_to_the_firmware(image, tmp_path):
    block = signed(image, guest_policy())
    said = object_of(Snp(amd(tmp_path)).guest(bytes(32), image, "/bios", 1 << 29).options, "sev-snp-guest")
    assert base64.b64decode(said["id-block"]) == block
    assert said["author-key-enabled"] is True
    assert said["policy"] == guest_policy()


def signed(image: Image, policy: int) -> bytes:
    """An image whose owner signed it, with an author; answers the ID block."""
    block = id_block(b"\x01" * 48, policy=policy)
    sev = {"id_block": list(block), "id_auth": [0] * 1664 + [2] * 2432}
    (image.folder / "image.sig").write_text(json.dumps({"version": "1", "sev": sev, "sgx": []}))
    return block


def test_a_guest_has_the_policy_of_its_owners_word_or_the_firmware_would_not_start_it(image, tmp_path):
    signed(image, guest_policy("smt"))
    said = object_of(Snp(amd(tmp_path)).guest(bytes(32), image, "/bios", 1 << 29).options, "sev-snp-guest")
    assert said["policy"] == guest_policy("smt")


@pytest.mark.parametrize("more", ["debug", "migrate_ma", "cxl"])
def test_an_owners_word_that_gives_the_host_more_starts_nothing(image, tmp_path, more):
    signed(image, guest_policy(more))
    with pytest.raises(KeepError, match="asks for the guest policy") as caught:
        Snp(amd(tmp_path)).guest(bytes(32), image, "/bios", 1 << 29)
    assert "--allow-smt" in caught.value.hint


def test_an_image_that_nobody_signed_has_no_id_block(tmp_path):
    assert signature(tmp_path / "absent") == Signed()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"sev": 1}',
        '{"sev": {"id_block": [256], "id_auth": []}}',
        '{"sev": {"id_block": [1], "id_auth": [1]}}',
    ],
    ids=["empty", "a-list", "no-table", "no-bytes", "other-sizes"],
)
def test_a_damaged_signature_starts_nothing(tmp_path, content):
    (tmp_path / "image.sig").write_text(content)
    with pytest.raises(KeepError, match=r"image\.sig"):
        signature(tmp_path / "image.sig")


def test_firmware_that_changes_after_it_was_found_boots_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path))
    path = firmware.places("snp")[0]
    path.write_bytes(b"another")
    monkeypatch.setattr(firmware, "find", lambda _: path)  # as if it had been whole a moment ago
    with pytest.raises(KeepError, match="was changed while it was read"):
        firmware.content("snp")


def test_tdx_measures_nothing_without_the_event_log_of_a_launch(image, tmp_path, monkeypatch):
    """A policy that left the registers open would accept any kernel."""
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(KeepError, match="is not known") as caught:
        Tdx().reference_values(PACKAGE, image, tmp_path / "bios")
    assert "image event-log" in caught.value.hint
    log_place(image).write_bytes(b"not a log")
    with pytest.raises(KeepError, match="cannot be read"):
        Tdx().reference_values(PACKAGE, image, tmp_path / "bios")


def test_snp_measures_on_a_machine_without_it(image):
    """Whoever packages need not have the hardware."""
    bios = Path(__file__).parents[1] / "measurement/known_answers/ovmf-amdsev-suffix.bin"
    values = Snp().reference_values(PACKAGE, image, bios)
    assert values.hardware is True
    assert values.policy["snp"]["packages"] == [DIGEST]
    assert values.policy["snp"]["measured_package"] is True
    assert len(values.policy["snp"]["measurements"]) == 2
    assert values.measurements["firmware"] == firmware.digest(bios)
