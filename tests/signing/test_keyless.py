"""`enarx-deploy keyless`, as far as it goes without a service: what is asked for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enarx_deploy import package_attachments, package_tree
from enarx_deploy.protocols import Attachment
from enarx_sigstore.keyless import BUNDLE_TYPE

pytest.importorskip("sigstore", reason="needs the extra sigstore")

IDENTITY = ("--identity", "me@example.org", "--issuer", "https://accounts.example.org")


@pytest.fixture
def program(enarx_deploy):
    """The program; what Sigstore's client and its dependencies warn of is not ours."""
    del enarx_deploy.environment["PYTHONWARNINGS"]
    return enarx_deploy


@pytest.fixture
def package(tmp_path) -> str:
    """A package's tree."""
    files = [("Enarx.toml", [b""]), ("main.wasm", [b"\0asm\x01\0\0\0"])]
    return package_tree.lay_out(files, tmp_path / "store").root


def attach(package: str, content: bytes) -> None:
    digest = f"sha256:{Path(package).name}"
    package_attachments.add(Path(package).parent, digest, Attachment("signature", BUNDLE_TYPE, content))


def test_no_service_is_asked_that_was_not_named(program, package):
    for words in (("sign", package), ("verify", package, *IDENTITY)):
        ended = program("keyless", *words)
        assert (ended.returncode, "Missing option '--instance'" in ended.stderr) == (2, True), ended.stderr


def test_without_an_identity_nothing_is_signed(program, package):
    ended = program("keyless", "sign", package, "--instance", "public")
    assert (ended.returncode, "no identity is known here" in ended.stderr) == (2, True), ended.stderr


def test_a_token_that_is_none_is_told(program, package, tmp_path):
    (tmp_path / "token").write_text("not a token")
    ended = program("keyless", "sign", package, "--instance", "public", "--token-file", str(tmp_path / "token"))
    assert (ended.returncode, "Sigstore: " in ended.stderr) == (1, True), ended.stderr


def test_who_must_have_signed_is_always_asked_for(program, package):
    ended = program("keyless", "verify", package, "--instance", "public", "--identity", "me@example.org")
    assert (ended.returncode, "Missing option '--issuer'" in ended.stderr) == (2, True), ended.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no identity signed the package"), (b"{}", "a bundle is refused"), (b"\xff", "a bundle is refused")],
    ids=["none", "empty", "not-text"],
)
def test_what_is_no_bundle_is_refused(program, package, content, reason):
    if content is not None:
        attach(package, content)
    ended = program("keyless", "verify", package, "--instance", "public", *IDENTITY)
    assert (ended.returncode, reason in ended.stderr) == (3, True), ended.stderr


def test_a_bundle_of_nobody_that_the_instance_knows_is_refused(program, package):
    verification = {"certificate": {"rawBytes": "MAA="}, "tlogEntries": [], "timestampVerificationData": {}}
    bundle = {"mediaType": BUNDLE_TYPE, "verificationMaterial": verification, "dsseEnvelope": {}}
    attach(package, json.dumps(bundle).encode())
    ended = program("keyless", "verify", package, "--instance", "public", *IDENTITY)
    assert (ended.returncode, "a bundle is refused" in ended.stderr) == (3, True), ended.stderr


def test_a_configuration_that_cannot_be_read_is_told(program, package, tmp_path):
    attach(package, b"{}")
    (tmp_path / "config.json").write_text("[]")
    ended = program("keyless", "verify", package, "--instance", str(tmp_path / "config.json"), *IDENTITY)
    assert (ended.returncode, "--instance" in ended.stderr) == (2, True), ended.stderr
