"""`python -m enarx_keep.ahead_of_time MODULE FOLDER [--deadline] [--for-others]`: compile a module for Keeps.

Writes one file to FOLDER, by the name under which a Keep of this machine looks for it, and prints that; with
`--for-others` code for any processor of level x86-64-v2, by the name of the module's digest. In a process of its own,
since the module may take the compiler much time and memory.
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
    deadline, for_others = "--deadline" in options, "--for-others" in options
    engine = module.engine_for_others(deadline=deadline) if for_others else module.engine(deadline=deadline)
    try:
        code = wasmtime.Module(engine, data).serialize()
    except wasmtime.WasmtimeError as error:
        print(error, file=sys.stderr)
        return 1
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{sha256}.cwasm" if for_others else module.code_name(module.platform(), sha256)
    Path(folder, name).write_bytes(bytes(code))
    print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
