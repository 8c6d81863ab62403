"""`image sign`: the owner's word for a launch digest, in the form of Enarx's signature file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enarx_measurement import guest_policy, id_block

ANSWERS = Path(__file__).parents[1] / "measurement/known_answers"
MEASUREMENT = "ab" * 48


@pytest.fixture
def sign(enarx_deploy):
    """Sign with the keys of Enarx's tests; answers what ended, and the file as bytes."""
    directory = enarx_deploy.directory
    for name in ("enarx-sev-author.key", "enarx-sev-id.key"):
        (directory / name).write_bytes((ANSWERS / name).read_bytes())
        (directory / name).chmod(0o600)

    def sign(*words: str, measurement: str = MEASUREMENT):
        out = directory / "image.sig"
        ended = enarx_deploy(
            "image", "sign", measurement, "--sev-id-key", "enarx-sev-id.key", "--out", str(out), *words
        )
        return ended, out.read_bytes() if ended.returncode == 0 else b""

    sign.run = enarx_deploy
    return sign


def test_a_signature_file_has_the_id_block_and_its_proof_as_lists_of_bytes(sign):
    ended, data = sign("--guest-svn", "3")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(data)
    assert set(found) == {"version", "sev", "sgx"}
    block = id_block(bytes.fromhex(MEASUREMENT), policy=guest_policy(), guest_svn=3)
    assert bytes(found["sev"]["id_block"]) == block
    assert len(found["sev"]["id_auth"]) == 4096
    assert not any(found["sev"]["id_auth"][1664:])  # no author


def test_the_authors_word_is_taken_along(sign):
    words = ("--author-key", "enarx-sev-author.key", "--id-key", "enarx-sev-id.key", "--out", "id.signature")
    assert sign.run("key", "sev", "sign", *words).returncode == 0
    ended, data = sign("--sev-id-key-signature", "id.signature")
    assert ended.returncode == 0, ended.stderr
    word = (sign.run.directory / "id.signature").read_bytes()
    assert bytes(json.loads(data)["sev"]["id_auth"])[1664 : 1664 + len(word)] == word


def test_the_same_image_and_key_give_the_same_bytes(sign):
    assert sign()[1] == sign()[1] != b""


def test_smt_is_allowed_only_when_asked_for(sign):
    policies = {
        int.from_bytes(json.loads(sign(*words)[1])["sev"]["id_block"][88:], "little")
        for words in ((), ("--allow-smt",))
    }
    assert policies == {guest_policy(), guest_policy("smt")}


@pytest.mark.parametrize(
    ("words", "measurement", "message"),
    [
        ((), "ab" * 32, "96 hexadecimal digits"),
        ((), "xy" * 48, "96 hexadecimal digits"),
        (("--sev-id-key-signature", "absent"), MEASUREMENT, "absent"),
        (("--sev-id-key-signature", "enarx-sev-id.key"), MEASUREMENT, "1,540 bytes"),
    ],
    ids=["too-short", "no-hexadecimal", "no-such-file", "not-an-authors-word"],
)
def test_wrong_usage(sign, words, measurement, message):
    ended, _ = sign(*words, measurement=measurement)
    assert ended.returncode == 2
    assert message in ended.stderr
