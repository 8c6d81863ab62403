"""Metrics of a Steward, in Prometheus' text format, on a listener of their own: numbers, and no requester's words.

Each label has few values, all of them this program's own: what came with a request is `other`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.types import Scope

from enarx_attestation.kinds import KINDS
from enarx_collateral import CollateralError, Store
from enarx_collateral.item import KEPT_FOR_GOOD
from enarx_service.metrics import BUCKETS, Timed, exposed

from . import answers
from .database import Database
from .decisions import Decision, Issued, NotIssued
from .errors import Unavailable
from .issuance import Steward, utc_now
from .issuance_log import IssuanceLog
from .openapi import OPERATIONS

OTHER: Final = "other"
ROUTES: Final = frozenset({"/", *(one.path for one in OPERATIONS)})


class Metrics:
    """What is counted while a Steward works. Safe to use from many threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions = Counter(
            "enarx_steward_decisions",
            "Entries of the issuance log by this process.",
            ["protocol", "decision", "kind"],
            registry=self.registry,
        )
        self._failed = Counter(
            "enarx_steward_failed_checks", "Checks that refused evidence.", ["check"], registry=self.registry
        )
        self._seconds = Histogram(
            "enarx_steward_request_seconds",
            "From a request's head to the end of its answer.",
            ["route", "status"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    def decided(self, decision: Decision) -> None:
        """Count an entry of the log."""
        kind = decision.backend if decision.backend in KINDS else OTHER
        if not isinstance(decision, NotIssued):
            what = "issued" if isinstance(decision, Issued) else "released"
            self._decisions.labels(decision.protocol, what, kind).inc()
            return
        self._decisions.labels(decision.protocol, "refused", kind).inc()
        for check in decision.checks:
            self._failed.labels(check).inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._seconds.labels(route, str(status)).observe(seconds)


class CountedLog(IssuanceLog):
    """An issuance log whose new entries are counted."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__(database)
        self._metrics = metrics

    def append(self, decision: Decision) -> None:
        """See `IssuanceLog.append`."""
        super().append(decision)
        self._metrics.decided(decision)


class Standing(Collector):
    """What is so when somebody asks."""

    def __init__(self, steward: Steward, store: Store) -> None:
        self._steward = steward
        self._store = store
        self._began = time.time()

    def collect(self) -> Iterator[Metric]:
        """Each family once; without those that the database does not tell now."""
        now, authority = utc_now(), self._steward.authority
        yield _gauge("start_time_seconds", "When the process began, since 1970.", self._began)
        yield _gauge(
            "root_seconds_left",
            "Until the Steward's root certificate ends.",
            _left(authority.root.certificate.not_valid_after_utc, now),
        )
        yield _gauge(
            "intermediate_seconds_left",
            "Until the intermediate ends that signs now.",
            _left(authority.certificate.not_valid_after_utc, now),
        )
        collateral = GaugeMetricFamily(
            "enarx_steward_collateral_seconds_left",
            "Until the first list or statement of a kind ends.",
            labels=["kind"],
        )
        for kind, end in sorted(self._ends().items()):
            collateral.add_metric([kind], _left(end, now))
        yield collateral
        try:
            challenges = self._steward.open_challenges()
            head = self._steward.log.head().seq if self._steward.log else 0
        except Unavailable:
            return
        yield _gauge("open_challenges", "Challenges that are open, of all Stewards of one database.", challenges)
        yield _gauge("log_seq", "Number of the last entry of the issuance log.", head)

    def _ends(self) -> dict[str, datetime]:
        """When the first of each kind of collateral ends, of those that age."""
        found: dict[str, datetime] = {}
        try:
            ageing = [item for item in self._store.items() if item.kind not in KEPT_FOR_GOOD]
            for entry in filter(None, map(self._store.entry, ageing)):
                found[entry.item.kind] = min(entry.not_after, found.get(entry.item.kind, entry.not_after))
        except CollateralError:
            return {}
        return found


class Endpoint:
    """Where metrics are served: on a thread of its own, for `hosts` alone if there are any."""

    def __init__(self, listener: socket.socket, url: str, hosts: Collection[str] | None) -> None:
        self.url = url
        self._listener = listener
        self._hosts = hosts
        self._metrics = Metrics()

    def log(self, opened: Database) -> IssuanceLog:
        """A log whose new entries are counted."""
        return CountedLog(opened, self._metrics)

    @property
    def timed(self) -> Middleware:
        """What counts and times the answers of an application."""
        return Middleware(Timed, answered=self._answered)

    @contextlib.contextmanager
    def serving(self, steward: Steward, store: Store) -> Iterator[None]:
        """Serve as long as the context lasts."""
        self._metrics.registry.register(Standing(steward, store))
        hosts = None if self._hosts is None else frozenset(self._hosts)
        with exposed(self._metrics.registry, self._listener, hosts, answers.error):
            yield

    def _answered(self, scope: Scope, status: int, seconds: float) -> None:
        self._metrics.answered(scope["path"] if scope["path"] in ROUTES else OTHER, status, seconds)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"enarx_steward_{name}", about, value=value)


def _left(end: datetime, now: datetime) -> float:
    return (end - now).total_seconds()
