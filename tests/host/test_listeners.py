"""The listening sockets that a deployment hands from one Keep to the next."""

from __future__ import annotations

import os
import socket

import pytest

from enarx_deploy.errors import KeepError
from enarx_deploy.host.listeners import Listeners, place_of
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
    listeners.keep_only([place_of(ENTRY)])
    socket.create_connection(place, timeout=120).close()
    listeners.keep_only([])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, timeout=120)


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(KeepError, match="cannot listen"):
        Listeners().take(Listen(name="web", prot="tcp", addr="127.0.0.1", port=other.getsockname()[1]))


@pytest.fixture
def listeners():
    """Makes `Listeners`, whose sockets are closed with the test."""
    made: list[Listeners] = []

    def make(*args) -> Listeners:
        made.append(Listeners(*args))
        return made[-1]

    yield make
    for one in made:
        one.keep_only([])


def test_two_entries_that_take_any_port_have_a_socket_each(listeners):
    held = listeners()
    other = Listen(name="admin", prot="tcp", addr="127.0.0.1", port=0)
    with held.take(ENTRY) as first, held.take(other) as second:
        assert first.getsockname() != second.getsockname()
        assert held.ports == {"127.0.0.1 web": first.getsockname()[1], "127.0.0.1 admin": second.getsockname()[1]}


def test_a_port_that_was_chosen_is_taken_again_if_it_is_free(listeners):
    before = listeners()
    with before.take(ENTRY) as first:
        chosen = first.getsockname()[1]
    with listeners(before.ports).take(ENTRY) as another:
        assert another.getsockname()[1] != chosen
    ports = before.ports
    before.keep_only([])
    with listeners(ports).take(ENTRY) as again:
        assert again.getsockname()[1] == chosen


def test_a_socket_of_another_process_is_taken_over_once(listeners):
    held = listeners()
    with socket.create_server(("127.0.0.1", 0)) as theirs, held.take(ENTRY) as ours:
        held.adopt("127.0.0.1 web", theirs.dup())
        with held.take(ENTRY) as again:
            assert again.getsockname() == ours.getsockname()
        held.adopt("127.0.0.1 80", theirs.dup())
        assert held.ports["127.0.0.1 80"] == theirs.getsockname()[1]
