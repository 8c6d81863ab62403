"""Metrics and health of one Keep, over HTTP on a loopback address: numbers that the host sees anyway.

    GET /metrics    Prometheus' text format: connections, bytes, handshakes, state, certificate, memory, processor time
    GET /healthz    200 while the workload runs with a certificate that has not ended, else 503; a JSON object

Nothing here comes from what the workload reads or writes but its length. It is off unless asked for.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from enarx_deploy.errors import KeepError, UsageError

if TYPE_CHECKING:
    from enarx_deploy.models import KeepStatus

TIMEOUT = 10.0
"""Seconds that a client may take to send its request."""

_STATES = ("starting", "running", "stopping", "exited", "failed")
_LARGEST_PORT = 65535


class Seen:
    """What there is to tell of a Keep: what its host knows, what the sallyport counted, and the Keep's process."""

    def __init__(
        self, status: Callable[[], KeepStatus], counters: Callable[[], dict[str, int]], pid: Callable[[], int]
    ) -> None:
        self.status = status
        self.counters = counters
        self.pid = pid


class Endpoint:
    """An HTTP server on its own threads, which end with this process or by `close`."""

    def __init__(self, address: str, seen: Seen) -> None:
        """Listen on `address` (HOST:PORT). Raises UsageError, KeepError."""
        host, port = parse(address)
        handler = type("Handler", (_Handler,), {"seen": seen})
        try:
            self._server = _server_class(host)((host, port), handler)
        except OSError as error:
            raise KeepError(
                f"metrics: cannot listen on {address}: {error.strerror}", hint="give another port, or 0 for any"
            ) from error
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


def _server_class(host: str) -> type[http.server.ThreadingHTTPServer]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return type("Server", (http.server.ThreadingHTTPServer,), {"address_family": family, "daemon_threads": True})


class _Handler(http.server.BaseHTTPRequestHandler):
    seen: Seen
    timeout = TIMEOUT
    server_version = "enarx-deploy"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the two."""
        if self.path == "/metrics":
            registry = CollectorRegistry()
            registry.register(_Keep(self.seen))
            self._answer(200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry))
        elif self.path == "/healthz":
            healthy, facts = _health(self.seen.status())
            self._answer(200 if healthy else 503, "application/json", json.dumps(facts).encode())
        else:
            self._answer(404, "text/plain", b"/metrics and /healthz are all there is\n")

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
    in_time = ended is None or datetime.now(UTC).timestamp() < ended
    return status.state == "running" and in_time, facts


def _seconds(moment: str) -> float | None:
    """Seconds since 1970 of a moment as RFC 3339 writes it; None for an empty text."""
    return datetime.fromisoformat(moment).timestamp() if moment else None


class _Keep(Collector):
    """The metrics, read when somebody asks."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Each family once."""
        status, counters = self._seen.status(), self._seen.counters()
        facts = {"id": status.id, "name": status.name, "backend": status.backend, "package": status.package}
        yield InfoMetricFamily("enarx_keep", "The Keep.", value=facts)
        state = GaugeMetricFamily("enarx_keep_state", "1 for the state that the Keep is in.", labels=["state"])
        for name in _STATES:
            state.add_metric([name], float(name == status.state))
        yield state
        yield GaugeMetricFamily("enarx_keep_connections_open", "Accepted connections now.", value=counters["open"])
        yield CounterMetricFamily("enarx_keep_connections", "Connections accepted.", value=counters["accepted"])
        moved = CounterMetricFamily("enarx_keep_bytes", "Bytes moved, as they cross the host.", labels=["direction"])
        moved.add_metric(["in"], counters["bytes_in"])
        moved.add_metric(["out"], counters["bytes_out"])
        yield moved
        shaken = CounterMetricFamily(
            "enarx_keep_tls_handshakes", "TLS handshakes with clients, as the Keep counts them.", labels=["result"]
        )
        shaken.add_metric(["done"], counters["handshakes_done"])
        shaken.add_metric(["failed"], counters["handshakes_failed"])
        yield shaken
        not_after = _seconds(status.certificate_not_after)
        if not_after is not None:
            yield GaugeMetricFamily(
                "enarx_keep_certificate_not_after_seconds", "When the certificate ends, since 1970.", value=not_after
            )
        yield from _process(self._seen.pid())


def _process(pid: int) -> Iterator[Metric]:
    """What the Keep's process uses, as long as there is one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        # The command's name, which may hold anything, is in parentheses before the fields (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        memory = pages * os.sysconf("SC_PAGE_SIZE")
        yield GaugeMetricFamily("enarx_keep_resident_memory_bytes", "Resident memory of the Keep.", value=memory)
        spent = ticks / os.sysconf("SC_CLK_TCK")
        yield CounterMetricFamily("enarx_keep_cpu_seconds", "Processor time that the Keep has taken.", value=spent)
