"""The wheel and the sdist hold everything: each package, each template, the types, the crate, the compiled module."""

from __future__ import annotations

import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # one of the files waits for the other's wheel


def tracked(*folders: str) -> list[Path]:
    """The files that the repository holds below some folders, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [Path(name) for name in listed.split("\0") if name]


@pytest.fixture(scope="session")
def in_wheel(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def in_sdist(built) -> set[str]:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


def test_the_wheel_is_one_for_all_pythons_from_3_11_on(wheel):
    assert "-cp311-abi3-" in wheel.name


def test_the_wheel_holds_every_module(in_wheel):
    ours = [
        path for path in tracked("pipeline", "plugins") if path.suffix in (".py", ".pyi") or path.name == "py.typed"
    ]
    expected = {"/".join(path.parts[1:]) for path in ours if path.parts[1].startswith("enarx_")}
    assert expected
    assert expected - in_wheel == set()


def test_the_wheel_holds_every_template(in_wheel):
    expected = {f"enarx_deploy/{path}" for path in tracked("templates")}
    assert any(name.endswith("Enarx.toml") for name in expected)
    assert expected - in_wheel == set()


def test_the_wheel_holds_the_compiled_module(in_wheel):
    assert [name for name in in_wheel if name.startswith("enarx_sallyport/_native") and name.endswith(".so")]


def test_every_room_is_typed(in_wheel):
    rooms = {name.partition("/")[0] for name in in_wheel if name.endswith(".py")}
    assert {room for room in rooms if f"{room}/py.typed" not in in_wheel} == set()


def test_the_wheel_holds_nothing_else(in_wheel):
    strangers = {name for name in in_wheel if not name.startswith(("enarx_", "enarx_deploy-"))}
    assert strangers == set()
    assert not [name for name in in_wheel if name.endswith(".pyc") or "/tests/" in name]
    assert not [name for name in in_wheel if name.endswith(".rs") and not name.startswith("enarx_deploy/templates/")]


def test_the_wheel_has_the_licence_and_the_entry_points(wheel, in_wheel):
    (entry_points,) = [name for name in in_wheel if name.endswith(".dist-info/entry_points.txt")]
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(entry_points).decode()
    for name, module in CONFIGURATION["project"]["entry-points"]["enarx_deploy"].items():
        assert f"{name} = {module}\n" in text + "\n"
    assert "enarx-deploy = enarx_deploy.cli.main:main" in text
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)


def test_every_package_is_declared():
    """A package that the configuration does not name is missing from the wheel, and found in editable mode."""
    folders = {path.parent for path in tracked("pipeline", "plugins") if path.name == "__init__.py"}
    expected = {".".join(folder.parts[1:]) for folder in folders} | {"enarx_deploy.templates"}
    assert expected == set(CONFIGURATION["tool"]["setuptools"]["packages"])


def test_the_sdist_holds_all_that_the_wheel_is_built_from(in_sdist):
    expected = {str(path) for path in tracked("pipeline", "plugins", "templates") if "/fuzz/" not in str(path)}
    expected |= {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "pipeline/sallyport/Cargo.toml",
        "pipeline/sallyport/Cargo.lock",
    }
    assert expected - in_sdist == set()


def test_the_sdist_holds_nothing_that_was_built(in_sdist):
    built = {name for name in in_sdist if name.endswith((".so", ".pyc")) or "/target/" in name}
    assert built == set()
