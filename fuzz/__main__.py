"""`python -m fuzz [TARGET…]`: fuzz each target in a process of its own, for a time or a number of inputs.

It needs Atheris (coverage-guided, libFuzzer). What is fuzzed is imported and instrumented once, and the process of each
target begins there. An input that fails is kept below `--findings` and named in the output.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fuzz.one import TARGETS, fuzz

INPUT_SECONDS = 5
"""How long one input may take."""
MEMORY_MB = 1024
"""How much memory a target may take, all in all."""


def main() -> int:
    """Run what is asked for; the status is 1 if any target failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz the parsers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which (all): {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs (default: 60)")
    parser.add_argument("--runs", type=int, help="how many inputs each target gets, in the place of a time")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins (default: 1)")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), help="where inputs that fail are kept")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"there is no target {', '.join(unknown)}")
    options.findings.mkdir(parents=True, exist_ok=True)
    failed = [name for name in names if not run(name, options)]
    print(f"{len(names) - len(failed)} targets passed; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run(name: str, options: argparse.Namespace) -> bool:
    """Fuzz one target. Answers whether it passed."""
    print(f"{name}:", flush=True)
    flags = [
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-seed={options.seed}",
        f"-artifact_prefix={options.findings / name}-",
        "-verbosity=0",
        f"-max_total_time={options.seconds}" if options.runs is None else f"-runs={options.runs}",
    ]
    child = os.fork()
    if child == 0:
        fuzz(name, flags)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    sys.exit(main())
