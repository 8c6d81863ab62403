"""Metrics as text, and read again: what one side counts is what the other side shows."""

from __future__ import annotations

import contextlib
import socket

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.end_to_end.conftest import eventually

from enarx_deploy.host.metrics import MOST_CLIENTS, Endpoint, Reading, text, usage_in
from enarx_deploy.models import KeepStatus, Usage

STATUS = KeepStatus(
    id="a", name="a", state="running", backend="nil", target="local", package="", endpoints=[], created=""
)
COUNTS = st.integers(min_value=-1, max_value=1 << 53)


@given(
    st.builds(
        Usage,
        connections=COUNTS,
        connections_open=COUNTS,
        bytes_in=COUNTS,
        bytes_out=COUNTS,
        handshakes_done=COUNTS,
        handshakes_failed=COUNTS,
        memory=COUNTS,
        cpu_seconds=st.just(-1.0) | st.floats(min_value=0, max_value=1e9),
    )
)
def test_what_a_keep_uses_is_read_as_it_was_written(usage: Usage) -> None:
    assert usage_in(text((), lambda: [Reading((), STATUS, usage)]).decode()) == usage


def test_metrics_of_others_say_nothing_of_a_keep() -> None:
    assert usage_in("# TYPE up gauge\nup 1\n") == Usage()


@pytest.mark.parametrize("said", ["enarx_keep_bytes{", "enarx_keep_connections_open many\n", "\x00"])
def test_what_is_no_metrics_is_a_fault(said: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's, in its own words
        usage_in(said)


def test_a_client_too_many_is_sent_away_and_those_that_leave_make_room() -> None:
    """Clients that connect and say nothing hold up so many threads, and no more."""
    served = Endpoint("127.0.0.1:0", {"/": lambda: (200, "text/plain", b"here")})
    host, _, port = served.address.rpartition(":")
    with contextlib.ExitStack() as silent:
        for _ in range(MOST_CLIENTS):
            silent.enter_context(socket.create_connection((host, int(port)), timeout=60))
        with socket.create_connection((host, int(port)), timeout=60) as one_too_many:
            assert one_too_many.recv(1) == b""

    def is_served() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{served.address}/", timeout=120).text == "here"
        return False

    eventually(is_served, "one who comes later is served")
    served.close()
