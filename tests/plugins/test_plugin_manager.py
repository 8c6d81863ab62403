"""What a user sees of plugins: those that work, those that do not, and those that stand in each other's way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enarx_deploy import built_in_plugins

NOTHING = "from enarx_deploy.hookspecs import hookimpl\n"

TOOLCHAIN = """
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Tool

class Language:
    name = "{name}"
    def detect(self, project): return None
    def find(self): return Tool(command=(), version="1")
    def inputs(self, project): return []
    def build(self, project, tool, output, progress): {build}

@hookimpl
def register_toolchains():
    return [Language()]
"""


@pytest.fixture
def listed(enarx_deploy):
    """What `plugins --json` says of the plugins that are not this distribution's, by name."""

    def read() -> dict[str, Any]:
        ended = enarx_deploy("plugins", "--json")
        assert ended.returncode == 0, ended.stderr
        plugins = json.loads(ended.stdout)
        return {plugin["name"]: plugin for plugin in plugins if plugin["distribution"] != "enarx-deploy"}

    return read


@pytest.fixture
def project(enarx_deploy):
    """A project that names the toolchain `mine`."""
    (enarx_deploy.directory / "Enarx.toml").write_text('[build]\ntoolchain = "mine"\n')
    return enarx_deploy


def test_a_plugin_is_listed_with_its_origin_its_hooks_and_what_it_brings(listed, install_plugin, enarx_deploy):
    install_plugin("mine", TOOLCHAIN.format(name="mine-too", build="..."), version="2.5")
    assert listed()["mine"] == {
        "name": "mine",
        "module": "plugin_mine",
        "distribution": "dist-mine",
        "version": "2.5",
        "state": "loaded",
        "hooks": ["register_toolchains"],
        "providers": [{"kind": "toolchain", "name": "mine-too"}],
        "error": "",
    }
    shown = enarx_deploy("plugins").stdout
    assert shown.splitlines()[0].split() == ["PLUGIN", "FROM", "STATE", "BRINGS", "HOOKS"]
    assert "dist-mine 2.5" in shown
    assert "toolchain mine-too" in shown


def test_the_built_ins_take_the_same_road(enarx_deploy):
    built_in = [p for p in json.loads(enarx_deploy("plugins", "--json").stdout) if p["distribution"] == "enarx-deploy"]
    assert {"nil", "c", "wat", "prebuilt", "local", "directory", "steward", "selfsigned"} <= {
        p["name"] for p in built_in
    }
    assert [(plugin["name"], plugin["error"]) for plugin in built_in if plugin["state"] != "loaded"] == []


def test_a_built_in_has_providers_and_no_stage(enarx_deploy):
    built_in = [p for p in json.loads(enarx_deploy("plugins", "--json").stdout) if p["distribution"] == "enarx-deploy"]
    assert [hook for plugin in built_in for hook in plugin["hooks"] if not hook.startswith("register_")] == []


def test_the_table_of_built_ins_has_the_hooks_that_they_have(enarx_deploy):
    ended = enarx_deploy("plugins", "--json", env={"ENARX_DEPLOY_TRACES": "otlp"})
    built_in = [p for p in json.loads(ended.stdout) if p["distribution"] == "enarx-deploy"]
    had = {hook: sorted(p["name"] for p in built_in if hook in p["hooks"]) for hook in built_in_plugins._HOOKS}
    assert had == {hook: sorted(names) for hook, names in built_in_plugins._HOOKS.items()}
    assert {p["name"] for p in built_in} == built_in_plugins._NAMED


def test_plugins_come_in_the_order_of_their_names_whatever_the_path_says(listed, install_plugin, enarx_deploy):
    for name in ("zebra", "ant", "mole"):
        install_plugin(name, NOTHING)
    assert list(listed()) == ["ant", "mole", "zebra"]
    enarx_deploy.paths.reverse()
    assert list(listed()) == ["ant", "mole", "zebra"]


def test_a_plugin_that_cannot_be_imported_is_named_with_its_cause(listed, install_plugin):
    install_plugin("mine", "import no_such_module\n")
    install_plugin("other", NOTHING)
    assert listed()["mine"]["state"] == "failed"
    assert listed()["mine"]["error"] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert listed()["other"]["state"] == "loaded"


@pytest.mark.parametrize("fault", ["1 / 0", "raise SystemError('x')", "def (", "import os; os.environ['X' * 3]"])
def test_whatever_its_import_raises_stays_its_own_fault(listed, install_plugin, fault):
    install_plugin("mine", f"{fault}\n")
    assert listed()["mine"]["state"] == "failed"


