"""C and C++ programs from the sources of Debian's packages, compiled by zig's clang as they are."""

from __future__ import annotations

import bz2
import gzip
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.wasi_conformance import by_zig
from tests.wasi_conformance.judged import Ended, Judged, Run

_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
_NO_OWNERS = ("-Dfchown(file,user,group)=0", "-Dchown(path,user,group)=0")
"""WASI's files have no owners, and its C library no functions for them."""


Judge = Callable[[Path, Path, Path, Callable[[Run], Ended]], list[str]]
"""Given the module, its sources, an empty root and the way to run: what came out wrong."""


@dataclass(frozen=True)
class Program:
    """A program of a source package: its sources (globs) and flags, and how it is judged."""

    package: str
    sources: Sequence[str]
    faults: Judge
    flags: Sequence[str] = ()
    libraries: Sequence[str] = ()
    compiler: str = "cc"


def judged() -> Iterator[Judged]:
    """One for each program, where this machine gets packages of Debian."""
    if shutil.which("apt-get") and _SOURCES.exists():
        yield from (Judged(name, _faults(name, program)) for name, program in PROGRAMS.items())


def _faults(name: str, program: Program) -> Callable[[Path, Callable[[Run], Ended]], list[str]]:
    def faults(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
        tree = _source(kept / "debian", program.package)
        module = kept / f"debian-{tree.name}-{name}.wasm"
        flags, libraries, compiler = program.flags, program.libraries, program.compiler
        by_zig.build(tree, program.sources, module, flags=flags, libraries=libraries, compiler=compiler)
        root = kept / "debian-root" / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        return program.faults(module, tree, root, run)

    return faults


def _source(place: Path, package: str) -> Path:
    """The unpacked sources of a package, as Debian's archive has them without its patches."""
    place.mkdir(parents=True, exist_ok=True)
    if not list(place.glob(f"{package}_*.orig.tar.*")):
        _apt(place, "update")
        _apt(place, "source", "--download-only", package)
    (archive,) = place.glob(f"{package}_*.orig.tar.*")
    tree = place / archive.name.partition(".orig")[0]
    if not tree.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked := place / f"{tree.name}.unpacked", filter="data")
        (top,) = unpacked.iterdir()
        top.rename(tree)
    return tree


def _apt(place: Path, *words: str) -> None:
    """apt with lists of its own, of sources alone: nothing of the machine's is changed."""
    (place / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    listed = place / "debian.sources"
    listed.write_text(_SOURCES.read_text().replace("Types: deb\n", "Types: deb-src\n"))
    settings = {
        "Dir::Etc::sourcelist": listed,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": place / "lists",
        "Dir::Cache": place / "cache",
        "APT::Sandbox::User": "",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    subprocess.run(["apt-get", "-qq", *options, *words], cwd=place, check=True, capture_output=True)


def _zlib_example(module: Path, tree: Path, root: Path, run: Callable[[Run], Ended]) -> list[str]:
    """zlib's own test, which writes, seeks in and reads back a file."""
    ended = run(Run(module, root))
    return [] if (ended.status, b"gzgets() after gzseek:  hello!" in ended.stdout) == (0, True) else [_told(ended)]


def _minigzip(module: Path, tree: Path, root: Path, run: Callable[[Run], Ended]) -> list[str]:
    text = (tree / "ChangeLog").read_bytes()
    packed, unpacked = run(Run(module, root, stdin=text)), run(Run(module, root, ("-d",), stdin=gzip.compress(text)))
    good = packed.status == unpacked.status == 0 and gzip.decompress(packed.stdout) == text == unpacked.stdout
    return [] if good else [_told(packed), _told(unpacked)]


def _bzip2(module: Path, tree: Path, root: Path, run: Callable[[Run], Ended]) -> list[str]:
    """Packing too, which it does to nothing that says to be a terminal."""
    text = (tree / "bzip2.c").read_bytes()
    (root / "text.bz2").write_bytes(bz2.compress(text))
    packed = run(Run(module, root, ("-c",), stdin=text))
    unpacked, tested = run(Run(module, root, ("-dc", "/text.bz2"))), run(Run(module, root, ("-tv", "/text.bz2")))
    good = packed.status == 0 and bz2.decompress(packed.stdout) == text
    good &= unpacked.status == tested.status == 0 and unpacked.stdout == text and b"ok" in tested.stderr
    return [] if good else [_told(packed), _told(unpacked), _told(tested)]


def _tinyxml2(module: Path, tree: Path, root: Path, run: Callable[[Run], Ended]) -> list[str]:
    """Its own test, which reads and writes files beside it."""
    shutil.copytree(tree / "resources", root / "resources")
    (root / "resources" / "out").mkdir(exist_ok=True)
    ended = run(Run(module, root))
    return [] if ended.status == 0 and b", Fail 0" in ended.stdout else [_told(ended)]


def _told(ended: Ended) -> str:
    last = (ended.stderr or ended.stdout).decode(errors="replace").strip().splitlines()[-1:]
    return f"status {ended.status}: {' '.join(last)}"


_ZLIB = ("[!t]*.c",)
PROGRAMS = {
    "zlib": Program("zlib", (*_ZLIB, "trees.c", "test/example.c"), _zlib_example, ("-DHAVE_UNISTD_H",)),
    "minigzip": Program("zlib", (*_ZLIB, "trees.c", "test/minigzip.c"), _minigzip, ("-DHAVE_UNISTD_H",)),
    "bzip2": Program(
        "bzip2",
        ("bzip2.c", "blocksort.c", "huffman.c", "crctable.c", "randtable.c", "compress.c", "decompress.c", "bzlib.c"),
        _bzip2,
        (*_NO_OWNERS, *by_zig.EMULATED),
        by_zig.EMULATIONS,
    ),
    "tinyxml2": Program("tinyxml2", ("xmltest.cpp", "tinyxml2.cpp"), _tinyxml2, ("-fno-exceptions",), compiler="c++"),
}
