"""`scale`, `history` and `rollback`, on a target that can do them and on one that cannot."""

from __future__ import annotations

import json

import pytest

TARGETS = """
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.models import KeepStatus, Version

def keep(id, name, target, state="running"):
    return KeepStatus(id=id, name=name, state=state, backend="nil", target=target, package="", endpoints=[],
                      created="2026-01-01")

def version(number, state, reason=""):
    return Version(number=number, package=f"package {number}", backend="nil", created="2026-01-01", state=state,
                   reason=reason)

class Plain:
    name = "plain"
    def keeps(self):
        return [keep("p1", "pine", "plain")]
    check = start = request_certificate = install_certificate = renew_certificate = logs = stop = keeps

class Grove(Plain):
    name = "grove"
    def keeps(self):
        return [keep("a1", "oak", "grove"), keep("a2", "oak", "grove"), keep("b1", "beech", "grove", "exited")]
    def scale(self, name, replicas):
        return [keep(f"{name}{number}", name, "grove") for number in range(1, replicas + 1)]
    def history(self, name):
        return [version(1, "failed", "not healthy"), version(2, "serving")]
    def rollback(self, name, to=0):
        return version(3, "serving", f"{name} back to {to}")

@hookimpl
def register_targets():
    return [Plain(), Grove()]
"""


@pytest.fixture(autouse=True)
def targets(install_plugin) -> None:
    install_plugin("targets", TARGETS)


@pytest.mark.parametrize("reference", ["oak", "a2", "a"], ids=["name", "id", "beginning of an id"])
def test_scale_says_which_keeps_serve(enarx_deploy, reference):
    done = enarx_deploy("scale", reference, "2")
    assert (done.returncode, done.stdout) == (0, "oak is served by 2 Keeps: oak1, oak2\n"), done.stderr


@pytest.mark.parametrize("replicas", ["0", "-1", "many"])
def test_scale_wants_at_least_one_keep(enarx_deploy, replicas):
    assert enarx_deploy("scale", "oak", "--", replicas).returncode == 2


def test_history_lists_each_version_with_what_became_of_it(enarx_deploy):
    _, first, second = enarx_deploy("history", "oak").stdout.splitlines()
    assert first.split() == ["1", "failed", "(not", "healthy)", "nil", "2026-01-01", "package", "1"]
    assert second.split() == ["2", "serving", "nil", "2026-01-01", "package", "2"]
    assert [one["number"] for one in json.loads(enarx_deploy("history", "beech", "--json").stdout)] == [1, 2]


@pytest.mark.parametrize(("words", "asked"), [([], "oak back to 0"), (["--to", "1"], "oak back to 1")])
def test_rollback_asks_for_the_last_version_or_the_one_that_is_named(enarx_deploy, words, asked):
    done = enarx_deploy("rollback", "oak", "--json", *words)
    assert json.loads(done.stdout)["reason"] == asked
    assert enarx_deploy("rollback", "oak").stdout == "oak serves package 3 again, as version 3\n"


def test_with_the_target_a_deployment_without_keeps_is_found(enarx_deploy):
    assert enarx_deploy("scale", "elm", "1", "--target", "grove").stdout == "elm is served by 1 Keep: elm1\n"


def test_a_deployment_that_nobody_knows(enarx_deploy):
    done = enarx_deploy("scale", "elm", "2")
    assert done.returncode == 2
    assert "no deployment is known as 'elm'" in done.stderr


def test_a_beginning_of_ids_of_several_deployments_is_refused(enarx_deploy, install_plugin):
    install_plugin("more", TARGETS.replace("grove", "wood").replace("[Plain(), ", "[").replace("oak", "ash"))
    done = enarx_deploy("history", "a")
    assert done.returncode == 2
    assert "'a' may mean 2 deployments: oak on grove, ash on wood" in done.stderr


@pytest.mark.parametrize(
    ("words", "lacking"),
    [
        (["scale", "pine", "2"], "runs one Keep for each deployment"),
        (["history", "pine"], "does not remember earlier versions"),
        (["rollback", "pine"], "does not remember earlier versions"),
    ],
    ids=["scale", "history", "rollback"],
)
def test_a_target_that_cannot_is_named(enarx_deploy, words, lacking):
    done = enarx_deploy(*words)
    assert done.returncode == 2
    assert f"the target 'plain' {lacking}" in done.stderr
