"""The programs are built, a Keep can run them, and what needs no socket does what it says under wasmtime's own WASI."""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import wasmtime

from enarx_deploy import wasm
from enarx_deploy.errors import ModuleError
from enarx_deploy.manifest import load
from enarx_deploy.manifest.types import Connect, Listen

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in [*HERE.glob("*.wat"), *HERE.glob("*.c")])
REFUSED = ["no_export"]
LARGEST = 100_000  # bytes; without -s a C program is a megabyte

Build = Callable[[str], Path]


@dataclass
class Ended:
    """What a program left: its exit status, its standard output, and by how many bytes its memory had grown."""

    status: int
    stdout: bytes
    grown: int


def run(module: Path, stdin: Path | None = None) -> Ended:
    """Run a program under wasmtime's own WASI."""
    store = wasmtime.Store()
    linker = wasmtime.Linker(store.engine)
    linker.define_wasi()
    written: list[bytes] = []
    config = wasmtime.WasiConfig()
    config.argv = ["main.wasm"]
    config.env = [("FD_COUNT", "3"), ("FD_NAMES", "stdin:stdout:stderr")]
    if stdin is not None:
        config.stdin_file = str(stdin)
    config.stdout_custom = lambda data: written.append(bytes(data))
    store.set_wasi(config)
    data = module.read_bytes()
    exports = linker.instantiate(store, wasmtime.Module(store.engine, data)).exports(store)
    start, memory = exports[wasm.inspect(data).entry], exports.get("memory")
    assert isinstance(start, wasmtime.Func)
    size = memory.data_len(store) if isinstance(memory, wasmtime.Memory) else 0
    status = 0
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        status = ended.code
    grown = memory.data_len(store) - size if isinstance(memory, wasmtime.Memory) else 0
    return Ended(status, b"".join(written), grown)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSED])
def test_a_keep_can_run_it(program: Build, name: str) -> None:
    data = program(name).read_bytes()
    facts = wasm.validate(data, name)
    print(f"{name}: {len(data):,} bytes, imports {', '.join(imported.name for imported in facts.imports) or 'nothing'}")
    assert len(data) < LARGEST


def test_no_export_is_refused(program: Build) -> None:
    with pytest.raises(ModuleError, match="exports no entry point"):
        wasm.inspect(program("no_export").read_bytes())


def test_hello(program: Build) -> None:
    assert run(program("hello_wasi_snapshot1")) == Ended(0, b"Hello, world!\n", 0)


@pytest.mark.parametrize("name", ["return_1", "wasi_snapshot1", "exit_0"])
def test_what_start_returns_is_no_exit_status(program: Build, name: str) -> None:
    assert run(program(name)) == Ended(0, b"", 0)


@pytest.mark.parametrize(("name", "least"), [("memspike", 16_000_000), ("memory_stress_test", 32 << 20)])
def test_memory_is_really_taken(program: Build, name: str, least: int) -> None:
    ended = run(program(name))
    assert (ended.status, ended.stdout) == (0, b"")
    assert ended.grown >= least


def test_echo_of_2_mib(program: Build, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    (tmp_path / "stdin").write_bytes(data)
    assert run(program("echo"), tmp_path / "stdin") == Ended(0, data, 0)


def test_zerooneone(program: Build, tmp_path: Path) -> None:
    (tmp_path / "stdin").write_bytes(bytes(range(256)))
    turned = bytes(range(256)).translate(
        bytes.maketrans(
            string.ascii_letters.encode(),
            "".join(
                letters[13:] + letters[:13] for letters in (string.ascii_lowercase, string.ascii_uppercase)
            ).encode(),
        )
    )
    assert run(program("zerooneone"), tmp_path / "stdin").stdout == turned


def test_exit_status(program: Build) -> None:  # 126 and above are beyond wasmtime's own WASI
    assert run(program("exit_1")).status == 1


def test_trap_names_the_functions_on_the_way(program: Build) -> None:
    with pytest.raises(wasmtime.Trap, match="unreachable") as caught:
        run(program("trap"))
    names = [frame.func_name for frame in caught.value.frames]
    assert names == ["deepest", "middle", "start"]


@pytest.mark.parametrize("name", ["connect", "listen"])
def test_socket_programs_miss_their_sockets(program: Build, name: str) -> None:
    assert run(program(name)).status == 10  # BAD_FD_COUNT of lines.h


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        ("connect_tcp", "stdin:stdout:stderr:stream"),
        ("connect_tls", "stdin:stdout:stderr:stream"),
        ("listen_tcp", "stdin:stdout:stderr:ingest:ping"),
        ("listen_tls", "stdin:stdout:stderr:ingest:ping"),
    ],
)
def test_manifests_list_what_the_programs_expect(manifest: str, names: str) -> None:
    loaded = load(HERE / f"{manifest}.toml")
    assert dict(loaded.manifest.environ())["FD_NAMES"] == names
    sockets = [file for file in loaded.manifest.files if isinstance(file, Listen | Connect)]
    assert sockets[0].prot == manifest.rpartition("_")[2]


def test_the_readme_names_every_program() -> None:
    named = set(re.findall(r"`(\w+)`", (HERE / "README.md").read_text()))
    assert set(NAMES) <= named
    assert {path.stem for path in HERE.glob("*.toml")} <= named
