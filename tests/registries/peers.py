"""Programs of others that a test's registry is used with: of Debian trixie, unpacked and not installed, and of PyPI.

They are kept in the user's cache, so that they are downloaded once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n"
_PATIENCE = 120.0  # seconds for each step of apt


def of_debian(package: str, program: str) -> Path:
    """A program of a Debian package. The test is skipped where it cannot be had."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip(f"{program} is taken from Debian, and apt-get is not here")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache") / "enarx-deploy/debian-trixie"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = cache / package
        if not place.exists():
            _unpack(cache, package)
    found = next(place.glob(f"usr/*bin/{program}"), None)
    assert found is not None, f"{package} has no {program}"
    return found


def of_pypi(program: str) -> Path:
    """A program of the environment that the tests run in."""
    found = Path(sys.executable).parent / program
    if not found.exists():
        pytest.skip(f"{program} is not installed in the environment of the tests")
    return found


def _unpack(cache: Path, package: str) -> None:
    """Download a package with an apt of its own, which changes nothing of the system's, and unpack it."""
    apt = cache / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources").write_text(_SOURCE)
    settings = {
        "Dir::Etc::sourcelist": apt / "sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "Dir::State::status": apt / "status",
        "APT::Sandbox::User": "root",
    }
    command = ["apt-get", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    if not any((apt / "lists").glob("*Packages*")):
        _run([*command, "update", "-qq"], apt)
    _run([*command, "download", "-qq", package], apt)
    (archive,) = apt.glob(f"{package}_*.deb")
    shutil.rmtree(cache / f"{package}.part", ignore_errors=True)
    _run(["dpkg", "-x", str(archive), str(cache / f"{package}.part")], apt)
    archive.unlink()
    (cache / f"{package}.part").rename(cache / package)


def _run(command: list[str], place: Path) -> None:
    try:
        ended = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("Debian's archive does not answer")
    if ended.returncode:
        pytest.skip(f"Debian's archive cannot be used: {ended.stderr.strip()[-300:]}")
