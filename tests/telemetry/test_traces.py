"""Traces of the pipeline, as a real receiver of OTLP over HTTP gets them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.dripping import dripping

PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"
NAMES_AND_DIGESTS = {
    *("enarx.stage", "enarx.project", "enarx.toolchain", "enarx.backend", "enarx.target", "enarx.issuer"),
    *("enarx.package", "enarx.keep", "enarx.compile.sha256", "enarx.package.digest", "enarx.deploy.id"),
    "enarx.provision_tls.not_after",
}
"""All that is told of a run: no value of its manifest or of its environment."""
STAGES = ["compile", "package", "attest", "deploy", "provision_tls"]


class Receiver:
    """Keeps the spans that it is sent, and the headers of each request."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    raise AssertionError("it is not asked for")
                for found in ExportTraceServiceRequest.FromString(body).resource_spans:
                    receiver.resources.append(attributes(found.resource))
                    receiver.spans += [span for scope in found.scope_spans for span in scope.spans]
                receiver.headers.append(dict(self.headers))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> Any:
        (span,) = [span for span in self.spans if span.name == name]
        return span


def attributes(of: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in of.attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture
def traced(receiver) -> dict[str, str]:
    """What asks for traces."""
    return {
        "ENARX_DEPLOY_TRACES": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=opensesame",
        "TRACEPARENT": f"00-{PARENT}-00f067aa0ba902b7-01",
    }


def test_each_stage_that_is_run_is_a_span_of_one_trace(shelf, enarx_deploy, receiver, traced) -> None:
    done = enarx_deploy("up", env=traced)
    assert done.returncode == 0, done.stderr
    whole = receiver.named("enarx-deploy")
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (PARENT, "00f067aa0ba902b7")
    for stage in STAGES:
        span = receiver.named(f"stage {stage}")
        assert (span.trace_id, span.parent_span_id) == (whole.trace_id, whole.span_id)
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert len(receiver.spans) == 1 + len(STAGES)
    assert {name for span in receiver.spans for name in attributes(span)} == NAMES_AND_DIGESTS
    assert attributes(receiver.named("stage package"))["enarx.package.digest"].startswith("sha256:")
    assert attributes(receiver.named("stage deploy"))["enarx.target"] == "shelf"
    assert receiver.resources[0]["service.name"] == "enarx-deploy"
    assert "opensesame" not in repr(receiver.spans) + repr(receiver.resources)  # which is in a header alone
    assert {name.lower(): value for name, value in receiver.headers[0].items()}["x-key"] == "opensesame"


def test_a_stage_that_fails_is_marked_by_the_kind_of_its_error_alone(shelf, enarx_deploy, receiver, traced) -> None:
    failed = enarx_deploy("up", env=traced | {"SHELF_REFUSES": "1"})
    assert failed.returncode == 1
    assert "the Steward refused" in failed.stderr
    span = receiver.named("stage provision_tls")
    assert (span.status.code, span.status.message) == (2, "StewardError")
    assert attributes(span)["error.type"] == "StewardError"
    assert receiver.named("enarx-deploy").status.code == 2
    assert receiver.named("stage deploy").status.code == 0
    assert "the Steward refused" not in repr(receiver.spans)


def test_without_being_asked_nothing_is_sent(shelf, enarx_deploy, receiver, traced) -> None:
    """That a shell has an endpoint for other programs is no wish of its user's."""
    del traced["ENARX_DEPLOY_TRACES"]
    assert enarx_deploy("up", env=traced).returncode == 0
    assert receiver.headers == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "nothing says where they go"),
        ("ENARX_DEPLOY_TRACES", "jaeger", "is no way to send traces"),
    ],
)
def test_what_cannot_be_meant_is_refused(name, value, said, shelf, enarx_deploy, traced) -> None:
    refused = enarx_deploy("up", env=traced | {name: value})
    assert refused.returncode == 2
    assert said in refused.stderr


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_receiver_that_drips_its_answer_holds_nothing_up_for_long(part, shelf, enarx_deploy) -> None:
    """It would take an hour and more."""
    with dripping(part) as place:
        asked = {"ENARX_DEPLOY_TRACES": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{place}"}
        done = enarx_deploy("up", env=asked)
    assert done.returncode == 0
    assert "traces were not taken in time, and are lost" in done.stderr


def test_a_receiver_that_is_gone_holds_nothing_up_for_long(shelf, enarx_deploy, receiver, traced) -> None:
    receiver.close()
    done = enarx_deploy("up", env=traced)
    assert done.returncode == 0
    assert "traces were not taken in time, and are lost" in done.stderr or "Failed to export" in done.stderr
