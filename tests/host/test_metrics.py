"""Metrics as text, and read again: what one side counts is what the other side shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx_deploy.host.metrics import Reading, text, usage_in
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
