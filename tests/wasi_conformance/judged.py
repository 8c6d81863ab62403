"""One program of others: what it is made of, what it is given, and what must come of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("enarx-deploy")
_HERE = Path(__file__).parents[2]
_SECONDS = 1800
_FILE_SYSTEM = 'resources.filesystem="512 MiB"'  # a machine's temporary directory, which tests fill as they like


@dataclass(frozen=True)
class Ended:
    """What became of a run."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Run:
    """A module, its words and environment, and the directory that is its root; changes there are not seen outside."""

    module: Path
    root: Path
    words: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""

    def in_a_keep(self) -> Ended:
        """By `enarx-deploy run`, to which the root is copied."""
        words = [str(PROGRAM), "run", "--backend", "nil", "--quiet", "--set", _FILE_SYSTEM, str(self.module)]
        words += ["--dir", f"{self.root}::/"]
        words += [word for pair in self.environment.items() for word in ("--env", "=".join(pair))]
        return self._ended([*words, "--", *self.words])

    def by_wasmtime(self) -> Ended:
        """By wasmtime's own WASI, in the root itself."""
        pairs = [f"--env={name}={value}" for name, value in self.environment.items()]
        words = [sys.executable, "-m", f"{__package__}.by_wasmtime", str(self.module), str(self.root), *pairs]
        return self._ended([*words, "--", *self.words])

    def _ended(self, words: Sequence[str]) -> Ended:
        ended = subprocess.run(words, input=self.stdin, capture_output=True, timeout=_SECONDS, cwd=_HERE, check=False)
        return Ended(ended.returncode, ended.stdout, ended.stderr)


@dataclass(frozen=True)
class Judged:
    """A program by its name. `faults` runs it, by the way that it is given, and says what came out wrong.

    `differs` are faults that are expected in a Keep, each with its reason.
    """

    name: str
    faults: Callable[[Path, Callable[[Run], Ended]], list[str]]
    differs: Mapping[str, str] = field(default_factory=dict)
