"""Directories of Keeps that have ended: of each deployment the latest stay, with their logs; the rest are removed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from enarx_deploy.host import state
from enarx_deploy.models import ALIVE, KeepStatus

KEPT = 16
"""The latest of a deployment that stay; beyond them the last that failed does."""
_ABANDONED = 86400.0  # seconds after which a directory that says nothing of its Keep is nobody's


class _Ended(NamedTuple):
    at: float
    directory: Path
    status: KeepStatus | None

    @property
    def failed(self) -> bool:
        return self.status is not None and (self.status.state != "exited" or bool(self.status.exit_status))


def prune(service: str, kept: Collection[str]) -> None:
    """Remove what is one too many, of one deployment; `kept` are Keeps that it has, or is about to start again."""
    ended = sorted((one for one in _ended(service) if one.directory.name not in kept), reverse=True)
    failed = [one for one in ended if one.failed][:1]
    for one in ended[KEPT:]:
        if one not in failed:
            _remove(one.directory)


def _ended(service: str) -> Iterator[_Ended]:
    for directory in state.keeps_dir().iterdir():
        with contextlib.suppress(OSError, msgspec.DecodeError):  # not whole, or removed just now
            if state.read_spec(directory).service != service or state.is_held(directory):
                continue
            status = state.read_status(directory)
            if status is not None and status.state not in ALIVE:
                yield _Ended((directory / "state.json").stat().st_mtime, directory, status)
            elif status is None and (at := directory.stat().st_mtime) < time.time() - _ABANDONED:
                yield _Ended(at, directory, None)


def _remove(directory: Path) -> None:
    """Its state first: a directory without one is no Keep to anybody, should it not all go."""
    with contextlib.suppress(OSError):
        (directory / "state.json").unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
