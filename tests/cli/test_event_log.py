"""`image event-log`: what is no log, or there is no image for, is refused."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import msgspec
from tests import small_image


def log(*events: tuple[int, bytes]) -> bytes:
    """A log (CCEL) of what was measured: the register as a log counts, and the content."""
    said = b"Spec ID Event03\0" + bytes(4) + bytes([0, 2, 0, 2]) + struct.pack("<IHH", 1, 0x0C, 48) + b"\0"
    made = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(said)) + said
    for register, content in events:
        made += struct.pack("<IIIH", register, 6, 1, 0x0C) + hashlib.sha384(content).digest() + bytes(4)
    return made


def extended(*contents: bytes) -> str:
    """A register that begins with zeros, and into which these were measured one after the other."""
    register = bytes(48)
    for content in contents:
        register = hashlib.sha384(register + hashlib.sha384(content).digest()).digest()
    return register.hex()


def test_the_registers_of_a_launch_are_worked_out_from_its_log_and_the_log_is_kept(enarx_deploy):
    folder = Path(enarx_deploy.directory) / "image"
    folder.mkdir()
    (folder / "image.json").write_bytes(msgspec.json.encode(small_image.write(folder)))
    launch = log((1, b"a table"), (2, b"kernel"), (2, b"leaving"), (3, b"words"), (3, b"initramfs"))
    (enarx_deploy.directory / "ccel").write_bytes(launch + b"\xff" * 64)
    told = json.loads(enarx_deploy("--json", "image", "event-log", "ccel", "image").stdout)
    assert (told["rtmr1"], told["rtmr2"]) == (extended(b"kernel", b"leaving"), extended(b"words", b"initramfs"))
    assert Path(told["file"]).read_bytes().startswith(launch)
    (folder / "initrd").write_bytes(b"initramft")
    refused = enarx_deploy("image", "event-log", "ccel", "image")
    assert refused.returncode == 2
    assert "another initramfs than this image's" in refused.stderr


def test_without_an_image_it_says_how_to_make_one(enarx_deploy):
    (enarx_deploy.directory / "log").write_bytes(b"not a log")
    ended = enarx_deploy("image", "event-log", "log")
    assert ended.returncode == 2
    assert "image build" in ended.stderr


def test_a_log_that_is_not_there_is_named(enarx_deploy):
    ended = enarx_deploy("image", "event-log", "absent")
    assert ended.returncode == 2
    assert "absent: No such file" in ended.stderr
