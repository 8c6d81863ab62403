"""Enarx.lock: what is locked, and that --locked lets nothing else through."""

from __future__ import annotations

import tomllib

import pytest

from enarx_deploy.enarx_lock import kind_of_machine

COMMANDS = ("compile", "package", "attest", "deploy", "up")


@pytest.fixture
def project(shelf, enarx_deploy):
    """A project of the plugin `shelf`, locked; answers its directory."""
    ended = enarx_deploy("lock")
    assert ended.returncode == 0, ended.stderr
    return enarx_deploy.directory


def test_the_lock_has_every_digest(project):
    lock = tomllib.loads((project / "Enarx.lock").read_text())
    assert lock["toolchain"]["name"] == "shelf"
    assert lock["module"].startswith("sha256:")
    assert lock["package"].startswith("sha256:")
    assert set(lock["reference_values"]) == {"shelf"}
    assert lock["reference_values"]["shelf"]["policy"].startswith("sha256:")


def test_locking_again_changes_nothing(project, enarx_deploy):
    before = (project / "Enarx.lock").read_bytes()
    assert enarx_deploy("lock", "--force").returncode == 0
    assert (project / "Enarx.lock").read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_what_did_not_change_passes(project, enarx_deploy, command):
    ended = enarx_deploy(command, "--locked")
    assert ended.returncode == 0, ended.stderr


def test_another_module_is_refused_by_every_command_before_anything_starts(project, enarx_deploy, shelf):
    (project / "main.shelf").write_text("ash")
    for command in COMMANDS:
        ended = enarx_deploy(command, "--locked")
        assert (ended.returncode, "module is sha256:" in ended.stderr) == (1, True), command
    assert enarx_deploy("keeps", "--json").stdout.strip() == "[]"
    assert enarx_deploy("package").returncode == 0  # without being asked, nothing is refused


@pytest.mark.parametrize(
    ("change", "command", "message"),
    [
        (("package =", 'package = "sha256:00" #'), "package", "package is sha256:"),
        (("name =", 'name = "c" #'), "compile", "toolchain.name is shelf, and Enarx.lock has c"),
        (('version = "', 'version = "0 '), "compile", "toolchain.version is"),
        (("module =", 'module = "sha256:00" #'), "compile", "module is sha256:"),
        (("policy =", 'policy = "sha256:00" #'), "attest", "reference_values.shelf.policy is sha256:"),
        (("hardware =", 'more = "x"\nhardware ='), "up", "reference_values.shelf.more is none, and Enarx.lock has x"),
        (("[reference_values.shelf]", "[reference_values.other]"), "deploy", "and Enarx.lock has none"),
    ],
    ids=["package", "toolchain", "toolchain-version", "module", "policy", "lost-value", "backend"],
)
def test_each_value_that_differs_is_named(project, enarx_deploy, change, command, message):
    lock = project / "Enarx.lock"
    lock.write_text(lock.read_text().replace(*change))
    ended = enarx_deploy(command, "--locked")
    assert (ended.returncode, message in ended.stderr) == (1, True), ended.stderr


@pytest.fixture
def program(enarx_deploy, tmp_path):
    """The program of the toolchain `shelf`."""
    path = tmp_path / "shelve"
    path.write_bytes(b"one")
    enarx_deploy.environment["SHELF_PROGRAM"] = str(path)
    return path


def test_another_program_of_the_same_version_is_refused(shelf, program, enarx_deploy):
    assert enarx_deploy("lock").returncode == 0
    assert enarx_deploy("compile", "--locked").returncode == 0
    program.write_bytes(b"two")
    ended = enarx_deploy("compile", "--locked")
    assert (ended.returncode, f"tools.{kind_of_machine()} is sha256:" in ended.stderr) == (1, True), ended.stderr
    assert enarx_deploy("lock").returncode == 0
    assert enarx_deploy("compile", "--locked").returncode == 0


def test_a_lock_of_another_kind_of_machine_says_so_and_one_of_before_is_read(shelf, program, enarx_deploy):
    assert enarx_deploy("lock").returncode == 0
    path = enarx_deploy.directory / "Enarx.lock"
    here = path.read_text()
    path.write_text(here.replace(f"{kind_of_machine()} =", "plan9-mips ="))
    ended = enarx_deploy("up", "--locked")
    assert (ended.returncode, "was made on plan9-mips, and says nothing of the tools of" in ended.stderr) == (1, True)
    assert enarx_deploy("lock").returncode == 0
    assert set(tomllib.loads(path.read_text())["tools"]) == {"plan9-mips", kind_of_machine()}
    assert enarx_deploy("compile", "--locked").returncode == 0
    path.write_text(here[: here.index("[tools]")] + here[here.index("[reference_values") :])
    assert enarx_deploy("compile", "--locked").returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "has no Enarx.lock"), ("[[", "Enarx.lock:"), ("version = 2\n", "Enarx.lock:"), ("x" * (1 << 21), "bytes")],
    ids=["missing", "not-toml", "another-version", "large"],
)
def test_a_lock_that_cannot_be_read_lets_nothing_through(project, enarx_deploy, text, message):
    (project / "Enarx.lock").unlink()
    if text is not None:
        (project / "Enarx.lock").write_text(text)
    ended = enarx_deploy("package", "--locked")
    assert (ended.returncode, message in ended.stderr) == (1, True), ended.stderr


def test_a_lock_with_the_marks_of_a_merge_is_refused_with_its_line_and_written_anew(project, enarx_deploy):
    path = project / "Enarx.lock"
    sound = path.read_text()
    package = next(line for line in sound.splitlines() if line.startswith("package"))
    path.write_text(sound.replace(package, f"<<<<<<< ours\n{package}\n=======\n{package}\n>>>>>>> theirs"))
    refused = enarx_deploy("package", "--locked")
    assert (refused.returncode, "Enarx.lock: " in refused.stderr, "line 4" in refused.stderr) == (1, True, True)
    ended = enarx_deploy("lock")
    assert (ended.returncode, "lost" in ended.stderr, path.read_text()) == (0, True, sound), ended.stderr
