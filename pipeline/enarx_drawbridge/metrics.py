"""What a Drawbridge server tells Prometheus. Each label has few values, all of them this program's own."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from enarx_service.metrics import BUCKETS

from .app import shape_of
from .store import Store


class Metrics:
    """What is counted while a server works, and what is so when somebody asks. Safe to use from many threads."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "enarx_drawbridge_request_seconds",
            "From a request's head to the end of its answer.",
            ["method", "what", "status"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Standing(store))

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer."""
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "PUT", "DELETE") else "other"
        self._seconds.labels(method, shape_of(scope["path"]), str(status)).observe(seconds)


class _Standing(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._began = time.time()

    def collect(self) -> Iterator[Metric]:
        """Each family once."""
        began = "When the process began, since 1970."
        yield GaugeMetricFamily("enarx_drawbridge_start_time_seconds", began, value=self._began)
        for name, count in self._store.counts().items():
            yield GaugeMetricFamily(f"enarx_drawbridge_{name}", f"How many {name} there are.", value=count)
        free = "Bytes that the store's disk has left."
        yield GaugeMetricFamily("enarx_drawbridge_free_bytes", free, value=self._store.free())
