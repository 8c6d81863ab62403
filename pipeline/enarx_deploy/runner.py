"""Runs the stages in order, skips those whose inputs are unchanged, and saves what each made.

A stage is skipped when an earlier run made a record from the same inputs and what the record speaks of is still there
as recorded. `--force` skips nothing.

When a new Keep must be started, the old one is stopped first where the target does not replace by itself (`Versions`),
since both would listen on the same port. In between nobody is served then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from enarx_deploy import enarx_lock, paths, plan, pruning, records
from enarx_deploy.errors import EnarxDeployError, PluginError, UsageError
from enarx_deploy.lock import DEFAULT_WAIT, locked
from enarx_deploy.models import ALIVE, STAGES, Deployment, Package, Record, StageName
from enarx_deploy.protocols import CertifiesItself, Versions
from enarx_deploy.steps import ATTEST, DEPLOY, PROVISION_TLS, STEPS, Step, Work, inputs_digest

if TYPE_CHECKING:
    from enarx_deploy.plugin_manager import PluginManager
    from enarx_deploy.project import Project

STOP_GRACE = 10.0  # seconds that open connections have when a Keep is replaced


class Changed(Exception):
    """A stage would have to be run, or waited for, by who asked for neither."""


class Reporter(Protocol):
    """Whoever shows what the runner does."""

    def note(self, line: str) -> None:
        """A choice, or a consequence, that the user should know of."""

    def started(self, stage: StageName) -> None:
        """A stage begins."""

    def progress(self, line: str) -> None:
        """What is going on in the stage."""

    def ended(self, run: StageRun) -> None:
        """A stage has made its record, or was skipped."""


@dataclass(frozen=True)
class StageRun:
    """What became of one stage: its record, whether an earlier one was taken, and the time it took in seconds."""

    name: StageName
    record: Any
    skipped: bool
    seconds: float


def run(
    project: Project,
    plugins: PluginManager,
    reporter: Reporter,
    *,
    until: StageName = "provision_tls",
    package: Package | None = None,
    make: bool = True,
    look: Callable[[Work], None] | None = None,
) -> list[StageRun]:
    """Run the stages up to and including `until`. Raises EnarxDeployError; records made before that are kept.

    With `package`, which was fetched, the stages that would make one are left out. Without `make` nothing is run:
    raises Changed where something would have to be. `look` is called when all is made that is deployed, and before
    anything is; what it raises ends the run.
    """
    plugins.load("compile")
    for failed in plugins.failures:
        reporter.note(f"{failed} failed to load and takes no part: {failed.error}")
    steps = STEPS[: STAGES.index(until) + 1]
    work = Work(project, plugins, reporter.note, starts=DEPLOY in steps)
    if package is None:
        _require_project(work)
    else:
        work.made["package"] = package
        steps = steps[STAGES.index("package") + 1 :]
    paths.private_directory(project.work_dir)
    wait = DEFAULT_WAIT if project.settings.wait_lock is None else project.settings.wait_lock
    with locked(project.work_dir, reporter.note if make else _changed, wait):
        runs = []
        for step in steps:
            runs.append(_run_step(work, step, reporter, make=make))
            if step is ATTEST and look:
                look(work)
        if not all(one.skipped for one in runs):
            pruning.project(project.work_dir)
        return runs


def _require_project(work: Work) -> None:
    """Before anything is written: is there anything to work on?"""
    if work.project.manifest_file is None and work.toolchain is None:
        raise UsageError(
            f"{work.project.root} is not a project: it has no Enarx.toml, and no source that a toolchain knows",
            hint="`enarx-deploy new` makes a project; -C DIR names another directory",
        )


def _changed(line: str) -> None:
    raise Changed(line)


def _run_step(work: Work, step: Step, reporter: Reporter, *, make: bool) -> StageRun:
    began = time.monotonic()
    reporter.started(step.stage)
    with work.plugins.boundary():
        inputs = step.inputs(work)
        digest = inputs_digest(work, step.stage, inputs)
        record = None if work.project.settings.force else _usable_record(work, step, digest)
    skipped = record is not None
    if record is None:
        if not make:
            raise Changed(step.stage)
        record = _make(work, step, inputs, reporter)
    if work.project.settings.locked:
        enarx_lock.check(work.project.root, record)
    work.made[step.stage] = record
    if step is DEPLOY and not skipped:
        plan.remember(work)
    ended = StageRun(step.stage, record, skipped, round(time.monotonic() - began, 3))
    reporter.ended(ended)
    return ended


def _usable_record(work: Work, step: Step, digest: str) -> Any:
    record = records.current(work.project.work_dir, step.stage, step.slot(work), digest, step.record)
    return record if record is not None and step.usable(work, record) else None


def _make(work: Work, step: Step, inputs: dict[str, Any], reporter: Reporter) -> Record:
    if step is DEPLOY:
        _stop_replaced(work, reporter)
    try:
        record = _call(work, step, reporter)
    except BaseException:
        if step is PROVISION_TLS:
            _stop_unserved(work, reporter)
        raise
    digest = inputs_digest(work, step.stage, step.inputs_after(inputs, record))
    saved = records.save(work.project.work_dir, record)
    records.set_entry(work.project.work_dir, step.stage, step.slot(work), records.Entry(inputs=digest, record=saved))
    return record


def _call(work: Work, step: Step, reporter: Reporter) -> Record:
    with work.plugins.boundary():
        arguments = step.arguments(work)
    record = work.plugins.call_stage(step.stage, project=work.project, progress=reporter.progress, **arguments)
    if not isinstance(record, step.record):
        asked = ", ".join(work.plugins.plugins_of_stage(step.stage))
        raise PluginError(
            f"the stage {step.stage!r} answered with {type(record).__name__}, not {step.record.__name__}",
            hint=f"one of these took the stage: {asked}; leave one out with ENARX_DEPLOY_DISABLE to find which",
        )
    return record


def _stop_replaced(work: Work, reporter: Reporter) -> None:
    """Stop the Keep that the new one takes the place of, if it lives and the target does not see to it."""
    if isinstance(work.target, Versions):
        return
    old = _deployed(work)
    status = work.keep(old) if old else None
    if status is not None and status.state in ALIVE:
        reporter.note(f"replacing Keep {status.id}: it is stopped before the new one starts")
        work.target.stop(status.id, grace=STOP_GRACE)


def _stop_unserved(work: Work, reporter: Reporter) -> None:
    """Stop a Keep that could not be given its certificate: it would hold its port and never serve."""
    if isinstance(work.target, CertifiesItself):
        return
    deployment: Deployment = work.made["deploy"]
    reporter.note(f"stopping Keep {deployment.id}, which got no certificate; its logs are kept")
    with contextlib.suppress(EnarxDeployError):  # what made the stage fail is the error that the user must see
        work.target.stop(deployment.id, grace=0)


def _deployed(work: Work) -> Deployment | None:
    """The last deployment in this run's slot, alive or not."""
    work_dir = work.project.work_dir
    entry = records.entry(work_dir, "deploy", DEPLOY.slot(work))
    return records.read(work_dir, entry.record, Deployment) if entry else None
