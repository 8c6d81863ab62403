"""Each hook, taken by a plugin, and the documentation of each.

A test named `test_hook_NAME…` stands here for every hook; the two tests at the end see to that, and that
`docs/reference/hooks.md` speaks of every hook and of no other.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from enarx_deploy import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, f"{hookspecs.NAME}_spec"))
HEAD = "from enarx_deploy.hookspecs import hookimpl\n"


def test_hook_compile_is_asked_of_a_plugin_before_the_default(enarx_deploy, shelf, install_plugin):
    source = """
from enarx_deploy.models import Module
from enarx_deploy.records import digest_of
@hookimpl
def compile(project, progress):
    progress("taken from the drawer")
    data = (project.root / "drawer.wasm").read_bytes()
    return Module(path=str(project.root / "drawer.wasm"), sha256=digest_of(data), size=len(data), entry="_start",
                  imports=[], toolchain="drawer", version="1", inputs={"drawer.wasm": digest_of(data)})
"""
    install_plugin("drawer", HEAD + source)
    drawer = enarx_deploy.directory / "drawer.wasm"
    drawer.write_bytes(b"\0asm\x01\0\0\0")
    ended = enarx_deploy("compile", "--json", "-v")
    assert json.loads(ended.stdout)["toolchain"] == "drawer"
    assert "taken from the drawer" in ended.stderr
    assert "unchanged" in enarx_deploy("compile").stderr
    drawer.write_bytes(b"\0asm\x01\0\0\0\0\2\1x")
    assert "unchanged" not in enarx_deploy("compile").stderr


def test_hook_compile_goes_to_the_default_when_the_plugin_has_no_answer(enarx_deploy, shelf, install_plugin):
    install_plugin("shy", f"{HEAD}@hookimpl\ndef compile(project): return None\n")
    assert json.loads(enarx_deploy("compile", "--json").stdout)["toolchain"] == "shelf"


def test_hook_compile_can_be_wrapped(enarx_deploy, shelf, install_plugin):
    source = """
@hookimpl(wrapper=True)
def compile(project):
    (project.root / "before").touch()
    module = yield
    (project.root / "after").write_text(module.toolchain)
    return module
"""
    install_plugin("wrap", HEAD + source)
    assert enarx_deploy("compile").returncode == 0
    assert (enarx_deploy.directory / "before").exists()
    assert (enarx_deploy.directory / "after").read_text() == "shelf"


def test_hook_package_is_taken_by_a_plugin(enarx_deploy, shelf, install_plugin):
    source = """
from enarx_deploy import package_tree
@hookimpl
def package(project, module, progress):
    progress(f"packing {module.toolchain}")
    return package_tree.build(project, module)
"""
    install_plugin("packer", HEAD + source)
    assert "package        packing shelf" in enarx_deploy("package").stderr


def test_hook_attest_is_taken_by_a_plugin(enarx_deploy, shelf, install_plugin):
    source = """
import msgspec
@hookimpl(wrapper=True)
def attest(project, package, backend):
    values = yield
    return msgspec.structs.replace(values, measurements=values.measurements | {"seen": backend.name})
"""
    install_plugin("seer", HEAD + source)
    assert json.loads(enarx_deploy("attest", "--json").stdout)["measurements"]["seen"] == "shelf"


def test_hook_deploy_is_taken_by_a_plugin(enarx_deploy, shelf, install_plugin):
    source = """
@hookimpl
def deploy(project, package, reference_values, backend, target, progress):
    progress(f"{reference_values.backend} values, {backend.name} backend, {target.name} target")
"""
    install_plugin("carrier", HEAD + source)
    ended = enarx_deploy("deploy")
    assert ended.returncode == 0
    assert "deploy         shelf values, shelf backend, shelf target" in ended.stderr


def test_hook_provision_tls_is_taken_by_a_plugin(enarx_deploy, shelf, install_plugin):
    source = """
from enarx_deploy.errors import VerificationRefused
@hookimpl
def provision_tls(project, deployment, target, issuer, progress):
    raise VerificationRefused(f"{issuer.name} may not serve {deployment.id}", hint="ask another")
