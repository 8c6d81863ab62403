"""The listening sockets that `dev` hands from one Keep to the next."""

from __future__ import annotations

import os
import socket

import pytest

from enarx_deploy.errors import KeepError
from enarx_deploy.host.development import Listeners
from enarx_deploy.manifest import Listen

ENTRY = Listen(name="web", prot="tcp", addr="127.0.0.1", port=0)


def test_a_socket_that_is_handed_on_never_blocks_whoever_has_it_already():
    listeners = Listeners()
    with listeners.take(ENTRY) as first:
        assert not os.get_blocking(first.fileno())
        with listeners.take(ENTRY) as second:
            assert not os.get_blocking(first.fileno())
            assert first.getsockname() == second.getsockname()
            with pytest.raises(BlockingIOError):
                first.accept()
    listeners.keep_only([])


def test_a_port_stays_open_until_no_entry_asks_for_it():
    listeners = Listeners()
    with listeners.take(ENTRY) as first:
        place = first.getsockname()
    listeners.keep_only([ENTRY])
    socket.create_connection(place, timeout=5).close()
    listeners.keep_only([])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, timeout=5)


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(KeepError, match="cannot listen"):
        Listeners().take(Listen(name="web", prot="tcp", addr="127.0.0.1", port=other.getsockname()[1]))
