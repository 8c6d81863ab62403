"""`python -m tests.wasi_conformance`: see the package."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.wasi_conformance import debian, go_library, lua, npm, rust_crates, sqlite
from tests.wasi_conformance.judged import Judged, Run


def all_judged() -> Iterator[Judged]:
    """Every program that this machine can have."""
    for source in (debian, npm, go_library, rust_crates, lua, sqlite):
        yield from source.judged()


def kept() -> Path:
    """Where sources and modules are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "enarx-deploy" / "tests" / "wasi_conformance"
    place.mkdir(parents=True, exist_ok=True)
    return place


def main() -> int:
    """Judge what is named, and print it as it comes; 1 if anything came out wrong that is not expected."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.wasi_conformance", description="Programs of others, in Keeps."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as zlib or go:os (all)")
    parser.add_argument("--list", action="store_true", help="list the names")
    options = parser.parse_args()
    found = {one.name: one for one in all_judged()}
    if options.list:
        print("\n".join(found))
        return 0
    if unknown := set(options.names) - found.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))} here; --list lists what there is")
    wrong = [name for name in options.names or found if _wrong(found[name])]
    return int(bool(wrong))


def _wrong(judged: Judged) -> bool:
    """Whether a program came out wrong; what did, also by wasmtime, tells whose fault it is."""
    try:
        faults = judged.faults(kept(), Run.in_a_keep)
    except subprocess.CalledProcessError as error:
        print(f"{judged.name}: not built: {(error.stderr or b'').decode(errors='replace').strip()[-500:]}", flush=True)
        return True
    unexpected = [fault for fault in faults if fault not in judged.differs]
    gone = [name for name in judged.differs if name not in faults]
    print(f"{judged.name}: {_told(unexpected, gone) or 'as expected'}", flush=True)
    if unexpected:
        by_wasmtime = set(judged.faults(kept(), Run.by_wasmtime))
        for fault in unexpected:
            print(f"  {fault}{' (by wasmtime too)' if fault in by_wasmtime else ''}", flush=True)
    return bool(unexpected or gone)


def _told(unexpected: list[str], gone: list[str]) -> str:
    parts = [f"{len(unexpected)} wrong"] if unexpected else []
    return "; ".join(parts + [f"{name} is right, and was expected not to be" for name in gone])


if __name__ == "__main__":
    sys.exit(main())
