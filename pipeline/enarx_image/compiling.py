"""A program for the interpreter of the image, which is another than the one that builds it: sources to code.

Takes on stdin a list of paths and sources (JSON), and gives as many files of code (`.pyc`), each behind its length in 4
bytes. Its docstrings and assertions are left out, and what it was made from is never looked for.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import sys

_UNCHECKED = 0b01
"""By the digest of its source, which is not compared (PEP 552)."""


def code(path: str, source: str) -> bytes:
    """One file of code, as PEP 552 says."""
    made = compile(source, path, "exec", dont_inherit=True, optimize=2)
    digest = importlib.util.source_hash(source.encode())
    return importlib.util.MAGIC_NUMBER + _UNCHECKED.to_bytes(4, "little") + digest + marshal.dumps(made)


def main() -> None:
    """Compile all that is asked for."""
    for path, source in json.load(sys.stdin.buffer):
        made = code(path, source)
        sys.stdout.buffer.write(len(made).to_bytes(4, "big") + made)


if __name__ == "__main__":
    main()
