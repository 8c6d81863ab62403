"""SEV-SNP's structures and launch digests, against what programs of others make of the same keys and firmware."""

from __future__ import annotations

import base64
import hashlib
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from enarx_measurement import (
    Image,
    MeasurementFault,
    Shape,
    guest_policy,
    id_auth,
    id_block,
    launch_digests,
    load_sev,
    sev_digest,
    shapes,
    sign_id_key,
)
from enarx_measurement.snp_structures import public_key, sign

ANSWERS = Path(__file__).parent / "known_answers"
NOTHING = Path("/dev/null")
FIRMWARE = ANSWERS / "ovmf-amdsev-suffix.bin"


@pytest.fixture
def keys(tmp_path):
    """Keys of `known_answers`, where only their owner can read them."""

    def load(name: str):
        path = tmp_path / name
        path.write_bytes((ANSWERS / name).read_bytes())
        path.chmod(0o600)
        return load_sev(path)

    return load


# What `enarx key sev digest` says of the keys.
ENARX_DIGESTS = {
    "enarx-sev-id.key": (
        "0ea04f87205f95585f8037850f37104470ac2d79ca42033057fa56926a8ee3f06313f6da3742e2115222d1205ca0a1fe"
    ),
    "enarx-sev-author.key": (
        "0dd83a8c088945ea8577ff94c29ddda82488ddf8b5723299b5b01ef28f10be5388be7af8aa00b06dd9deaeddc74b487a"
    ),
}
# What the crate `sev` says of its own.
VIRTEE_DIGESTS = {
    "virtee-id.key": "WfssaG36T+9J84M5qndckAUcKNVzg93DuvO160sUlt87DbvcuuX+J2d6ZEggdz/i",
    "virtee-author.key": "7tgRafsMteDsNHlPEo/U4MSkb2fGWhrfqB/LJLzAiMJyNpt//D6ytq9qQoShs2xf",
}
# The ID block that Enarx signs in its own tests.
ENARX_BLOCK = bytes.fromhex(
    "ffa5915db811e386a67c50634ad22c494efde1ffec98bd8ac26da29d46db51884f184659be2774795dec36d639dffcec"
    "01000000000000000000000000000000"
    "01000000000000000000000000000000"
    "01000000"
    "01000000"
    "0000030000000000"
)
ENARX_ID_AUTH = "7e94e896e1e17d93235187750a9331fc34908d9b99a938c315816b5336e2612a"
ENARX_BLOCK_SIGNATURE = "dc80c551213c4804a8c9a26373b5b202650533"  # where it begins, as Enarx's test has it
ENARX_ID_KEY_SIGNATURE = "f182658aa64758d510139814e9e5590cba9e46"
ENARX_AUTHOR = "0200000016673bcddff6893961cefa2baef7ffc2"

# Launch digests of the crate `sev` 4.0.0 for its test firmware: vCPUs, features, command line, digest.
VIRTEE_LAUNCHES = [
    (1, 0x1, "console=ttyS0 loglevel=7", ("6d287813eb5222d770f75005c664e34c204f385ce832cc2c"
        "e7d0d6f354454362f390ef83a92046c042e706363b4b08fa")),
    (1, 0x21, "console=ttyS0 loglevel=7", ("803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb2"
        "8c653360fe4b3aba7e534442e7e1e17895dfe778d0228977")),
    (4, 0x1, "", ("5061fffb019493a903613d56d54b94912a1a2f9e4502385f"
        "5c194616753720a92441310ba6c4933de877c36e23046ad5")),
    (4, 0x21, "", ("4953b1fb416fa874980e8442b3706d345926d5f38879134e"
        "00813c5d7abcbe78eafe7b422907be0b4698e2414a631942")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "digest"), ENARX_DIGESTS.items())
def test_a_keys_digest_is_that_of_enarx(keys, name, digest):
    assert sev_digest(keys(name)) == digest


@pytest.mark.parametrize(("name", "digest"), VIRTEE_DIGESTS.items())
def test_a_keys_digest_is_that_of_virtee(keys, name, digest):
    assert bytes.fromhex(sev_digest(keys(name))) == base64.b64decode(digest)


def test_the_id_auth_of_enarxs_test_is_made_byte_for_byte(keys):
    author, id_key = keys("enarx-sev-author.key"), keys("enarx-sev-id.key")
    made = id_auth(ENARX_BLOCK, id_key, sign_id_key(author, id_key.public_key()))
    assert len(made) == 4096
    assert made[:8] == bytes.fromhex("0100000001000000")
    for at, begins in ((64, ENARX_BLOCK_SIGNATURE), (1664, ENARX_ID_KEY_SIGNATURE), (2176, ENARX_AUTHOR)):
        assert made[at:].hex().startswith(begins)
    assert hashlib.sha256(made).hexdigest() == ENARX_ID_AUTH


