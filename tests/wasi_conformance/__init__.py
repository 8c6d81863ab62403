"""Programs of others, compiled for WASI preview 1, as judges of it: each in a Keep, and by wasmtime's own WASI.

    python -m tests.wasi_conformance             all of it: an hour or more on a busy machine, most of it compiling
    python -m tests.wasi_conformance go:os zlib  some of it

None of these programs is in this repository, but for what drives a library. Sources come from where this machine gets
them anyway (an installed Go, the sources of Debian's packages, crates.io, PyPI, npm), and are kept in the cache.
`test_some.py` is the part that runs with the tests.
"""