def test_a_failed_plugin_takes_nothing_down_that_does_not_need_it(enarx_deploy, shelf, install_plugin):
    install_plugin("broken", "1 / 0\n")
    ended = enarx_deploy("compile")
    assert ended.returncode == 0
    assert "plugin 'broken' of dist-broken 1.0 failed to load and takes no part: ZeroDivisionError" in ended.stderr


def test_a_failed_plugin_that_is_needed_is_named_in_the_error(project, install_plugin):
    install_plugin("mine", "import no_such_module\n")
    ended = project("compile")
    assert ended.returncode == 2
    assert "toolchain 'mine' is not known" in ended.stderr
    assert "plugin 'mine' of dist-mine 1.0 failed to load: ModuleNotFoundError: No module named 'no_such_module'" in (
        ended.stderr
    )


def test_a_misspelt_hook_is_reported_with_the_plugin_and_the_nearest_name(listed, install_plugin):
    source = TOOLCHAIN.format(name="mine", build="...").replace("register_toolchains", "register_toolchain")
    install_plugin("mine", source)
    assert listed()["mine"]["state"] == "failed"
    assert listed()["mine"]["error"] == (
        "it implements a hook 'register_toolchain' that does not exist (did you mean 'register_toolchains'?)"
    )


def test_a_hook_with_a_wrong_argument_is_reported(listed, install_plugin):
    install_plugin("mine", f"{NOTHING}@hookimpl\ndef compile(projekt): ...\n")
    assert listed()["mine"]["state"] == "failed"
    assert "projekt" in listed()["mine"]["error"]


def test_two_plugins_of_one_name_are_refused_naming_both(enarx_deploy, install_plugin):
    install_plugin("mine", NOTHING, distribution="one")
    install_plugin("mine", NOTHING, distribution="two", module="other")
    ended = enarx_deploy("plugins")
    assert ended.returncode == 1
    assert "two plugins are named 'mine': plugin 'mine' of one 1.0 and plugin 'mine' of two 1.0" in ended.stderr
    assert "ENARX_DEPLOY_DISABLE" in ended.stderr
    assert enarx_deploy("plugins", env={"ENARX_DEPLOY_DISABLE": "two"}).returncode == 0


def test_a_plugin_cannot_take_the_name_of_a_built_in(enarx_deploy, install_plugin):
    install_plugin("nil", NOTHING)
    ended = enarx_deploy("platform")
    assert ended.returncode == 1
    assert "two plugins are named 'nil': plugin 'nil' of enarx-deploy" in ended.stderr
    assert "and plugin 'nil' of dist-nil 1.0" in ended.stderr


def test_two_providers_of_one_name_are_refused_naming_both(project, install_plugin):
    install_plugin("one", TOOLCHAIN.format(name="mine", build="..."))
    install_plugin("two", TOOLCHAIN.format(name="mine", build="..."))
    ended = project("compile")
    assert ended.returncode == 1
    assert "two toolchains are named 'mine': plugin 'one' of dist-one 1.0 and plugin 'two' of dist-two 1.0" in (
        ended.stderr
    )


def test_help_is_shown_even_where_plugins_stand_in_each_others_way(enarx_deploy, install_plugin):
    install_plugin("nil", NOTHING)
    ended = enarx_deploy("--help")
    assert ended.returncode == 0
    assert "two plugins are named 'nil'" in " ".join(ended.stdout.split())


@pytest.mark.parametrize("word", ["mine", "dist-mine", " mine ,other"])
def test_a_plugin_can_be_left_out_by_its_name_or_its_distribution(enarx_deploy, listed, install_plugin, word):
    install_plugin("mine", "1 / 0\n")
    enarx_deploy.environment["ENARX_DEPLOY_DISABLE"] = word
    assert listed()["mine"]["state"] == "disabled"


def test_an_error_of_a_provider_names_the_plugin(project, install_plugin):
    install_plugin("mine", TOOLCHAIN.format(name="mine", build="raise KeyError('nonsense')"))
    ended = project("compile")
    assert ended.returncode == 1
    assert "enarx-deploy: plugin 'mine' of dist-mine 1.0 failed: KeyError: 'nonsense'\n  hint: -vv" in ended.stderr
    assert "Traceback" not in ended.stderr
    told = project("compile", "-vv").stderr
    assert "KeyError: 'nonsense'" in told
    assert "plugin_mine.py" in told
    assert "direct cause" in told


def test_an_error_of_a_module_that_the_plugin_uses_names_the_plugin(project, install_plugin):
    install_plugin("mine", TOOLCHAIN.format(name="mine", build="import json; json.loads('{')"))
    assert "plugin 'mine' of dist-mine 1.0 failed: JSONDecodeError" in project("compile").stderr


