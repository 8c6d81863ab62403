"""`enarx-deploy doctor` and `platform`: what is missing, what to do about it, and what `--fix` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path("prog.bin")

# A language whose tool is a file that its "package" brings.
LANGUAGE = """
import sys
from pathlib import Path
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import MissingTool, Tool

PLACE = Path(%r)

class Stone:
    name = "stone"
    def detect(self, project): return "main.stone is here" if (project.root / "main.stone").exists() else None
    def find(self):
        if PLACE.exists():
            return Tool(command=(), version="chisel 3")
        words = (sys.executable, "-c", %r)
        return MissingTool(name="a chisel", install="pip install chisel", registry="PyPI", command=words)
    def inputs(self, project): return []
    def build(self, project, tool, output, progress): raise NotImplementedError

@hookimpl
def register_toolchains():
    return [Stone()]
"""


@pytest.fixture
def stone(install_plugin, tmp_path: Path):
    """Installs the language; `words` is what its installer does."""
    place = tmp_path / "chisel"

    def install(words: str = "") -> Path:
        words = words or f"open({str(place)!r}, 'w').close()"
        install_plugin("stone", LANGUAGE % (str(place), words))
        return place

    return install


def group(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in answer["groups"] if one["name"] == name)


def finding(answer: dict[str, Any], name: str, of: str) -> dict[str, Any]:
    return next(one for one in group(answer, of)["findings"] if one["name"] == name)


def test_a_machine_that_can_run_a_keep_is_well(enarx_deploy) -> None:
    ended = enarx_deploy("doctor", "--json")
    answer = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stdout
    assert answer["ok"]
    assert finding(answer, "nil", "backends")["ok"]
    assert finding(answer, "wat", "toolchains")["ok"]
    assert not finding(answer, "snp", "backends")["ok"]
    assert [one["name"] for one in answer["groups"]] == [
        "this program",
        "toolchains",
        "backends",
        "evidence of hardware",
    ]


def test_a_missing_tool_comes_with_what_installs_it_and_is_installed_by_name(enarx_deploy, stone) -> None:
    place = stone()
    shown = enarx_deploy("doctor")
    assert shown.returncode == 0  # nothing here needs it
    advice = "pip install chisel, or: enarx-deploy doctor --fix stone"
    assert f"  -    stone: a chisel is not here\n       {advice}\n" in shown.stdout
    assert "FAIL" not in shown.stdout
    assert shown.stdout.endswith("nothing that is needed here is missing; a dash marks what something else may need\n")
    assert not place.exists()
    fixed = enarx_deploy("doctor", "--fix", "stone")
    assert "installing a chisel from PyPI: " in fixed.stderr
    assert "-c" in fixed.stderr
    assert "  ok   stone: chisel 3\n" in fixed.stdout
    assert place.exists()
    assert "stone: chisel 3 is here already" in enarx_deploy("doctor", "--fix", "stone").stderr


def test_a_tool_of_two_parts_is_installed_whole(enarx_deploy, install_plugin, tmp_path: Path) -> None:
    """As Python's, whose interpreter is on PyPI and whose packer on npm: each is missed when the other is there."""
    parts = """
    def find(self):
        for part in ("chisel", "hammer"):
            if not (place := PLACE.with_name(part)).exists():
                words = (sys.executable, "-c", f"open({str(place)!r}, 'w').close()")
                return MissingTool(name=f"a {part}", install="", registry="PyPI", command=words)
        return Tool(command=(), version="chisel 3, hammer 1")
"""
    source = LANGUAGE % (str(tmp_path / "chisel"), "")
    install_plugin("stone", source.replace("    def inputs(self", f"{parts}\n    def inputs(self"))
    fixed = enarx_deploy("doctor", "--fix", "stone")
    assert fixed.returncode == 0, fixed.stderr
    assert [line.split()[2] for line in fixed.stderr.splitlines() if line.startswith("installing ")] == [
        "chisel",
        "hammer",
    ]
    assert "  ok   stone: chisel 3, hammer 1\n" in fixed.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("raise SystemExit(9)", "ended with status 9"),
        ("pass", "stone does not find a chisel after that"),
    ],
)
def test_an_installation_that_does_not_help_is_said(enarx_deploy, stone, words: str, said: str) -> None:
    stone(words)
    ended = enarx_deploy("doctor", "--fix", "stone")
    assert ended.returncode == 1
    assert said in ended.stderr


def test_a_toolchain_that_nobody_knows_is_not_fixed(enarx_deploy) -> None:
    ended = enarx_deploy("doctor", "--fix", "cobol")
    assert ended.returncode == 2
    assert "'cobol' is not known" in ended.stderr


def test_what_the_project_here_misses_counts(enarx_deploy, stone) -> None:
    stone()
    (enarx_deploy.directory / "main.stone").write_text("")
    ended = enarx_deploy("doctor", "--json")
    assert ended.returncode == 1
    missing = finding(json.loads(ended.stdout), "stone", "this project")
    assert (missing["ok"], missing["fix"]) == (False, "stone")
    shown = enarx_deploy("doctor").stdout
    assert "this project\n  ok   manifest" in shown
    assert "  FAIL stone: a chisel is not here\n" in shown
    assert "  -    stone" in shown, "the same among the languages, of which no project needs all"
    assert shown.endswith("something is missing: see FAIL under this project\n")
    assert enarx_deploy("doctor", "--fix", "stone").returncode == 0


def test_a_manifest_with_a_fault_counts(enarx_deploy) -> None:
    (enarx_deploy.directory / "Enarx.toml").write_text("flies = []\n")
    ended = enarx_deploy("doctor")
    assert ended.returncode == 1
    assert "Enarx.toml:1:1" in ended.stdout


BRINGS_NOTHING = """
from enarx_deploy.hookspecs import hookimpl

@hookimpl
def register_toolchains():
    return [Say()]
"""


@pytest.mark.parametrize("source", ["import no_such_module\n", BRINGS_NOTHING], ids=["import", "what-it-brings"])
def test_a_plugin_that_does_not_load_counts(enarx_deploy, install_plugin, source: str) -> None:
    install_plugin("broken", source)
    ended = enarx_deploy("doctor")
    assert ended.returncode == 1
    assert "FAIL plugin 'broken' of dist-broken 1.0: failed to load" in ended.stdout


def test_a_directory_that_others_can_write_to_counts(enarx_deploy) -> None:
    state = Path(enarx_deploy.environment["ENARX_DEPLOY_STATE_DIR"])
    state.mkdir(mode=0o700)
    state.chmod(0o777)
    ended = enarx_deploy("doctor")
    assert ended.returncode == 1
    assert f"  FAIL state: {state}: others can write to it\n       chmod go-w {state}\n" in ended.stdout


def test_backends_are_shown_the_strongest_first(enarx_deploy) -> None:
    shown = enarx_deploy("platform", "sev").stdout
    assert shown.startswith("snp: ")
    listed = json.loads(enarx_deploy("platform", "--json").stdout)
    assert [probe["backend"] for probe in listed] == ["snp", "tdx", "sgx", "kvm", "nil"]
