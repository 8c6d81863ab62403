"""How long a verdict takes, evidence in and checks out: ours beside dcap-qvl, on one thread and on two."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import dcap_qvl
from msgspec import structs

from benches.figures import Ratio, Section
from enarx_attestation import VENDOR_ANCHORS, Policy, appraise, endorse, load_policy, parse, verify
from enarx_attestation.files import load_endorsements
from enarx_attestation.intel_collateral import VerifiedChains, read_collateral

VECTORS = Path(__file__).parent.parent / "tests/attestation/vectors"
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
ROUNDS = 5
OURS, THEIRS = "known platform", "dcap-qvl"

Once = Callable[[], object]


def measure(seconds: float) -> Section:
    """Milliseconds of one, median of rounds in turn; and how many more two threads get done than one."""
    subjects = {
        "snp, Milan": snp("milan-v3-azure", warm=True),
        "snp, Milan, certificate read each time": snp("milan-v3-azure", warm=False),
        "snp, Turin": snp("turin-v5-fmc", warm=True),
    }
    for kind, name in INTEL.items():
        subjects |= {f"{kind}, {which}": once for which, once in intel(kind, name).items()}
    each = seconds / ROUNDS
    rates: dict[str, list[tuple[float, float]]] = {subject: [] for subject in subjects}
    for _ in range(ROUNDS):
        for subject, once in subjects.items():
            rates[subject].append((rate(once, 1, each), rate(once, 2, each)))
    single = {subject: statistics.median(one for one, _ in found) for subject, found in rates.items()}
    grown = {subject: statistics.median(two / one for one, two in found) for subject, found in rates.items()}
    rows = [[subject, f"{1000 / single[subject]:.2f}", f"{grown[subject]:.2f}"] for subject in subjects]
    ratios = [
        Ratio(f"{kind}, time, {OURS} / {THEIRS}", single[f"{kind}, {THEIRS}"] / single[f"{kind}, {OURS}"], "less")
        for kind in INTEL
    ]
    ratios += [
        Ratio(f"{subject}, two threads / one", grown[subject], "more")
        for subject in ("snp, Milan", *(f"{kind}, {OURS}" for kind in INTEL))
    ]
    note = (
        "Collateral is in memory, and Intel's is verified beforehand but for the last of ours. A known platform is one "
        "whose certificate was verified under the same collateral before. dcap-qvl verifies collateral each time."
    )
    return Section("Verdicts over evidence", ["evidence", "ms", "two threads / one"], rows, ratios, note)


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
    """A quote, with more and more to be verified anew; and dcap-qvl's verdict over it."""
    folder = VECTORS / kind / name
    quote, document = (folder / "quote.bin").read_bytes(), (folder / "collateral.json").read_bytes()
    endorsed = endorse(read_collateral(document), VENDOR_ANCHORS)
    forgetful = structs.replace(endorsed, chains=VerifiedChains(most=0))
    theirs = dcap_qvl.QuoteCollateralV3.from_json(document.decode())
    at = int(INTEL_AT.timestamp())

    def judge(collateral: Callable[[], object]) -> Once:
        def once() -> None:
            claims = verify(parse(quote, kind), collateral(), VENDOR_ANCHORS, INTEL_AT)
            assert appraise(claims, POLICY, expected=None).ok

        return once

    return {
        OURS: judge(lambda: endorsed),
        "new platform": judge(lambda: forgetful),
        "collateral read and verified each time": judge(lambda: read_collateral(document)),
        THEIRS: lambda: dcap_qvl.verify(quote, theirs, at),
    }


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