def test_an_error_that_the_plugin_explains_itself_is_shown_as_it_is(project, install_plugin):
    build = "from enarx_deploy.errors import BuildError; raise BuildError('no ink', hint='buy some')"
    install_plugin("mine", TOOLCHAIN.format(name="mine", build=build))
    ended = project("compile")
    assert "enarx-deploy: no ink\n  hint: buy some\n" in ended.stderr


def test_a_toolchain_that_leaves_no_module_is_told_so(project, install_plugin):
    install_plugin("mine", TOOLCHAIN.format(name="mine", build="..."))
    ended = project("compile")
    assert ended.returncode == 1
    assert "toolchain 'mine' ended well but left no module" in ended.stderr


def test_a_module_that_no_keep_can_run_is_not_kept(project, install_plugin):
    install_plugin("mine", TOOLCHAIN.format(name="mine", build="output.write_bytes(b'#!/bin/sh')"))
    ended = project("compile")
    assert ended.returncode == 2
    assert "the module that toolchain 'mine' built" in ended.stderr
    assert not (project.directory / ".enarx" / "main.wasm").exists()


def test_a_tool_that_is_missing_comes_with_the_command_that_installs_it(project, install_plugin):
    source = TOOLCHAIN.format(name="mine", build="...").replace(
        'Tool(command=(), version="1")', 'MissingTool("minec", "install it with: apt-get install minec")'
    )
    install_plugin("mine", source.replace("import Tool", "import MissingTool"))
    ended = project("compile")
    assert ended.returncode == 1
    assert "toolchain 'mine' needs minec" in ended.stderr
    assert "hint: install it with: apt-get install minec" in ended.stderr


def test_an_object_that_is_no_provider_is_refused_and_it_is_said_what_it_lacks(listed, install_plugin):
    source = (
        TOOLCHAIN.format(name="mine", build="...").replace("def inputs", "def input").replace("def find", "def fin")
    )
    install_plugin("mine", source)
    assert listed()["mine"]["state"] == "failed"
    assert "is not a toolchain: it lacks find, inputs" in listed()["mine"]["error"]


def test_a_registration_that_raises_leaves_the_other_plugins_alone(listed, install_plugin):
    install_plugin("mine", f"{NOTHING}@hookimpl\ndef register_backends(): raise OSError('no bus')\n")
    install_plugin("other", TOOLCHAIN.format(name="other", build="..."))
    assert listed()["mine"]["error"] == "register_backends: OSError: no bus"
    assert listed()["other"]["providers"] == [{"kind": "toolchain", "name": "other"}]


def test_hook_calls_can_be_traced(enarx_deploy, shelf):
    ended = enarx_deploy("--trace-hooks", "compile")
    lines = [line for line in ended.stderr.splitlines() if "hook compile:" in line]
    assert lines[0] == "hook compile: stages.compile"
    assert lines[1].startswith("hook compile: returned after 0.")
    assert "hook register_toolchains: shelf" in ended.stderr


def test_a_stage_that_nobody_answers(enarx_deploy, shelf, install_plugin):
    install_plugin("shy", f"{NOTHING}@hookimpl\ndef compile(): return None\n")
    ended = enarx_deploy("compile", env={"ENARX_DEPLOY_DISABLE": "stages.compile"})
    assert ended.returncode == 1
    assert "no plugin answered the stage 'compile' (asked: shy)" in ended.stderr
    assert "ENARX_DEPLOY_DISABLE" in ended.stderr


def test_a_stage_that_answers_with_something_else_is_refused(enarx_deploy, shelf, install_plugin):
    install_plugin("odd", f"{NOTHING}@hookimpl\ndef compile(): return 'a module'\n")
    ended = enarx_deploy("compile")
    assert ended.returncode == 1
    assert "the stage 'compile' answered with str, not Module" in ended.stderr
    assert "odd" in ended.stderr


def test_a_backend_that_measures_something_else_is_refused(enarx_deploy, shelf, install_plugin):
    install_plugin("liar", LIAR)
    ended = enarx_deploy("attest", "--backend", "liar")
    assert ended.returncode == 1
    assert "backend 'liar' measured something else" in ended.stderr


LIAR = """
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Probe, ReferenceValues

class Liar:
    name, aliases, hardware, evidence, strength = "liar", (), False, "nil", 0
    def probe(self): return Probe(backend="liar", available=True, hardware=False, checks=[])
    def measure(self, package):
        return ReferenceValues(backend="snp", hardware=True, package=package.digest, measurements={}, policy={})
    def start(self, launch): raise NotImplementedError

@hookimpl
def register_backends():
    return [Liar()]
"""
