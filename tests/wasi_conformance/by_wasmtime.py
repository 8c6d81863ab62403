"""`python -m tests.wasi_conformance.by_wasmtime MODULE ROOT [--env=NAME=VALUE ...] -- WORDS`: by its own WASI."""

from __future__ import annotations

import sys

import wasmtime


def main() -> int:
    """Run the module; returns its exit status."""
    own, words = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    module, root, *options = own
    store = wasmtime.Store(engine := wasmtime.Engine())
    config = wasmtime.WasiConfig()
    config.argv = (module, *words)
    config.env = [tuple(option.removeprefix("--env=").split("=", 1)) for option in options]
    config.preopen_dir(root, "/")
    config.inherit_stdin()
    config.inherit_stdout()
    config.inherit_stderr()
    store.set_wasi(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    start = linker.instantiate(store, wasmtime.Module.from_file(engine, module)).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except wasmtime.ExitTrap as ended:
        return ended.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
