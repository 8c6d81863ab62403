"""The kit for backends of others, run against our own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from enarx_backends.nil import Nil
from enarx_deploy.models import ProbeCheck
from enarx_deploy.testing import BackendConformance
from enarx_deploy.testing.keep import started


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


class Unvouched(Nil):
    """Says that hardware protects what nobody vouches for."""

    hardware = True


class NotAvailableForNoReason(Nil):
    def probe(self):
        return replace(super().probe(), available=False)


class AnothersValues(Nil):
    def measure(self, package):
        return replace(super().measure(package), package="sha256:" + "ab" * 32)


class StartsAnyway(Nil):
    """Where its own probe says that it cannot."""

    def probe(self):
        return replace(super().probe(), available=False)

    def start(self, launch):
        pass


class _Wrapped:
    """A Keep's process, of which something is wrong."""

    def __init__(self, process):
        self._process = process
        self.pid = process.pid

    def __getattr__(self, name):
        return getattr(self._process, name)


class _Immortal(_Wrapped):
    def kill(self):
        pass


class Immortal(Nil):
    def start(self, launch):
        return _Immortal(super().start(launch))


class Littering(Nil):
    def start(self, launch):
        tempfile.mkstemp()
        return super().start(launch)


class NotAlone(Nil):
    """Starts another process beside the Keep's, and forgets it."""

    def start(self, launch):
        self.other = subprocess.Popen(["sleep", "600"])
        return super().start(launch)


class Orphaned(Nil):
    """Its Keeps go on without their host: the process is another one's child, and has no end of theirs to see."""

    def start(self, launch):
        process = super().start(launch)
        orphan = subprocess.Popen(["sleep", "20"], start_new_session=True)  # long enough to be found
        process.pid = orphan.pid
        return process


class OfNoKnownKind(Nil):
    evidence = "paper"


class Shouting(Nil):
    name = "NIL!"


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (ShortOfWords, "test_its_probe_says_what_to_do_about_each_miss"),
        (YesToAll, "test_its_probe_says_what_to_do_about_each_miss"),
        (NotAvailableForNoReason, "test_its_probe_says_what_to_do_about_each_miss"),
        (Unvouched, "test_its_evidence_is_of_a_kind_that_a_steward_appraises"),
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
        (AnothersValues, "test_it_measures_the_same_for_the_same_package"),
        (AnyPackage, "test_its_policy_accepts_this_package_alone"),
    ],
)
def test_the_kit_finds_a_backend_that_measures_wrongly(broken, test, tmp_path):
    with pytest.raises(AssertionError):
        getattr(kit_for(broken), test)(tmp_path)


def test_the_kit_finds_a_probe_that_leaves_something(tmp_path, monkeypatch):
    with pytest.raises(AssertionError):
        kit_for(LooksByWriting).test_its_probe_changes_nothing(tmp_path, monkeypatch)


def test_the_kit_finds_a_backend_that_starts_where_it_cannot_be_used():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        kit_for(StartsAnyway).test_where_it_cannot_be_used_it_starts_nothing()


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def killed(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("broken", [Immortal, Littering, NotAlone])
def test_the_kit_finds_a_backend_whose_keeps_leave_something(broken, scratch, tmp_path):
    kit = kit_for(broken)
    with contextlib.ExitStack() as stack:

        def start(name):
            keep = stack.enter_context(started(kit.backend, name, tmp_path, patience=2.0))
            stack.callback(killed, keep.pid)
            return keep

        with pytest.raises(AssertionError):
            kit.test_a_keep_that_is_killed_leaves_nothing(start, scratch)
    if other := getattr(kit.backend, "other", None):
        other.kill()
        other.wait()


def test_the_kit_finds_a_backend_whose_keeps_outlive_their_host(scratch, tmp_path):
    kit = kit_for(Orphaned)
    kit.patience = 1.0
    with pytest.raises(AssertionError):
        kit.test_a_keep_ends_with_its_host(scratch, tmp_path)


def kit_for(backend) -> BackendConformance:
    kit = BackendConformance()
    kit.backend = backend()
    return kit
