"""Compiled Python for a layer: pods cannot keep what they compile, as their root file system cannot be written.

The same source makes the same bytes wherever it is compiled: the form is the one without references and interned
strings, and names its source by a hash that nobody checks again, for the image's digest vouches for both.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from enarx_deploy import paths
from enarx_kubernetes.image.layer import Entry, File

_UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552
_PLAIN = 0  # the version of marshal
_KEPT = 8192  # compiled files: those of the images of a few versions


def beside(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The compiled files that belong to the modules among these entries, each in its `__pycache__`."""
    kept = paths.cache_dir("kubernetes", "bytecode")
    made: dict[str, Entry] = {}
    for path, entry in entries.items():
        if path.endswith(".py") and isinstance(entry, File):
            source = b"".join(entry.chunks())
            compiled = kept / hashlib.sha256(path.encode() + b"\0" + source).hexdigest()
            if _is_kept(compiled) or _compile(path, source, compiled):
                made[_place(path)] = File(compiled)
    _prune(kept)
    return made


def _is_kept(compiled: Path) -> bool:
    """Whether it was compiled before; then it is read last. When it was written stays: layers are noted by that."""
    try:
        os.utime(compiled, ns=(time.time_ns(), compiled.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


def _prune(kept: Path) -> None:
    """Remove all but those that were read last."""
    used = []
    for entry in os.scandir(kept):
        with contextlib.suppress(FileNotFoundError):  # another build removes them, too
            used.append((entry.stat().st_atime_ns, entry.path))
    for _, path in sorted(used)[:-_KEPT]:
        Path(path).unlink(missing_ok=True)


def _place(path: str) -> str:
    module = PurePosixPath(path)
    return str(module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc")


def _compile(path: str, source: bytes, into: Path) -> bool:
    """False for what is no module of this Python: templates, and code for versions to come."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return False
    head = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source)
    paths.write_atomically(into, head + marshal.dumps(code, _PLAIN), mode=0o644)
    return True
