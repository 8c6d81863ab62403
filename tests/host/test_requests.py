"""Requests between processes of the host's: what a caller may do to whoever answers, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from enarx_deploy.errors import KeepError
from enarx_deploy.host import requests
from enarx_deploy.host.state import KeepSpec


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[Callable[[requests.Request], requests.Answer]], Path]]:
    """A process that takes requests in a directory, and answers what it is told to do."""
    started: list[requests.Server] = []

    def start(do: Callable[[requests.Request], requests.Answer]) -> Path:
        started.append(requests.Server(tmp_path, do, print))
        return tmp_path

    yield start
    for one in started:
        one.close()


def test_who_was_short_of_descriptors_answers_when_it_has_some_again(server) -> None:
    place = server(lambda _: requests.Answer({"is": "there"}))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    none_is_free = 3  # below are the standard streams
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(120)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (none_is_free, hard))
            caller.connect(str(place / requests.SOCKET))
            caller.sendall(b"{}")
            caller.shutdown(socket.SHUT_WR)
            time.sleep(0.2)  # it is looked at meanwhile, and cannot be taken
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert json.loads(caller.recv(100)) == {"is": "there"}
    assert requests.ask(place, {}) == {"is": "there"}


def test_a_caller_that_sends_a_byte_now_and_then_is_given_up(server, monkeypatch) -> None:
    monkeypatch.setattr(requests, "_READ_LIMIT", 0.2)
    place = server(lambda _: requests.Answer({"is": "there"}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(0.02)
        caller.connect(str(place / requests.SOCKET))
        said = b""
        while not said:
            with contextlib.suppress(ConnectionError):  # it may have answered meanwhile, and closed
                caller.sendall(b" ")
            try:
                said = caller.recv(1000)
            except TimeoutError:
                continue
    assert "cannot be done" in json.loads(said)["error"]


def test_no_descriptor_is_left_of_an_answer_that_is_an_error(server) -> None:
    def do(_: requests.Request) -> requests.Answer:
        return requests.Answer({"error": "not today"}, [socket.socket() for _ in range(3)])

    place = server(do)
    before = descriptors()
    for _ in range(5):
        with pytest.raises(KeepError, match="not today"):
            requests.ask_for_sockets(place, {})
    deadline = time.monotonic() + 120
    while len(now := descriptors() - before) >= 3:  # the other side closes its own a moment later
        assert time.monotonic() < deadline, now
        time.sleep(0.01)


def test_what_is_of_another_form_is_answered(server) -> None:
    place = server(lambda request: requests.Answer({"keep": msgspec.convert(request["keep"], KeepSpec).id}))
    with pytest.raises(KeepError, match="cannot be done"):
        requests.ask(place, {"keep": {"id": 1}})


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(requests.NoAnswer, match="does not answer"):
        requests.ask(tmp_path, {})
