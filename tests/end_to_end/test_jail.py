"""The jail around a real Keep: it serves inside, and one that reaches out ends, with the call named.

What the jail refuses is tried call by call in `pipeline/sallyport/tests/jail.rs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

TWO_FILTERS = "2"

ESCAPES = '''
from collections.abc import Iterable

from enarx_backends.nil import Nil
from enarx_deploy.hookspecs import hookimpl
from enarx_deploy.protocols import Backend

ESCAPE = """
import _socket
import os

from enarx_keep import __main__, life

def escape(*_):
    {does}

{where} = escape
__main__.main()
"""


class Escaping(Nil):
    """A Keep whose own program was taken over, and does what it should not."""

    def __init__(self, name: str, where: str, does: str) -> None:
        self.name = name
        self.program = ESCAPE.format(where=where, does=does)


@hookimpl
def register_backends() -> Iterable[Backend]:
    running = "life._Keep._call"
    return [
        Escaping("opens", running, "open('/etc/passwd')"),
        Escaping("connects", running, "_socket.socket()"),
        Escaping("spawns", running, "os.fork()"),
        Escaping("opens-early", "life.package.receive", "open('/etc/passwd')"),
        Escaping("aborts", running, "os.abort()"),
        Escaping("fails", running, "raise IndexError('no such thing')"),
    ]
'''
REFUSED = {"opens": "openat", "connects": "socket", "spawns": "clone", "opens-early": "openat"}


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_keep_serves_from_inside_its_jail(service) -> None:
    echo = service()
    assert echo.echoes()
    pid = echo.keep_pid
    seen = facts(pid)
    assert (seen["NoNewPrivs"], seen["Seccomp"], seen["Seccomp_filters"]) == ("1", "2", TWO_FILTERS)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        assert f"Seccomp_filters:\t{TWO_FILTERS}\n" in (thread / "status").read_text()
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert Path(f"/proc/{pid}/coredump_filter").read_text() == "00000000\n"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[-3] for line in limits.splitlines() if line.startswith(("Max core", "Max open"))] == ["0", "0"]


@pytest.fixture
def escaping(install_plugin: Callable[..., Path]) -> None:
    install_plugin("escapes", ESCAPES)


@pytest.mark.parametrize(("backend", "call"), REFUSED.items())
def test_a_keep_that_reaches_out_ends_and_its_host_names_the_call(
    cli, escaping, program, backend: str, call: str
) -> None:
    ran = cli("run", "--backend", backend, str(program("hello_wasi_snapshot1")))
    assert f"jail violation: {call}" in ran.stderr
    assert ran.returncode == (1 if backend == "opens-early" else 159), ran.stderr  # it did not start, or it did
    assert ran.stdout == ""


def test_the_violation_as_json_and_in_the_list_of_keeps(cli, escaping, program, tmp_path: Path) -> None:
    module = str(program("hello_wasi_snapshot1"))
    ran = cli("run", "--json", "--backend", "opens", module)
    record = json.loads(ran.stderr)
    assert (record["outcome"], record["message"]) == ("jail", "jail violation: openat")

    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "main.wasm").write_bytes(Path(module).read_bytes())
    (folder / "Enarx.toml").write_text('[build]\ntoolchain = "prebuilt"\n')
    cli("up", "-C", str(folder), "--backend", "opens")
    (keep,) = json.loads(cli("keeps", "--json").stdout)
    assert (keep["state"], keep["reason"]) == ("failed", "jail violation: openat")
    assert "jail violation: openat" in cli("keeps").stdout
    assert "jail violation: openat" in cli("logs", keep["id"], "--stream", "host").stdout


def test_an_abort_and_a_fault_of_the_keep_are_not_taken_for_violations(cli, escaping, program) -> None:
    module = str(program("hello_wasi_snapshot1"))
    aborted = cli("run", "--backend", "aborts", module)
    assert (aborted.returncode, "SIGABRT" in aborted.stderr) == (128 + 6, True)
    failed = cli("run", "--backend", "fails", module)
    assert failed.returncode == 1
    assert "no such thing, IndexError" in failed.stderr


def test_compiled_code_that_cannot_be_used_is_made_anew_inside_the_jail(cli, program, tmp_path: Path) -> None:
    """The compiler starts its threads beforehand only where there is no code, and here there was some."""
    module = str(program("hello_wasi_snapshot1"))
    cache = {"ENARX_DEPLOY_CACHE_DIR": str(tmp_path / "cache")}
    assert cli("run", module, env=cache).returncode == 0
    (kept,) = (tmp_path / "cache" / "modules").glob("*.cwasm")
    good = kept.read_bytes()
    garbage = b"\x7fELF" + bytes(1000)
    kept.write_bytes(hashlib.sha256(garbage).digest() + garbage)
    ran = cli("run", module, env=cache)
    assert (ran.returncode, ran.stdout) == (0, "Hello, world!\n"), ran.stderr
    assert kept.read_bytes() == good
    limited = cli("run", module, "--set", "resources.time=60", env=cache)
    assert (limited.returncode, limited.stdout) == (0, "Hello, world!\n"), limited.stderr


def test_functions_that_take_the_compiler_much_memory_are_compiled_inside_the_jail(cli, tmp_path: Path) -> None:
    """glibc shrinks a thread's heap once it is large, and opened a file before it did."""
    import wasmtime

    step = "(local.set $x (i32.add (i32.mul (local.get $x) (i32.const {})) (i32.load (i32.const 0))))"
    large = "(func (param $x i32) (result i32) " + "".join(map(step.format, range(8000))) + " (local.get $x))"
    module = tmp_path / "large.wasm"
    module.write_bytes(wasmtime.wat2wasm(f'(module (memory 1) {large * 8} (func (export "_start")))'))
    ran = cli("run", str(module), env={"ENARX_DEPLOY_CACHE_DIR": str(tmp_path / "cache")})
    assert ran.returncode == 0, ran.stderr
