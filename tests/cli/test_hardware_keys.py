"""`key sev` and `key sgx`, as a user of Enarx knows them."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

ANSWERS = Path(__file__).parents[1] / "measurement/known_answers"


def owned(directory: Path, name: str) -> Path:
    path = directory / name
    path.write_bytes((ANSWERS / name).read_bytes())
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("kind", "name", "digest"),
    [
        ("sgx", "enarx-sgx.key", "298037d88782e022e019b3020745b78aa40ed95c77da4bf7f3253d3a44c4fd7e"),
        (
            "sev",
            "enarx-sev-id.key",
            "0ea04f87205f95585f8037850f37104470ac2d79ca42033057fa56926a8ee3f06313f6da3742e2115222d1205ca0a1fe",
        ),
    ],
)
def test_the_digest_is_printed_without_a_line_end_as_enarx_does(enarx_deploy, kind, name, digest):
    key = owned(enarx_deploy.directory, name)
    assert enarx_deploy("key", kind, "digest", str(key)).stdout == digest


@pytest.mark.parametrize("kind", ["sev", "sgx"])
def test_a_new_key_is_its_owners_alone_and_is_never_written_over(enarx_deploy, kind):
    path = enarx_deploy.directory / "new.key"
    enarx_deploy("key", kind, "create", "--out", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    digest = enarx_deploy("key", kind, "digest", str(path)).stdout
    again = enarx_deploy("key", kind, "create", "--out", str(path))
    assert again.returncode == 2
    assert "never written over" in again.stderr
    assert enarx_deploy("key", kind, "digest", str(path)).stdout == digest


@pytest.mark.parametrize("kind", ["sev", "sgx"])
def test_a_new_key_goes_through_no_link_that_leads_nowhere_yet(enarx_deploy, kind):
    elsewhere, path = enarx_deploy.directory / "elsewhere.key", enarx_deploy.directory / "new.key"
    path.symlink_to(elsewhere)
    refused = enarx_deploy("key", kind, "create", "--out", str(path))
    assert (refused.returncode, "never written over" in refused.stderr) == (2, True)
    assert not elsewhere.exists()
    assert path.is_symlink()


def test_the_authors_word_is_enarxs_blob_byte_for_byte(enarx_deploy):
    directory = enarx_deploy.directory
    author, id_key = owned(directory, "enarx-sev-author.key"), owned(directory, "enarx-sev-id.key")
    out = directory / "id.signature"
    enarx_deploy("key", "sev", "sign", "--author-key", str(author), "--id-key", str(id_key), "--out", str(out))
    assert len(out.read_bytes()) == 1540
    assert hashlib.sha256(out.read_bytes()).hexdigest() == (
        "ea0bc4e558afac8711d8f41f7b595e627cdd898983f82dafb7f4a7e9ace22127"
    )


def test_a_key_that_others_can_read_is_refused(enarx_deploy):
    key = owned(enarx_deploy.directory, "enarx-sev-id.key")
    key.chmod(0o640)
    said = enarx_deploy("key", "sev", "digest", str(key))
    assert said.returncode == 2
    assert "chmod 600" in said.stderr


@pytest.mark.parametrize(("kind", "name"), [("sev", "enarx-sgx.key"), ("sgx", "enarx-sev-id.key")])
def test_a_key_of_the_other_kind_is_refused_with_the_command_that_makes_one(enarx_deploy, kind, name):
    key = owned(enarx_deploy.directory, name)
    said = enarx_deploy("key", kind, "digest", str(key))
    assert said.returncode == 2
    assert f"key {kind} create" in said.stderr


def test_a_private_key_is_not_put_into_json(enarx_deploy):
    said = enarx_deploy("key", "sev", "create", "--json")
    assert said.returncode == 2
    assert "BEGIN" not in said.stdout
