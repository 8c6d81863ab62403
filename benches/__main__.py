"""`python -m benches`: see the package."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benches import (
    attestation,
    boot,
    cold_run,
    compute,
    dev,
    echo,
    idle,
    packaging,
    registry,
    steward,
    unchanged,
    wasi_calls,
)
from benches.figures import Section, shown

RESULTS = Path(__file__).with_name("RESULTS.md")

BENCHMARKS: dict[str, Callable[[float], Section]] = {
    "wasi": wasi_calls.measure,
    "echo": echo.measure_tcp,
    "tls": echo.measure_tls,
    "compute": compute.measure,
    "run": cold_run.measure,
    "attestation": attestation.measure,
    "steward": steward.measure,
    "idle": idle.measure,
    "dev": dev.measure,
    "packaging": packaging.measure,
    "unchanged": unchanged.measure,
    "registry": registry.measure,
    "boot": boot.measure_start,
    "channels": boot.measure_channels,
    "image": boot.measure_image,
}


def main() -> None:
    """Measure what is asked for, and print it as it comes."""
    parser = argparse.ArgumentParser(prog="python -m benches", description="Measure on this machine, side by side.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--list", action="store_true", help="say what can be measured, and measure nothing")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one load (default: 2)")
    parser.add_argument("--record", action="store_true", help="add the ratios to benches/RESULTS.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if options.list:
        print("\n".join(f"{name:<12} {purpose(BENCHMARKS[name])}" for name in options.names or BENCHMARKS))
        return
    print(machine(), flush=True)
    sections = []
    for name in options.names or BENCHMARKS:
        sections.append(BENCHMARKS[name](options.seconds))
        print(f"\n{shown(sections[-1])}", flush=True)
    if options.record:
        record(sections)


def purpose(benchmark: Callable[[float], Section]) -> str:
    """What it answers: the first line of what it says of itself."""
    return (benchmark.__doc__ or "").partition("\n")[0]


def machine() -> str:
    """One line about what was measured on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    cpu = model.partition(": ")[2] or platform.machine()
    python, wasmtime = platform.python_version(), version("wasmtime")
    load = os.getloadavg()[0]
    linux = platform.release().partition("-")[0]
    return f"{os.cpu_count()} x {cpu}; Linux {linux}; Python {python}; wasmtime {wasmtime}; load {load:.1f}"


def record(sections: list[Section]) -> None:
    """Add this run's ratios, with date and commit."""
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    commit = asked.stdout.strip() or "no commit"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [f"\n## {today}, {commit}", "", machine(), ""]
    lines += [f"- {ratio}" for section in sections for ratio in section.ratios]
    with RESULTS.open("a") as file:
        file.write("\n".join(lines) + "\n")
    print(f"\nadded to {RESULTS.name}")


if __name__ == "__main__":
    main()
