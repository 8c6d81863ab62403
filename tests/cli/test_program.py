"""The program as a whole: start-up, options, errors, exit statuses."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import enarx_deploy as package
from enarx_deploy.cli.app import COMMANDS
from enarx_deploy.cli.main import main


def test_version(enarx_deploy):
    ended = enarx_deploy("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"enarx-deploy {package.__version__}\n", "")


def test_version_after_other_options(enarx_deploy):
    assert enarx_deploy("-v", "--version").stdout == f"enarx-deploy {package.__version__}\n"


def test_version_starts_within_four_times_an_empty_python(enarx_deploy):
    start = "import sys; from enarx_deploy.cli.main import main; sys.exit(main(['--version']))"
    empty, ours = [], []
    for _ in range(15):  # in turns, so that both meet the same load
        empty.append(seconds_of("pass", enarx_deploy.environment))
        ours.append(seconds_of(start, enarx_deploy.environment))
    assert statistics.median(ours) < 4 * statistics.median(empty)


def seconds_of(code: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began


HEAVY = ("cryptography", "httpx", "importlib.metadata", "msgspec", "pluggy", "rich", "starlette", "uvicorn", "wasmtime")


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["--version"], (*HEAVY, "click", "dataclasses", "pathlib")),
        (["logs", "--help"], HEAVY),
        (["up", "--help"], ("cryptography", "httpx", "rich", "starlette", "uvicorn", "wasmtime")),
        (["keeps"], ("rich", "starlette", "uvicorn", "wasmtime")),
        (["platform"], ("rich", "starlette", "uvicorn", "wasmtime")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_heavy_is_imported_before_it_is_needed(enarx_deploy, words, absent):
    before = modules_after("", enarx_deploy, [])  # how a package is installed may import some by itself
    after = modules_after("from enarx_deploy.cli.main import main; main(sys.argv[1:])", enarx_deploy, words)
    assert (after - before).isdisjoint(absent)


NOTHING = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a040102000b"
)


@pytest.mark.parametrize("backend", [("--backend", "nil"), ()], ids=["by-name", "the-strongest"])
def test_a_run_imports_no_more_than_it_needs(enarx_deploy, backend):
    (enarx_deploy.directory / "nothing.wasm").write_bytes(NOTHING)
    words = ["run", "-C", str(enarx_deploy.directory), *backend, str(enarx_deploy.directory / "nothing.wasm")]
    before = modules_after("", enarx_deploy, [])
    after = modules_after("from enarx_deploy.cli.main import main; assert main(sys.argv[1:]) == 0", enarx_deploy, words)
    heavy = set(HEAVY) - {"msgspec", "pluggy"} | {"enarx_signing", "enarx_deploy.manifest.shape", "traceback"}
    assert (after - before).isdisjoint(heavy)
    plugins = {name.partition(".")[0] for name in after - before} & set(PLUGINS)
    assert plugins == {"enarx_backends"}


def test_who_names_a_directory_after_the_command_is_told_where_it_goes(enarx_deploy):
    (enarx_deploy.directory / "my echo").mkdir()
    ended = enarx_deploy("compile", "my echo")
    assert ended.returncode == 2
    assert "to work in that directory: enarx-deploy -C 'my echo' compile\n" in ended.stderr
    ended = enarx_deploy("up", "my echo")
    assert ended.returncode == 2
    assert "my echo is a directory, and no reference to a package" in ended.stderr
    assert "-C my echo before the command works in it" in ended.stderr


def test_a_run_looks_for_its_program_in_the_directory_of_c(enarx_deploy):
    (folder := enarx_deploy.directory / "elsewhere").mkdir()
    (folder / "nothing.wasm").write_bytes(NOTHING)
    (folder / "project").mkdir()
    (folder / "project" / "main.wasm").write_bytes(NOTHING)
    assert enarx_deploy("run", "-C", "elsewhere", "nothing.wasm").returncode == 0
    assert enarx_deploy("run", "-C", "elsewhere/project", ".").returncode == 0
    assert enarx_deploy("run", "-C", "elsewhere", str(folder / "nothing.wasm")).returncode == 0
    assert "absent.wasm: no such file" in enarx_deploy("run", "-C", "elsewhere", "absent.wasm").stderr


PLUGINS = (
    "enarx_backends",
    "enarx_languages",
    "enarx_targets",
    "enarx_registries",
    "enarx_issuers",
    "enarx_kubernetes",
)


def modules_after(code: str, program, words: list[str]) -> set[str]:
    lines = f"import sys; {code}\nprint(*sys.modules, file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", lines, *words], check=True, capture_output=True, text=True, env=program._environment()
    )
    return set(ended.stderr.split())


def test_help_lists_every_command_and_the_exit_statuses(enarx_deploy):
    shown = enarx_deploy("--help").stdout
    for name, line in COMMANDS.items():
        assert f"  {name} " in shown
        assert line in shown
    assert "3    verification refused" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_options_that_all_have(enarx_deploy, name):
    ended = enarx_deploy(name, "--help")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"Usage: enarx-deploy {name} ")
    assert all(word in ended.stdout for word in ("--directory", "--json", "--verbose", "--quiet"))


def test_an_unknown_command_is_answered_with_the_nearest(enarx_deploy):
    ended = enarx_deploy("kepes")
    assert ended.returncode == 2
    assert ended.stderr.startswith("enarx-deploy: there is no command 'kepes'; did you mean 'keeps'?")
    assert "\n  hint: `enarx-deploy --help` lists the commands\n" in ended.stderr


def test_an_unknown_option_is_two_lines_and_status_2(enarx_deploy):
    ended = enarx_deploy("keeps", "--jsno")
    assert ended.returncode == 2
    assert ended.stdout == ""
    first, second = ended.stderr.splitlines()
    assert first.startswith("enarx-deploy: ")
    assert "--jsno" in first
    assert second == "  hint: `enarx-deploy keeps --help` shows how it is used"


def test_no_command_shows_the_help(enarx_deploy):
    ended = enarx_deploy()
    assert ended.returncode == 2
    assert "Commands:" in ended.stdout + ended.stderr


@pytest.mark.parametrize("group", [("collateral",), ("steward", "log"), ("steward", "ca")], ids=" ".join)
def test_a_group_without_a_command_shows_its_help(enarx_deploy, group):
    ended = enarx_deploy(*group)
    assert ended.returncode == 2
    assert ended.stderr == enarx_deploy(*group, "--help").stdout
    assert json.loads(enarx_deploy(*group, "--json").stdout)["error"]["exit_status"] == 2


@pytest.mark.parametrize("words", [["--json", "logs", "nobody"], ["logs", "nobody", "--json"]])
def test_with_json_an_error_is_json_on_stdout_too(enarx_deploy, words):
    ended = enarx_deploy(*words)
    assert ended.returncode == 2
    assert json.loads(ended.stdout) == {
        "error": {
            "kind": "UsageError",
            "message": "no Keep is known as 'nobody'",
            "hint": "`enarx-deploy keeps` lists those that are",
            "exit_status": 2,
        }
    }
    assert ended.stderr.startswith("enarx-deploy: no Keep is known as 'nobody'\n")


def test_with_json_a_fault_of_the_command_line_is_json_too(enarx_deploy):
    ended = enarx_deploy("keeps", "--json", "--no-such-option")
    assert json.loads(ended.stdout)["error"]["exit_status"] == 2


def test_json_that_is_meant_for_the_workload_is_not_ours(enarx_deploy):
    assert enarx_deploy("logs", "--", "--json").stdout == ""


def test_a_manifest_fault_has_its_place(enarx_deploy):
    (enarx_deploy.directory / "Enarx.toml").write_text('args = "x"\n')
    ended = enarx_deploy("compile", "--json")
    assert ended.returncode == 2
    assert f"{enarx_deploy.directory / 'Enarx.toml'}:1:" in ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert error["kind"] == "ManifestError"
    assert error["line"] == 1
    assert error["column"] > 0
    assert error["file"].endswith("Enarx.toml")


def test_every_fault_of_a_manifest_is_shown(enarx_deploy):
    (enarx_deploy.directory / "Enarx.toml").write_text('args = "x"\nstewart = "y"\n')
    ended = enarx_deploy("compile", "--json")
    assert len(json.loads(ended.stdout)["error"]["problems"]) == 2
    assert ended.stderr.count("enarx-deploy: ") == 2
    assert "stewart" in ended.stderr


def test_a_traceback_is_shown_with_vv_only(enarx_deploy):
    for words, shown in ((["logs", "x"], False), (["-v", "logs", "x"], False), (["-vv", "logs", "x"], True)):
        ended = enarx_deploy(*words)
        assert ("Traceback" in ended.stderr) is shown


def test_what_the_system_refuses_is_said_in_one_line(enarx_deploy, shelf):
    (enarx_deploy.directory / ".enarx").write_text("in the way")
    ended = enarx_deploy("compile")
    assert ended.returncode == 2
    assert f"enarx-deploy: {enarx_deploy.directory / '.enarx'}: File exists" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_error(enarx_deploy):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx_deploy", "keeps"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=enarx_deploy._environment(),
    )
    os.close(writing)
    assert process.communicate(timeout=120)[1] == ""


@pytest.mark.parametrize("before", [True, False])
def test_options_mean_the_same_before_and_after_the_command(enarx_deploy, shelf, before):
    options = ["-C", str(enarx_deploy.directory), "--json", "--set", "build.toolchain=shelf"]
    words = [*options, "compile"] if before else ["compile", *options]
    ended = enarx_deploy(*words, cwd=enarx_deploy.directory.parent)
    assert json.loads(ended.stdout)["toolchain"] == "shelf", ended.stderr


def test_overrides_before_and_after_the_command_both_count(enarx_deploy, shelf):
    args = ("--set", "build.toolchain=shelf")
    ended = enarx_deploy("--set", 'args=["x"]', "package", "--json", *args)
    text = Path(json.loads(ended.stdout)["root"], "Enarx.toml").read_text()
    assert '"x"' in text
    assert 'toolchain = "shelf"' in text


def test_the_later_of_two_options_wins(enarx_deploy, shelf):
    ended = enarx_deploy("--backend", "nobody", "attest", "--backend", "shelf", "--json")
    assert json.loads(ended.stdout)["backend"] == "shelf"


def test_an_option_that_means_nothing_to_a_command_is_refused(enarx_deploy):
    ended = enarx_deploy("--backend", "nil", "keeps")
    assert ended.returncode == 2
    assert "--backend means nothing to 'keeps'" in ended.stderr
    assert enarx_deploy("keeps", env={"ENARX_BACKEND": "nil"}).returncode == 0


def test_the_environment_can_give_every_common_option(enarx_deploy, shelf):
    env = {"ENARX_DEPLOY_DIRECTORY": str(enarx_deploy.directory), "ENARX_DEPLOY_JSON": "1"}
    ended = enarx_deploy("compile", cwd=enarx_deploy.directory.parent, env=env)
    assert json.loads(ended.stdout)["toolchain"] == "shelf", ended.stderr


def test_enarx_own_variable_names_the_manifest(enarx_deploy, shelf, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text((enarx_deploy.directory / "Enarx.toml").read_text() + '[build]\ntoolchain = "nobody"\n')
    ended = enarx_deploy("compile", env={"ENARX_WASMCFGFILE": str(other)})
    assert "toolchain 'nobody' is not known" in ended.stderr


def test_a_manifest_that_is_named_must_be_there(enarx_deploy, shelf):
    ended = enarx_deploy("compile", "--manifest", "nowhere.toml")
    assert ended.returncode == 2
    assert "nowhere.toml" in ended.stderr


def test_quiet_says_only_what_went_wrong(enarx_deploy, shelf):
    ended = enarx_deploy("compile", "-q")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert enarx_deploy("-q", "logs", "nobody").stderr.startswith("enarx-deploy: ")


def test_json_keeps_stderr_silent_unless_verbose(enarx_deploy, shelf):
    assert enarx_deploy("compile", "--json").stderr == ""
    assert "compile        unchanged" in enarx_deploy("compile", "--json", "-v").stderr


def test_main_returns_the_status(capsys):
    assert main(["logs", "nobody", "-q"]) == 2
    assert "nobody" in capsys.readouterr().err


def test_a_terminal_gets_a_live_line_that_ends_as_a_plain_one(enarx_deploy, shelf):
    shown = on_a_terminal(enarx_deploy, "compile")
    assert "✔ compile" in shown
    assert "main.wasm" in shown


def on_a_terminal(enarx_deploy, *words: str) -> str:
    import pty

    ours, theirs = pty.openpty()
    environment = enarx_deploy._environment() | {"TERM": "xterm", "LANG": "C.UTF-8", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx_deploy", *words],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        cwd=enarx_deploy.directory,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how a terminal says that nobody is left at its other end
        pass
    os.close(ours)
    assert process.wait(120) == 0, shown
    return shown.decode()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_fault(enarx_deploy, tmp_path, closed):
    words = f"{sys.executable} -m enarx_deploy -C {tmp_path} new echo mine {closed}"
    ended = subprocess.run(
        ["sh", "-c", words], capture_output=True, text=True, env=enarx_deploy.environment, check=False
    )
    assert (ended.returncode, "internal error" in ended.stderr) == (0, False), ended.stderr
    assert (tmp_path / "mine/Enarx.toml").read_text().startswith("#")


def test_a_full_disk_is_no_fault_of_the_program(enarx_deploy, tmp_path):
    words = ["prlimit", "--fsize=10", sys.executable, "-m", "enarx_deploy", "-C", str(tmp_path), "new", "echo", "mine"]
    ended = subprocess.run(words, capture_output=True, text=True, env=enarx_deploy.environment, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("enarx-deploy: a file cannot be written: File too large\n  hint: make room")
    assert not (tmp_path / "mine").exists()


def test_a_file_system_without_locks_is_no_fault_of_the_program(enarx_deploy, shelf, tmp_path):
    without = tmp_path / "without/sitecustomize.py"
    without.parent.mkdir()
    without.write_text(
        "import errno, fcntl\ndef flock(*_): raise OSError(errno.ENOLCK, 'No locks')\nfcntl.flock = flock\n"
    )
    enarx_deploy.paths.insert(0, without.parent)
    ended = enarx_deploy("package")
    assert ended.returncode == 1
    assert "enarx-deploy: a file cannot be locked: No locks\n  hint: its file system has no locks" in ended.stderr


def test_a_path_that_is_not_utf_8_is_answered_in_json_and_in_words(enarx_deploy):
    place = enarx_deploy.directory / "project\udcff"
    place.mkdir()
    (place / "Enarx.toml").touch()
    ended = enarx_deploy("--json", "-C", str(place), "compile")
    assert json.loads(ended.stdout)["error"]["message"] == f"{place}/.enarx: the path is not UTF-8"
    assert "project\\udcff/.enarx: the path is not UTF-8" in enarx_deploy("-C", str(place), "compile").stderr
