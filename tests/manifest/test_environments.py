"""Environments: `[deploy.NAME]`, the overlay `Enarx.NAME.toml`, and what of both reaches the package."""

from __future__ import annotations

import copy

import msgspec
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.errors import ManifestError, UsageError
from enarx_deploy.manifest import load, overlays
from enarx_deploy.manifest.environments import lay_over
from enarx_deploy.project import load_project

TEXT = """\
[[files]]
kind = "stdout"

[deploy.prod]
target = "ssh"
host = "deploy@prod.example"
minimum = "snp"

[deploy.prod.ssh]
config = "ssh_config"
program = "/opt/enarx-deploy"
"""


class OwnTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    config: str = ""
    program: str = "enarx-deploy"


@pytest.fixture
def project(tmp_path):
    """Write the manifest and overlays by their names; returns the manifest's path."""

    def write(text: str = TEXT, **written: str):
        for name, overlay in written.items():
            (tmp_path / f"Enarx.{name}.toml").write_text(overlay)
        (tmp_path / "Enarx.toml").write_text(text)
        return tmp_path / "Enarx.toml"

    return write


def refused(path, environment: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(path, (), environment)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_an_overlay_is_laid_over_the_table_key_by_key(project):
    overlay = '[deploy.prod]\nhost = "deploy@other.example"\nreplicas = 3\n[deploy.prod.ssh]\nprogram = "enarx"\n'
    loaded = load(project(prod=overlay), (), "prod")
    table = loaded.manifest.deploy["prod"]
    assert loaded.environment == "prod"
    assert (table.target, table.host, table.minimum, table.replicas) == ("ssh", "deploy@other.example", "snp", 3)
    assert loaded.own_tables["ssh"].read_as(OwnTable) == OwnTable(config="ssh_config", program="enarx")


def test_what_is_set_wins_over_an_overlay(project):
    path = project(prod="[deploy.prod]\nreplicas = 3\n")
    assert load(path, ["deploy.prod.replicas=4"], "prod").manifest.deploy["prod"].replicas == 4


def test_an_overlay_alone_makes_an_environment_that_has_to_be_named(project):
    path = project('args = ["a"]\n', test='[deploy.test]\nbackend = "nil"\n')
    assert load(path, (), "test").manifest.deploy["test"].backend == "nil"
    assert load(path, (), "").environment == ""
    assert overlays(path.parent) == ["test"]


def test_an_overlay_of_another_environment_is_not_read(project):
    assert load(project(test="not TOML"), (), "prod").environment == "prod"


@pytest.mark.parametrize("name", ["../prod", "a/b", "..", ".", "", "prod\n", "-x", "a.b"])
def test_a_name_that_is_no_name_of_a_file_finds_no_overlay(project, name):
    path = project("")
    (path.parent / "Enarx.a").mkdir()
    (path.parent / "Enarx.a" / "b.toml").write_text("[deploy]\n")
    (path.parent / "Enarx.a.b.toml").write_text("[deploy]\n")
    assert load(path, (), name).environment == ""


@pytest.mark.parametrize(
    ("overlay", "problem"),
    {
        "what is packaged": ("# why\n[env]\nA = 'x'\n", "Enarx.prod.toml:2:2: `env` is not for an overlay"),
        "another environment": ("[deploy.test]\n", "Enarx.prod.toml:1:9: `deploy.test` is another environment"),
        "an unknown key": ("[deploy.prod]\nhots = 'x'\n", "Enarx.prod.toml:2:1: unknown key `hots` in `deploy.prod`"),
        "a bad value": ("[deploy.prod]\nreplicas = 0\n", "Enarx.prod.toml:2:12: `deploy.prod.replicas` must be an"),
        "no table": ("deploy.prod = 3\n", "Enarx.prod.toml:1:15: `deploy.prod` must be a table, not 3"),
        "no TOML": ("[deploy.prod\n", "Enarx.prod.toml:1:13: not TOML"),
    }.values(),
)
def test_a_fault_of_an_overlay_has_its_place_there(project, overlay, problem):
    (found,) = refused(project(prod=overlay), "prod")
    assert found.startswith(problem)


def test_a_fault_of_the_manifest_has_its_place_there_though_an_overlay_is_over_it(project):
    path = project(TEXT.replace('"snp"', "7"), prod="[deploy.prod]\nreplicas = 2\n")
    assert refused(path, "prod") == ["Enarx.toml:7:11: `deploy.prod.minimum` must be a string, not 7"]


def test_a_fault_in_a_targets_own_table_has_its_place_in_either_file(project):
    path = project(prod="[deploy.prod.ssh]\nprogrm = 'x'\nconfig = 1\n")
    table = load(path, (), "prod").own_tables["ssh"]
    with pytest.raises(ManifestError) as caught:
        table.read_as(OwnTable)
    assert [str(problem).rpartition("/")[2] for problem in caught.value.problems] == [
        "Enarx.prod.toml:2:1: unknown key `progrm` in `deploy.prod.ssh`",
        "Enarx.prod.toml:3:10: `deploy.prod.ssh.config` must be a string, not 1",
    ]
    assert caught.value.problems[0].hint == "did you mean `program`?"


def test_a_key_that_is_no_table_is_unknown_and_not_a_targets_own(problems):
    assert problems('[deploy.a]\nkubernetes = "x"\n')[0].startswith("Enarx.toml:2:1: unknown key `kubernetes`")


def test_the_package_says_nothing_of_environments_and_is_the_same_in_all(project):
    path = project(prod='[deploy.prod]\nhost = "secret.example"\n', test='[deploy.test]\ntarget = "local"\n')
    texts = {load(path, (), name).text for name in ("prod", "test", "")}
    texts |= {load(path, [f"deploy.prod.replicas={count}"], "prod").text for count in (2, 3)}
    texts.add(load(project(TEXT.replace("prod.example", "moved.example")), (), "prod").text)
    (text,) = texts
    assert tomli.loads(text.decode()) == {"files": [{"kind": "stdout"}]}


def test_comments_and_form_are_packaged_where_no_environment_stands_in_the_manifest(project):
    path = project("# about it\nargs=['a']\n", prod='[deploy.prod]\nhost = "a.example"\n')
    assert load(path, (), "prod").text == path.read_bytes()


def test_several_tables_and_none_is_meant(project):
    path = project(TEXT + "[deploy.test]\n")
    with pytest.raises(UsageError, match=r"2 \[deploy\] tables: prod, test"):
        load_project(path.parent)
    assert load_project(path.parent, environment=None).settings.deploy == ""


tables = st.recursive(
    st.integers(), lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3), max_leaves=10
)
environments = st.dictionaries(st.sampled_from("abc"), tables, max_size=3)


def at(table, path):
    for step in path:
        table = table.get(step) if isinstance(table, dict) else None
    return table


def leaves(table, path=()):
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        elif not isinstance(value, dict):
            yield (*path, key), value


@given(environments, environments)
def test_all_that_is_above_holds_and_what_it_does_not_touch_stays(below, above):
    result = copy.deepcopy(below)
    lay_over(result, copy.deepcopy(above))
    for path, value in leaves(above):
        assert at(result, path) == value
    for path, value in leaves(below):
        touched = any(not isinstance(at(above, path[:length]), dict | None) for length in range(1, len(path) + 1))
        replaced = isinstance(at(above, path), dict)
        assert at(result, path) == value or touched or replaced
