"""What is fuzzed, instrumented once, and the process of one target. It takes over the process that calls it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

__all__ = ["TARGETS", "fuzz"]

INSTRUMENTED = [
    "enarx_attestation",
    "enarx_collateral",
    "enarx_deploy",
    "enarx_drawbridge",
    "enarx_keep",
    "enarx_registries",
    "enarx_service",
    "enarx_signing",
    "enarx_steward",
]

with atheris.instrument_imports(include=INSTRUMENTED):
    from fuzz.targets import TARGETS, seeds


def fuzz(name: str, flags: Sequence[str]) -> None:
    """Fuzz a target, from its seeds on, with flags of libFuzzer. Does not return: libFuzzer ends the process."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed[: target.largest])
        atheris.Setup([sys.argv[0], *flags, f"-max_len={target.largest}", corpus], target.run)
        atheris.Fuzz()