def test_an_id_block_has_the_fields_of_the_table():
    made = id_block(bytes(range(48)), policy=0x30133, guest_svn=7, family=b"f" * 16, image=b"i" * 16)
    assert made == bytes(range(48)) + b"f" * 16 + b"i" * 16 + struct.pack("<IIQ", 1, 7, 0x30133)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"measurement": bytes(47)}, "measurement"),
        ({"family": bytes(15)}, "family"),
        ({"image": bytes(17)}, "image"),
        ({"guest_svn": 1 << 32}, "out of range"),
        ({"policy": -1}, "out of range"),
    ],
)
def test_an_id_block_with_a_field_of_another_size_is_refused(fields, words):
    with pytest.raises(MeasurementFault, match=words):
        id_block(**({"measurement": bytes(48), "policy": 0} | fields))


def test_the_firmware_finds_the_blocks_signature_good(keys):
    """The signature is taken out of AMD's form and checked as the firmware would."""
    key = keys("virtee-id.key")
    block = id_block(bytes(48), policy=guest_policy())
    signature = sign(key, block)
    r, s = (int.from_bytes(signature[at : at + 72], "little") for at in (0, 72))
    key.public_key().verify(encode_dss_signature(r, s), block, ec.ECDSA(SHA384()))
    assert public_key(key.public_key())[4:76] == key.public_key().public_numbers().x.to_bytes(72, "little")


def test_without_an_author_the_fields_are_zero(keys):
    made = id_auth(ENARX_BLOCK, keys("enarx-sev-id.key"), None)
    assert not any(made[1664:])


@pytest.mark.parametrize("size", [0, 1539, 1541])
def test_an_authors_word_of_another_size_is_refused(keys, size):
    with pytest.raises(MeasurementFault, match="1,540 bytes"):
        id_auth(ENARX_BLOCK, keys("enarx-sev-id.key"), bytes(size))


@pytest.mark.parametrize(("vcpus", "features", "command_line", "digest"), VIRTEE_LAUNCHES)
def test_a_launch_digest_is_that_of_virtee(vcpus, features, command_line, digest):
    shape = Shape(vcpus, "EPYC-v4", features)
    assert launch_digests(Image(FIRMWARE, NOTHING, NOTHING, command_line), [shape]) == {shape: digest}


def test_every_part_and_every_shape_changes_the_digest(tmp_path):
    parts = {name: tmp_path / name for name in ("kernel", "initramfs")}
    for path in parts.values():
        path.write_bytes(b"one")
    image = Image(FIRMWARE, parts["kernel"], parts["initramfs"], "quiet")
    wanted = list(shapes([1, 2], ["EPYC-Milan", "EPYC-Genoa"], [0x1, 0x21]))
    found = launch_digests(image, wanted)
    assert len(set(found.values())) == len(wanted) == 8
    (shape, *_) = wanted
    for path in parts.values():
        path.write_bytes(b"two")
        assert launch_digests(image, [shape])[shape] != found[shape]
        path.write_bytes(b"one")
    assert launch_digests(image._replace(command_line="quiet "), [shape])[shape] != found[shape]
    assert launch_digests(image, [shape])[shape] == found[shape]


def test_a_firmware_that_does_not_measure_the_kernel_is_refused():
    firmware = ANSWERS / "ovmf-without-kernel-hashes-suffix.bin"
    with pytest.raises(MeasurementFault, match="SNP_KERNEL_HASHES") as caught:
        launch_digests(Image(firmware, NOTHING, NOTHING, ""), shapes([1]))
    assert "AmdSev" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not a firmware" * 400], ids=["empty", "no-table"])
def test_what_is_no_firmware_is_refused(tmp_path, content):
    path = tmp_path / "firmware.fd"
    path.write_bytes(content)
    with pytest.raises(MeasurementFault, match=r"firmware\.fd"):
        launch_digests(Image(path, NOTHING, NOTHING, ""), shapes([1]))


def test_a_firmware_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MeasurementFault, match=r"absent\.fd: No such file"):
        launch_digests(Image(tmp_path / "absent.fd", NOTHING, NOTHING, ""), shapes([1]))


def test_a_model_that_qemu_does_not_have_is_refused():
    with pytest.raises(MeasurementFault, match="'486'"):
        launch_digests(Image(FIRMWARE, NOTHING, NOTHING, ""), [Shape(1, "486", 1)])


def test_the_strict_policy_forbids_debugging_and_migration():
    policy = guest_policy()
    assert policy == 0x20133
    assert guest_policy("smt") == 0x30133  # Enarx's
    with pytest.raises(MeasurementFault, match="'nonsense'"):
        guest_policy("nonsense")
