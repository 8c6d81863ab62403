"""Lua and its own tests, as lupa's sources on PyPI bring them.

Lua uses `longjmp`, which a compiler makes WebAssembly's exceptions of.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.wasi_conformance import by_zig
from tests.wasi_conformance.judged import Ended, Judged, Run

_LUPA = "2.8"
_LUA = f"lupa-{_LUPA}/third-party/lua54"
_LONGJMP = ("-mcpu=generic+exception_handling", "-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false")
_LACKS = Path(__file__).with_name("lua_lacks.c")
_FLAGS = (*_LONGJMP, *by_zig.EMULATED, "-include", str(_LACKS.with_suffix(".h")))
_SOURCES = ("l[!t]*.c", "lt[!e]*.c")  # not `ltests.c`, which is for a Lua that is built to be tested from within
_AS_A_USER = "_U = true; _port = true; _soft = true; _nomsg = true"
"""What `all.lua` sets for tests that run everywhere, and not for long."""
_NOT_ALONE = ("all", "api", "bwcoercion", "heavy", "main", "tracegc")
"""Those that run others, ask for a Lua that is built to be tested, or start processes."""
DIFFERS = {
    "attrib": "wasi-libc opens the directory where it is given an empty name",
    "literals": "wasi-libc knows every locale by name, and none by its commas",
}


def judged() -> Iterator[Judged]:
    """All of it."""
    yield Judged("lua", _faults, DIFFERS)


def _faults(kept: Path, run: Callable[[Run], Ended]) -> list[str]:
    tree = _source(kept / "pypi") / _LUA
    module = kept / f"lua-of-lupa-{_LUPA}.wasm"
    by_zig.build(tree, _SOURCES, module, flags=_FLAGS, libraries=[str(_LACKS), *by_zig.EMULATIONS])
    tests = sorted(path.stem for path in (tree / "testes").glob("*.lua") if path.stem not in _NOT_ALONE)
    runs = {name: Run(module, tree / "testes", ("-e", _AS_A_USER, f"{name}.lua"), {"PATH": "/"}) for name in tests}
    return [name for name, one in runs.items() if run(one).status != 0]


def _source(place: Path) -> Path:
    """The unpacked sources; pip asks their own build for their metadata, which would build LuaJIT if it may."""
    place.mkdir(parents=True, exist_ok=True)
    archive = place / f"lupa-{_LUPA}.tar.gz"
    if not archive.exists():
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "lupa"]
        environment = os.environ | {"LUPA_NO_LUAJIT": "true"}
        subprocess.run([*words, f"lupa=={_LUPA}"], cwd=place, env=environment, check=True, capture_output=True)
    if not (place / _LUA).exists():
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")
    return place
