"""Metrics and health of Keeps, over HTTP on a loopback address: numbers that the host sees anyway.

    GET /metrics    Prometheus' text format: connections, bytes, handshakes, state, certificate, memory, processor time
    GET /healthz    200 while the workload runs, passed the last look at its health, and has a certificate that has not
                    ended; else 503; a JSON object

Nothing here comes from what the workload reads or writes but its length. It is off unless asked for. A page of the web
that has its own name lead here is refused: it says so in the Host header.
"""

from __future__ import annotations

import http.server
import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from enarx_deploy.errors import KeepError, UsageError
from enarx_service.sockets import OWN_NAMES, host_of

if TYPE_CHECKING:
    from enarx_deploy.models import KeepStatus, Usage

TIMEOUT = 10.0
"""Seconds that a client may take to send its request."""
MOST_CLIENTS = 16
"""Clients that are served at once: in a pod, whoever is in the cluster may ask."""

_STATES = ("starting", "running", "stopping", "restarting", "exited", "failed", "crashed")
LISTENER = "/metrics"
"""The name of its listening socket among those of a deployment."""
_LARGEST_PORT = 65535


Page = Callable[[], tuple[int, str, bytes]]
"""Makes an answer when it is asked for: status, media type, body."""


class Endpoint:
    """An HTTP server on its own threads, which end with this process or by `close`."""

    def __init__(
        self,
        address: str,
        pages: Mapping[str, Page],
        listener: socket.socket | None = None,
        *,
        any_host: bool = False,
    ) -> None:
        """Listen on `address` (HOST:PORT), or on a socket that does so, and serve `pages` by their paths.

        With `any_host` it is meant for other machines, whatever they call this one. Raises UsageError, KeepError.
        """
        host, port = parse(address)
        hosts = None if any_host else frozenset({*OWN_NAMES, host})
        handler = type("Handler", (_Handler,), {"pages": dict(pages), "hosts": hosts})
        try:
            self._server = _server_class(host)((host, port), handler, bind_and_activate=listener is None)
        except OSError as error:
            raise KeepError(
                f"metrics: cannot listen on {address}: {error.strerror}", hint="give another port, or 0 for any"
            ) from error
        if listener is not None:
            self._server.socket.close()
            self._server.socket, self._server.server_address = listener, listener.getsockname()
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    @property
    def address(self) -> str:
        """HOST:PORT as it listens."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def pages_of(status: Callable[[], KeepStatus], usage: Callable[[], Usage]) -> dict[str, Page]:
    """What is served of one Keep."""

    def metrics() -> tuple[int, str, bytes]:
        return 200, CONTENT_TYPE_PLAIN_0_0_4, text((), lambda: [Reading((), status(), usage())])

    def health() -> tuple[int, str, bytes]:
        healthy, facts = _health(status())
        return 200 if healthy else 503, "application/json", json.dumps(facts).encode()

    return {"/metrics": metrics, "/healthz": health}


def parse(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, which must be of this machine alone. Raises UsageError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or not port.isascii() or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise UsageError(
            f"metrics: {address!r} is not a port of a loopback address",
            hint="write it as in 127.0.0.1:9464; for others to see it, put a proxy in front that asks who they are",
        )
    return host, int(port)


def _server_class(host: str) -> type[_Server]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return type("Server", (_Server,), {"address_family": family})


class _Server(http.server.ThreadingHTTPServer):
    """Serves so many clients at once; one more is sent away without a word."""

    daemon_threads = True

    def __init__(self, *args: Any, **options: Any) -> None:
        self._free = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Each on a thread of its own."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """To its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class _Handler(http.server.BaseHTTPRequestHandler):
    pages: Mapping[str, Page]
    hosts: frozenset[str] | None
    timeout = TIMEOUT
    server_version = "enarx-deploy"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer what there is."""
        page = self.pages.get(self.path)
        if not self._is_meant():
            self._answer(421, "text/plain", b"this is not the host that was asked for\n")
        elif page is None:
            self._answer(404, "text/plain", f"there is: {', '.join(self.pages)}\n".encode())
        else:
            self._answer(*page())

    def _is_meant(self) -> bool:
        named = self.headers.get_all("Host", [])
        return self.hosts is None or (len(named) == 1 and host_of(named[0]) in self.hosts)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: who asks is no news, and asks often."""


def _health(status: KeepStatus) -> tuple[bool, dict[str, str]]:
    facts = {"state": status.state, "certificate_not_after": status.certificate_not_after}
    if status.reason:
        facts["reason"] = status.reason
    ended = _seconds(status.certificate_not_after)
    if status.health_failure:
        facts["health_failure"] = status.health_failure
    in_time = ended is None or datetime.now(UTC).timestamp() < ended
    return status.state == "running" and in_time and not status.health_failure, facts


