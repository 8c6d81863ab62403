"""A tool that is run for a build: its lines are passed on as they come, its first error becomes the BuildError."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import Progress

_PLACED = re.compile(r"^\S.*?:\d+(:\d+)?: (fatal )?error: ")
_ERROR = re.compile(r"\berror\b", re.IGNORECASE)
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def run(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], progress: Progress) -> None:
    """Run a tool in `cwd`, with `environment` laid over this process's own.

    Raises BuildError with the first error that the tool reports, in one line with its file and place.
    """
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise BuildError(f"cannot start {command[0]}: {error.strerror}", hint="is it installed?") from error
    with process:
        try:
            for line in process.stdout or ():
                lines.append(_plain(line.rstrip()))
                progress(lines[-1])
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise BuildError(
            first_error(lines) or f"{command[0]} ended with status {process.returncode}",
            hint="`enarx-deploy -v compile` shows all that the tool says",
        )


def first_error(lines: Sequence[str]) -> str:
    """The first error with a place in a source, else the first that is called one, else the last line."""
    for pattern in (_PLACED, _ERROR):
        for line in lines:
            if pattern.search(line):
                return line.strip()
    return lines[-1] if lines else ""


def _plain(line: str) -> str:
    """A line without colours; nothing that a source file smuggles into a message may steer the terminal."""
    line = _CONTROL_SEQUENCE.sub("", line).expandtabs()
    return "".join(c if c.isprintable() else "\ufffd" for c in line)
