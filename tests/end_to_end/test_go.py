"""A program by Go's own compiler, whose runtime asks for clocks, randomness and poll_oneoff before main() begins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HELLO = """\
package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	ticks := make(chan int)
	for i := 0; i < 3; i++ {
		go func() {
			time.Sleep(20 * time.Millisecond)
			ticks <- 1
		}()
	}
	sum := 0
	for i := 0; i < 3; i++ {
		sum += <-ticks
	}
	waited := time.Since(began)
	bytes := make([]byte, 32)
	if n, err := rand.Read(bytes); n != 32 || err != nil {
		os.Exit(3)
	}
	if waited < 20*time.Millisecond || waited > 10*time.Minute || began.Year() < 2024 {
		fmt.Println("clocks:", waited, began)
		os.Exit(4)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Printf("%s, %s (%d)\\n", os.Getenv("GREETING"), lines.Text(), sum)
	}
	if _, err := os.Open("/etc/passwd"); err == nil {
		os.Exit(5)
	}
	os.Exit(len(os.Args))
}
"""


@pytest.fixture
def go(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Build a program, once for each text and version of Go."""

    def build(text: str) -> Path:
        version = subprocess.run(["go", "version"], capture_output=True, check=True).stdout
        state = hashlib.sha256(version + text.encode()).hexdigest()[:16]
        module = Path(request.config.cache.mkdir("wasm_programs")) / f"go-{state}.wasm"
        if not module.exists():
            (tmp_path / "main.go").write_text(text)
            (tmp_path / "go.mod").write_text("module program\n\ngo 1.21\n")
            places = {"GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
            built = tmp_path / "program.wasm"
            subprocess.run(["go", "build", "-o", str(built), "."], cwd=tmp_path, env=os.environ | places, check=True)
            built.replace(module)
        return module

    return build


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_a_go_program_runs(run, go) -> None:
    words = ("--env", "GREETING=hello", "--", "a", "b")
    ended = run(go(HELLO), *words, stdin=b"one\ntwo\n")
    assert ended.out.decode() == "hello, one (3)\nhello, two (3)\n", ended.err
    assert ended.status == 3
