"""`enarx-deploy new`, as a user runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from enarx_deploy.project import load_project

FILES = [".gitignore", "Enarx.toml", "README.md", "main.c", "test_echo.py"]


def files_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_project_is_made_and_the_next_commands_are_shown(enarx_deploy: Any) -> None:
    ended = enarx_deploy("new", "echo", "my-echo")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert files_in(enarx_deploy.directory / "my-echo") == FILES
    assert ended.stdout.splitlines()[-3:] == [
        "  cd my-echo",
        "  enarx-deploy up",
        "  enarx-deploy verify localhost:10010",
    ]
    assert files_in(enarx_deploy.directory) == ["my-echo", *(f"my-echo/{name}" for name in FILES)]


def test_what_is_made_is_a_project_without_faults(enarx_deploy: Any) -> None:
    enarx_deploy("new", "echo", "my-echo")
    project = load_project(enarx_deploy.directory / "my-echo")
    assert [file.name for file in project.manifest.files] == ["stdin", "stdout", "stderr", "echo"]
    assert not project.warnings


def test_a_program_that_is_no_service_is_run_next(enarx_deploy: Any) -> None:
    ended = enarx_deploy("new", "fibonacci")
    assert ended.stdout.splitlines()[-2:] == ["  cd fibonacci", "  enarx-deploy run ."]


def test_json_says_the_same(enarx_deploy: Any) -> None:
    ended = enarx_deploy("new", "echo", "a place/my echo", "--json")
    assert json.loads(ended.stdout) == {
        "template": "echo",
        "directory": str(enarx_deploy.directory / "a place/my echo"),
        "files": FILES,
        "next": ["cd 'a place/my echo'", "enarx-deploy up", "enarx-deploy verify localhost:10010"],
    }


def test_without_words_it_says_where_the_templates_are_listed(enarx_deploy: Any) -> None:
    ended = enarx_deploy("new")
    assert ended.returncode == 2
    assert "such as: enarx-deploy new echo my-echo; `enarx-deploy new --list` shows the templates" in ended.stderr


@pytest.mark.parametrize("name", ["mine", "echo"])
def test_one_word_is_a_directory(enarx_deploy: Any, name: str) -> None:
    assert enarx_deploy("new", name).returncode == 0
    assert files_in(enarx_deploy.directory / name) == FILES


def test_an_empty_directory_is_filled_and_not_replaced(enarx_deploy: Any) -> None:
    before = enarx_deploy.directory.stat().st_ino
    ended = enarx_deploy("new", "echo", ".")
    assert ended.returncode == 0
    assert "cd " not in ended.stdout
    assert files_in(enarx_deploy.directory) == FILES
    assert enarx_deploy.directory.stat().st_ino == before


def test_the_common_option_c_says_where(enarx_deploy: Any) -> None:
    (enarx_deploy.directory / "projects").mkdir()
    ended = enarx_deploy("new", "-C", "projects", "echo", "mine")
    assert "  cd projects/mine" in ended.stdout
    assert files_in(enarx_deploy.directory / "projects/mine") == FILES


def full_directory(place: Path) -> None:
    place.mkdir()
    (place / "kept").touch()


def link_to_an_empty_directory(place: Path) -> None:
    place.with_name("elsewhere").mkdir()
    place.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [full_directory, Path.touch, link_to_an_empty_directory])
def test_what_is_there_is_not_touched(enarx_deploy: Any, make: Any) -> None:
    make(enarx_deploy.directory / "mine")
    before = files_in(enarx_deploy.directory)
    ended = enarx_deploy("new", "echo", "mine")
    assert ended.returncode == 2
    assert f"{enarx_deploy.directory / 'mine'} is there already" in ended.stderr
    assert files_in(enarx_deploy.directory) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "`new` takes a template and a directory"),
        (("a", "b", "c"), "`new` takes a template and a directory"),
        (("ecko", "mine"), "there is no template 'ecko'\n  hint: did you mean `echo`?"),
        (("ocaml", "mine"), "there is no template 'ocaml'\n  hint: `enarx-deploy new --list` shows all"),
    ],
)
def test_wrong_words_are_explained(enarx_deploy: Any, words: tuple[str, ...], message: str) -> None:
    ended = enarx_deploy("new", *words)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "hint: " in ended.stderr
    assert files_in(enarx_deploy.directory) == []


def test_templates_are_listed_with_what_they_are(enarx_deploy: Any) -> None:
    listed = json.loads(enarx_deploy("new", "--list", "--json").stdout)["templates"]
    shown = enarx_deploy("new", "--list").stdout.splitlines()
    assert {"echo", "rot13", "fibonacci"} <= {template["name"] for template in listed}
    assert len(shown) == len(listed) + 1
    for template, line in zip(listed, shown[1:], strict=True):
        assert template["description"].endswith(".")
        assert line.split() == [template["name"], *template["description"].split()]


def test_help_teaches(enarx_deploy: Any) -> None:
    shown = enarx_deploy("new", "--help").stdout
    assert "enarx-deploy new echo my-echo" in shown
    assert "enarx-deploy up" in shown
