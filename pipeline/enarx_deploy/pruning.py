"""What earlier runs have left and nothing names any more: old records and old packages, of which a few are kept.

In a project that is what no index of a stage names (`records`); in the state directory the packages that no record
there names, so that what a Keep runs, or could be gone back to, stays. Whoever is about to name one holds `in_use`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from enarx_deploy import paths

RECORDS_KEPT = 64
PACKAGES_KEPT = 4
"""The latest that nothing names, for comparing and going back."""
_NAMED = re.compile(rb"(?:sha256:|/)([0-9a-f]{64})")
_STORED = re.compile(r"[0-9a-f]{64}")
_LARGEST = 64 << 20  # bytes of a file that is looked through; beside a larger one nothing is removed
_NAMES_THEM = (".json", ".jsonl", ".toml")
_PACKAGES = "packages"
_LOCK = ".lock"


class _TooLarge(Exception):
    """What a file names is not known, so that anything may be named."""


def project(work_dir: Path) -> None:
    """Prune the `.enarx` of a project, whose lock is held."""
    with contextlib.suppress(_TooLarge):
        _prune_project(work_dir)


def _prune_project(work_dir: Path) -> None:
    named = _named_in(work_dir.glob("*.json"))
    stored = [path for path in (work_dir / "records").glob("*.json") if path.stem not in named]
    _remove(stored, RECORDS_KEPT, Path.unlink)
    _prune_packages(work_dir / _PACKAGES, named | _named_in((work_dir / "records" / f"{one}.json") for one in named))


def state() -> None:
    """Prune the packages that Keeps of this machine were started with."""
    root = paths.state_dir()
    with _locked(root / f"{_PACKAGES}.lock", fcntl.LOCK_EX), contextlib.suppress(_TooLarge):
        files = (
            path for path in root.rglob("*") if path.suffix in _NAMES_THEM and root / _PACKAGES not in path.parents
        )
        _prune_packages(root / _PACKAGES, _named_in(files))


@contextlib.contextmanager
def arriving(store: Path) -> Iterator[None]:
    """Held from before a package is carried into a directory, or found there, until it is among the latest."""
    store.mkdir(parents=True, exist_ok=True)
    with _locked(store / _LOCK, fcntl.LOCK_SH):
        yield


def make_latest(tree: Path) -> None:
    """Date a package that has arrived, or was there: it has the times of its making.

    By the nanosecond: of two that a file system dates by its own clock, which ticks, neither may be the latest.
    """
    now = time.time_ns()
    os.utime(tree, ns=(now, now))


def arrived(store: Path, kept: int) -> None:
    """Prune a directory of packages that were carried here: all but the latest, which nothing runs from.

    While others arrive that is left to them.
    """
    with contextlib.suppress(BlockingIOError), _locked(store / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
        stored = [path for path in store.glob("*") if _STORED.fullmatch(path.name)]
        _remove(stored, kept, _remove_package)


def in_use() -> contextlib.AbstractContextManager[None]:
    """Held from before a package is laid into the state directory until a record there names it."""
    return _locked(paths.state_dir() / f"{_PACKAGES}.lock", fcntl.LOCK_SH)


@contextlib.contextmanager
def _locked(lock: Path, how: int) -> Iterator[None]:
    with lock.open("a+b") as file:  # on NFS only who reads can share a lock, and only who writes have it alone
        fcntl.flock(file, how)
        yield


def _named_in(files: Iterable[Path]) -> set[str]:
    """Every digest that stands in these files, in hex. Raises _TooLarge."""
    named: set[str] = set()
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            if not path.is_file():
                continue
            if path.stat().st_size > _LARGEST:
                raise _TooLarge
            named.update(found.decode() for found in _NAMED.findall(path.read_bytes()))
    return named


def _prune_packages(store: Path, named: set[str]) -> None:
    stored = [path for path in store.glob("*") if _STORED.fullmatch(path.name) and path.name not in named]
    _remove(stored, PACKAGES_KEPT, _remove_package)


def _remove_package(tree: Path) -> None:
    """What is said of it first: a tree without that is still a package."""
    shutil.rmtree(tree.with_name(f"{tree.name}.attachments"), ignore_errors=True)
    shutil.rmtree(tree, ignore_errors=True)


def _remove(unnamed: Iterable[Path], kept: int, remove: Callable[[Path], object]) -> None:
    """All but the latest."""
    dated = []
    for path in unnamed:
        with contextlib.suppress(FileNotFoundError):
            dated.append((path.lstat().st_mtime_ns, path))
    for _, path in sorted(dated, reverse=True)[kept:]:
        with contextlib.suppress(OSError):
            remove(path)
