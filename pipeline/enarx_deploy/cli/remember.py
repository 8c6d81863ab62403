"""Writes the stamps by which `unchanged` answers.

When a command has answered, it is asked once more in the same process, with leave to look and none to make anything.
What it prints then is what it would print as long as nothing changes, and what it looks at is what must not change.

A file that was changed within a tick of the clock before could be changed again in that tick and bear the same times.
So what is remembered must be older than that (git calls it racy); after a build this waits for the tick to pass.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from enarx_deploy import paths, tools
from enarx_deploy.cli import unchanged
from enarx_deploy.cli.witness import Seen, watching
from enarx_deploy.errors import EnarxDeployError
from enarx_deploy.runner import Changed

if TYPE_CHECKING:
    from enarx_deploy.cli.context import Context

_TICK = 25_000_000  # nanoseconds: more than between two values of the kernel's coarse clock, by which files are dated
_COARSE_TICK = 2_000_000_000  # of file systems that count whole seconds, or two
_SECOND = 1_000_000_000
_MOST = 5_000
"""Files and folders: to look at more takes as long as running the command."""
_KEPT = 8  # stamps of a project
_NOT_LOOKED_INTO = ("node_modules", "__pycache__", "target")
_HOOKS = ("compile", "register_toolchains")


def remember(context: Context, answer: Callable[[Context], None]) -> None:
    """Called when a command has answered. Nothing is written where in doubt, and nothing raised but what is a bug."""
    asked = context.asked
    if asked is None or context.force or context.trace_hooks:
        return
    if not context.skipped:
        time.sleep(_TICK / _SECOND)
    with contextlib.suppress(EnarxDeployError, Changed, OSError, ValueError):
        secret = unchanged.key()
        stamp = _stamp(context, answer, Path(asked.work_dir).resolve())
        if stamp is not None:
            body = json.dumps(stamp).encode()
            code = unchanged.code(secret, asked.about, body)
            _write(Path(asked.path(secret)), code.encode() + body)


class _Heard(io.StringIO):
    """Takes what is printed, as the stream that it stands for would show it."""

    def __init__(self, shown_on_a_terminal: bool) -> None:
        super().__init__()
        self._terminal = shown_on_a_terminal

    def isatty(self) -> bool:
        return self._terminal


def _stamp(context: Context, answer: Callable[[Context], None], work_dir: Path) -> dict[str, object] | None:
    again = dataclasses.replace(context, only_unchanged=True)
    began = time.time_ns()
    out, err = _Heard(sys.stdout.isatty()), _Heard(sys.stderr.isatty())
    with watching() as seen, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        answer(again)
    root = context.directory.resolve()
    if seen.doubt or _strangers(again) or work_dir != root / work_dir.name:
        return None
    found = set(_looked_at(seen, root))
    if len(found) > _MOST:
        return None
    states = {path: unchanged.state(path) for path in sorted(found)}
    printed = [out.getvalue(), err.getvalue()]
    if not all(_before(state, began) for state in states.values()) or not all(map(_plain, printed)):
        return None
    return {"stdout": printed[0], "stderr": printed[1], "states": states}


def _strangers(context: Context) -> bool:
    """Whether a plugin of others took part: what it goes by is not known here."""
    loaded = (plugin for plugin in context.plugins.plugins if not plugin.built_in and plugin.state != "disabled")
    return any(plugin.state == "failed" or any(hook in plugin.hooks for hook in _HOOKS) for plugin in loaded)


def _looked_at(seen: Seen, root: Path) -> Iterator[str]:
    """What the command looked at, this program's and its plugins' files, and wherever tools and plugins are found.

    The answers of tools are left out, to which every project adds: of what they were asked is looked at itself.
    """
    yield from seen.looked_at - seen.written - {str(tools.answers_file())}
    yield from _folders(root)
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            yield os.path.abspath(file)  # noqa: PTH100 - as `witness` has it
    for place in [*sys.path, *os.get_exec_path()]:
        yield os.path.abspath(place)  # noqa: PTH100 - likewise


def _folders(root: Path) -> Iterator[str]:
    """The project's folders, in which a file may appear that makes it another language's."""
    for folder, below, _ in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".") and name not in _NOT_LOOKED_INTO]
        yield folder


def _before(state: list[int], moment: int) -> bool:
    """Whether a file was last changed so long before a moment that a change since then shows."""
    times = state[-2:]
    tick = _COARSE_TICK if any(time % _SECOND == 0 for time in times[1:]) else _TICK
    return all(time + tick < moment for time in times)


def _plain(text: str) -> bool:
    """Whether a terminal shows it as any other line: what else a name may hold is left to the command itself."""
    return all(line.isprintable() for line in text.split("\n"))


def _write(path: Path, data: bytes) -> None:
    if len(data) > unchanged.LIMIT:
        return
    folder = paths.private_directory(path.parent)
    paths.write_atomically(path, data)
    for old in _oldest(folder.iterdir()):
        old.unlink(missing_ok=True)


def _oldest(stamps: Iterable[Path]) -> list[Path]:
    return sorted(stamps, key=lambda path: path.stat().st_mtime_ns, reverse=True)[_KEPT:]
