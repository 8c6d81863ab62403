"""Which files a project is made of, and when one of them changes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchfiles import Change

_STEP = 20  # milliseconds of quiet after a change: an editor writes a file in several steps
_MOST = 400  # milliseconds after which changes are told although there was no quiet
_LOOK = 100  # milliseconds that the first look takes, and each wait at most
_PASSING = ("~", ".swp", ".swx", ".tmp", ".part")  # ends of names of files that editors make for a moment


def folders(root: Path, files: Iterable[Path]) -> frozenset[Path]:
    """The folders in which a change may matter: the project's, and each that holds one of its files."""
    found = {root, *((root / file).parent for file in files)}
    return frozenset(folder.resolve() for folder in found if folder.is_dir())


def changes(watched: frozenset[Path], *, poll: bool) -> Iterator[None]:
    """One item for each time that something in these folders changed, also while the last one was being handled.

    The first item comes at once, and says that from now on nothing is missed. Folders below these are not looked into.
    With `poll` they are looked at now and then, for file systems that tell nothing, such as those of a network.
    """
    from watchfiles import watch

    watching = watch(
        *watched,
        watch_filter=_matters,
        step=_STEP,
        debounce=_MOST,
        recursive=False,
        force_polling=poll,
        rust_timeout=_LOOK,
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    next(watching)
    yield
    yield from (None for changed in watching if changed)


def _matters(_change: Change, path: str) -> bool:
    name = Path(path).name
    return not name.startswith(".") and not name.endswith(_PASSING) and not _is_own_output(path)


def _is_own_output(path: str) -> bool:
    """Whether it is the file that this process itself writes to: what it says of a change would be the next."""
    with contextlib.suppress(OSError):
        there = os.stat(path)  # noqa: PTH116  # as the two below
        return any(os.path.samestat(there, os.fstat(descriptor)) for descriptor in (1, 2))
    return False