"""
    install_plugin("guard", HEAD + source)
    ended = enarx_deploy("up")
    assert ended.returncode == 3
    assert "enarx-deploy: shelf may not serve k001\n  hint: ask another\n" in ended.stderr


@pytest.mark.parametrize("kind", ["toolchain", "backend", "target", "issuer"])
def test_hook_register_toolchains_backends_targets_and_issuers_bring_providers(enarx_deploy, shelf, kind):
    plugins = json.loads(enarx_deploy("plugins", "--json").stdout)
    ours = next(plugin for plugin in plugins if plugin["name"] == "shelf")
    assert {"kind": kind, "name": "shelf"} in ours["providers"]
    assert f"register_{kind}s" in ours["hooks"]


def test_hook_register_toolchains_may_yield(enarx_deploy, install_plugin, shelf):
    site = install_plugin("other", "", distribution="other")
    site.write_text(
        "import plugin_shelf\n" + HEAD + "class Other(plugin_shelf.Language):\n    name = 'other'\n"
        "@hookimpl\ndef register_toolchains():\n    yield Other()\n"
    )
    ended = enarx_deploy("compile", "--json", "--set", "build.toolchain=other")
    assert json.loads(ended.stdout)["toolchain"] == "other"


def test_hook_register_backends_is_what_platform_shows(enarx_deploy, shelf):
    assert any(probe["backend"] == "shelf" for probe in json.loads(enarx_deploy("platform", "--json").stdout))


def test_hook_register_targets_is_where_keeps_are_looked_for(enarx_deploy, shelf):
    enarx_deploy("deploy")
    assert [status["target"] for status in json.loads(enarx_deploy("keeps", "--json").stdout)] == ["shelf"]


def test_hook_register_issuers_is_who_issues(enarx_deploy, shelf):
    assert "certificate by shelf until" in enarx_deploy("up").stderr


def test_hook_register_registries_brings_a_registry(enarx_deploy, install_plugin):
    source = """
class Attic:
    name = "attic"
    schemes = ("attic",)
    def publish(self, package, reference): ...
    def fetch(self, reference, into): ...
@hookimpl
def register_registries():
    return [Attic()]
"""
    install_plugin("attic", HEAD + source)
    plugins = json.loads(enarx_deploy("plugins", "--json").stdout)
    ours = next(plugin for plugin in plugins if plugin["name"] == "attic")
    assert ours["providers"] == [{"kind": "registry", "name": "attic"}]


COMMAND = """
import click
@click.command()
@click.argument("word")
@click.pass_obj
def shout(context, word):
    '''Say WORD aloud.'''
    context.emit(word.upper(), {"word": word})
@hookimpl
def register_commands():
    return [shout]
"""


def test_hook_register_commands_brings_a_command_and_its_help(enarx_deploy, install_plugin):
    install_plugin("shouter", HEAD + COMMAND)
    assert enarx_deploy("shout", "hello").stdout == "HELLO\n"
    assert json.loads(enarx_deploy("--json", "shout", "hello").stdout) == {"word": "hello"}
    shown = enarx_deploy("--help").stdout
    assert re.search(r"Commands of plugins:\n(  .*\n)*  shout +Say WORD aloud\.", shown)
    assert "did you mean 'shout'?" in enarx_deploy("shuot").stderr


def test_hook_register_commands_cannot_take_the_name_of_a_built_in(enarx_deploy, install_plugin):
    install_plugin("shouter", HEAD + COMMAND.replace("def shout(", "def keeps(").replace("[shout]", "[keeps]"))
    assert enarx_deploy("keeps").stdout == "no Keeps\n"
    refused = "command 'keeps' of plugin 'shouter' of dist-shouter 1.0 has the name of a command of enarx-deploy"
    assert refused in enarx_deploy("shout").stderr
    assert refused in " ".join(enarx_deploy("--help").stdout.split())


def test_hook_register_commands_that_fails_is_named(enarx_deploy, install_plugin):
    install_plugin("shouter", HEAD + COMMAND.replace("word.upper()", "word / 2"))
    assert "plugin 'shouter' of dist-shouter 1.0 failed: TypeError" in enarx_deploy("shout", "hello").stderr


def test_every_hook_has_a_test():
    tree = ast.parse(Path(__file__).read_text())
    tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    untested = [hook for hook in HOOKS if not any(test.startswith(f"test_hook_{hook}_") for test in tests)]
    assert untested == []
    assert len(HOOKS) == 11


def test_every_hook_is_documented_and_no_other():
    page = (ROOT / "docs" / "reference" / "hooks.md").read_text()
    assert sorted(re.findall(r"^### `(\w+)\(", page, re.MULTILINE)) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_says_when_it_is_called(hook):
    assert re.match(r"Called (first|after|when|before)\b", getattr(hookspecs, hook).__doc__)
