"""`enarx-deploy key`: making, showing, trusting, changing and revoking keys, as a user does it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enarx_deploy.cli.main import main
from enarx_deploy.trusted_signers import change, load
from enarx_signing import PublicKey, RefusedSignature, Signer, package_signature
from enarx_signing import load as load_key

PACKAGE = "sha256:" + "ab" * 32
PASSPHRASE = "correct horse battery staple"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def key(enarx_deploy, monkeypatch, capfd):
    """Run a command of `key` that must succeed, in this process; answers its JSON."""
    secret = enarx_deploy.directory / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    monkeypatch.chdir(enarx_deploy.directory)
    for name in ("HOME", "ENARX_DEPLOY_STATE_DIR"):
        monkeypatch.setenv(name, enarx_deploy.environment[name])

    def run(*words: str) -> dict:
        status = main(["key", *words, "--json"])
        said = capfd.readouterr()
        assert status == 0, said.err
        assert PASSPHRASE not in said.out + said.err
        return json.loads(said.out)

    return run


def make(key, name: str, *words: str) -> dict:
    return key("generate", name, "--passphrase-file", "passphrase", *words)


def signed_with(enarx_deploy, name: str) -> bytes:
    return package_signature.sign(PACKAGE, {}, [load_key(enarx_deploy.directory / name, PASSPHRASE.encode)])


def counts(enarx_deploy, envelope: bytes, at: datetime) -> bool:
    try:
        package_signature.verify(envelope, PACKAGE, load(enarx_deploy.directory / "signers.toml"), at)
    except RefusedSignature:
        return False
    return True


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_a_new_key_is_in_a_file_of_its_owner_and_encrypted(enarx_deploy, key, algorithm):
    made = make(key, "release.key", "--algorithm", algorithm)
    file = enarx_deploy.directory / "release.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert made["pem"] == (enarx_deploy.directory / "release.key.pub").read_text()
    words = ["openssl", "pkey", "-in", "release.key", "-passin", "file:passphrase", "-pubout"]
    assert subprocess.check_output(words, cwd=enarx_deploy.directory, text=True) == made["pem"]
    shown = key("show", "release.key", "--passphrase-file", "passphrase")
    assert shown == {name: made[name] for name in ("id", "algorithm", "pem")}
    assert key("show", "release.key.pub") == shown


def test_the_passphrase_is_derived_in_many_rounds(enarx_deploy, key):
    make(key, "release.key")
    words = ["openssl", "asn1parse", "-in", "release.key"]
    shown = subprocess.check_output(words, cwd=enarx_deploy.directory, text=True)
    assert f"INTEGER           :{600_000:06X}" in shown


def test_a_key_is_never_written_over(enarx_deploy, key):
    make(key, "release.key")
    before = (enarx_deploy.directory / "release.key").read_bytes()
    ended = enarx_deploy("key", "generate", "release.key", "--passphrase-file", "passphrase")
    assert (ended.returncode, "never written over" in ended.stderr) == (2, True)
    assert (enarx_deploy.directory / "release.key").read_bytes() == before


def test_without_a_terminal_or_a_passphrase_no_key_is_made(enarx_deploy):
    ended = enarx_deploy("key", "generate", "release.key")
    assert ended.returncode == 2
    assert "there is no terminal to ask for it" in ended.stderr
    assert list(enarx_deploy.directory.iterdir()) == []


def test_a_key_without_passphrase_is_asked_for_by_name_and_warned_of(enarx_deploy):
    ended = enarx_deploy("key", "generate", "ci.key", "--no-passphrase")
    assert (ended.returncode, "warning: ci.key has no passphrase" in ended.stderr) == (0, True)
    assert enarx_deploy("key", "show", "ci.key").returncode == 0


def test_the_passphrase_is_asked_for_twice_on_a_terminal(enarx_deploy):
    terminal, other = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "enarx_deploy", "key", "generate", "typed.key"],
        stdin=other,
        stdout=subprocess.PIPE,
        stderr=other,
        cwd=enarx_deploy.directory,
        env=enarx_deploy.environment,
        start_new_session=True,
    ) as process:
        shown = b""
        for prompt in (b"New passphrase of typed.key: ", b"Repeat for confirmation: "):
            while not shown.endswith(prompt):
                shown += os.read(terminal, 1024)
            os.write(terminal, PASSPHRASE.encode() + b"\n")
        out, _ = process.communicate(timeout=120)
    os.close(other)
    os.close(terminal)
    assert process.returncode == 0
    assert PASSPHRASE not in (shown + out).decode()
    assert load_key(enarx_deploy.directory / "typed.key", PASSPHRASE.encode).public.id in out.decode()


def test_a_passphrase_from_a_descriptor(enarx_deploy, key):
    made = make(key, "release.key")
    command = f"exec {sys.executable} -m enarx_deploy key show release.key --passphrase-fd 3 3<passphrase"
    shown = subprocess.check_output(
        ["sh", "-c", command], cwd=enarx_deploy.directory, env=enarx_deploy.environment, text=True
    )
    assert made["id"] in shown


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("wrong", 0o600, "the passphrase does not open it"),
        (PASSPHRASE, 0o640, "others could read it"),
        ("", 0o600, "a passphrase is one line"),
        ("two\nlines", 0o600, "a passphrase is one line"),
    ],
    ids=["wrong", "readable-by-others", "empty", "two-lines"],
)
def test_a_passphrase_file_that_does_not_do(enarx_deploy, key, content, mode, message):
    make(key, "release.key")
    other = enarx_deploy.directory / "other"
    other.write_text(content)
    other.chmod(mode)
    ended = enarx_deploy("key", "show", "release.key", "--passphrase-file", "other")
    assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr


def test_a_key_that_others_can_read_is_not_used(enarx_deploy, key):
    make(key, "release.key")
    (enarx_deploy.directory / "release.key").chmod(0o644)
    ended = enarx_deploy("key", "show", "release.key", "--passphrase-file", "passphrase")
    assert (ended.returncode, "chmod 600 release.key" in ended.stderr) == (2, True)


def test_rotation_both_keys_count_for_the_overlap_and_then_the_new_one_alone(enarx_deploy, key):
    make(key, "old.key")
    key("trust", "old.key.pub", "--name", "release team", "--trust", "signers.toml")
    by_old = signed_with(enarx_deploy, "old.key")
    listed = key(
        "rotate", "old.key", "new.key", "--overlap", "7", "--passphrase-file", "passphrase", "--trust", "signers.toml"
    )
    assert [signer["name"] for signer in listed["signers"]] == ["release team"] * 2
    by_new = signed_with(enarx_deploy, "new.key")
    assert counts(enarx_deploy, by_old, now() + timedelta(days=6))
    assert not counts(enarx_deploy, by_old, now() + timedelta(days=8))
    assert counts(enarx_deploy, by_new, now() + timedelta(days=8))


def test_a_trusted_key_is_said_more_of_and_keeps_the_rest(enarx_deploy, key):
    make(key, "release.key")
    trust = ("trust", "release.key.pub", "--name", "release team", "--trust", "signers.toml")
    key(*trust, "--not-before", "2026-01-01", "--not-after", "2027-01-01")
    key(*trust, "--native-code")
    (signer,) = key(*trust, "--not-after", "2028-01-01")["signers"]
    assert (signer["not_before"], signer["not_after"]) == ("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z")
    assert signer["native_code"] is True


def test_a_trusted_key_does_not_change_its_owner_and_a_revoked_one_does_not_come_back(enarx_deploy, key):
    make(key, "release.key")
    key("trust", "release.key.pub", "--name", "release team", "--trust", "signers.toml")
    before = (enarx_deploy.directory / "signers.toml").read_bytes()
    trust = ("key", "trust", "release.key.pub", "--trust", "signers.toml", "--name")
    ended = enarx_deploy(*trust, "somebody else")
    assert (ended.returncode, "is trusted already, as 'release team'" in ended.stderr) == (2, True), ended.stderr
    assert (enarx_deploy.directory / "signers.toml").read_bytes() == before
    key("revoke", "release.key.pub", "--trust", "signers.toml")
    ended = enarx_deploy(*trust, "release team")
    assert (ended.returncode, "was revoked, and is not trusted again" in ended.stderr) == (2, True), ended.stderr


def test_revocation_nothing_of_the_key_counts_from_then_on(enarx_deploy, key):
    made = make(key, "stolen.key")
    key("trust", "stolen.key.pub", "--name", "release team", "--trust", "signers.toml")
    envelope = signed_with(enarx_deploy, "stolen.key")
    assert counts(enarx_deploy, envelope, now())
    key("revoke", made["id"], "--trust", "signers.toml")
    assert not counts(enarx_deploy, envelope, now() + timedelta(minutes=1))
    (shown,) = key("show", "--trust", "signers.toml")["signers"]
    assert (shown["id"], shown["counts"]) == (made["id"], False)


def test_a_revocation_is_not_put_off_by_another(enarx_deploy, key):
    make(key, "stolen.key")
    key("trust", "stolen.key.pub", "--name", "team", "--trust", "signers.toml")
    first = key("revoke", "stolen.key.pub", "--at", "2026-01-01", "--trust", "signers.toml")
    again = key("revoke", "stolen.key.pub", "--at", "2027-01-01", "--trust", "signers.toml")
    assert first["signers"][0]["revoked_at"] == again["signers"][0]["revoked_at"] == "2026-01-01T00:00:00Z"


def test_changes_of_the_list_at_once_are_all_in_it(enarx_deploy):
    file = enarx_deploy.directory / "signers.toml"

    def trust(number: int) -> None:
        signer = Signer(name=f"signer {number}", key=PublicKey(Ed25519PrivateKey.generate().public_key()))
        change(lambda known: [*known, signer], file)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(trust, range(8)))
    assert sorted(signer.name for signer in load(file)) == [f"signer {number}" for number in range(8)]


def test_a_list_where_nobody_may_write_is_an_error(enarx_deploy, key):
    make(key, "release.key")
    ended = enarx_deploy("key", "trust", "release.key.pub", "--name", "team", "--trust", "nowhere/signers.toml")
    assert (ended.returncode, "is there such a directory" in ended.stderr) == (2, True), ended.stderr


def test_a_key_that_is_not_trusted_cannot_be_revoked_or_changed(enarx_deploy):
    for words in (["revoke", "ab" * 32], ["rotate", "old.key", "new.key", "--no-passphrase"]):
        ended = enarx_deploy("key", *words)
        assert (ended.returncode, "no such key is trusted" in ended.stderr) == (2, True)
    assert not (enarx_deploy.directory / "new.key").exists()


def test_a_private_key_is_not_put_on_the_list(enarx_deploy, key):
    enarx_deploy("key", "generate", "ci.key", "--no-passphrase")
    ended = enarx_deploy("key", "trust", "ci.key", "--name", "ci")
    assert (ended.returncode, "this is a private key" in ended.stderr) == (2, True)


def test_nobody_is_trusted_to_begin_with(enarx_deploy):
    assert enarx_deploy("key", "show").stdout == "no key is trusted\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("signers = 3", "Expected `array`"),
        ("[[signers]]\nname = 'a'", "missing required field `key`"),
        ("[[signers]]\nname = 'a'\nkey = 'x'", "the key of 'a': this is not a public key"),
        ("[[signers]]\nname = 'a'\nkey = 'x'\nnot_after = 2026-01-01T00:00:00", "not_after"),
        ("[[signers]]\nname = 'a'\nkey = 'x'\nrevoked = 2026-01-01T00:00:00Z", "unknown field `revoked`"),
        ("[[", "not TOML"),
    ],
    ids=["not-a-list", "no-key", "not-a-key", "time-without-zone", "unknown-field", "not-toml"],
)
def test_a_list_that_is_wrong_trusts_nobody(enarx_deploy, text, message):
    (enarx_deploy.directory / "signers.toml").write_text(text)
    ended = enarx_deploy("key", "show", "--trust", "signers.toml")
    assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr


def test_a_list_that_others_can_write_is_not_used(enarx_deploy):
    file = Path(enarx_deploy.directory / "signers.toml")
    file.write_text("")
    file.chmod(0o666)
    assert "others can write to it" in enarx_deploy("key", "show", "--trust", "signers.toml").stderr
