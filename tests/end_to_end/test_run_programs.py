"""Programs in a Keep by `run`, after the tests of Enarx (reference 7.1): exit statuses, standard streams, sockets."""

from __future__ import annotations

import codecs
import os
import pty
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from tests.ports import free_port

PROGRAMS = Path(__file__).parents[1] / "wasm_programs"
TWO_MIB = bytes(range(256)) * 8192


@pytest.mark.parametrize("name", ["return_1", "wasi_snapshot1", "memspike", "memory_stress_test"])
def test_it_ends_well_and_says_nothing(run, program, name: str) -> None:
    ended = run(program(name))
    assert (ended.status, ended.out, ended.err) == (0, b"", "")


def test_hello(run, program) -> None:
    ended = run(program("hello_wasi_snapshot1"))
    assert (ended.status, ended.out, ended.err) == (0, b"Hello, world!\n", "")


def test_the_older_snapshot_of_wasi(run, program) -> None:
    ended = run(program("wasi_unstable"))
    assert (ended.status, ended.out, ended.err) == (0, b"from the older snapshot\n", "")


def test_a_module_without_an_entry_point_is_refused(run, program) -> None:
    ended = run(program("no_export"))
    assert ended.status == 2
    assert "exports no entry point" in ended.err
    assert "hint:" in ended.err


@pytest.mark.parametrize("status", [0, 1, 126, 255])
def test_proc_exit_is_the_exit_status(run, program, status: int) -> None:
    ended = run(program(f"exit_{status}"))
    assert (ended.status, ended.err) == (status, "")


@pytest.mark.parametrize(("code", "said"), [(200, ""), (256, "256"), (4294967295, "4294967295")])
def test_other_exit_codes(run, program, tmp_path: Path, code: int, said: str) -> None:
    """A process can return 0 to 255; a code beyond is said, and is a failure."""
    module = _wat(tmp_path, (PROGRAMS / "exit_0.wat").read_text().replace("i32.const 0", f"i32.const {code}"))
    ended = run(module)
    assert ended.status == (code if not said else 1)
    assert said in ended.err


def _wat(folder: Path, text: str) -> Path:
    import wasmtime

    module = folder / "program.wasm"
    module.write_bytes(wasmtime.wat2wasm(text))
    return module


def test_a_trap_shows_where_it_was(run, program) -> None:
    ended = run(program("trap"))
    assert ended.status == 1
    places = [ended.err.index(name) for name in ("deepest", "middle", "start")]
    assert places == sorted(places)
    assert "the workload trapped: wasm `unreachable` instruction executed\n" in ended.err
    assert "WASMTIME" not in ended.err, "advice that nobody can follow in a Keep"
    assert "Traceback" not in ended.err


def test_echo_of_2_mib(run, program) -> None:
    ended = run(program("echo"), stdin=TWO_MIB)
    assert (ended.status, ended.out) == (0, TWO_MIB)


def test_zerooneone(run, program) -> None:
    text = "The Quick Brown Fox, 1234!\n"
    ended = run(program("zerooneone"), stdin=text.encode())
    assert (ended.status, ended.out.decode()) == (0, codecs.encode(text, "rot13"))


def test_zerooneone_with_enarxs_option(run, program) -> None:
    ended = run(program("zerooneone"), "--wasmcfgfile", PROGRAMS / "zerooneone.toml", stdin=b"Uryyb")
    assert (ended.status, ended.out) == (0, b"Hello")


def test_zerooneone_as_a_packages_directory(run, program, cli) -> None:
    package = cli.directory / "package"
    package.mkdir()
    shutil.copy(program("zerooneone"), package / "main.wasm")
    shutil.copy(PROGRAMS / "zerooneone.toml", package / "Enarx.toml")
    ended = run(package, stdin=b"Uryyb")
    assert (ended.status, ended.out) == (0, b"Hello"), ended.err


def test_a_package_takes_no_other_manifest(run, program, cli) -> None:
    """It would be run as if nothing had been said, or no longer be what its digest names."""
    package = cli.directory / "package"
    package.mkdir()
    shutil.copy(program("zerooneone"), package / "main.wasm")
    shutil.copy(PROGRAMS / "zerooneone.toml", package / "Enarx.toml")
    ended = run(package, "--set", "env.LEVEL=debug")
    assert ended.status == 2
    assert "is a package" in ended.err


