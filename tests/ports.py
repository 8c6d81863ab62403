"""Ports for processes that have to be told theirs, and for what nobody listens on."""

from __future__ import annotations

import itertools
import os
import random
import socket

_FIRST, _EACH, _PROCESSES = 12_000, 1000, 16
"""Below where Linux begins to give out ports: whoever asks it for any port, or connects, gets none of these."""


def _of_this_process() -> range:
    """Test processes that run at the same time have their own."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    return range(_FIRST + process * _EACH, _FIRST + (process + 1) * _EACH)


_mine = _of_this_process()
# From anywhere on: another session on this machine has the same.
_next = itertools.count(random.randrange(_EACH))


def free_port() -> int:
    """A port that nothing listens on, at any address; none is given out twice within a session."""
    for number in itertools.islice(_next, _EACH):
        port = _mine[number % _EACH]
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {_mine} is free")
