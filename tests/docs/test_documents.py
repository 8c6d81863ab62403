"""The documents hold what they show: links lead somewhere, commands exist, dependencies are accounted for."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from enarx_deploy.cli.app import app
from enarx_deploy.cli.context import Context
from enarx_deploy.manifest import Manifest, parse
from enarx_steward import answers

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(enarx-deploy .*)$", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:home|root|work|tmp|Users|venv)/")
BARE_SECURE = re.compile(r"\bsecure\b(?! from whom)", re.IGNORECASE)

OF_THE_SAMPLE_PLUGIN = {"say"}
"""Commands that are shown and that no built-in has."""
CODE = ("sh", "console", "")


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in found if path.exists()]


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after `enarx-deploy` of each command line in a page's code."""
    shown = [*INDENTED.findall(text)]
    for language, block in FENCE.findall(text):
        if language in CODE:
            shown += block.replace("\\\n", " ").splitlines()
    for line in shown:
        if words := words_of(line):
            yield words


def words_of(line: str) -> list[str]:
    """The words of the enarx-deploy command in a line, up to the end of that command; none where there is none."""
    found = re.match(r"(?:\$ )?(?:\w+=\$\()?enarx-deploy(?= )(.*)", line.strip())
    if found is None:
        return []
    lexer = shlex.shlex(found[1], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((i for i, word in enumerate(words) if word in {"|", ">", "2", "&&", ";", ")", "2>"}), len(words))
    return words[:end]


def fault_of(words: list[str]) -> str:
    """Why a command line could not be one, or nothing."""
    group = click.Context(app, obj=Context())
    rest = take_options(app, words)
    if isinstance(rest, str):
        return rest
    if not rest or rest[0] in OF_THE_SAMPLE_PLUGIN:
        return ""
    try:
        command = app.get_command(group, rest[0])
    except ModuleNotFoundError:
        command = None
    if command is None:
        return f"there is no command {rest[0]}"
    while isinstance(command, click.Group) and len(rest) > 1 and rest[1] in command.commands:
        command, rest = command.commands[rest[1]], rest[1:]
    if isinstance(command, click.Group) and not command.invoke_without_command:
        return fault_in_group(command, rest[1:])
    after = take_options(command, rest[1:], everywhere=True)
    return after if isinstance(after, str) else ""


def fault_in_group(group: click.Group, words: list[str]) -> str:
    rest = take_options(group, words)
    if isinstance(rest, str) or not rest:
        return rest if isinstance(rest, str) else ""
    if rest[0] not in group.commands:
        return f"{group.name} has no command {rest[0]}"
    command = group.commands[rest[0]]
    if isinstance(command, click.Group):
        return fault_in_group(command, rest[1:])
    after = take_options(command, rest[1:], everywhere=True)
    return after if isinstance(after, str) else ""


def take_options(command: click.Command, words: list[str], *, everywhere: bool = False) -> list[str] | str:
    """The words left when options are taken away: at the beginning, or everywhere up to `--`; or what is unknown."""
    options = {
        name: option
        for option in command.get_params(click.Context(command))
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }
    left = list(words)
    kept: list[str] = []
    while left:
        word = left.pop(0)
        if word == "--" or (not everywhere and not word.startswith("-")):
            return [*kept, word, *left]
        if not word.startswith("-"):
            kept.append(word)
            continue
        name, equals, _ = word.partition("=")
        if name not in options:
            return f"{command.name} has no option {name}"
        if not equals and not options[name].is_flag and not options[name].count and left:
            left.pop(0)
    return kept


@pytest.mark.parametrize("name", names(documents()))
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    dead = []
    for link in LINK.findall(without_code(path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("name", names(documents()))
def test_commands_that_are_shown_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    faults = [(words, fault) for words in command_lines(text) if (fault := fault_of(words))]
    assert not faults


@pytest.mark.parametrize("name", names(documents()))
def test_no_path_of_a_machine(name: str) -> None:
    assert not MACHINE_PATH.findall((ROOT / name).read_text())


@pytest.mark.parametrize("name", names(documents()))
def test_never_the_bare_word(name: str) -> None:
    """Whatever is said to be so must be said from whom, for how long, and where."""
    assert not BARE_SECURE.findall((ROOT / name).read_text())


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("$ enarx-deploy upp", "no command upp"),
        ("enarx-deploy up --fource", "no option --fource"),
        ("enarx-deploy collateral fetsch", "no command fetsch"),
        ("enarx-deploy collateral fetch --refesh", "no option --refesh"),
        ("enarx-deploy steward log verify --hed FILE", "no option --hed"),
        ("$ enarx-deploy --jason keeps", "no option --jason"),
        ("enarx-deploy keeps --grace 1 | head", "no option --grace"),
        ("X=$(enarx-deploy up --jason | cat)", "no option --jason"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, fault: str) -> None:
    (words,) = command_lines(f"```sh\n{line}\n```\n")
    assert fault in fault_of(words)


def test_words_for_the_workload_are_its_own() -> None:
    assert not fault_of(words_of("enarx-deploy run list --dir ./data::/data -- --anything"))


def test_command_lines_are_found_at_all() -> None:
    assert len(list(command_lines((ROOT / "README.md").read_text()))) >= 6


def manifests() -> Iterator[tuple[str, str]]:
    """The manifests that pages show, and parts of such; a page's other TOML has tables that no manifest has."""
    for path in documents():
        for language, block in FENCE.findall(path.read_text()):
            if language == "toml" and set(tomllib.loads(block)) <= set(Manifest.__struct_fields__):
                yield str(path.relative_to(ROOT)), block


def with_sockets(block: str) -> str:
    """The same with the sockets that a part of a manifest speaks of, where it lists no files."""
    shown = tomllib.loads(block)
    names = () if "files" in shown else shown.get("tls", ())
    sockets = [f'[[files]]\nkind = "listen"\nprot = "tls"\nport = 0\nname = "{name}"\n' for name in names]
    return "\n".join([block, *sockets])


def test_manifests_that_are_shown_are_good() -> None:
    found = list(manifests())
    assert len(found) >= 10
    for name, block in found:
        parse(with_sockets(block).encode(), name)


def test_every_problem_of_a_steward_is_explained() -> None:
    page = (ROOT / "docs/steward.md").read_text()
    assert [code for code in answers.KINDS if f"`{code}`" not in page] == []


def dependencies() -> dict[str, list[str]]:
    """The names of dependencies, by the file that asks for them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *(one for group in project["dependency-groups"].values() for one in group),
    ]
    found = {"pyproject.toml": [re.split(r"[^\w.-]", one)[0] for one in asked]}
    for name in ("pipeline/sallyport/Cargo.toml", "benches/load/Cargo.toml"):
        crate = tomllib.loads((ROOT / name).read_text())
        found[name] = [
            entry.get("package", key) if isinstance(entry, dict) else key
            for kind in ("dependencies", "dev-dependencies", "build-dependencies")
            for key, entry in crate.get(kind, {}).items()
        ]
    return found


@pytest.mark.parametrize(("file", "names"), dependencies().items())
def test_every_dependency_has_a_line(file: str, names: list[str]) -> None:
    page = (ROOT / "docs/dependencies.md").read_text()
    rows = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    assert names
    assert not set(names) - rows, f"{file} asks for what docs/dependencies.md does not explain"


def test_every_package_of_debian_has_a_line_and_no_other() -> None:
    scripts = (ROOT / ".ci/run").read_text() + (ROOT / ".ci/kubernetes").read_text()
    lists = re.findall(r"missing\+=\(([^)]*)\)|--no-install-recommends(?: \\\n\s*-t \S+)? ([a-z][^>]*)", scripts)
    installed = {name for pair in lists for words in pair for name in words.split()}
    page = (ROOT / "docs/dependencies.md").read_text()
    table = page.partition("| package | what for |\n|---|---|\n")[2].partition("\n\n")[0]
    assert len(installed) > 30
    assert {name for row in table.splitlines() for name in row.split("|")[1].strip().split(", ")} == installed


def test_no_line_without_its_dependency() -> None:
    page = (ROOT / "docs/dependencies.md").read_text()
    asked = {name for names in dependencies().values() for name in names}
    assert not set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) - asked
