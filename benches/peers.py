"""What Keeps are held against: the echo template as a native program, alone and behind nginx; and the load on both."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ECHO = HERE.parent / "templates" / "echo"
PROGRAM = Path(sys.executable).with_name("enarx-deploy")


def build_load() -> Path:
    """The load generator."""
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=HERE / "load", check=True)
    return HERE / "load" / "target" / "release" / "load"


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def native_echo(folder: Path) -> Iterator[int]:
    """The template's main.c as a native program."""
    program, port = folder / "echo", free_port()
    subprocess.run(["cc", "-O2", "-o", program, ECHO / "main.c"], check=True)
    with _running([str(program), str(port)], port):
        yield port


@contextlib.contextmanager
def nginx_tls(folder: Path, backend: int, chain: Path, key: Path) -> Iterator[int | None]:
    """The `stream` module of nginx taking TLS off in front of `backend`, or None where there is no nginx."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        yield None
        return
    port = free_port()
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    load = f"load_module {module};" if module.exists() else ""
    (folder / "nginx.conf").write_text(
        f"""{load} daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
        worker_rlimit_nofile 65536;
        events {{ worker_connections 20000; }}
        stream {{ server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
          ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off; tcp_nodelay on;
          proxy_pass 127.0.0.1:{backend}; proxy_buffer_size 64k; }} }}"""
    )
    with _running([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], port):
        yield port


@dataclass(frozen=True)
class Keep:
    """A Keep that runs: where it listens, and the process of its host."""

    port: int
    host: int

    def processes(self) -> list[int]:
        """The host's, and the Keep's own below it."""
        children = Path(f"/proc/{self.host}/task/{self.host}/children")
        below = [task.read_text().split() for task in children.parents[1].glob("*/children")]
        return [self.host, *(int(child) for row in below for child in row)]

    def resident_kib(self) -> int:
        """Memory of all its processes; what several share, such as the block, counts once (PSS, proc(5))."""
        return sum(_proportional_kib(process) for process in self.processes())

    def descriptors(self) -> int:
        """Open descriptors of all its processes."""
        return sum(len(os.listdir(f"/proc/{process}/fd")) for process in self.processes())  # noqa: PTH208 - names only


def _proportional_kib(process: int) -> int:
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


@contextlib.contextmanager
def keep(folder: Path, prot: str, *settings: str) -> Iterator[Keep]:
    """The echo template in a nil Keep, with further `--set` of its manifest."""
    project = folder / f"echo-{prot}"
    environment = os.environ | {"ENARX_DEPLOY_STATE_DIR": str(folder / "state")}
    settings = (f"files.echo.prot={prot}", "files.echo.port=0", *settings)

    def run(*words: str) -> str:
        done = subprocess.run([PROGRAM, *words], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    set_words = [word for setting in settings for word in ("--set", setting)]
    run("new", "echo", str(project), "-q")
    answer = json.loads(run("-C", str(project), "up", "--backend", "nil", "--json", *set_words))
    try:
        state = folder / "state" / "keeps" / answer["deployment"]["id"] / "state.json"
        host = json.loads(state.read_text())["pid"]
        yield Keep(int(answer["endpoints"][0]["port"]), int(host))
    finally:
        run("stop", answer["deployment"]["id"], "--grace", "0", "-q")
        run("steward", "--stop", "-q")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for nginx, with a key of the kind that Keeps have."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", key, "-out", chain],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return chain, key


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(port)
        yield
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
