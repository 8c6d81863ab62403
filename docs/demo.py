"""The main job, shown: from a template to an attested TLS service, and what a client sees of it.

Everything it makes is in a directory of its own, and everything that it starts is stopped at the end.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("enarx-deploy")
MESSAGE = b"hello from a client who trusts this Steward alone\n"


def main() -> None:
    """Run the commands that a user would type, then be the client."""
    with tempfile.TemporaryDirectory(prefix="enarx-demo.") as folder:
        os.environ["ENARX_DEPLOY_STATE_DIR"] = f"{folder}/state"
        os.chdir(folder)
        try:
            show()
        finally:
            run("stop", "--all", check=False)
            run("steward", "--stop", check=False)


def show() -> None:
    """New, up, a client, verify."""
    run("new", "echo", "my-echo")
    os.chdir("my-echo")
    run("up", "--set", "files.echo.port=0")
    answer = json.loads(run("up", "--set", "files.echo.port=0", "--json", quiet=True))
    endpoint = answer["endpoints"][0]
    client(endpoint["host"], endpoint["port"], answer["steward"]["root_pem_path"])
    run("verify", f"{endpoint['host']}:{endpoint['port']}")
    run("keeps")


def run(*words: str, quiet: bool = False, check: bool = True) -> str:
    """Run the program with these words, as typed, and answer what it printed on stdout."""
    if not quiet:
        print(f"\n$ enarx-deploy {shlex.join(words)}", flush=True)
    stdout = subprocess.PIPE if quiet else None
    done = subprocess.run([PROGRAM, *words], check=check, stdout=stdout, stderr=stdout, text=True)
    return done.stdout or ""


def client(host: str, port: int, root: str) -> None:
    """Connect as any client would: Python's own ssl module, with the Steward's root and nothing else."""
    context = ssl.create_default_context(cafile=root)
    with socket.create_connection((host, port)) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
        secured.sendall(MESSAGE)
        echoed = receive(secured, len(MESSAGE))
        subject = dict(pair for (pair,) in secured.getpeercert()["subject"])  # type: ignore[index, misc, str-unpack]
        print(f"\n# a client, trusting {Path(root).name} alone, by {secured.version()} with {secured.cipher()[0]}")  # type: ignore[index]
        print(f"# the certificate is for {subject}")
        print(f"# sent and got back: {echoed!r}", flush=True)


def receive(connection: ssl.SSLSocket, size: int) -> bytes:
    """Exactly `size` bytes."""
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data)) or sys.exit("the service closed the connection")
    return data


if __name__ == "__main__":
    main()