def test_a_manifest_without_files_gives_none(run, program, cli) -> None:
    manifest = cli.directory / "none.toml"
    manifest.write_text("")
    ended = run(program("hello_wasi_snapshot1"), "--manifest", manifest)
    assert (ended.status, ended.out) == (0, b"")  # its fd_write fails, which it does not look at


# Standard streams


def test_stdin_is_closed(run, program) -> None:
    process = run.start(program("echo"), stdin=subprocess.DEVNULL)
    assert process.communicate(timeout=120) == (b"", b"")
    assert process.returncode == 0


def test_no_stdin_at_all(run, program) -> None:
    process = run.start(program("hello_wasi_snapshot1"), stdin=None, preexec_fn=lambda: os.close(0))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, b"Hello, world!\n"), err


def test_the_reader_of_stdout_leaves_early(run, program) -> None:
    """As in `enarx-deploy run echo.wasm | head -c 10`: the workload's write fails, and it ends."""
    process = run.start(program("echo"))
    with process:
        process.stdin.write(TWO_MIB[:65536])
        process.stdin.flush()
        assert process.stdout.read(10) == TWO_MIB[:10]
        process.stdout.close()
        try:
            process.stdin.write(TWO_MIB)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.wait(timeout=120) == 1  # the program's own status for a failed write
        assert b"Traceback" not in process.stderr.read()


