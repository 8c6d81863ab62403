"""Pages that are done from top to bottom by whoever reads them: each command, in their order, and each succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.test_documents import ROOT, command_lines

from enarx_deploy.cli.main import main

BARE = "--no-passphrase"
"""There is no terminal here to ask for a passphrase."""

ELSEWHERE = (  # begins so, and is done where what it takes is there
    "keyless",
    "key show pkcs11:",
    "run",
    "up",
    "publish oci:",
    "fetch oci:",
    "dev",
    "doctor",
    "platform",
    "image",
    "attest --backend snp",
    "steward",
)
CHANGED = {
    "key generate release.key": ("key", "generate", "release.key", BARE),
    "key rotate release.key next.key --overlap 30": (
        "key",
        "rotate",
        "release.key",
        "next.key",
        "--overlap",
        "30",
        BARE,
    ),
    "inspect FILE.wasm": ("inspect", ".enarx/main.wasm"),
}
HELLO = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello\\n")
  (data (i32.const 0) "\\10\\00\\00\\00\\06\\00\\00\\00")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""


@pytest.fixture
def reader(enarx_deploy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Who reads is in the folder of a project that was compiled, and has a home of their own."""
    for name in ("HOME", "ENARX_DEPLOY_STATE_DIR", "ENARX_DEPLOY_CACHE_DIR"):
        monkeypatch.setenv(name, enarx_deploy.environment[name])
    monkeypatch.chdir(enarx_deploy.directory)
    Path("main.wat").write_text(HELLO)
    Path("Enarx.toml").write_text('[[files]]\nkind = "null"\n\n[[files]]\nkind = "stdout"\n')
    assert main(["compile"]) == 0
    return enarx_deploy.directory


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("how-to/sign-a-package.md", 11),
        ("how-to/publish-a-package.md", 5),
        ("how-to/develop.md", 4),
        ("measurement.md", 6),
    ],
)
def test_a_page_can_be_done_as_it_is_read(page: str, least: int, reader: Path, capfd: pytest.CaptureFixture) -> None:
    done = 0
    for words in command_lines((ROOT / "docs" / page).read_text()):
        if (line := " ".join(words)).startswith(ELSEWHERE):
            continue
        typed = [word.replace("HEX", published(reader)) if "HEX" in word else word for word in CHANGED.get(line, words)]
        assert main(typed) == 0, (line, capfd.readouterr().err)
        done += 1
    assert done >= least


def published(project: Path) -> str:
    """The digits of the only package that the project has published."""
    (digits,) = [path.name for path in (project / "packages").iterdir() if "." not in path.name]
    return digits
