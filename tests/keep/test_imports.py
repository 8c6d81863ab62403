"""What a Keep imports, which is what it trusts and most of what its start takes."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"cryptography", "dataclasses", "email", "importlib.metadata", "inspect", "msgspec", "socket", "subprocess"}


def test_a_keep_that_is_a_process_imports_little() -> None:
    look = "import sys; before = {*sys.modules}; import enarx_keep.life; print(*({*sys.modules} - before))"
    imported = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True).stdout.split()
    assert "wasmtime" in imported
    assert HEAVY.isdisjoint(imported)
