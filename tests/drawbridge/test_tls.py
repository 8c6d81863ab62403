"""TLS on the registry's own listener: version, and another certificate while it serves."""

from __future__ import annotations

import signal
import socket
import ssl
import time

import pytest


def shown(server, context: ssl.SSLContext) -> bytes:
    """The certificate (DER) that a new connection is shown."""
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with socket.create_connection(address) as raw, context.wrap_socket(raw, server_hostname="localhost") as channel:
        return channel.getpeercert(binary_form=True)


def test_it_speaks_tls_1_3_and_nothing_else(start, steward, tmp_path):
    server = start(*steward.server_files(tmp_path), context=steward.context())
    old = steward.context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shown(server, old)
    assert server.http.get(f"{server.url}/health").status_code == 200


def test_another_certificate_is_taken_up_while_it_serves_and_one_that_cannot_be_used_is_not(start, steward, tmp_path):
    server = start(*steward.server_files(tmp_path), context=steward.context())
    first = shown(server, steward.context())
    steward.server_files(tmp_path)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while (second := shown(server, steward.context())) == first:
        assert time.monotonic() < deadline, "it still shows the first one"
        time.sleep(0.05)
    (tmp_path / "server.pem").write_text("no certificate")
    server.process.send_signal(signal.SIGHUP)
    while "upkeep failed" not in server.process.stderr.readline():
        pass
    assert shown(server, steward.context()) == second
