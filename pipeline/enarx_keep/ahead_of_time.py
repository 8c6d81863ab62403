"""`python -m enarx_keep.ahead_of_time MODULE FOLDER [--deadline] [--for-others|--for-enclaves]`: compile for Keeps.

Writes one file to FOLDER, by the name under which a Keep of this machine looks for it, and prints that; with
`--for-others` code for any processor of level x86-64-v2, by the name of the module's digest, and with `--for-enclaves`
the same for an enclave. In a process of its own,
since the module may take the compiler much time and memory.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import wasmtime

from enarx_keep import module

_ENGINES: dict[str, Callable[..., wasmtime.Engine]] = {
    "--for-others": module.engine_for_others,
    "--for-enclaves": module.engine_for_enclaves,
}


def main(arguments: list[str]) -> int:
    """Compile; returns the exit status."""
    wasm, folder, *options = arguments
    data = Path(wasm).read_bytes()
    deadline = "--deadline" in options
    for_others = any(option in options for option in _ENGINES)
    make = next((make for option, make in _ENGINES.items() if option in options), module.engine)
    engine = make(deadline=deadline)
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
