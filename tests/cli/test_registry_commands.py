"""`publish`, `fetch`, `info`, `search` and `yank`, with the registry that is a directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Program

HELLO = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 7))))"""


@pytest.fixture
def project(enarx_deploy: Program) -> Program:
    (enarx_deploy.directory / "main.wat").write_text(HELLO)
    (enarx_deploy.directory / "Enarx.toml").write_text('[[files]]\nkind = "stdout"\n')
    return enarx_deploy


def published(program: Program, place: str = "dir:store") -> str:
    ended = program("publish", place)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_project_is_published_and_fetched_and_run_by_its_digest(project: Program) -> None:
    reference = published(project)
    digest = reference.partition("@")[2]
    assert reference == f"dir:store@{digest}"
    fetched = json.loads(project("fetch", reference, "--into", "got", "--json").stdout)
    assert fetched["package"]["digest"] == digest
    assert sorted(path.name for path in Path(fetched["package"]["root"]).iterdir()) == ["Enarx.toml", "main.wasm"]
    assert project("run", reference).returncode == 7
    assert not list((project.directory / "store").glob(".new-*"))


def test_publish_answers_in_json(project: Program) -> None:
    record = json.loads(project("publish", "dir:store", "--json").stdout)
    assert record["reference"] == f"dir:store@{record['digest']}"
    assert [one["kind"] for one in record["attachments"]] == ["sbom", "provenance"]


def test_a_package_goes_from_one_registry_to_another_as_it_is(project: Program) -> None:
    first = published(project)
    second = project("publish", "dir:other", first).stdout.strip()
    assert second.partition("@")[2] == first.partition("@")[2]


def test_a_packages_own_directory_is_published(project: Program) -> None:
    digest, root = project("package").stdout.split()
    assert project("publish", "dir:store", root).stdout.strip() == f"dir:store@{digest}"


def test_info_says_what_the_registry_has(project: Program) -> None:
    reference = published(project)
    answer = json.loads(project("info", reference, "--json").stdout)
    assert answer["package"]["reference"] == reference
    assert {one["kind"] for one in answer["attachments"]} == {"sbom", "provenance"}
    assert "tags         none" in project("info", reference).stdout


def test_search_lists_packages_and_says_where_there_is_none(project: Program) -> None:
    reference = published(project)
    assert reference in project("search", "dir:store").stdout
    assert project("search", "dir:store", "nothing").stdout == "no package was found\n"
    assert [one["reference"] for one in json.loads(project("search", "dir:store", "--json").stdout)] == [reference]


def test_a_yanked_package_says_why(project: Program) -> None:
    reference = published(project)
    assert project("yank", reference, "--reason", "it leaks").stdout == f"yanked {reference}: it leaks\n"
    assert "yanked       it leaks" in project("info", reference).stdout
    assert "it leaks" in project("search", "dir:store").stdout
    assert project("fetch", reference).returncode == 0


@pytest.mark.parametrize(
    ("words", "status", "kind", "message"),
    [
        (("fetch", f"dir:store@sha256:{'0' * 64}"), 1, "NotPublished", "has no package"),
        (("fetch", "user/repo:1.0.0"), 2, "UsageError", "does not say in which registry it is"),
        (("info", "nowhere:thing"), 2, "UsageError", "no registry understands nowhere:thing"),
        (("run", "nowhere"), 2, "UsageError", "no such file or directory, and not a reference"),
        (("publish", "dir:store", "nowhere"), 2, "UsageError", "no such directory"),
        (("search",), 2, "UsageError", "say where to search"),
        (("yank", "dir:store"), 2, "UsageError", "does not say which package"),
        (("up", "--set", "args=[]", f"dir:store@sha256:{'0' * 64}"), 2, "UsageError", "is a package, whose manifest"),
    ],
)
def test_what_goes_wrong_is_said_with_what_to_do(
    project: Program, words: tuple[str, ...], status: int, kind: str, message: str
) -> None:
    ended = project(*words, "--json")
    error = json.loads(ended.stdout)["error"]
    assert (ended.returncode, error["kind"]) == (status, kind), ended.stderr
    assert message in error["message"]
    assert error["hint"]


def test_the_registry_of_slugs_is_named_by_the_environment(project: Program) -> None:
    ended = project("info", "user/repo:1.0.0", env={"ENARX_REGISTRY": "nowhere://x"})
    assert "no registry understands nowhere://x/user/repo:1.0.0" in ended.stderr


def test_a_package_is_deployed_by_its_reference(project: Program) -> None:
    reference = published(project)
    elsewhere = project.directory / "elsewhere"
    elsewhere.mkdir()
    place = f"dir:{project.directory / 'store'}@{reference.partition('@')[2]}"
    ended = project("up", place, "--json", cwd=elsewhere)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["deployment"]["package"] == reference.partition("@")[2]
    assert [stage["name"] for stage in answer["stages"]] == ["attest", "deploy", "provision_tls"]
    assert not list(elsewhere.iterdir())


def test_a_registry_of_a_plugin_needs_no_more_than_the_two_methods_of_old(project: Program, install_plugin) -> None:
    source = """
from pathlib import Path
from enarx_deploy import package_tree
from enarx_deploy.hookspecs import hookimpl
class Attic:
    name = "attic"
    schemes = ("attic:",)
    def publish(self, package, reference):
        return f"attic:@{package_tree.copy(Path(package.root), Path('attic'), package.digest).digest}"
    def fetch(self, reference, into):
        return package_tree.copy(Path("attic") / reference.rpartition(":")[2], into)
@hookimpl
def register_registries():
    return [Attic()]
"""
    install_plugin("attic", source)
    reference = published(project, "attic:any")
    assert project("run", f"attic:any{reference.removeprefix('attic:')}").returncode == 7
    assert "can publish and fetch, and nothing else" in project("info", "attic:any").stderr
