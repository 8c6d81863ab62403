"""Code that a package brings: run for keys that are trusted with it, and otherwise as if it were not there."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
import wasmtime

WAT = '(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1) '
HONEST = WAT + '(func (export "_start") i32.const 11 call $exit))'
OTHER = WAT + '(func (export "_start") i32.const 22 call $exit))'
"""What the code in the place of HONEST's is really of, so that the exit status tells whether it ran."""


@pytest.fixture
def project(cli) -> Path:
    """A project, and two keys."""
    (cli.directory / "main.wat").write_text(HONEST)
    (cli.directory / "Enarx.toml").write_text("")
    for name in ("release", "other"):
        assert cli("key", "generate", f"{name}.key", "--no-passphrase").returncode == 0
    return cli.directory


def packaged(cli, *words: str) -> Path:
    """The package's tree."""
    made = cli("package", "--aot", "--json", *words)
    assert made.returncode == 0, made.stderr
    return Path(json.loads(made.stdout)["root"])


def exchanged(cli, root: Path, key: str = "") -> Path:
    """The same package with the code of another module, signed by `key`."""
    from enarx_deploy import package_tree
    from enarx_keep import module

    (code,) = (root / "compiled").iterdir()
    other = bytes(wasmtime.Module(module.engine(), wasmtime.wat2wasm(OTHER)).serialize())
    files = [(path.relative_to(root).as_posix(), [path.read_bytes()]) for path in root.rglob("*") if path.is_file()]
    place = f"compiled/{code.name}"
    changed = package_tree.lay_out([(name, [other] if name == place else data) for name, data in files], root.parent)
    if key:
        assert cli("package", "sign", changed.root, "--sign", key).returncode == 0
    return Path(changed.root)


def test_the_name_tells_wasmtime_and_machine(cli, project) -> None:
    (code,) = (packaged(cli) / "compiled").iterdir()
    assert code.name.startswith(f"wasmtime-{version('wasmtime')}-{os.uname().machine}-")


def test_code_is_a_part_of_the_digest(cli, project) -> None:
    with_code = packaged(cli)
    assert json.loads(cli("package", "--json").stdout)["digest"] != f"sha256:{with_code.name}"


def run(cli, root: Path) -> int:
    """A Keep runs the package's tree as it lies in its store, signatures beside it; answers the exit status."""
    ended = cli("run", "--allow-unsigned", f"dir:{root.parent}@sha256:{root.name}")
    assert ended.returncode in (11, 22), ended.stderr
    return ended.returncode


def test_code_of_a_key_that_is_trusted_with_it_is_run(cli, project) -> None:
    cache = cli.directory.parent / "home" / "cache"
    cli.environment["ENARX_DEPLOY_CACHE_DIR"] = str(cache)
    assert cli("key", "trust", "release.key.pub", "--name", "release", "--native-code").returncode == 0
    honest = packaged(cli, "--sign", "release.key")
    assert run(cli, honest) == 11
    (place,) = (cache / "modules").glob("*.cwasm")
    assert place.stat().st_size == 0  # nothing was compiled, so that nothing was kept
    assert run(cli, exchanged(cli, honest, "release.key")) == 22


@pytest.mark.parametrize("trusted", ["nobody", "without native code", "another key", "revoked"])
def test_code_of_any_other_is_never_run(cli, project, trusted) -> None:
    if trusted != "nobody":
        words = [] if trusted == "without native code" else ["--native-code"]
        key = "other.key.pub" if trusted == "another key" else "release.key.pub"
        assert cli("key", "trust", key, "--name", "someone", *words).returncode == 0
    if trusted == "revoked":
        assert cli("key", "revoke", "release.key.pub").returncode == 0
    assert run(cli, exchanged(cli, packaged(cli), "release.key")) == 11


def test_code_that_nobody_signed_is_never_run(cli, project) -> None:
    assert cli("key", "trust", "release.key.pub", "--name", "release", "--native-code").returncode == 0
    assert run(cli, exchanged(cli, packaged(cli))) == 11


def test_a_signature_of_another_package_does_not_help(cli, project) -> None:
    assert cli("key", "trust", "release.key.pub", "--name", "release", "--native-code").returncode == 0
    honest = packaged(cli, "--sign", "release.key")
    changed = exchanged(cli, honest)
    honest.with_name(f"{honest.name}.attachments").rename(changed.with_name(f"{changed.name}.attachments"))
    assert run(cli, changed) == 11


@pytest.mark.parametrize("damage", ["another machine", "another wasmtime", "not code"])
def test_code_that_does_not_fit_is_passed_over(cli, project, damage) -> None:
    from enarx_deploy import package_tree

    assert cli("key", "trust", "release.key.pub", "--name", "release", "--native-code").returncode == 0
    root = packaged(cli)
    files = []
    for path in root.rglob("*"):
        if path.is_file():
            name, data = path.relative_to(root).as_posix(), path.read_bytes()
            if name.startswith("compiled/") and damage == "another machine":
                name = name[:-10] + "0000.cwasm"
            elif name.startswith("compiled/"):
                data = b"\x7fELF" if damage == "not code" else data.replace(b"50.", b"49.")
            files.append((name, [data]))
    changed = package_tree.lay_out(files, root.parent)
    assert cli("package", "sign", changed.root, "--sign", "release.key").returncode == 0
    assert run(cli, Path(changed.root)) == 11
