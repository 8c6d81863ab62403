"""How fast a package is pushed to a local registry and pulled from it, beside the same bytes by PyPI's oras."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benches.figures import Bound, Ratio, Section
from benches.peers import free_port
from enarx_deploy import package_tree
from enarx_deploy.models import Package
from enarx_registries.oci import Oci

ROUNDS = 3
_MEBIBYTE = 1 << 20
_MODULE = 8  # MiB; an image holds it once more
_ASSETS = 92  # MiB
_SMALL = 4  # MiB of assets, to compare the memory with
_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {place}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Seconds for 100 MiB, the best of some rounds, and how much memory grows with the package."""
    if shutil.which("docker-registry") is None:
        return Section("Registry", ["what"], [], note="docker-registry is not installed")
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name, _registry(Path(name)) as host:
        folder = Path(name)
        package = _package(folder / "large", _ASSETS)
        small = _package(folder / "small", _SMALL)
        rounds = [_round(folder, host, package, number) for number in range(ROUNDS)]
        best = {what: min(one[what] for one in rounds) for what in rounds[0]}
        growth = {
            what: (_resident(words(package)) - _resident(words(small))) / 1024
            for what, words in _commands(folder, host, package, small).items()
        }
    rows = [
        [what, f"{best[f'{what}, ours']:.2f}", f"{best[f'{what}, oras']:.2f}", f"{growth[what]:.0f}"]
        for what in ("push", "pull")
    ]
    ratios = [
        Ratio(
            f"{what}, pace, ours / oras of PyPI", best[f"{what}, oras"] / best[f"{what}, ours"], "more", Bound(0.8, 1.0)
        )
        for what in ("push", "pull")
    ]
    ratios += [
        Ratio(f"{what}, memory for 88 MiB more (MiB)", growth[what], "less", Bound(16.0, 4.0))
        for what in ("push", "pull")
    ]
    note = (
        "Ours also sends the image for runtimes that want a root file system, and checks what it pulls; oras of PyPI "
        "checks nothing of what it pulls."
    )
    return Section(
        "100 MiB to and from a local registry (s)", ["what", "ours", "oras", "growth (MiB)"], rows, ratios, note
    )


@contextlib.contextmanager
def _registry(place: Path) -> Iterator[str]:
    port = free_port()
    (place / "config.yml").write_text(_CONFIG.format(place=place, port=port))
    process = subprocess.Popen(["docker-registry", "serve", str(place / "config.yml")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _package(tree: Path, mebibytes: int) -> Package:
    """Of random bytes, which nothing on the way can make smaller. A registry does not look into the module."""
    (tree / "assets").mkdir(parents=True)
    (tree / "main.wasm").write_bytes(os.urandom(_MODULE * _MEBIBYTE))
    (tree / "Enarx.toml").write_bytes(b"")
    with (tree / "assets/model").open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(_MEBIBYTE))
    return package_tree.read(tree)


def _round(folder: Path, host: str, package: Package, number: int) -> dict[str, float]:
    from oras.client import OrasClient

    root = Path(package.root)
    oras = OrasClient(hostname=host, insecure=True)
    files = [f"{root}/main.wasm:application/wasm", f"{root}/assets/model:application/octet-stream"]
    ours, theirs = f"oci://{host}/ours/{number}:1.0.0", f"{host}/theirs/{number}:1.0.0"
    return {
        "push, ours": _time(lambda: Oci().publish(package, ours)),
        "push, oras": _time(lambda: oras.push(theirs, files=files, disable_path_validation=True)),
        "pull, ours": _time(lambda: Oci().fetch(ours, folder / f"ours{number}")),
        "pull, oras": _time(lambda: oras.pull(theirs, outdir=str(folder / f"theirs{number}"))),
    }


def _time(work: Callable[[], object]) -> float:
    began = time.monotonic()
    with contextlib.redirect_stdout(None):
        work()
    return time.monotonic() - began


def _commands(folder: Path, host: str, large: Package, small: Package) -> dict[str, Callable[[Package], list[str]]]:
    names = {large.digest: "large", small.digest: "small"}

    def push(package: Package) -> list[str]:
        return ["publish", f"oci://{host}/memory/{names[package.digest]}:1.0.0", package.root]

    def pull(package: Package) -> list[str]:
        into = folder / f"memory-{names[package.digest]}"
        return ["fetch", f"oci://{host}/memory/{names[package.digest]}:1.0.0", "--into", str(into)]

    return {"push": push, "pull": pull}


def _resident(words: list[str]) -> int:
    """The most memory that a command had, in KiB."""
    process = subprocess.Popen([sys.executable, "-m", "enarx_deploy", "-q", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return usage.ru_maxrss
