"""Threads share anchors, endorsements and policies, and each has the verdict that it would have alone."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from enarx_attestation import appraise, endorse, load_policy, parse, verify
from enarx_attestation.intel_collateral import VerifiedChains, read_collateral
from enarx_attestation.snp import read_collateral as read_amd_collateral

if TYPE_CHECKING:
    from conftest import Amd, Intel

NOW = datetime(2026, 6, 1, tzinfo=UTC)
THREADS, ROUNDS = 4, 20
POLICY = load_policy({"snp": {"any_workload": True, "revocation": "off"}, "tdx": {"any_workload": True}})

Verdict = Callable[[], bytes]


@pytest.fixture(autouse=True)
def _frequent_turns() -> Iterator[None]:
    """Threads that take turns do so within a verdict."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_quotes_under_one_collateral(intel: Intel) -> None:
    """Of more platforms than are remembered, so that threads displace each other's."""
    collateral = endorse(read_collateral(intel.collateral()), intel.anchors)
    shared = structs.replace(collateral, chains=VerifiedChains(most=2))
    platforms = [intel.pck, intel.platform(), intel.platform(days=(-9, -1)), intel.platform([2, 3, 2, 2, 4, 1, 0, 5])]
    quotes = [intel.quote(pck=pck) for pck in platforms]

    def verdict(quote: bytes) -> Verdict:
        return lambda: appraise(
            verify(parse(quote, "tdx"), shared, intel.anchors, NOW), POLICY, expected=None
        ).to_json()

    _assert_alone_and_together([verdict(quote) for quote in quotes])


def test_reports_under_one_endorsement_key(amd: Amd) -> None:
    collateral = read_amd_collateral(amd.vek(amd.extensions()).der)
    reports = [amd.report(), amd.report(version=5), amd.report({0x30: b"\1"}), amd.report({0x1A0: b"\xff"})]

    def verdict(report: bytes) -> Verdict:
        return lambda: appraise(
            verify(parse(report, "snp"), collateral, amd.anchors, NOW), POLICY, expected=None
        ).to_json()

    _assert_alone_and_together([verdict(report) for report in reports])


def test_nothing_takes_the_lock_of_an_interpreter_that_is_built_without() -> None:
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert locked != free_threaded


def _assert_alone_and_together(verdicts: list[Verdict]) -> None:
    alone = [verdict() for verdict in verdicts]
    with ThreadPoolExecutor(THREADS) as pool:
        runs = [pool.submit(lambda: [verdict() for verdict in verdicts]) for _ in range(THREADS * ROUNDS)]
        assert all(run.result() == alone for run in runs)
    assert len(set(alone)) == len(alone)
