"""A host process that is asked to end: who is connected may finish, nobody else comes in, and it does end."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from tests.end_to_end.conftest import refuses
from tests.ports import free_port


@pytest.mark.usefixtures("patient")
def test_sigterm_lets_who_is_connected_finish_and_nobody_else_in(service, eventually) -> None:
    echo = service()
    with echo.connect() as connection:
        os.kill(echo.host_pid, signal.SIGTERM)
        eventually(lambda: refuses(echo.port), "nobody new is let in")
        connection.sendall(b"one more thing\n")
        assert connection.recv(100) == b"one more thing\n"
        assert echo.noted_state == "stopping"  # which a command may be too slow to see
    ended = eventually(lambda: (status := echo.status())["state"] == "exited" and status, "it has ended")
    assert (ended["cause"], ended["reason"]) == ("killed", "stopped")


def test_sigterm_does_not_wait_for_ever_for_who_is_connected(service, eventually) -> None:
    echo = service()
    keep = echo.keep_pid
    with echo.connect():
        os.kill(echo.host_pid, signal.SIGTERM)
        eventually(lambda: echo.status()["state"] == "exited", "it has ended")
    with pytest.raises(ProcessLookupError):
        os.kill(keep, 0)


@pytest.mark.usefixtures("patient")
def test_run_drains_too_and_a_second_signal_ends_it_at_once(run, echo_project, eventually) -> None:
    port = free_port()
    process = run.start(echo_project(prot="tcp", port=port))
    eventually(lambda: not refuses(port), "it serves")
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(b"before\n")
        assert connection.recv(100) == b"before\n"
        process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(port), "nobody new is let in")
        connection.sendall(b"after\n")
        assert connection.recv(100) == b"after\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM
