"""Verdicts over evidence of the tests' vectors, and how many of them threads reach in a second.

`python -m benches.verdicts SECONDS THREADS...` prints the latter as JSON: a rate for each number of threads for the
subjects whose threads are compared, and that of one for the others. So it can be measured in other interpreters than
the one of the other benchmarks, and in several processes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from enarx_attestation import VENDOR_ANCHORS, Collateral, Policy, appraise, endorse, load_policy, parse, verify
from enarx_attestation.files import load_endorsements
from enarx_attestation.intel_collateral import VerifiedChains, read_collateral

ROOT = Path(__file__).parent.parent
VECTORS = ROOT / "tests/attestation/vectors"
SNP_AT = datetime(2026, 3, 1, tzinfo=UTC)
INTEL_AT = datetime(2025, 7, 1, tzinfo=UTC)
POLICY: Policy = load_policy(
    {
        "snp": {"any_workload": True, "revocation": "off"},
        "sgx": {"any_workload": True, "accept_statuses": ["ConfigurationAndSWHardeningNeeded"]},
        "tdx": {"any_workload": True},
    }
)
INTEL = {"sgx": "phala-nonserver-cfg-swhard", "tdx": "phala-v4-uptodate"}
OURS, THEIRS = "known platform", "dcap-qvl"
SCALED = ("snp, Milan", *(f"{kind}, {OURS}" for kind in INTEL))
"""Subjects of which two at once are held against one."""
LIMIT = "a hash, of which nothing is shared"
"""What two at once get done on this machine when neither has to do with the other."""
TURNS = 5
COMPARED_TURNS, COMPARED_SECONDS = 15, 0.2
"""Turns in which threads are compared, and how long one is at least: in a shorter one their start would weigh."""

Once = Callable[[], object]


def rates(python: Path, seconds: float, threads: Sequence[int], *, processes: int = 1) -> dict[str, list[float]]:
    """The rates of an interpreter, by subject: one for each number of threads, of all processes together."""
    command: list[str | Path] = [python, "-W", "error", "-m", "benches.verdicts", str(seconds), *map(str, threads)]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "pipeline"))
    started = [
        subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    answers = [process.communicate()[0] for process in started]
    assert not any(process.returncode for process in started)
    found: list[dict[str, list[float]]] = [json.loads(answer) for answer in answers]
    return {
        subject: [sum(column) for column in zip(*(each[subject] for each in found), strict=True)]
        for subject in found[0]
    }


def subjects() -> dict[str, Once]:
    """What is measured, by name."""
    found = {
        "snp, Milan": snp("milan-v3-azure", warm=True),
        "snp, Milan, certificate read each time": snp("milan-v3-azure", warm=False),
        "snp, Turin": snp("turin-v5-fmc", warm=True),
    }
    for kind, name in INTEL.items():
        found |= {f"{kind}, {which}": once for which, once in intel(kind, name).items()}
    zeros = bytes(256 << 10)
    return found | {LIMIT: lambda: hashlib.sha256(zeros).digest()}


def snp(name: str, *, warm: bool) -> Once:
    """A report, with its certificate read beforehand or each time."""
    folder = VECTORS / "snp" / name
    report, files = (folder / "report.bin").read_bytes(), {"vcek.der": (folder / "vcek.der").read_bytes()}
    read = load_endorsements("snp", files)

    def once() -> None:
        collateral = read if warm else load_endorsements("snp", files)
        claims = verify(parse(report, "snp"), collateral, VENDOR_ANCHORS, SNP_AT)
        assert appraise(claims, POLICY, expected=None).ok

    return once


def intel(kind: str, name: str) -> dict[str, Once]:
    """A quote, with more and more to be verified anew; and dcap-qvl's verdict over it, where that is installed."""
    folder = VECTORS / kind / name
    quote, document = (folder / "quote.bin").read_bytes(), (folder / "collateral.json").read_bytes()
    endorsed = endorse(read_collateral(document), VENDOR_ANCHORS)
    forgetful = structs.replace(endorsed, chains=VerifiedChains(most=0))

    def judge(collateral: Callable[[], Collateral]) -> Once:
        def once() -> None:
            claims = verify(parse(quote, kind), collateral(), VENDOR_ANCHORS, INTEL_AT)
            assert appraise(claims, POLICY, expected=None).ok

        return once

    found = {
        OURS: judge(lambda: endorsed),
        "new platform": judge(lambda: forgetful),
        "collateral read and verified each time": judge(lambda: read_collateral(document)),
    }
    if importlib.util.find_spec("dcap_qvl") is not None:
        found[THEIRS] = dcap_qvl(quote, document)
    return found


def dcap_qvl(quote: bytes, document: bytes) -> Once:
    """The same by PyPI's dcap-qvl."""
    import dcap_qvl as theirs

    collateral, at = theirs.QuoteCollateralV3.from_json(document.decode()), int(INTEL_AT.timestamp())
    return lambda: theirs.verify(quote, collateral, at)


def in_turns(once: Once, threads: Sequence[int], turns: int, seconds: float) -> list[float]:
    """The rate of each number of threads, in turns: what disturbs the machine for a moment disturbs them alike."""
    found = [[rate(once, each, seconds) for each in threads] for _ in range(turns)]
    return [statistics.median(rates) for rates in zip(*found, strict=True)]


def rate(once: Once, threads: int, seconds: float) -> float:
    """Verdicts per second, of `threads` at once."""
    end = time.perf_counter() + seconds

    def run() -> int:
        done = 0
        while time.perf_counter() < end or not done:
            once()
            done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(future.result() for future in [pool.submit(run) for _ in range(threads)])
    return done / (time.perf_counter() - start)


def main() -> None:
    """Print the rates of this interpreter."""
    if sysconfig.get_config_var("Py_GIL_DISABLED") and sys._is_gil_enabled():  # type: ignore[attr-defined]  # 3.13
        sys.exit("the interpreter's lock has been turned on: threads of this Python cannot be measured")
    seconds, threads = float(sys.argv[1]), [int(number) for number in sys.argv[2:]]
    print(json.dumps({name: _measured(name, once, threads, seconds) for name, once in subjects().items()}))


def _measured(name: str, once: Once, threads: Sequence[int], seconds: float) -> list[float]:
    if name in {*SCALED, LIMIT}:
        return in_turns(once, threads, COMPARED_TURNS, max(seconds / TURNS, COMPARED_SECONDS))
    return in_turns(once, (1,), TURNS, seconds / TURNS)


if __name__ == "__main__":
    main()
