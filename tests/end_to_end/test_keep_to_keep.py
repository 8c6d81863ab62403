"""Keeps that speak with each other by mutual TLS, under the Steward's root, and know each other by package."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

CONNECT = """\
[[files]]
kind = "connect"
name = "server"
prot = "tls"
host = "localhost"
port = {port}

[tls.server]
roots = ["steward"]
"""
ENDS = '[deploy.default.local]\nrestart = "never"\n'


@pytest.fixture
def caller(cli: Any, program: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A project that asks the server on a port; `extra` goes into its manifest, and so changes its package."""
    stdio = "".join(f'[[files]]\nkind = "{kind}"\n' for kind in ("stdin", "stdout", "stderr"))

    def make(name: str, port: int, extra: str = "") -> Path:
        folder = cli.directory / name
        folder.mkdir()
        shutil.copy(program("ask"), folder / "main.wasm")
        (folder / "Enarx.toml").write_text(f"{stdio}{CONNECT.format(port=port)}{extra}{ENDS}")
        return folder

    return make


def digest_of(cli: Any, project: Path) -> str:
    """The package of a project, in the form of its SPIFFE identifier."""
    packaged = cli("package", "--json", "-C", str(project))
    assert packaged.returncode == 0, packaged.stderr
    return json.loads(packaged.stdout)["digest"].replace(":", "/")


def outcome(cli: Any, project: Path, eventually: Any) -> tuple[dict[str, Any], str, str]:
    """How a project's Keep ended, and what it wrote."""
    started = cli("up", "--json", "-C", str(project))
    assert started.returncode == 0, started.stderr
    keep = json.loads(started.stdout)["deployment"]["id"]

    def ended() -> dict[str, Any] | None:
        (status,) = [one for one in json.loads(cli("keeps", "--json").stdout) if one["id"] == keep]
        return status if status["state"] in ("exited", "failed") else None

    status = eventually(ended, "the Keep has ended")
    return status, cli("logs", keep, "--stream", "stdout").stdout, cli("logs", keep, "--stream", "stderr").stdout


def test_only_the_keep_of_a_listed_package_is_served(cli, up, echo_project, caller, eventually) -> None:
    port = free_port()  # stands in the caller's package, which the server's manifest names
    friend, stranger = caller("friend", port), caller("stranger", port, '[env]\nA = "another package"\n')
    peer = f"spiffe://localhost/package/{digest_of(cli, friend)}"
    extra = f'[tls.echo]\nclient_auth = "require"\npeers = ["{peer}"]\n'
    server = up(echo_project(port=port, extra=extra))

    status, out, _ = outcome(cli, friend, eventually)
    assert (status["exit_status"], out) == (0, "hello\n")

    status, out, err = outcome(cli, stranger, eventually)
    assert (status["exit_status"], out) == (2, "")
    assert "read: " in err

    # Whoever has no certificate at all is told so.
    with server.connect() as client, pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        client.recv(1)


def test_a_caller_that_lists_another_package_does_not_start(cli, up, echo_project, caller) -> None:
    server = up(echo_project())
    port = server.port
    served = server.record["deployment"]["package"].replace(":", "/")
    good = caller("good", port, f'peers = ["spiffe://localhost/package/{served}"]\n')
    assert cli("up", "-q", "-C", str(good)).returncode == 0
    bad = caller("bad", port, f'peers = ["spiffe://localhost/package/sha256/{"00" * 32}"]\n')
    refused = cli("up", "-q", "-C", str(bad))
    assert refused.returncode == 1
    assert "TLS with localhost: invalid peer certificate: ApplicationVerificationFailure" in refused.stderr
