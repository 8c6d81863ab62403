"""`python -m enarx_keep.ahead_of_time MODULE FOLDER [--deadline]`: compile a module for this machine's Keeps.

Writes one file to FOLDER, by the name under which a Keep looks for it, and prints that. In a process of its own, since
the module may take the compiler much time and memory.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import wasmtime

from enarx_keep import module


def main(arguments: list[str]) -> int:
    """Compile; returns the exit status."""
    wasm, folder, *options = arguments
    data = Path(wasm).read_bytes()
    try:
        code = wasmtime.Module(module.engine(deadline="--deadline" in options), data).serialize()
    except wasmtime.WasmtimeError as error:
        print(error, file=sys.stderr)
        return 1
    name = module.code_name(module.platform(), hashlib.sha256(data).hexdigest())
    Path(folder, name).write_bytes(bytes(code))
    print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
