"""The layers of a pod's image: what is in them, and that nothing else decides their digest."""

from __future__ import annotations

import io
import marshal
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from enarx_kubernetes.image import base, bytecode, runtime
from enarx_kubernetes.image.layer import Directory, File, Layer, Link


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENARX_DEPLOY_CACHE_DIR", str(tmp_path / "cache"))


def unpacked(layer: Layer) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(layer.chunks())))


def test_a_layer_is_a_tar_of_nobodys_files(tmp_path):
    (tmp_path / "program").write_bytes(b"#!")
    entries = {
        "/usr/bin/program": File(tmp_path / "program", executable=True),
        "/etc/name": File(b"keep"),
        "/bin/p": Link("/usr/bin/program"),
        "/tmp": Directory(0o1777),
    }
    layer = Layer(entries)
    tar = unpacked(layer)
    assert tar.getnames() == ["bin", "bin/p", "etc", "etc/name", "tmp", "usr", "usr/bin", "usr/bin/program"]
    assert {(one.uid, one.gid, one.mtime) for one in tar} == {(0, 0, 0)}
    assert tar.getmember("usr/bin/program").mode == 0o755
    assert tar.getmember("tmp").mode == 0o1777
    assert tar.extractfile("etc/name").read() == b"keep"  # type: ignore[union-attr]
    assert layer.size == sum(map(len, layer.chunks()))


def test_neither_order_nor_times_nor_modes_of_files_change_a_layer(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    os.utime(tmp_path / "b", (1, 1))
    (tmp_path / "b").chmod(0o600)
    first = Layer({"/x": File(tmp_path / "a"), "/y": File(b"y")})
    second = Layer({"/y": File(b"y"), "/x": File(tmp_path / "b")})
    assert first.digest == second.digest


def test_a_file_that_changed_is_looked_at_again(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    before = Layer({"/x": File(file)}).digest
    assert Layer({"/x": File(file)}).digest == before
    file.write_bytes(b"two")
    assert Layer({"/x": File(file)}).digest != before


COMPILED = """
import sys
from enarx_kubernetes.image import bytecode
from enarx_kubernetes.image.layer import File
source = b"A = {'x', 'y', 'z'}\\ndef f(k):\\n    return k in {'north', 'south', 'east'}, A, 1.5, ...\\n"
(made,) = bytecode.beside({"/m.py": File(source)}).values()
sys.stdout.buffer.write(b"".join(made.chunks()))
"""


def test_compiled_code_is_the_same_in_every_process(tmp_path):
    outputs = set()
    for seed in ("0", "1", "2"):
        own = {"PYTHONHASHSEED": seed, "ENARX_DEPLOY_CACHE_DIR": str(tmp_path / f"cache{seed}")}
        ended = subprocess.run(
            [sys.executable, "-c", COMPILED], env={**os.environ, **own}, capture_output=True, check=True
        )
        outputs.add(ended.stdout)
    (output,) = outputs
    namespace: dict[str, object] = {}
    exec(marshal.loads(output[16:]), namespace)  # noqa: S102, S302 - what was just compiled here
    assert namespace["f"]("north")[0] is True  # type: ignore[operator]


def test_what_is_no_module_of_this_python_is_left_uncompiled():
    assert bytecode.beside({"/t.py": File(b"{{ template }} !"), "/data.txt": File(b"x = 1")}) == {}


def test_of_compiled_code_what_was_used_last_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(bytecode, "_KEPT", 2)

    def kept(name: str) -> Path:
        (made,) = bytecode.beside({f"/{name}.py": File(f"{name} = 1\n".encode())}).values()
        assert isinstance(made, File)
        assert isinstance(made.content, Path)
        return made.content

    first, second = kept("one"), kept("two")
    written = first.stat().st_mtime_ns
    assert kept("one").stat().st_mtime_ns == written
    third = kept("three")
    assert [path.exists() for path in (first, second, third)] == [True, False, True]


def test_the_bottom_layer_runs_python_with_nothing_of_this_machine(tmp_path):
    """In a root of its own, as in a container: what is not in the layer is not there."""
    if os.geteuid():
        pytest.skip("a root of its own takes root")
    root = tmp_path / "root"
    with unpacked(Layer(base.entries())) as tar:
        tar.extractall(root, filter="fully_trusted")  # noqa: S202 - made by the line above
    said = subprocess.run(
        [
            "/usr/sbin/chroot",
            "--userspec=65532:65532",
            str(root),
            "/usr/local/bin/python3",
            "-I",
            "-c",
            "import ssl, json; print(json.dumps(1))",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout == "1\n", said.stderr
    assert not (root / "bin/sh").exists()


def test_the_rooms_that_run_in_a_cluster_are_packages_of_this_distribution():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert set(runtime.ROOMS) <= set(project["tool"]["setuptools"]["packages"])
