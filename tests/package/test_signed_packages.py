"""Packages from their making to their use elsewhere: signed, published, fetched, shown, compared, carried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from enarx_deploy import package_signing
from enarx_deploy.cli.main import main
from enarx_deploy.protocols import Attachment
from enarx_signing import Signer, Signers, SigningKey
from enarx_signing.dsse import ENVELOPE_TYPE

WAT = '(module (memory (export "memory") 1) (func (export "_start")))'


@pytest.fixture
def run(enarx_deploy, monkeypatch, capfd):
    """Run a command in this process; answers its status and JSON."""
    monkeypatch.chdir(enarx_deploy.directory)
    for name in ("HOME", "ENARX_DEPLOY_STATE_DIR", "ENARX_DEPLOY_CACHE_DIR"):
        monkeypatch.setenv(name, enarx_deploy.environment[name])
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(enarx_deploy.directory.parent))

    def run(*words: str, status: int = 0) -> dict:
        capfd.readouterr()
        ended = main([*words, "--json"])
        said = capfd.readouterr()
        assert ended == status, said.err
        return json.loads(said.out)

    return run


@pytest.fixture
def project(enarx_deploy) -> Path:
    """A project of one module in text form."""
    (enarx_deploy.directory / "main.wat").write_text(WAT)
    (enarx_deploy.directory / "Enarx.toml").write_text("")
    return enarx_deploy.directory


@pytest.fixture
def key(run, project) -> str:
    """The id of a key in `release.key`, outside of the project's package."""
    return run("key", "generate", "release.key", "--no-passphrase")["id"]


def test_a_signed_package_is_published_fetched_and_checked(run, project, key):
    made = run("package", "--sign", "release.key")
    published = run("publish", "dir:store")
    assert sorted(one["kind"] for one in published["attachments"]) == ["provenance", "sbom", "signature"]
    run("key", "trust", "release.key.pub", "--name", "release team")
    fetched = run("fetch", published["reference"], "--into", "fetched")["package"]
    assert fetched["digest"] == made["digest"]
    verified = run("package", "verify", fetched["root"])
    assert verified["signers"] == [{"name": "release team", "key": key}]
    assert verified["described"] == ["provenance", "sbom"]


def test_once_a_key_is_trusted_nothing_unsigned_is_fetched(run, project, key):
    run("package")
    reference = run("publish", "dir:store")["reference"]
    run("fetch", reference, "--into", "fetched")
    run("key", "trust", "release.key.pub", "--name", "release team")
    refused = run("fetch", reference, "--into", "refused", status=3)
    assert "nobody signed the package" in refused["error"]["message"]
    assert "--allow-unsigned" in refused["error"]["hint"]
    assert not (project / "refused").exists()
    run("fetch", reference, "--into", "fetched", "--allow-unsigned")


def test_a_package_of_a_stranger_is_not_run(run, project, key):
    run("package", "--sign", "release.key")
    reference = run("publish", "dir:store")["reference"]
    run("key", "generate", "other.key", "--no-passphrase")
    run("key", "trust", "other.key.pub", "--name", "someone else", "--trust", "their.toml")
    refused = run("run", "--trust", "their.toml", reference, status=3)
    assert f"{key} is not trusted" in refused["error"]["message"]


def test_a_registry_that_withholds_the_sbom_is_found_out(run, project, key):
    made = run("package", "--sign", "release.key")
    run("key", "trust", "release.key.pub", "--name", "release team")
    (attached,) = (project / ".enarx" / "packages").glob("*.attachments")
    (sbom,) = (path for path in attached.iterdir() if '"kind":"sbom"' in path.read_text())
    sbom.unlink()
    refused = run("package", "verify", made["root"], status=3)
    assert "is not there: sbom" in refused["error"]["message"]


def test_a_changed_file_is_found_out_before_any_signature_is_asked_for(run, project, key):
    root = Path(run("package", "--sign", "release.key")["root"])
    (root / "Enarx.toml").write_text("args = ['other']\n")
    refused = run("package", "verify", str(root), status=1)
    assert "is damaged, or another package" in refused["error"]["message"]


def test_building_again_without_the_key_keeps_the_signature_of_the_same_package(run, project, key):
    root = run("package", "--sign", "release.key")["root"]
    run("key", "trust", "release.key.pub", "--name", "release team")
    assert run("package", "--force")["root"] == root
    run("package", "verify")


def test_a_manifest_can_ask_for_a_signature(run, project, key):
    (project / "Enarx.toml").write_text("[package]\nsign = true\n")
    refused = run("package", status=2)
    assert "there is no key for it" in refused["error"]["message"]
    run("package", "--sign", "release.key")


def test_a_second_signature_is_added_to_the_first(run, project, key):
    run("package", "--sign", "release.key")
    run("key", "generate", "next.key", "--no-passphrase")
    run("package", "sign", "--sign", "next.key")
    run("key", "trust", "next.key.pub", "--name", "next", "--trust", "next.toml")
    assert run("package", "verify", "--trust", "next.toml")["signers"][0]["name"] == "next"
    run("key", "trust", "release.key.pub", "--name", "first", "--trust", "first.toml")
    assert run("package", "verify", "--trust", "first.toml")["signers"][0]["name"] == "first"


