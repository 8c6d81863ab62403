"""What every backend does, built-in or not: one class of tests, to be inherited.

    from enarx_deploy.testing import BackendConformance

    class TestMine(BackendConformance):
        backend = Mine()

The tests that start a Keep are skipped, with the machine's own reason, where the backend's probe says that it cannot be
used. They start real Keeps: a program is run, its end told, and it is killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from enarx_deploy.errors import KeepError
from enarx_deploy.models import Package, ReferenceValues
from enarx_deploy.protocols import Backend, BootsImage, Launch
from enarx_deploy.testing.keep import Keep, outlives_its_host, started
from enarx_deploy.testing.programs import GREETING, STATUS, Name, packaged

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_DIGEST = re.compile(r"(sha256:)?([0-9a-f]{2}){16,64}")
_UNPROTECTED = ("nil", "kvm")

Start = Callable[[Name], Keep]


class BackendConformance:
    """See the module. `patience` is how many seconds one of its Keeps may take to come up, or to end."""

    backend: ClassVar[Backend]
    patience: ClassVar[float] = 120.0

    @pytest.fixture
    def scratch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty folder for temporary files. Skips where the backend cannot be used."""
        probe = self.backend.probe()
        if not probe.available:
            lacking = (f"{one.name}: {one.detail}" for one in probe.checks if one.required and not one.ok)
            pytest.skip(f"{self.backend.name}: {'; '.join(lacking)}")
        folder = tmp_path / "scratch"
        folder.mkdir()
        monkeypatch.setenv("ENARX_DEPLOY_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        return folder

    @pytest.fixture
    def start(self, tmp_path: Path, scratch: Path) -> Iterator[Start]:  # noqa: ARG002 - for what it sets
        """Starts a Keep that runs one of the kit's programs. It is ended with the test."""
        with contextlib.ExitStack() as stack:
            yield lambda name: stack.enter_context(started(self.backend, name, tmp_path, self.patience))

    def test_its_names_can_be_typed(self) -> None:
        """A name is what `--backend` takes and what certificates say."""
        names = (self.backend.name, *self.backend.aliases)
        assert all(_NAME.fullmatch(name) for name in names)
        assert len(set(names)) == len(names)

    def test_its_evidence_is_of_a_kind_that_a_steward_appraises(self) -> None:
        """A new kind needs its rules in `enarx_attestation` first: nothing that a plugin says counts as verified."""
        from enarx_attestation import KINDS

        assert self.backend.evidence in KINDS
        assert self.backend.hardware is (self.backend.evidence not in _UNPROTECTED)

    def test_with_hardware_it_is_stronger_than_without(self) -> None:
        """Strengths order the choice where none is named; nil has 0."""
        assert not self.backend.hardware or self.backend.strength > 0

    def test_its_probe_says_what_to_do_about_each_miss(self) -> None:
        """It says yes where nothing that is required is missing and only there, and names parts that there are."""
        probe = self.backend.probe()
        assert (probe.backend, probe.hardware) == (self.backend.name, self.backend.hardware)
        assert probe.available is all(check.ok for check in probe.checks if check.required)
        names = {check.name for check in probe.checks}
        for check in probe.checks:
            assert check.detail, check.name
            assert check.ok or check.hint, check.name
            assert not check.under or check.under in names, check.name

    def test_its_probe_changes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Looking twice finds the same, and leaves no file where it was called."""
        here = tmp_path / "here"
        here.mkdir()
        monkeypatch.chdir(here)
        first, again = self.backend.probe(), self.backend.probe()
        assert [(check.name, check.ok) for check in first.checks] == [(check.name, check.ok) for check in again.checks]
        assert list(here.iterdir()) == []

    def test_it_measures_the_same_for_the_same_package(self, tmp_path: Path) -> None:
        """Reference values are of this package and this backend, and are digests."""
        package, _ = packaged("greet", tmp_path)
        values = self._measured(package)
        assert values == self._measured(package)
        assert (values.package, values.backend) == (package.digest, self.backend.name)
        assert values.hardware is self.backend.hardware
        assert all(_DIGEST.fullmatch(digest) for digest in values.measurements.values())

    def test_its_policy_accepts_this_package_alone(self, tmp_path: Path) -> None:
        """It is one that a Steward takes, for this kind of evidence, and names the package."""
        from enarx_attestation import load_policy

        package, _ = packaged("greet", tmp_path)
        section = load_policy(self._measured(package).policy).section(self.backend.evidence)
        assert section is not None
        assert section.packages == (package.digest,)
        assert not section.any_workload

    def test_an_image_that_is_named_is_the_one_that_counts(self, tmp_path: Path) -> None:
        """Where there is none, that is told with what to do, and that of this version is not taken in its place."""
        if not isinstance(self.backend, BootsImage):
            pytest.skip(f"{self.backend.name} boots no image")
        named = self.backend.booting(tmp_path / "nothing")
        assert (named.name, named.hardware, named.evidence) == (
            self.backend.name,
            self.backend.hardware,
            self.backend.evidence,
        )
        assert isinstance(named, BootsImage)
        with pytest.raises(KeepError) as told:
            named.image_digest()
        assert told.value.hint

    def test_a_keep_runs_its_program_to_the_end(self, start: Start) -> None:
        """The workload's output and its exit status arrive whole."""
        keep = start("greet")
        assert keep.written() == GREETING
        outcome = keep.ends()
        assert (outcome.kind, outcome.code) == ("exit", STATUS), outcome

    def test_a_trap_is_told_as_one(self, start: Start) -> None:
        """What ended the workload is not lost on the way."""
        assert start("trap").ends().kind == "trap"

    def test_a_keep_that_is_killed_leaves_nothing(self, start: Start, scratch: Path) -> None:
        """The host ends it at once, and knows that it did so itself; no process is left, and no temporary file."""
        keep = start("wait")
        keep.kill()
        assert keep.ends().kind == "killed"
        assert keep.is_gone()
        assert list(scratch.iterdir()) == []

    def test_a_keep_ends_with_its_host(self, scratch: Path, tmp_path: Path) -> None:  # noqa: ARG002 - for what it sets
        """Whose process was killed, and ended nothing any more."""
        try:
            assert not outlives_its_host(self.backend, tmp_path, self.patience)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            pytest.skip(f"{self.backend.name} cannot be given to another process: {error}")

    def test_a_process_that_dies_is_noticed(self, start: Start) -> None:
        """By whatever hand."""
        keep = start("wait")
        keep.is_killed_from_outside()
        assert keep.ends().kind in ("signal", "died")

    def test_where_it_cannot_be_used_it_starts_nothing(self) -> None:
        """The refusal says what to do."""
        if self.backend.probe().available:
            pytest.skip(f"{self.backend.name} can be used here")
        with Path(os.devnull).open("r+b") as nothing:
            number = nothing.fileno()
            with pytest.raises(KeepError) as caught:
                self.backend.start(Launch(number, number, number, "sha256:" + "00" * 32, ""))
        assert caught.value.hint

    def _measured(self, package: Package) -> ReferenceValues:
        """Reference values; a skip with the reason where, say, an image has to be built first."""
        try:
            return self.backend.measure(package)
        except KeepError as error:
            pytest.skip(f"{self.backend.name} measures nothing here: {error}")
