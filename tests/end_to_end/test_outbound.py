"""Connections that a program makes while it runs: to what its manifest grants, and to nothing else."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

from enarx_deploy.host.outbound import Outbound
from enarx_deploy.manifest import parse
from enarx_keep.errors import BadMessage


def echo_line(connection: socket.socket) -> None:
    while piece := connection.recv(1000):
        connection.sendall(piece)


@pytest.fixture
def dial(cli: Any, program: Callable[[str], Path], run: Any) -> Callable[..., dict[str, str]]:
    """Run the program on paths, with grants and more manifest; answers what became of each, and `log`."""

    def start(paths: list[str], grants: list[str] | None, extra: str = "", roots: Path | None = None) -> dict[str, str]:
        folder = cli.directory / "dial"
        folder.mkdir(exist_ok=True)
        shutil.copy(program("dial"), folder / "main.wasm")
        if roots:
            shutil.copy(roots, folder / "ca.pem")
        stdio = "".join(f'[[files]]\nkind = "{kind}"\n' for kind in ("stdin", "stdout", "stderr"))
        network = "" if grants is None else f"[network]\nconnect = {json.dumps(grants)}\n"
        (folder / "Enarx.toml").write_text(f"args = {json.dumps(paths)}\n{stdio}{network}{extra}")
        done = run(folder)
        assert done.status == 0, done.err
        became = dict(line.split(" ", 1) for line in done.out.decode().splitlines())
        return became | {"log": done.err}

    return start


def of(name: str) -> str:
    return f"/net/con/{name}"


def test_a_granted_name_is_reached_and_no_other(dial, serve) -> None:
    """Both servers are there; one of them is granted."""
    granted, other = serve(echo_line), serve(echo_line)
    name, ungranted = f"127.0.0.1:{granted.port}", f"127.0.0.1:{other.port}"
    became = dial([of(name), of(ungranted), of("localhost:1"), of(name)], [f"tcp://{name}"])
    assert became[of(name)] == "hello"
    assert became[of(ungranted)] == became[of("localhost:1")] == "EACCES"
    assert f'network: {ungranted} is not granted; to grant it: [network] connect = ["{ungranted}"]' in became["log"]
    assert other.faults == []


def test_without_grants_there_is_no_network(dial, serve) -> None:
    server = serve(echo_line)
    path = of(f"127.0.0.1:{server.port}")
    assert dial([path], [])[path] == "EACCES"
    assert dial([path], None)[path] in ("ENOENT", "ENOTCAPABLE")


def test_by_tls_the_server_must_prove_the_granted_name(dial, serve, authority) -> None:
    """The certificate is for localhost: the same server by its address, or under another root, is refused."""
    ca = authority("ca")
    server = serve(echo_line, ca.server_context())
    right, wrong = f"localhost:{server.port}", f"127.0.0.1:{server.port}"
    extra = "".join(f'[tls."{name}"]\nroots = ["ca.pem"]\n' for name in (right, wrong))
    became = dial([of(right), of(wrong)], [right, wrong], extra, ca.root)
    assert (became[of(right)], became[of(wrong)]) == ("hello", "EPROTO")
    assert f"network: {wrong}: TLS: invalid peer certificate: certificate not valid for name" in became["log"]
    became = dial([of(right)], [right], f'[tls."{right}"]\nroots = ["ca.pem"]\n', authority("another").root)
    assert became[of(right)] == "EPROTO"
    assert "UnknownIssuer" in became["log"]


def test_what_the_host_cannot_reach_has_its_own_errno(dial) -> None:
    refused, unknown = f"127.0.0.1:{free_port()}", "no-such-host.invalid:443"
    became = dial([of(refused), of(unknown)], [f"tcp://{refused}", f"tcp://{unknown}"])
    assert (became[of(refused)], became[of(unknown)]) == ("ECONNREFUSED", "EHOSTUNREACH")


class Half:
    """The host half, as far as what it is told: what was connected, and what could not be."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.waiting = 0

    def answer_connection(self, grant: int, fd: int) -> None:
        with socket.socket(fileno=os.dup(fd)) as connection:
            self.told.append((grant, str(connection.getpeername()[1])))

    def refuse_connection(self, grant: int, errno: int) -> None:
        self.told.append((grant, os.strerror(errno)))


def test_a_hostile_keep_gets_what_the_manifest_lists_and_nothing_more(serve, eventually) -> None:
    """The Keep that asks is not one of ours: it refuses nothing itself."""
    server = serve(echo_line)
    text = f'network.connect = ["tcp://127.0.0.1:{server.port}"]\nnetwork.connections = 2\n'
    half = Half()
    outbound = Outbound(parse(text.encode(), "Enarx.toml").manifest, half)
    outbound.take({"type": "connect", "grant": 0, "host": "example.com", "port": 22})
    eventually(lambda: half.told, "it is connected")
    assert half.told == [(0, str(server.port))]
    for grant in (1, -1, 2**40, "0", 0.0, True, None, ["0"]):
        with pytest.raises(BadMessage):
            outbound.take({"type": "connect", "grant": grant})
    half.waiting = 2
    with pytest.raises(BadMessage, match="more connections at once"):
        outbound.take({"type": "connect", "grant": 0})
    assert len(half.told) == 1


def test_a_keep_without_grants_is_ended_for_asking() -> None:
    outbound = Outbound(parse(b"", "Enarx.toml").manifest, Half())
    with pytest.raises(BadMessage, match="does not grant"):
        outbound.take({"type": "connect", "grant": 0})