def test_stdout_is_a_file(run, program, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        process = run.start(program("echo"), stdout=out)
        process.communicate(TWO_MIB, timeout=120)
    assert process.returncode == 0
    assert (tmp_path / "out").read_bytes() == TWO_MIB


def test_stdin_is_a_file(run, program, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(TWO_MIB)
    with (tmp_path / "in").open("rb") as data:
        process = run.start(program("echo"), stdin=data)
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, TWO_MIB)


def test_stdout_is_appended_to(run, program, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"before\n")
    with (tmp_path / "out").open("ab") as out:
        run.start(program("hello_wasi_snapshot1"), stdout=out).communicate(timeout=120)
    assert (tmp_path / "out").read_bytes() == b"before\nHello, world!\n"


def test_stdout_is_dev_null(run, program) -> None:
    process = run.start(program("echo"), stdout=subprocess.DEVNULL)
    process.communicate(TWO_MIB, timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("terminals", "status"),
    [([], 0), (["stdin"], 1), (["stdout"], 2), (["stderr"], 4), (["stdin", "stdout", "stderr"], 7)],
    ids=lambda value: ",".join(value) or "none" if isinstance(value, list) else "",
)
def test_a_stream_is_a_terminal_to_the_workload_if_it_is_one_here(
    run, program, terminals: list[str], status: int
) -> None:
    shown, terminal = pty.openpty()
    process = run.start(program("terminals"), "--quiet", **dict.fromkeys(terminals, terminal))
    out, _ = process.communicate(timeout=120)
    assert process.returncode == status
    green = os.read(shown, 100) if "stdout" in terminals else out
    os.close(terminal)
    os.close(shown)
    assert green == (b"\x1b[32mgreen\x1b[0m\r\n" if "stdout" in terminals else b"green\n")


def test_a_slow_reader_gets_everything(run, program) -> None:
    process = run.start(program("echo"))
    with process:
        import threading

        def write() -> None:
            process.stdin.write(TWO_MIB)
            process.stdin.close()

        writer = threading.Thread(target=write)
        writer.start()
        got = bytearray()
        while piece := os.read(process.stdout.fileno(), 65536):
            got += piece
            time.sleep(0.02)
        writer.join()
        assert process.wait(timeout=120) == 0
    assert bytes(got) == TWO_MIB


def test_a_program_that_has_ended_still_gets_its_words_through(run, program) -> None:
    """The Keep is gone long before the reader begins."""
    process = run.start(program("echo"))
    with process:
        process.stdin.write(TWO_MIB[:50_000])
        process.stdin.close()
        time.sleep(1)
        assert process.stdout.read() == TWO_MIB[:50_000]
        assert process.wait(timeout=120) == 0


# What `run` adds


ARGUMENTS = r"""
#include <stdio.h>
extern char **environ;
int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++) printf("[%s]\n", argv[i]);
    for (char **entry = environ; *entry; entry++) printf("%s\n", *entry);
    return 0;
}
"""
DIRECTORY = r"""
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_name(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

int main(void) {
    char *names[16], text[100] = "";
    int count = 0;
    DIR *directory = opendir("/data");
    if (!directory) return 10;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') names[count++] = strdup(entry->d_name);
    closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    for (int i = 0; i < count; i++) puts(names[i]);
    FILE *file = fopen("/data/inner/note.txt", "r+");
    if (!file || !fgets(text, sizeof text, file)) return 11;
    printf("%s", text);
    rewind(file);
    if (fputs("CHANGED", file) < 0 || fclose(file)) return 12;
    file = fopen("/data/new.txt", "w");
    if (!file || fputs("new\n", file) < 0 || fclose(file)) return 13;
    if (unlink("/data/first.txt")) return 14;
    file = fopen("/data/inner/note.txt", "r");
    if (!file || !fgets(text, sizeof text, file)) return 15;
    printf("%s", text);
    if (fopen("/etc/passwd", "r") || fopen("/data/../etc/passwd", "r")) return 16;
    return 0;
}
"""


@pytest.fixture
def compiled(request, zig_cache, tmp_path, monkeypatch):
    """A C program, built once for each text."""
    import hashlib

    from enarx_deploy.project import load_project
    from enarx_languages.c import C

    def build(text: str) -> Path:
        state = hashlib.sha256(text.encode()).hexdigest()[:16]
        module = Path(request.config.cache.mkdir("wasm_programs")) / f"inline-{state}.wasm"
        if not module.exists():
            folder = tmp_path / "source"
            folder.mkdir()
            (folder / "main.c").write_text(text)
            project = load_project(folder)
            project.work_dir.mkdir()
            monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
            toolchain = C()
            toolchain.build(project, toolchain.find(), folder / "main.wasm", print)
            (folder / "main.wasm").replace(module)
        return module

    return build


def test_arguments_and_environment(run, compiled) -> None:
    words = ("--env", "LEVEL=debug", "--env", "EMPTY=", "--env", "URL=a=b", "--", "one", "", "-x", "ü")
    ended = run(compiled(ARGUMENTS), *words)
    assert ended.status == 0, ended.err
    assert ended.out.decode().splitlines() == [
        *("[main.wasm]", "[one]", "[]", "[-x]", "[ü]"),
        *("FD_COUNT=3", "FD_NAMES=stdin:stdout:stderr", "LEVEL=debug", "EMPTY=", "URL=a=b"),
    ]


def test_nothing_of_the_hosts_environment_is_passed(run, compiled, cli) -> None:
    cli.environment["SECRET_OF_THE_HOST"] = "sesame"
    assert b"sesame" not in run(compiled(ARGUMENTS)).out


def test_a_directory_is_copied_in_and_never_shared(run, compiled, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "inner").mkdir(parents=True)
    (data / "first.txt").write_text("first\n")
    (data / "inner" / "note.txt").write_text("a note\n")
    (data / "passwd").symlink_to("/etc/passwd")
    ended = run(compiled(DIRECTORY), "--dir", f"{data}::/data")
    assert ended.status == 0, ended.err
    assert ended.out.decode().splitlines() == ["first.txt", "inner", "a note", "CHANGED"]
    assert sorted(path.name for path in data.rglob("*")) == ["first.txt", "inner", "note.txt", "passwd"]
    assert (data / "inner" / "note.txt").read_text() == "a note\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dir", "/nowhere::/data"], "not a directory"),
        (["--dir", "/tmp"], "not HOST::GUEST"),
        (["--env", "NOTHING"], "not NAME=VALUE"),
    ],
)
def test_wrong_usage(run, program, words: list[str], said: str) -> None:
    ended = run(program("return_1"), *words)
    assert ended.status == 2
    assert said in ended.err


def test_no_such_program(run) -> None:
    ended = run("nowhere.wasm")
    assert ended.status == 2
    assert "nowhere.wasm" in ended.err
    assert "hint:" in ended.err


# Signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_run_and_its_keep(
    run, program, cli, children, eventually, tmp_path: Path, number: int, status: int
) -> None:
    own_temporary = tmp_path / "temporary"
    own_temporary.mkdir()
    cli.environment["TMPDIR"] = str(own_temporary)
    process = run.start(program("echo"))
    with process:
        process.stdin.write(b"up?")
        process.stdin.flush()
        assert process.stdout.read(3) == b"up?"
        (keep,) = children(process.pid)
        process.send_signal(number)
        ended = process.wait(timeout=120)
        assert b"Traceback" not in process.stderr.read()
    assert ended == status
    eventually(lambda: not Path(f"/proc/{keep}").exists(), "the Keep is gone")
    assert list(own_temporary.iterdir()) == []


