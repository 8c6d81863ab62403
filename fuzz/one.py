"""`python -m fuzz.one TARGET FLAG…`: the process of one target, with flags of libFuzzer. `python -m fuzz` starts it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

INSTRUMENTED = [
    "enarx_attestation",
    "enarx_deploy",
    "enarx_drawbridge",
    "enarx_keep",
    "enarx_registries",
    "enarx_steward",
]

with atheris.instrument_imports(include=INSTRUMENTED):
    from fuzz.targets import TARGETS, seeds


def main() -> None:
    """Fuzz, from the seeds on. Does not return: libFuzzer ends the process."""
    name, flags = sys.argv[1], sys.argv[2:]
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed[: target.largest])
        atheris.Setup([sys.argv[0], *flags, f"-max_len={target.largest}", corpus], target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
