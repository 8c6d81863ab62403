"""How long a verdict takes: evidence in, checks out.

    PYTHONPATH=pipeline python benches/attestation.py [--seconds 1.0] [--threads 2]

Each line: milliseconds for one evidence, evidence per second on one thread, and how that grows with threads. "warm" is
with collateral read, and Intel's checked (`endorse`), beforehand, as in a verifier of many. dcap-qvl, if it is
installed, is given its collateral in memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from enarx_attestation import VENDOR_ANCHORS, Policy, appraise, endorse, load_policy, parse, verify
from enarx_attestation.files import load_endorsements
from enarx_attestation.intel_collateral import read_collateral

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


def snp(name: str, *, warm: bool = False) -> Callable[[], None]:
    folder = VECTORS / "snp" / name
    report, files = (folder / "report.bin").read_bytes(), {"vcek.der": (folder / "vcek.der").read_bytes()}
    read = load_endorsements("snp", files)

    def once() -> None:
        collateral = read if warm else load_endorsements("snp", files)
        claims = verify(parse(report, "snp"), collateral, VENDOR_ANCHORS, SNP_AT)
        assert appraise(claims, POLICY, expected=None).ok

    return once


def intel(kind: str, name: str, *, warm: bool) -> Callable[[], None]:
    folder = VECTORS / kind / name
    quote, document = (folder / "quote.bin").read_bytes(), (folder / "collateral.json").read_bytes()
    endorsed = endorse(read_collateral(document), VENDOR_ANCHORS)

    def once() -> None:
        collateral = endorsed if warm else read_collateral(document)
        assert appraise(verify(parse(quote, kind), collateral, VENDOR_ANCHORS, INTEL_AT), POLICY, expected=None).ok

    return once


def dcap_qvl(kind: str, name: str) -> Callable[[], None] | None:
    try:
        import dcap_qvl as other
    except ImportError:
        return None
    folder = VECTORS / kind / name
    quote = (folder / "quote.bin").read_bytes()
    collateral = other.QuoteCollateralV3.from_json((folder / "collateral.json").read_text())
    at = int(INTEL_AT.timestamp())
    return lambda: other.verify(quote, collateral, at)


def rate(once: Callable[[], None], threads: int, seconds: float) -> float:
    """Evidence per second, of `threads` at once."""
    end = time.perf_counter() + seconds

    def run() -> int:
        done = 0
        while time.perf_counter() < end:
            once()
            done += 1
        return done

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(future.result() for future in [pool.submit(run) for _ in range(threads)])
    return done / (time.perf_counter() - start)


def best(once: Callable[[], None]) -> float:
    """Milliseconds of one, the least mean of three rounds of a hundred."""
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(100):
            once()
        rounds.append((time.perf_counter() - start) * 10)
    return min(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description="time the verification of evidence")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cases = {
        "snp warm": snp("milan-v3-azure", warm=True),
        "snp Milan": snp("milan-v3-azure"),
        "snp Turin": snp("turin-v5-fmc"),
        "sgx warm": intel("sgx", "phala-nonserver-cfg-swhard", warm=True),
        "sgx cold": intel("sgx", "phala-nonserver-cfg-swhard", warm=False),
        "sgx dcap-qvl": dcap_qvl("sgx", "phala-nonserver-cfg-swhard"),
        "tdx warm": intel("tdx", "phala-v4-uptodate", warm=True),
        "tdx cold": intel("tdx", "phala-v4-uptodate", warm=False),
        "tdx dcap-qvl": dcap_qvl("tdx", "phala-v4-uptodate"),
    }
    for name, once in cases.items():
        if once is None:
            print(f"{name:14} not installed")
            continue
        single = rate(once, 1, options.seconds)
        several = rate(once, options.threads, options.seconds)
        print(f"{name:14} {best(once):6.3f} ms {single:7.0f}/s   {options.threads} threads x{several / single:.2f}")


if __name__ == "__main__":
    main()