def _seconds(moment: str) -> float | None:
    """Seconds since 1970 of a moment as RFC 3339 writes it; None for an empty text."""
    return datetime.fromisoformat(moment).timestamp() if moment else None


class Reading(NamedTuple):
    """One Keep at one moment: the values of the labels that tell it from others, what is known of it, what it uses."""

    labels: tuple[str, ...]
    status: KeepStatus
    usage: Usage


class Keeps(Collector):
    """The metrics of Keeps, read when somebody asks; `labels` are the names of what tells them apart."""

    def __init__(self, labels: tuple[str, ...], read: Callable[[], Iterable[Reading]]) -> None:
        self._labels = labels
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Each family once."""
        readings = list(self._read())
        info = InfoMetricFamily("enarx_keep", "The Keep.", labels=self._labels)
        state = GaugeMetricFamily(
            "enarx_keep_state", "1 for the state that the Keep is in.", labels=[*self._labels, "state"]
        )
        ends = GaugeMetricFamily(
            "enarx_keep_certificate_not_after_seconds",
            "When the certificate ends, since 1970.",
            labels=self._labels,
        )
        healthy = GaugeMetricFamily(
            "enarx_keep_healthy", "1 while the Keep runs, and passed the last look at its health.", labels=self._labels
        )
        restarts = CounterMetricFamily(
            "enarx_keep_restarts", "Times that the Keep was started again after it had ended.", labels=self._labels
        )
        for labels, status, _ in readings:
            healthy.add_metric(labels, float(status.state == "running" and not status.health_failure))
            restarts.add_metric(labels, status.restarts)
            facts = {"id": status.id, "name": status.name, "backend": status.backend, "package": status.package}
            info.add_metric(labels, facts)
            for name in _STATES:
                state.add_metric([*labels, name], float(name == status.state))
            if (not_after := _seconds(status.certificate_not_after)) is not None:
                ends.add_metric(labels, not_after)
        yield from (info, state, healthy, restarts, *self._measured(readings))
        if ends.samples:
            yield ends

    def _measured(self, readings: Sequence[Reading]) -> Iterator[Metric]:
        for family in _FAMILIES:
            labels = [*self._labels, *([family.label] if family.label else [])]
            metric = family.kind(family.name, family.help, labels=labels)
            for reading in readings:
                for value_of, field in family.fields:
                    value = getattr(reading.usage, field)
                    if value >= 0:
                        metric.add_metric([*reading.labels, *([value_of] if value_of else [])], value)
            if metric.samples:
                yield metric


class _Family(NamedTuple):
    """A metric and the fields of `Usage` that it shows, each under a value of `label` where it has one."""

    kind: type[CounterMetricFamily | GaugeMetricFamily]
    name: str
    help: str
    fields: tuple[tuple[str, str], ...]
    label: str = ""


_FAMILIES = (
    _Family(GaugeMetricFamily, "enarx_keep_connections_open", "Accepted connections now.", (("", "connections_open"),)),
    _Family(CounterMetricFamily, "enarx_keep_connections", "Connections accepted.", (("", "connections"),)),
    _Family(
        CounterMetricFamily,
        "enarx_keep_bytes",
        "Bytes moved, as they cross the host.",
        (("in", "bytes_in"), ("out", "bytes_out")),
        "direction",
    ),
    _Family(
        CounterMetricFamily,
        "enarx_keep_tls_handshakes",
        "TLS handshakes with clients, as the Keep counts them.",
        (("done", "handshakes_done"), ("failed", "handshakes_failed")),
        "result",
    ),
    _Family(GaugeMetricFamily, "enarx_keep_resident_memory_bytes", "Resident memory of the Keep.", (("", "memory"),)),
    _Family(
        CounterMetricFamily,
        "enarx_keep_cpu_seconds",
        "Processor time that the Keep has taken.",
        (("", "cpu_seconds"),),
    ),
)


def usage_in(text: str) -> Usage:
    """What `pages_of` says of a Keep's use, read again. Raises ValueError where that is no such text."""
    import msgspec
    from prometheus_client.parser import text_string_to_metric_families

    from enarx_deploy.models import Usage

    found: dict[str, float] = {}
    for metric in text_string_to_metric_families(text):
        for family in _FAMILIES:
            for sample in metric.samples if metric.name == family.name else ():
                field = dict(family.fields).get(sample.labels.get(family.label, ""))
                if field is not None:
                    found[field] = sample.value
    return msgspec.convert(found, Usage, strict=False)


def text(labels: tuple[str, ...], read: Callable[[], Iterable[Reading]]) -> bytes:
    """The metrics now, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(Keeps(labels, read))
    return generate_latest(registry)
