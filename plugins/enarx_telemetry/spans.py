"""One trace for each run of the program: a span for the whole, and one below it for each stage that is run.

Sent by OTLP over HTTP to the endpoint that the user names, and nowhere else. Attributes are names and digests of the
pipeline's own; what a tool or an error says is not among them, since it may hold what is secret.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_VERSION = version("enarx-deploy")
_TIMEOUT = 5
"""Seconds that whoever takes the spans may be silent."""
_FLUSH = 5.0
"""Seconds that the program waits at its end until they are taken, at any pace."""


class Tracer:
    """Begins its trace when it is made, and ends it with the program. `TRACEPARENT` says whose trace it continues."""

    def __init__(self) -> None:
        resource = Resource.create({SERVICE_NAME: "enarx-deploy", SERVICE_VERSION: _VERSION})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_TIMEOUT)))
        self._tracer = self._provider.get_tracer("enarx-deploy", _VERSION)
        parent = TraceContextTextMapPropagator().extract({"traceparent": os.environ.get("TRACEPARENT", "")})
        self._has_ended = threading.Event()
        self._sending = threading.Thread(target=self._send, name="traces", daemon=True)
        self._sending.start()  # now: at the end of a program no thread can be started any more
        self._whole = self._tracer.start_span("enarx-deploy", parent)
        self._within = trace.set_span_in_context(self._whole, parent)
        atexit.register(self._end)

    @contextmanager
    def stage(self, name: str, attributes: Mapping[str, str]) -> Iterator[Span]:
        """A span of a stage. What is raised in it marks it by its type alone."""
        span = self._tracer.start_span(f"stage {name}", self._within, attributes=dict(attributes))
        try:
            yield span
        except BaseException as error:
            for marked in (span, self._whole):
                marked.set_status(Status(StatusCode.ERROR, type(error).__name__))
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()

    def _end(self) -> None:
        self._whole.end()
        self._has_ended.set()
        self._sending.join(_FLUSH)
        if self._sending.is_alive():
            print("traces were not taken in time, and are lost", file=sys.stderr)

    def _send(self) -> None:
        """Send what there is at the end: the library waits for an answer for as long as any of it comes."""
        self._has_ended.wait()
        self._provider.shutdown()
