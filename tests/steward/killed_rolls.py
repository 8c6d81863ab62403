"""Replaces roots in directories below DIR, each in a process that is killed one step further on; tells how each ended.

A line of JSON for each: the old root, the one that was found afterwards, the roots that clients may pin, and the files.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from enarx_steward import ceremony, state

STEPS = frozenset({"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"})


def main(below: Path) -> None:
    for step in count(1):
        directory = below / str(step)
        directory.mkdir(mode=0o700)
        old = state.load_root(directory, datetime.now(UTC))
        status = roll_until(step, directory)
        found = state.load_root(directory, datetime.now(UTC))
        files = sorted(path.name for path in directory.iterdir())
        print(json.dumps({"old": old.pem, "found": found.pem, "roots": found.pems, "files": files}))
        if os.WIFEXITED(status):
            return


def roll_until(step: int, directory: Path) -> int:
    """Roll in a process that is killed before its n-th step in the directory; answers how the process ended."""
    process = os.fork()
    if not process:
        sys.addaudithook(killing(step, str(directory)))
        ceremony.roll(directory, datetime.now(UTC))
        os._exit(0)
    return os.waitpid(process, 0)[1]


def killing(step: int, directory: str):
    steps = count(1)

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event in STEPS and directory in str(arguments[0]) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return look


main(Path(sys.argv[1]))