def test_ctrl_c_ends_the_wait_for_a_reader_who_does_not_read(run, program) -> None:
    """The program has ended, but what it wrote fits into no pipe."""
    process = run.start(program("echo"))
    with process:
        process.stdin.write(TWO_MIB[:100_000])
        process.stdin.close()
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130


# Sockets


def lines_come_back(connection: socket.socket) -> None:
    for line in (b"first\n", b"the second line\n", b"third\n"):
        for part in (line[:3], line[3:]):  # the end of a line comes later: the program waits for it
            connection.sendall(part)
            time.sleep(0.02)
        got = b""
        while len(got) < len(line):
            piece = connection.recv(100)
            assert piece, got
            got += piece
        assert got == line


def test_connect_tcp(run, program, serve) -> None:
    server = serve(lines_come_back)
    words = ("--manifest", PROGRAMS / "connect_tcp.toml", "--set", f"files.stream.port={server.port}")
    ended = run(program("connect"), *words)
    assert (ended.status, ended.err, server.faults) == (0, "", [])


def test_connect_to_nobody(run, program) -> None:
    port = free_port()
    ended = run(program("connect"), "--manifest", PROGRAMS / "connect_tcp.toml", "--set", f"files.stream.port={port}")
    assert ended.status == 1
    assert f"cannot connect to localhost port {port}" in ended.err
    assert "hint:" in ended.err


@pytest.fixture
def tls_project(cli, program):
    """The connecting program as a project, with a root certificate beside it."""

    def make(port: int, root: Path, roots: str = '"ca.pem"') -> Path:
        project = cli.directory / "connect"
        project.mkdir()
        shutil.copy(program("connect"), project / "main.wasm")
        shutil.copy(root, project / "ca.pem")
        text = (PROGRAMS / "connect_tls.toml").read_text().replace('"ca.pem"', roots)
        (project / "Enarx.toml").write_text(text.replace("12345", str(port)))
        return project

    return make


def test_connect_tls(run, serve, authority, tls_project) -> None:
    known = authority("known")
    context = known.server_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    server = serve(lines_come_back, context)
    ended = run(tls_project(server.port, known.root))
    assert (ended.status, server.faults) == (0, []), ended.err


@pytest.mark.parametrize(("root", "roots"), [("unknown", '"ca.pem"'), ("known", '"system"')])
def test_connect_tls_refuses_whom_it_does_not_trust(
    run, serve, authority, tls_project, eventually, root: str, roots: str
) -> None:
    server = serve(lines_come_back, authority("known").server_context())
    ended = run(tls_project(server.port, authority(root).root, roots))
    assert ended.status == 1
    assert "TLS with localhost" in ended.err
    assert "UnknownIssuer" in ended.err or "unknown issuer" in ended.err
    assert "enarx-deploy logs" not in ended.err  # what it wrote is here, and nowhere else
    eventually(lambda: len(server.faults) == 1, "the server's side of it is noted")


def test_connect_tls_refuses_tls_12(run, serve, authority, tls_project) -> None:
    known = authority("known")
    context = known.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = serve(lines_come_back, context)
    ended = run(tls_project(server.port, known.root))
    assert ended.status == 1
    assert "TLS with localhost" in ended.err


def test_connect_tls_does_not_wait_for_ever(run, serve, authority, tls_project) -> None:
    server = serve(lambda connection: all(iter(lambda: connection.recv(1 << 20), b"")))  # until the other side hangs up
    project = tls_project(server.port, authority("known").root)
    ended = run(project, "--set", "tls.stream.handshake_timeout=1")
    assert ended.status == 1
    assert "no answer in time" in ended.err


@pytest.mark.parametrize("prot", ["tcp", "tls"])
def test_listen(run, program, serve, prot: str) -> None:
    """Three clients, each with three lines. The port is told by `-v`, that the program is there by its `ping`."""
    ping = serve(lambda connection: connection.recv(1))
    process = run.start(
        program("listen"),
        *("-v", "--manifest", PROGRAMS / f"listen_{prot}.toml"),
        *("--set", "files.ingest.port=0", "--set", f"files.ping.port={ping.port}"),
    )
    with process:
        for line in process.stderr:
            if line.startswith(b"ingest:"):
                port = int(line.split()[-1])
                break
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=120) as plain:
                if prot == "tcp":
                    lines_come_back(plain)
                else:
                    with context.wrap_socket(plain, server_hostname="localhost") as secure:
                        lines_come_back(secure)
        err = process.stderr.read()
        assert process.wait(timeout=120) == 0, err
