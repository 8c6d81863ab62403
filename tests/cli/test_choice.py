"""Which backend, toolchain and target are taken, and that the reason is said."""

from __future__ import annotations

import json

import pytest

WEAK = """
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import Probe, ReferenceValues

class Straw:
    name, aliases, hardware, evidence, strength = "straw", (), False, "nil", -5
    def probe(self):
        return Probe(backend="straw", available=True, hardware=False, checks=[])
    def measure(self, package):
        return ReferenceValues(backend="straw", hardware=False, package=package.digest, measurements={}, policy={})
    def start(self, launch):
        raise NotImplementedError

@hookimpl
def register_backends():
    return [Straw()]
"""


@pytest.fixture
def without_asking(enarx_deploy, shelf, install_plugin):
    """The project does not say which backend; beside the strong `shelf` there is a weak `straw`."""
    install_plugin("straw", WEAK)
    manifest = enarx_deploy.directory / "Enarx.toml"
    manifest.write_text(manifest.read_text().replace('backend = "shelf"\n', ""))
    return enarx_deploy


def test_the_strongest_available_backend_is_taken_and_it_is_said_why(without_asking):
    ended = without_asking("attest")
    assert "backend shelf: the strongest that this machine has; no hardware protects this Keep" in ended.stderr


def test_what_was_passed_over_is_said(without_asking):
    env = {"SHELF_MISSING": "no wood", "ENARX_DEPLOY_DISABLE": "nil,snp,tdx,sgx"}
    ended = without_asking("attest", env=env)
    assert ended.returncode == 0, ended.stderr
    assert "backend straw: the strongest that this machine has (shelf: wood: no wood)" in ended.stderr


def test_a_backend_weaker_than_the_minimum_is_refused(without_asking):
    words = ("--set", "deploy.default.minimum=shelf")
    chosen = without_asking("attest", *words, env={"SHELF_MISSING": "no wood", "ENARX_DEPLOY_DISABLE": "nil"})
    asked = without_asking("attest", *words, "--backend", "straw")
    for ended in (chosen, asked):
        assert ended.returncode == 2
        assert "backend 'straw' is weaker than 'shelf', the minimum of [deploy.default]" in ended.stderr


def test_another_target_does_not_lift_the_minimum(without_asking):
    words = ("--set", "deploy.default.minimum=shelf", "--target", "elsewhere", "--backend", "straw")
    assert "is weaker than 'shelf'" in without_asking("attest", *words).stderr


def test_a_backend_that_was_asked_for_and_is_not_available_is_not_replaced(without_asking):
    ended = without_asking("up", "--backend", "shelf", env={"SHELF_MISSING": "no wood"})
    assert ended.returncode == 1
    assert "backend 'shelf' cannot be used on this machine: wood: no wood\n  hint: plant a tree" in ended.stderr


def test_what_a_keep_must_measure_to_is_said_on_a_machine_that_cannot_start_it(without_asking):
    ended = without_asking("attest", "--json", "--backend", "shelf", env={"SHELF_MISSING": "no wood"})
    assert json.loads(ended.stdout)["backend"] == "shelf", ended.stderr


@pytest.mark.parametrize("name", ["ENARX_DEPLOY_BACKEND", "ENARX_BACKEND"])
def test_the_environment_names_the_backend(without_asking, name):
    assert json.loads(without_asking("attest", "--json", env={name: "straw"}).stdout)["backend"] == "straw"


def test_the_command_line_wins_over_the_environment(without_asking):
    ended = without_asking("attest", "--json", "--backend", "straw", env={"ENARX_BACKEND": "shelf"})
    assert json.loads(ended.stdout)["backend"] == "straw"


def test_a_backend_is_known_by_its_other_name_too(enarx_deploy, shelf):
    assert json.loads(enarx_deploy("attest", "--json", "--backend", "board").stdout)["backend"] == "shelf"


def test_an_unknown_name_is_answered_with_the_nearest(enarx_deploy, shelf):
    ended = enarx_deploy("attest", "--backend", "shelv")
    assert ended.returncode == 2
    assert "backend 'shelv' is not known (did you mean 'shelf'?)" in ended.stderr


def test_what_was_detected_is_said_and_how_to_override_it(enarx_deploy, shelf):
    assert (
        "toolchain shelf: a .shelf file is here; [build] toolchain or --set build.toolchain=NAME overrides"
        in enarx_deploy("compile").stderr
    )


def test_a_named_toolchain_is_taken(enarx_deploy, shelf):
    ended = enarx_deploy("compile", "--set", "build.toolchain=shelf")
    assert "toolchain shelf: [build] toolchain names it" in ended.stderr


def test_an_unknown_toolchain(enarx_deploy, shelf):
    ended = enarx_deploy("compile", "--set", "build.toolchain=shell")
    assert ended.returncode == 2
    assert "toolchain 'shell' is not known (did you mean 'shelf'?)" in ended.stderr


def test_sources_that_no_toolchain_knows(enarx_deploy, shelf):
    (enarx_deploy.directory / "main.shelf").unlink()
    ended = enarx_deploy("compile")
    assert ended.returncode == 2
    assert "no toolchain knows the sources in" in ended.stderr
