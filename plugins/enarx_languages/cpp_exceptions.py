"""The library of C++ with exceptions, which no package for WASI has: built once, from the sources that zig brings.

Exceptions are those of WebAssembly 3.0 (`try_table`, `exnref`). zig's own libc++ is built without any, so that this is
linked in its place: LLVM's libc++, libc++abi, and the part of libunwind that is for WebAssembly.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from enarx_deploy.errors import BuildError
from enarx_deploy.protocols import Progress, Tool
from enarx_languages import command, ziglang

FLAGS = (
    "-mcpu=generic+exception_handling",
    "-fwasm-exceptions",
    *("-mllvm", "-wasm-use-legacy-eh=false"),  # the first form, which engines are leaving behind
)
"""What sources are compiled with, and their library too."""
LINK = "-nostdlib++"

_LIBRARY = (
    *("-Os", "-w", "-DNDEBUG"),
    *("-D_LIBCPP_BUILDING_LIBRARY", "-DLIBCXX_BUILDING_LIBCXXABI"),
    *("-D_LIBCXXABI_BUILDING_LIBRARY", "-D_LIBCXXABI_HAS_NO_THREADS", "-D_LIBUNWIND_HIDE_SYMBOLS"),
)
_INCLUDED = ("libcxx/src", "libcxx/libc", "libcxxabi/include", "libunwind/include")
_SOURCES = (
    "libcxx/src/*.cpp",
    "libcxx/src/ryu/*.cpp",
    "libcxx/src/filesystem/path.cpp",
    "libcxx/src/filesystem/filesystem_error.cpp",
    "libcxxabi/src/*.cpp",
    "libunwind/src/Unwind-wasm.c",
)
_THREADS = (
    *("atomic", "barrier", "condition_variable", "condition_variable_destructor", "future", "mutex"),
    *("mutex_destructor", "shared_mutex", "thread", "cxa_thread_atexit"),
)
_LEFT_OUT = frozenset({*_THREADS, "cxa_noexception"})  # preview 1 has no threads
_TOLD_EACH = 10  # files
_TAG = "\t.globl __cpp_exception\n\t.tagtype __cpp_exception i32\n__cpp_exception:\n"
"""The tag that every exception of C++ has: its one value is the address of what was thrown."""


def library(tool: Tool, environment: Mapping[str, str], progress: Progress) -> Path:
    """The archive to link with; built if it is not there yet, which takes half a minute. Raises BuildError."""
    root = _sources_of(Path(tool.command[0]))
    key = hashlib.sha256("\0".join((tool.version, *FLAGS, *_LIBRARY)).encode()).hexdigest()[:16]
    archive = Path(environment[ziglang.CACHE], f"libc++-exceptions-{key}.a")
    if not archive.exists():
        progress("the first build with exceptions builds the library of C++ too: about a minute, this once")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix="building-") as place:
            _build(tool, root, Path(place), environment, progress).replace(archive)
    return archive


def _sources_of(zig: Path) -> Path:
    """zig's own folder of libraries: beside it, or where distributions put it."""
    folder = zig.resolve().parent
    for root in (folder / "lib", folder.parent / "lib" / "zig", folder.parent / "lib"):
        if (root / "libunwind/src/Unwind-wasm.c").is_file():
            return root
    raise BuildError(
        f"{zig}: the sources of its library of C++, which exceptions need, are not beside it",
        hint="pip install ziglang==0.17.1 brings them; without exceptions: [build] args = ['-fno-exceptions']",
    )


def _build(tool: Tool, root: Path, place: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    tag = place / "tag.s"
    tag.write_text(_TAG)
    found = [path for pattern in _SOURCES for path in sorted(root.glob(pattern)) if path.stem not in _LEFT_OUT]
    flags = (*FLAGS, *_LIBRARY, *(f"-I{root / name}" for name in _INCLUDED), f"-ffile-prefix-map={root}=zig")

    def run(words: Sequence[str]) -> None:
        command.run(words, cwd=place, environment=environment, progress=lambda _line: None)

    def compiled(source: Path) -> str:
        made = f"{source.parent.name}-{source.stem}.o"
        language = ("-std=c++23",) if source.suffix == ".cpp" else ("-x", "c") if source.suffix == ".c" else ()
        words = (*language, *flags) if source is not tag else FLAGS[:1]
        run((*tool.command, *words, "-c", str(source), "-o", made))
        return made

    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        objects = []
        for made in compilers.map(compiled, [*found, tag]):
            objects.append(made)
            if len(objects) % _TOLD_EACH == 0:
                progress(f"the library of C++: {len(objects)} of {len(found) + 1} files")
    run((tool.command[0], "ar", "rcs", "libc++.a", *objects))
    return place / "libc++.a"
