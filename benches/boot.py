"""From start to serving in each kind of Keep, the channels beside one another, memory, and what the image is made of.

A virtual machine is said to be with KVM or emulated (TCG): the two have nothing in common but the image.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benches import echo, peers
from benches.figures import Section
from enarx_backends import keep_image, kvm
from enarx_backends.nil import Nil
from enarx_deploy.host.session import Session, Stdio
from enarx_deploy.manifest import parse
from enarx_deploy.models import Module
from enarx_deploy.package_tree import build
from enarx_deploy.project import Project
from enarx_deploy.protocols import Backend, KeepProcess, Launch
from enarx_deploy.records import digest_of
from enarx_sallyport import Carrier

ROUNDS = 3
LOADS = ((1, 64), (64, 64), (1, 65536), (16, 65536))
"""Connections, and bytes of each message."""
_LARGEST = 8
_MANIFEST = b"""
[[files]]
kind = "null"
[[files]]
kind = "null"
[[files]]
kind = "null"
[[files]]
kind = "listen"
name = "echo"
prot = "tcp"
port = 0
[resources]
memory = "64 MiB"
"""
_PHASES = {
    "interpreter": "started, up to the Keep's interpreter (a machine: firmware, kernel, first program)",
    "imports": "its imports",
    "package": "the package, taken and checked",
    "module": "the module, compiled or from the cache",
    "serving": "linked, and the first byte back",
}


class _CarriedProcess:
    """A process with both ends of a channel beside it."""

    def __init__(self, process: KeepProcess, ends: tuple[Carrier, Carrier]) -> None:
        self._process, self._ends = process, ends
        self.pid = process.pid
        self.poll, self.wait, self.kill = process.poll, process.wait, process.kill


class _Carried(Nil):
    """A nil Keep behind the channel of virtual machines: a socket in the place of shared memory."""

    def start(self, launch: Launch) -> KeepProcess:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            outer = Carrier.beside_host(launch.block_fd, launch.doorbell_fd, ours.fileno())
            inner = Carrier.beside_guest(theirs.fileno())
        inside = msgspec.structs.replace(launch, block_fd=inner.block_fd, doorbell_fd=inner.doorbell_fd)
        return _CarriedProcess(super().start(inside), (outer, inner))


@dataclass
class _Keep:
    """A Keep that serves; milliseconds by phase, and the MiB that it takes."""

    port: int
    phases: dict[str, float]
    resident: float
    accelerator: str


def measure_start(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Milliseconds to the first byte of a virtual machine's Keep, by phase, and memory of the Keep alone."""
    columns: dict[str, list[_Keep]] = {}
    for backend in (Nil(), kvm.Kvm()):
        for _ in range(ROUNDS):
            with _keep(backend) as keep:
                columns.setdefault(_named(backend, keep), []).append(keep)
    rows = [
        [what, *(f"{statistics.median(keep.phases[phase] for keep in keeps):,.0f}" for keeps in columns.values())]
        for phase, what in _PHASES.items()
    ]
    whole = [statistics.median(sum(keep.phases.values()) for keep in keeps) for keeps in columns.values()]
    resident = [statistics.median(keep.resident for keep in keeps) for keeps in columns.values()]
    rows.append(["all of it", *(f"{time:,.0f}" for time in whole)])
    rows.append(["MiB of memory (PSS)", *(f"{mebibytes:,.0f}" for mebibytes in resident)])
    note = f"Medians of {ROUNDS}. Kinds: echo in clear, 64 MiB for the workload; one processor in the machine."
    return Section("Boot to serving (ms)", ["phase", *columns], rows, note=note)


def measure_channels(seconds: float) -> Section:
    """The same echo through shared memory, through frames over a socket, and through virtio-serial."""
    load, rows = peers.build_load(), []
    for backend, channel in (
        (Nil(), "shared memory"),
        (_Carried(), "frames, socket"),
        (kvm.Kvm(), "frames, virtio-serial"),
    ):
        with _keep(backend) as keep:
            for connections, size in LOADS:
                rate, _, tail = echo.load_on(load, keep.port, connections, size, seconds, "tcp")
                figures = [f"{rate:,.0f}", f"{rate * size / 1e6:,.1f}", f"{tail:,.0f}"]
                rows.append([f"{connections} x {size:,} B", f"{_named(backend, keep)}: {channel}", *figures])
    note = "TCG: the machine's processor is emulated, so that its figures say nothing of one with KVM."
    return Section("TCP echo by channel", ["load", "Keep", "requests/s", "MB/s", "p99 µs"], sorted(rows), note=note)


def measure_image(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """MiB of the image's parts, and of the largest files in its initramfs."""
    record = keep_image.find(None).record
    rows = [[name, _mebibytes(getattr(record, name).size)] for name in ("kernel", "initrd", "cmdline")]
    files = sorted(record.files, key=lambda file: -file.size)
    rows.append([f"in initrd, before compression: {len(files)} files", _mebibytes(sum(file.size for file in files))])
    rows += [[f"of it {file.path}", _mebibytes(file.size)] for file in files[:_LARGEST]]
    return Section("The Keep's image (MiB)", ["part", "size"], rows)


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):,.2f}"


def _named(backend: Backend, keep: _Keep) -> str:
    return f"{backend.name} ({keep.accelerator})" if keep.accelerator else backend.name


@contextlib.contextmanager
def _keep(backend: Backend) -> Iterator[_Keep]:
    """The echo template in a Keep of this process's own."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name, tempfile.TemporaryFile() as log:
        session = _session(Path(name), backend, log.fileno())
        try:
            began = time.monotonic()
            session.start()
            port = session.endpoints[0].port
            _first_byte(port)
            at = {**session.phases, "serving": time.monotonic()}
            before = [began, *(at[phase] for phase in list(_PHASES)[:-1])]
            phases = {phase: 1000 * (at[phase] - earlier) for phase, earlier in zip(_PHASES, before, strict=True)}
            yield _Keep(port, phases, _resident(session.keep_pid), _accelerator(log))
        finally:
            session.kill()
            session.wait()


def _session(folder: Path, backend: Backend, log: int) -> Session:
    project = folder / "echo"
    words = [str(peers.PROGRAM), "-q"]
    subprocess.run([*words, "new", "echo", str(project)], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run([*words, "-C", str(project), "compile", "--json"], check=True, capture_output=True)
    wasm = project / msgspec.json.decode(done.stdout)["path"]
    data = wasm.read_bytes()
    module = Module(
        path=str(wasm), sha256=digest_of(data), size=len(data), entry="_start", imports=[], toolchain="", version=""
    )
    manifest = parse(_MANIFEST, "Enarx.toml").manifest
    package = build(Project(project, manifest, None, _MANIFEST), module)
    return Session(package, manifest, backend, Stdio(stdin=0, stdout=log, stderr=log, complaints=log))


def _first_byte(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"x")
        client.recv(1)


def _resident(process: int) -> float:
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def _accelerator(log: io.BufferedRandom) -> str:
    """What the Keep's log says of its processor; empty where it says nothing."""
    found = re.match(rb"kvm: (\w+):", os.pread(log.fileno(), 100, 0))
    return found[1].decode().upper() if found else ""
