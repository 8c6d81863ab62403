"""How long `enarx-deploy compile` takes to see that nothing has changed, for each language whose tool is here.

As a rule a stamp answers (`enarx_deploy.cli.unchanged`); what a look without one takes is shown beside it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benches.figures import Bound, Ratio, Section

ROUNDS = 20
_CARGO = '[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\n'
_PROJECTS: dict[str, dict[str, str]] = {
    "c": {"main.c": "int main(void) { return 0; }\n"},
    "rust": {"Cargo.toml": _CARGO, "src/main.rs": "fn main() {}\n"},
    "go": {"go.mod": "module x\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() {}\n"},
    "assemblyscript": {"assembly/index.ts": 'console.log("x");\n'},
    "javascript": {"main.js": "console.log(1);\n"},
    "wat": {"main.wat": '(module (memory (export "memory") 1) (func (export "_start")))\n'},
}


def measure(seconds: float) -> Section:  # noqa: ARG001 - every benchmark takes it
    """Milliseconds of an unchanged `compile`, and how many of them are Python's own start."""
    with tempfile.TemporaryDirectory(prefix="enarx-bench.") as name:
        spent = {language: times for language in _PROJECTS if (times := _language(Path(name), language))}
    rows = [
        [language, f"{whole:.0f}", f"{python:.0f}", f"{whole - python:.0f}", f"{looked - python:.0f}"]
        for language, (whole, python, looked) in spent.items()
    ]
    slowest = max((whole - python for whole, python, _ in spent.values()), default=0.0)
    return Section(
        "An unchanged project, compiled again (ms)",
        ["language", "compile", "python -c pass", "beyond that", "beyond that, without a stamp"],
        rows,
        [Ratio("the slowest language beyond Python's own start (ms)", slowest, "less", Bound(60.0, 40.0))],
        "The least of all rounds, since everything that disturbs one adds to it.",
    )


def _language(folder: Path, language: str) -> tuple[float, float, float] | None:
    """The least time of an unchanged compile, of Python's start, and of a compile that has no stamp, in ms.

    None where there is no tool.
    """
    root = folder / language
    for name, text in _PROJECTS[language].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    compiling = [sys.executable, "-m", "enarx_deploy", "compile", "--quiet", "-C", str(root)]
    if subprocess.run(compiling, capture_output=True).returncode != 0:
        return None
    whole, python, looked = [], [], []
    for _ in range(ROUNDS):
        whole.append(_spent(compiling))
        python.append(_spent([sys.executable, "-c", "pass"]))
        shutil.rmtree(root / ".enarx" / "unchanged", ignore_errors=True)
        looked.append(_spent(compiling))
    return min(whole), min(python), min(looked)


def _spent(words: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    return (time.perf_counter() - began) * 1000
