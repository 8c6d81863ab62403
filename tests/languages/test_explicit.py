"""A command of the project's own: it wins over every toolchain, and says what it leaves."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx_deploy.errors import BuildError
from enarx_languages import command, explicit

STAYS = f"{os.getpid()}000.25"  # seconds, which tell a process of these tests from others
WAT = '(module (memory (export "memory") 1) (func (export "_start")))'


@pytest.fixture
def shell(bench):
    return bench(explicit.Command())


def test_it_wins_over_every_toolchain_and_runs_in_a_keep(in_keep):
    manifest = '[build]\ncommand = ["sh", "-c", "echo building; cp made.bin $ENARX_DEPLOY_OUTPUT"]\ntoolchain = "c"\n'
    import wasmtime

    files = {"Enarx.toml": manifest, "main.c": "broken", "made.bin": bytes(wasmtime.wat2wasm(WAT))}
    ended = in_keep(files)
    assert ended.returncode == 0, ended.stderr
    assert "the command of [build] command builds, and no toolchain" in ended.stderr
    assert "building" in ended.stderr


def test_the_file_that_it_leaves_is_taken(shell, project):
    made = project({"a.bin": b"module"}, 'command = ["cp", "a.bin", "b.bin"]\noutput = "b.bin"')
    assert shell.built(made)[0] == b"module"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ('command = ["true"]', "true ended well but left no module"),
        ('command = ["true"]\noutput = "out/b.wasm"', r"out/b\.wasm: No such file or directory"),
        ('command = ["sh", "-c", "echo main.x:3: error: bad; exit 1"]', r"main\.x:3: error: bad"),
        ('command = ["no-such-tool-here"]', "cannot start no-such-tool-here: No such file or directory"),
        ("", "there is no command to run"),
    ],
)
def test_what_goes_wrong_is_said(shell, project, build, message):
    with pytest.raises(BuildError, match=f"^{message}$") as caught:
        shell.built(project({}, build))
    assert caught.value.hint


def test_it_is_cut_off_from_the_network_unless_asked(shell, project):
    script = (
        "import os, pathlib; "
        "pathlib.Path(os.environ['ENARX_DEPLOY_OUTPUT']).write_text(pathlib.Path('/proc/net/dev').read_text())"
    )
    command = f'command = ["python3", "-c", "{script}"]'
    interfaces, _ = shell.built(project({}, command))
    assert [line.split(":")[0].strip() for line in interfaces.decode().splitlines()[2:]] == ["lo"]
    seen, _ = shell.built(project({}, f"{command}\nnetwork = true"))
    assert seen.decode().count("\n") >= interfaces.decode().count("\n")


def test_a_script_of_the_project_is_cut_off_from_wherever_it_is_built(shell, project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = "#!/bin/sh\ncp /proc/net/dev $ENARX_DEPLOY_OUTPUT\n"
    made = project({"make.sh": script}, 'command = ["./make.sh"]')
    (made.root / "make.sh").chmod(0o755)
    interfaces, _ = shell.built(made)
    assert [line.split(":")[0].strip() for line in interfaces.decode().splitlines()[2:]] == ["lo"]


def test_a_network_that_cannot_be_taken_away_is_said_once_in_each_build(tool_named, tmp_path):
    tool_named("unshare", "exit 1")
    command._can_confine.cache_clear()
    try:
        for _ in range(2):
            lines: list[str] = []
            progress = lines.append
            for _ in range(2):
                command.run(["true"], cwd=tmp_path, progress=progress)
            assert len(lines) == 1
            assert "`unshare` is refused" in lines[0]
            command.run(["true"], cwd=tmp_path, progress=progress, network=True)
            assert len(lines) == 1
    finally:
        command._can_confine.cache_clear()


@pytest.mark.parametrize("confined", [True, False])
def test_what_a_build_leaves_running_ends_with_it(tool_named, tmp_path, confined):
    if not confined:
        tool_named("unshare", "exit 1")
    command._can_confine.cache_clear()
    try:
        command.run(["sh", "-c", f"sleep {STAYS} > /dev/null 2>&1 &"], cwd=tmp_path, progress=print)
    finally:
        command._can_confine.cache_clear()
    assert nothing_left()


def test_a_build_that_is_killed_leaves_nothing_running(enarx_deploy):
    if not command._can_confine():
        pytest.skip("this system lets no user make namespaces: a build is then ended by this program alone")
    script = f"sleep {STAYS} & echo begun; sleep {STAYS}"
    (enarx_deploy.directory / "Enarx.toml").write_text(f'files = []\n[build]\ncommand = ["sh", "-c", "{script}"]\n')
    building = enarx_deploy.start("compile")
    while "begun" not in building.stderr.readline():
        assert building.poll() is None
    building.kill()
    assert nothing_left()
    assert enarx_deploy("check").returncode == 0


def nothing_left() -> bool:
    """Whether, soon, no process has the words of a `sleep` of these tests."""
    for _ in range(2400):
        if not any(words == f"sleep\0{STAYS}\0".encode() for words in command_lines()):
            return True
        time.sleep(0.05)
    return False


def command_lines() -> Iterator[bytes]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_bytes()


def test_people_see_that_the_build_has_the_network(enarx_deploy, tool_named):
    import wasmtime

    tool_named("unshare", "exit 1")
    (enarx_deploy.directory / "made.bin").write_bytes(wasmtime.wat2wasm(WAT))
    manifest = 'files = []\n[build]\ncommand = ["cp", "made.bin", "out.wasm"]\noutput = "out.wasm"\n'
    (enarx_deploy.directory / "Enarx.toml").write_text(manifest)
    ended = enarx_deploy("compile", env={"PATH": os.environ["PATH"]})
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("`unshare` is refused") == 1


def test_the_date_of_a_build_is_fixed(shell, project, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    words = 'command = ["sh", "-c", "echo $SOURCE_DATE_EPOCH > $ENARX_DEPLOY_OUTPUT"]'
    assert shell.built(project({}, words))[0] == b"315532800\n"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert shell.built(project({}, words))[0] == b"1700000000\n"


@pytest.mark.parametrize(
    "variable",
    [
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ENARX_DEPLOY_ID_TOKEN",
        "ENARX_DEPLOY_STEWARD_DATABASE",
        "ENARX_INSECURE_AUTH_TOKEN",
        "ENARX_OIDC_CLIENT_SECRET",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ],
)
def test_no_secret_of_this_program_is_told_to_what_a_build_runs(shell, project, monkeypatch, variable):
    monkeypatch.setenv(variable, "61f0c4b7a2")
    made = project({}, 'command = ["env"]')
    said: list[str] = []
    with pytest.raises(BuildError):
        shell.toolchain.build(made, shell.found(made), made.work_dir / "out.wasm", said.append)
    assert any(line.startswith("PATH=") for line in said)
    assert not [line for line in said if "61f0c4b7a2" in line]


def test_it_is_run_each_time_unless_its_inputs_are_named(enarx_deploy):
    import wasmtime

    (enarx_deploy.directory / "made.bin").write_bytes(wasmtime.wat2wasm(WAT))
    manifest = enarx_deploy.directory / "Enarx.toml"
    manifest.write_text('files = []\n[build]\ncommand = ["cp", "made.bin", "out.wasm"]\noutput = "out.wasm"\n')
    assert [" unchanged" in enarx_deploy("compile").stderr for _ in range(2)] == [False, False]
    manifest.write_text(manifest.read_text() + 'inputs = ["made.bin"]\n')
    assert [" unchanged" in enarx_deploy("compile").stderr for _ in range(2)] == [False, True]
    with (enarx_deploy.directory / "made.bin").open("ab") as file:
        file.write(b"\0\x02\x01x")
    assert " unchanged" not in enarx_deploy("compile").stderr


def test_a_named_input_that_is_not_there_is_told(enarx_deploy):
    manifest = 'files = []\n[build]\ncommand = ["true"]\ninputs = ["data"]\n'
    (enarx_deploy.directory / "Enarx.toml").write_text(manifest)
    ended = enarx_deploy("compile")
    assert ended.returncode == 1
    assert "data: No such file or directory" in ended.stderr
