"""The kit for backends of others, run against our own."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from msgspec.structs import replace

from enarx_backends.nil import Nil
from enarx_deploy.models import ProbeCheck
from enarx_deploy.testing import BackendConformance


class TestNil(BackendConformance):
    backend = Nil()


class ShortOfWords(Nil):
    def probe(self):
        probe = super().probe()
        silent = [ProbeCheck(name="memfd", ok=False, detail="it is not there")]
        return replace(probe, available=False, checks=silent)


class YesToAll(Nil):
    def probe(self):
        probe = super().probe()
        return replace(probe, checks=[ProbeCheck(name="memfd", ok=False, detail="it is not there", hint="get it")])


class LooksByWriting(Nil):
    def probe(self):
        Path("looked").touch()
        return super().probe()


class Forgetful(Nil):
    def measure(self, package):
        return replace(super().measure(package), measurements={"drawn": secrets.token_hex(32)})


class AnyPackage(Nil):
    def measure(self, package):
        return replace(super().measure(package), policy={"nil": {"any_workload": True}})


class OfNoKnownKind(Nil):
    evidence = "paper"


class Shouting(Nil):
    name = "NIL!"


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (ShortOfWords, "test_its_probe_says_what_to_do_about_each_miss"),
        (YesToAll, "test_its_probe_says_what_to_do_about_each_miss"),
        (OfNoKnownKind, "test_its_evidence_is_of_a_kind_that_a_steward_appraises"),
        (Shouting, "test_its_names_can_be_typed"),
    ],
)
def test_the_kit_finds_a_backend_that_breaks_a_rule(broken, test):
    with pytest.raises(AssertionError):
        getattr(kit_for(broken), test)()


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Forgetful, "test_it_measures_the_same_for_the_same_package"),
        (AnyPackage, "test_its_policy_accepts_this_package_alone"),
    ],
)
def test_the_kit_finds_a_backend_that_measures_wrongly(broken, test, tmp_path):
    with pytest.raises(AssertionError):
        getattr(kit_for(broken), test)(tmp_path)


def test_the_kit_finds_a_probe_that_leaves_something(tmp_path, monkeypatch):
    with pytest.raises(AssertionError):
        kit_for(LooksByWriting).test_its_probe_changes_nothing(tmp_path, monkeypatch)


def kit_for(backend) -> BackendConformance:
    kit = BackendConformance()
    kit.backend = backend()
    return kit
