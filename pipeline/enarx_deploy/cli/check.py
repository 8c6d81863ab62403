"""`enarx-deploy check`: what is wrong with the manifest, or else what the workload will see."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from enarx_deploy.cli.context import Context, common_options
from enarx_deploy.cli.reports import Result, report_options, require_writable, write
from enarx_deploy.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.lint import Finding
    from enarx_deploy.manifest import Loaded


@click.command()
@report_options
@common_options("manifest", "target")
def command(context: Context, junit: Path | None, sarif: Path | None) -> int:
    """Check Enarx.toml and the overlays beside it, and show what the workload will see.

    With --target NAME only the overlay of that environment is looked at, which must be there.
    Every fault is listed with its line and column, and the exit status is then 2. Where the project was compiled
    before, what the manifest grants too much or too little is a warning; `lint` says more of it.
    """
    from enarx_deploy.choice import check_names
    from enarx_deploy.manifest import FILE_NAME, load

    require_writable(junit, sarif)
    path = context.manifest_file or context.directory / FILE_NAME
    try:
        loaded = load(path, context.overrides)
        check_names(loaded, context.plugins)
        _check_environments(context, path, loaded.manifest.deploy)
    except ManifestError as error:
        write(str(path), [_result(one, "failed") for one in error.problems], junit=junit, sarif=sarif)
        if not context.json:
            raise
        context.emit("", {"ok": False, "file": str(path), "problems": _problems(error), "warnings": [], "files": []})
        return error.exit_status
    findings = _least_privilege(context, loaded)
    good = Result("manifest", "passed", f"{path}: good", file=str(path))
    warned = [*(_result(one, "warned") for one in loaded.warned), *map(_of_finding, findings)]
    write(str(path), [good, *warned], junit=junit, sarif=sarif)
    warnings = [*loaded.warnings, *(f"{one} ({one.hint})" for one in findings)]
    if not context.json:
        for warning in warnings:
            context.warn(warning)
    record = _record(loaded, warnings)
    context.emit(lambda: _shown(record), record)
    return 0


def _check_environments(context: Context, path: Path, tables: Collection[str]) -> None:
    """Each environment with what is laid over it. Raises ManifestError, UsageError."""
    from enarx_deploy.choice import check_own_tables
    from enarx_deploy.manifest import load, overlays

    for name in [context.target] if context.target else sorted({*tables, *overlays(path.parent)}):
        loaded = load(path, context.overrides, name)
        if loaded.environment != name:
            raise UsageError(
                f"there is no environment {name!r}",
                hint=f"it would be [deploy.{name}] in {path.name}, or Enarx.{name}.toml beside it",
            )
        check_own_tables(loaded.own_tables, context.plugins)


def _result(problem: ManifestError, outcome: Literal["failed", "warned"]) -> Result:
    if problem.file.startswith("--set "):
        return Result("manifest", outcome, str(problem), problem.hint)
    return Result("manifest", outcome, problem.message, problem.hint, problem.file, problem.line, problem.column)


def _of_finding(finding: Finding) -> Result:
    return Result(finding.rule, "warned", finding.message, finding.hint, finding.file, finding.line)


def _least_privilege(context: Context, loaded: Loaded) -> list[Finding]:
    """What the module that was last compiled makes of the manifest; nothing where none was."""
    from enarx_deploy.cli.run_stages import least_privilege
    from enarx_deploy.project import Project

    project = Project(context.directory.resolve(), loaded.manifest, loaded.path, loaded.text)
    module = project.work_dir / "main.wasm"
    return least_privilege(project, module) if module.is_file() else []


def _problems(error: ManifestError) -> list[dict[str, Any]]:
    return [
        {
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in error.problems
    ]


def _record(loaded: Loaded, warnings: list[str]) -> dict[str, Any]:
    import msgspec

    manifest = loaded.manifest
    return {
        "ok": True,
        "file": str(loaded.path),
        "problems": [],
        "warnings": warnings,
        "files": [{"fd": fd, **msgspec.to_builtins(file)} for fd, file in enumerate(manifest.files)],
        "connect": list(manifest.network.connect) if manifest.network else [],
        "args": manifest.argv(),
        "env": [{"name": name, "value": value} for name, value in manifest.environ()],
    }


def _shown(record: dict[str, Any]) -> str:
    from enarx_deploy.cli.table import table

    rows = [(str(file["fd"]), file["kind"], _word(file["name"]), _address(file)) for file in record["files"]]
    return "\n".join(
        [
            f"{record['file']}: good",
            "",
            table(("FD", "KIND", "NAME", "ADDRESS"), rows) if rows else "no open files",
            "",
            *(f"may connect to {_destination(one)}" for one in record["connect"]),
            f"args  {' '.join(_word(word) for word in record['args'])}",
            *(f"env   {_word(entry['name'])}={_word(entry['value'])}" for entry in record["env"]),
        ]
    )


def _destination(destination: str) -> str:
    in_clear = destination.startswith("tcp://")
    return f"{destination} in clear: host and network see it" if in_clear else f"{destination} by TLS"


def _address(file: dict[str, Any]) -> str:
    if "prot" not in file:
        return "-"
    host = file["addr"] if file["kind"] == "listen" else file["host"]
    return f"{file['prot']} {f'[{host}]' if ':' in host else host}:{file['port']}"


def _word(word: str) -> str:
    """A word as it stands where it is plain to see, else in quotes."""
    return word if word and word.isprintable() and " " not in word else json.dumps(word)
