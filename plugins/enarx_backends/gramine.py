"""The manifest of a Keep as an enclave of Gramine's. Not yet run on hardware, nor by Gramine itself.

Gramine documentation, "Manifest syntax", version 1.9, and Gramine's own schema of it (`manifest_check.py`). The
manifest is measured, and nothing else says what runs: everything that the enclave can open is in it with its SHA-256,
nothing of the host's environment or arguments reaches it, and its size is that of the workload's `[resources]`. All
places in it are relative to where it lies, so that it is the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from enarx_deploy.errors import KeepError

ROOT = "root"
"""The enclave's root directory, beside the manifest."""
LIBOS = "libsysdb.so"
"""Gramine's library OS, beside the manifest."""
_LEAST = 512 << 20  # bytes: the interpreter and the engine before any workload
_LARGEST = 1 << 36  # bytes: what processors have at most
THREADS = 8
"""The interpreter, the two of its carrier and their watch, one for a deadline, Gramine's own, and a reserve. Nothing in
`[resources]` adds to them: connections have no threads, and code is compiled by one."""
_STACK = "4M"


class Enclave(NamedTuple):
    """What an enclave is made of.

    `argv` begins with the program; `files` has the content of each file that it may read, by its path; `memory` is what
    the workload may use, in bytes.
    """

    argv: Sequence[str]
    files: Mapping[str, bytes]
    libos: bytes
    memory: int


def manifest(enclave: Enclave, product: int, svn: int) -> dict[str, Any]:
    """The manifest as a table; `product` and `svn` are ISVPRODID and ISVSVN. Raises KeepError."""
    files = {f"{ROOT}/{path}": content for path, content in enclave.files.items()}
    return {
        "loader": {
            "entrypoint": {"uri": f"file:{LIBOS}", "sha256": _sha256(enclave.libos)},
            "argv": list(enclave.argv),
            "log_level": "error",
            "env": {"LC_ALL": "C.UTF-8"},
        },
        "libos": {"entrypoint": enclave.argv[0]},
        "sys": {
            "disallow_subprocesses": True,
            "enable_sigterm_injection": False,
            "stack": {"size": _STACK},
        },
        "fs": {"root": {"type": "chroot", "uri": f"file:{ROOT}"}, "mounts": []},
        "sgx": {
            "debug": False,
            "remote_attestation": "dcap",
            "enclave_size": f"{size(enclave.memory) >> 20}M",
            "max_threads": THREADS,
            "edmm_enable": False,
            "use_exinfo": False,
            "isvprodid": product,
            "isvsvn": svn,
            # As Gramine has them where a manifest says nothing, so that it is said what the signature asks for.
            "cpu_features": {"avx": "unspecified", "avx512": "unspecified", "amx": "unspecified"}
            | {"mpx": "disabled", "pkru": "disabled"},
            "file_check_policy": "strict",
            "trusted_files": list(_trusted({LIBOS: enclave.libos, **files})),
        },
    }


def text(table: Mapping[str, Any]) -> bytes:
    """The manifest as TOML; the same table gives the same bytes."""
    import tomli_w

    return tomli_w.dumps(table).encode()


def size(memory: int) -> int:
    """Bytes of an enclave: a power of two that holds the runtime and the workload's memory. Raises KeepError.

    Twice that memory: an enclave reserves no addresses, so that what grows is copied, and is there twice meanwhile.
    """
    wanted = 1 << (_LEAST + 2 * memory - 1).bit_length()
    if wanted > _LARGEST:
        raise KeepError(
            f"an enclave of {wanted >> 30:,} GiB cannot be",
            hint="have the workload take less: [resources] of Enarx.toml",
        )
    return wanted


def _trusted(files: Mapping[str, bytes]) -> Iterator[dict[str, str]]:
    """In the order of their names, so that the order in which they were found does not count."""
    for path, content in sorted(files.items()):
        yield {"uri": f"file:{path}", "sha256": _sha256(content)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
