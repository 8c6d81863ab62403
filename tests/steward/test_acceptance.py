"""Signed reference values become part of a Steward's policy: what is accepted grows, and nothing else changes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.end_to_end.conftest import eventually

from enarx_files.turns import turn
from enarx_steward import policy as policies
from enarx_steward.acceptance import accept
from enarx_steward.errors import ConfigurationError

PACKAGE, OTHER = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
MEASURED = "12" * 48
POLICY = b"""\
# ours
[ca]
trust_domain = "example.org"

[snp]  # production
names = ["shop.example.org"]
measurements = ["%s"]
packages = ["%s"]
measured_package = true
""" % (("34" * 48).encode(), OTHER.encode())
SNP = {"snp": {"measurements": [MEASURED], "packages": [PACKAGE], "measured_package": True}}


def test_lists_grow_and_everything_else_stays():
    changed = accept(POLICY, SNP)
    tables = tomllib.loads(changed.decode())
    assert tables["snp"]["measurements"] == ["34" * 48, MEASURED]
    assert tables["snp"]["packages"] == [OTHER, PACKAGE]
    assert tables["snp"]["names"] == ["shop.example.org"]
    assert b"# ours" in changed
    assert b"# production" in changed


def test_what_is_accepted_already_changes_nothing():
    once = accept(POLICY, SNP)
    assert accept(once, SNP) == once


def test_a_kind_without_a_section_gets_one_with_its_names():
    text = b'[ca]\ntrust_domain = "example.org"\n\n[nil]\nany_workload = true\nnames = ["localhost"]\n'
    changed = policies.parse(accept(text, SNP, ["shop.example.org"]))
    assert changed.appraisal.snp.measurements == (MEASURED,)
    assert changed.grants["snp"].dns_names == ("shop.example.org",)
    with pytest.raises(ConfigurationError, match=r"no section \[snp\]") as caught:
        accept(text, SNP)
    assert "--name" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "words"),
    [
        (POLICY.replace(b"measured_package = true", b"measured_package = false"), "measured_package"),
        (POLICY.replace(b"measurements", b"any_workload = true #"), "accepts any workload already"),
        (POLICY + b'deny_measurements = ["%s"]\n' % MEASURED.encode(), "deny_measurements"),
    ],
    ids=["other-value", "any-workload", "on-the-deny-list"],
)
def test_a_policy_that_says_otherwise_is_not_overruled(old, words):
    with pytest.raises(ConfigurationError, match=words):
        accept(old, SNP)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"snp": {**SNP["snp"], "names": ["bank.example.org"]}}, "snp.names"),
        ({"snp": {**SNP["snp"], "lifetime": "7d"}}, "snp.lifetime"),
        ({"snp": {**SNP["snp"], "guest_policy": {"debug": True}}}, "snp.guest_policy"),
        ({"snp": {**SNP["snp"], "measured_package": False}}, "snp.measured_package"),
        ({"nil": {"any_workload": True}}, "nil.any_workload"),
        ({"ca": {"renewal_grace": "7d"}}, "[ca]"),
        ({"grant": [{"kind": "nil", "names": ["bank.example.org"]}]}, "[grant]"),
        ({"packages": {"deny": []}}, "[packages]"),
    ],
    ids=["names", "lifetime", "debug", "unmeasured", "any-workload", "ca", "grant", "packages"],
)
def test_who_signs_reference_values_decides_nothing_but_what_is_measured(sections, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        accept(POLICY, sections, ["shop.example.org"])


@pytest.fixture
def statement(enarx_deploy):
    """A project's reference values on nil, signed by a key that is trusted, and the statement's place."""
    directory = enarx_deploy.directory
    (directory / "main.wat").write_text('(module (memory (export "memory") 1) (func (export "_start")))')
    (directory / "Enarx.toml").write_text("")
    assert enarx_deploy("key", "generate", "release.key", "--no-passphrase").returncode == 0
    said = enarx_deploy("attest", "--backend", "nil", "--sign", "release.key", "--statement", "shop.values", "--json")
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)["package"]


def test_attest_signs_and_the_steward_accepts_what_a_trusted_key_signed(enarx_deploy, statement):
    directory = enarx_deploy.directory
    policy = directory / "steward.toml"
    policy.write_text(f'[ca]\ntrust_domain = "example.org"\n\n[nil]\nnames = ["localhost"]\npackages = ["{OTHER}"]\n')
    words = ("steward", "accept", "shop.values", "--policy", "steward.toml", "--json")
    stranger = enarx_deploy(*words)
    assert stranger.returncode == 3, stranger.stderr
    assert OTHER in policy.read_text()
    assert statement not in policy.read_text()

    assert enarx_deploy("key", "trust", "release.key.pub", "--name", "release team").returncode == 0
    accepted = enarx_deploy(*words)
    assert accepted.returncode == 0, accepted.stderr
    assert json.loads(accepted.stdout) == {
        "policy": "steward.toml",
        "package": statement,
        "backend": "nil",
        "signers": ["release team"],
        "changed": True,
    }
    assert policies.load(policy).appraisal.nil.packages == (OTHER, statement)
    assert json.loads(enarx_deploy(*words).stdout)["changed"] is False


@pytest.mark.parametrize(
    "policy",
    [{"kvm": {"packages": [OTHER]}}, {"nil": {"packages": [OTHER]}}, {"nil": {"packages": []}}, {}],
    ids=["another-kind", "another-package", "no-package", "nothing"],
)
def test_what_is_signed_beside_the_package_that_is_told_is_refused(enarx_deploy, policy):
    from enarx_deploy import reference_statement
    from enarx_deploy.models import ReferenceValues
    from enarx_signing import load

    directory = enarx_deploy.directory
    enarx_deploy("key", "generate", "release.key", "--no-passphrase")
    enarx_deploy("key", "trust", "release.key.pub", "--name", "release team")
    values = ReferenceValues(backend="nil", hardware=False, package=PACKAGE, measurements={}, policy=policy)
    key = load(directory / "release.key", lambda: b"")
    (directory / "odd.values").write_bytes(reference_statement.signed(values, [key]))
    (directory / "steward.toml").write_bytes(POLICY)
    refused = enarx_deploy("steward", "accept", "odd.values", "--policy", "steward.toml", "--name", "shop.example.org")
    assert refused.returncode == 3, refused.stderr
    assert (directory / "steward.toml").read_bytes() == POLICY


def waits_for(process: subprocess.Popen[str], lock: Path) -> bool:
    """Whether a process has opened a lock, which another has taken."""
    with contextlib.suppress(FileNotFoundError):  # it has closed one meanwhile: the next look tells
        return any(one.readlink() == lock for one in Path("/proc", str(process.pid), "fd").iterdir())
    return False


def test_packages_that_are_accepted_at_once_are_all_in_the_policy(enarx_deploy):
    from enarx_deploy import reference_statement
    from enarx_deploy.models import ReferenceValues
    from enarx_signing import load

    directory = enarx_deploy.directory
    enarx_deploy("key", "generate", "release.key", "--no-passphrase")
    enarx_deploy("key", "trust", "release.key.pub", "--name", "release team")
    key = load(directory / "release.key", lambda: b"")
    packages = [f"sha256:{number:064x}" for number in range(2)]
    for package in packages:
        policy = {"nil": {"packages": [package]}}
        values = ReferenceValues(backend="nil", hardware=False, package=package, measurements={}, policy=policy)
        (directory / package).write_bytes(reference_statement.signed(values, [key]))
    policy_file = directory / "steward.toml"
    policy_file.write_text(f'[ca]\ntrust_domain = "example.org"\n\n[nil]\nnames = ["a"]\npackages = ["{OTHER}"]\n')
    with turn(policy_file):
        started = [enarx_deploy.start("steward", "accept", package, "--policy", "steward.toml") for package in packages]
        lock = directory / ".steward.toml.lock"
        eventually(lambda: all(waits_for(one, lock) for one in started), "both wait for their turn", 120)
        policy_file.write_text(policy_file.read_text().replace('["a"]', '["a", "b"]'))
    assert [process.wait(120) for process in started] == [0, 0]
    accepted = policies.load(policy_file)
    assert set(accepted.appraisal.nil.packages) == {OTHER, *packages}
    assert accepted.grants["nil"].dns_names == ("a", "b")


def test_a_statement_that_was_changed_is_refused(enarx_deploy, statement):
    enarx_deploy("key", "trust", "release.key.pub", "--name", "release team")
    file = enarx_deploy.directory / "shop.values"
    envelope = json.loads(file.read_text())
    envelope["payload"] = (
        envelope["payload"][:40] + ("A" if envelope["payload"][40] != "A" else "B") + envelope["payload"][41:]
    )
    file.write_text(json.dumps(envelope))
    assert enarx_deploy("steward", "accept", "shop.values", "--policy", "steward.toml").returncode == 3


def test_a_package_signature_is_no_reference_value(enarx_deploy, statement):
    from datetime import UTC, datetime

    from enarx_signing import RefusedSignature, Signer, Signers, load, package_signature, reference_values

    key = load(enarx_deploy.directory / "release.key", lambda: b"")
    envelope = package_signature.sign(statement, {}, [key])
    with pytest.raises(RefusedSignature, match="not reference values"):
        reference_values.verify(envelope, Signers([Signer(name="us", key=key.public)]), datetime.now(UTC))


def test_unsigned_there_is_no_statement(enarx_deploy):
    said = enarx_deploy("attest", "--statement", "shop.values")
    assert said.returncode == 2
    assert "--sign" in said.stderr
