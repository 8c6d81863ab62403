"""A Keep's process that `run` begins before it knows what the Keep will be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

PREPARED = '''
import os
from collections.abc import Iterable

from enarx_backends.nil import Nil
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Backend


class Watched(Nil):
    """Writes down its processes."""

    name = "watched"

    def _spawn(self, stderr_fd):
        process = super()._spawn(stderr_fd)
        with open(os.environ["STARTED"], "a") as file:
            file.write(f"{process.pid}\\n")
        return process


@hookimpl
def register_backends() -> Iterable[Backend]:
    return [Watched()]
'''


def ends(pid: int) -> bool:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_it_becomes_the_keep(cli, install_plugin: Callable[..., Path], program, tmp_path: Path) -> None:
    install_plugin("watched", PREPARED)
    cli.environment["STARTED"] = str(tmp_path / "started")
    ran = cli("run", "--json", "--backend", "watched", str(program("hello_wasi_snapshot1")))
    assert ran.returncode == 0
    assert len((tmp_path / "started").read_text().split()) == 1
    phases = json.loads(ran.stderr)["phases"]
    assert phases["interpreter"] < phases["package"]


def test_where_there_is_nothing_to_run_it_ends(cli, install_plugin: Callable[..., Path], tmp_path: Path) -> None:
    install_plugin("watched", PREPARED)
    cli.environment["STARTED"] = str(tmp_path / "started")
    assert cli("run", "--backend", "watched", "no-such.wasm").returncode == 2
    (pid,) = map(int, (tmp_path / "started").read_text().split())
    assert ends(pid)