def test_no_number_of_strangers_pushes_out_the_signature_that_counts() -> None:
    digest = f"sha256:{'ab' * 32}"
    known, *strangers = (SigningKey(Ed25519PrivateKey.generate()) for _ in range(41))
    good = package_signing.signature(digest, {}, [known])
    junk = [package_signing.signature(digest, {}, [stranger]) for stranger in strangers]
    large = Attachment("signature", ENVELOPE_TYPE, bytes(1 << 20))
    now = datetime.now(UTC)
    trusted = Signers([Signer(name="known", key=known.public)])
    for found in ([*junk, good], [large, *junk, large, good], [good]):
        first, *others = package_signing.travelling(digest, found, trusted, now)
        assert first == good.content
        assert len(others) == min(len(found), package_signing.MOST_SIGNATURES) - 1
        assert large.content not in others
    few = package_signing.travelling(digest, [*junk[:15], good], Signers(), now)
    assert good.content in few, "nobody is known to this host, and the Steward knows whom it trusts"
    bulky = [Attachment("signature", ENVELOPE_TYPE, bytes(60_000)) for _ in range(10)]
    assert len(package_signing.travelling(digest, bulky, Signers(), now)) == 4, "all of them have to fit a request"


def test_show_says_what_is_in_a_package_and_what_is_said_of_it(run, project, key):
    made = run("package", "--sign", "release.key")
    shown = run("package", "show")
    assert shown["package"] == made
    by_kind = {one["kind"]: one for one in shown["attachments"]}
    assert by_kind["signature"]["keys"] == [key]
    assert by_kind["provenance"]["says"] == "made from no commit that is known"
    assert (shown["signers"], bool(shown["refused"])) == ([], True)
    run("key", "trust", "release.key.pub", "--name", "release team")
    shown = run("package", "show")
    assert (shown["signers"], shown["refused"]) == ([{"name": "release team", "key": key}], "")


def test_diff_names_each_file_that_is_not_the_same(run, project):
    first = run("package")["root"]
    assert run("package", "diff", first)["same"]
    (project / "Enarx.toml").write_text('[[package.assets]]\nsource = "main.wat"\nguest = "/source"\n')
    run("package")
    found = run("package", "diff", first, status=1)
    assert [(file["change"], file["path"]) for file in found["files"]] == [
        ("changed", "Enarx.toml"),
        ("added", "assets/source"),
    ]


def test_a_package_is_carried_in_an_archive(run, project, key, tmp_path):
    made = run("package", "--sign", "release.key")
    run("key", "trust", "release.key.pub", "--name", "release team")
    for name in ("one.tar", "two.tar"):
        run("package", "pack", name)
    assert (project / "one.tar").read_bytes() == (project / "two.tar").read_bytes()
    unpacked = run("package", "unpack", "one.tar", "--into", "there")
    assert unpacked["digest"] == made["digest"]
    assert run("package", "verify", unpacked["root"])["signers"][0]["key"] == key
    subprocess.run(["tar", "-xf", project / "one.tar"], cwd=tmp_path, check=True)
    hexadecimal = made["digest"].removeprefix("sha256:")
    assert run("package", "verify", str(tmp_path / hexadecimal))["digest"] == made["digest"]


def test_an_archive_of_a_stranger_leaves_nothing_behind(run, project, key):
    run("package")
    run("package", "pack", "one.tar")
    run("key", "trust", "release.key.pub", "--name", "release team")
    run("package", "unpack", "one.tar", "--into", "there", status=3)
    assert list((project / "there").iterdir()) == []


def test_the_digest_is_one_in_two_directories_at_two_dates_for_other_users(enarx_deploy, project, tmp_path):
    """With another umask, locale, time zone, seed of hashing, user, and order and date of files."""
    (project / "data").mkdir()
    for name in ("b", "a", "c"):
        (project / "data" / name).write_text(name)
    (project / "Enarx.toml").write_text('[[package.assets]]\nsource = "data"\nguest = "/data"\n')
    other = tmp_path / "other" / "place"
    shutil.copytree(project, other)
    for path in other.rglob("*"):
        os.utime(path, (86_400, 86_400))
    digests = []
    for where, umask, environment in (
        (project, 0o022, {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"}),
        (other, 0o077, {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "SOURCE_DATE_EPOCH": "1"}),
    ):
        state = tmp_path / f"state-{umask}"
        ended = subprocess.run(
            [sys.executable, "-m", "enarx_deploy", "package", "--json"],
            cwd=where,
            env=enarx_deploy.environment | environment | {"ENARX_DEPLOY_STATE_DIR": str(state)},
            umask=umask,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        digests.append(json.loads(ended.stdout)["digest"])
    assert digests[0] == digests[1]
