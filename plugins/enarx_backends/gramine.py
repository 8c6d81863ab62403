"""The manifest of a Keep as an enclave of Gramine's. Not yet run on hardware, nor by Gramine itself.

Gramine documentation, "Manifest syntax". Everything that the enclave can open is in it with its SHA-256, nothing of the
host's environment or arguments reaches it, and its size and threads are those of the workload's `[resources]`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_LIMIT = 1 << 28  # bytes of one file
_LEAST = 512 << 20  # bytes: the interpreter and the engine before any workload
_RUNTIME_THREADS = 8  # of the interpreter, the sallyport, and Gramine's own


class Enclave(NamedTuple):
    """What an enclave is made of: `argv` begins with the program; each of `files` is one that it may read.

    `memory` is what the workload may use, in bytes, and `threads` how many it has.
    """

    argv: Sequence[str]
    files: Sequence[Path]
    memory: int
    threads: int = 1
    environment: Mapping[str, str] = {}


def manifest(enclave: Enclave, libos: Path) -> dict[str, Any]:
    """The manifest as a table. `libos` is Gramine's libsysdb.so, whose digest counts like any other's."""
    program = enclave.argv[0]
    return {
        "loader": {
            "entrypoint": {"uri": f"file:{libos}"},
            "argv": list(enclave.argv),
            "log_level": "error",
            "env": {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", **enclave.environment},
        },
        "libos": {"entrypoint": program},
        "sys": {"disallow_subprocesses": True, "enable_sigterm_injection": False},
        "fs": {
            "root": {"type": "chroot", "uri": "file:/"},
            "mounts": [{"type": "tmpfs", "path": "/tmp"}],  # noqa: S108 - the enclave's own memory
        },
        "sgx": {
            "debug": False,
            "remote_attestation": "dcap",
            "enclave_size": _size(enclave.memory),
            "max_threads": enclave.threads + _RUNTIME_THREADS,
            "edmm_enable": False,
            "use_exinfo": False,
            "file_check_policy": "strict",
            "trusted_files": list(_trusted([libos, *enclave.files])),
        },
    }


def text(table: Mapping[str, Any]) -> bytes:
    """The manifest as TOML; the same table gives the same bytes."""
    import tomli_w

    return tomli_w.dumps(table).encode()


def _size(memory: int) -> str:
    """An enclave's size: a power of two in MiB that holds the runtime and the workload's memory."""
    wanted = _LEAST + memory
    return f"{1 << (wanted - 1).bit_length() - 20}M"


def _trusted(files: Iterable[Path]) -> Iterable[dict[str, str]]:
    """In the order of their names, each once, so that the order in which they were found does not count."""
    for path in sorted(set(files)):
        yield {"uri": f"file:{path}", "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > _LIMIT:
            raise ValueError(f"{path} is larger than {_LIMIT:,} bytes")
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
