"""A QEMU that boots the Keep's image: 10 or later, since 7.2 runs into faults of its own with Linux 6.12.

The one of this machine, or that of Debian's backports, unpacked into the user's cache and not installed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

LEAST = 10
PROGRAM = "qemu-system-x86_64"
_PACKAGES = ("qemu-system-x86", "qemu-system-data", "seabios")
_PATIENCE = 300.0  # seconds for each step of apt
_SOURCES = """\
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm-backports main
"""
_WRAPPER = """\
#!/bin/sh
export LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu
exec {root}/usr/bin/{program} -L {root}/usr/share/qemu -L {root}/usr/share/seabios "$@"
"""


def program() -> Path:
    """The program to start. The test is skipped where there is none and none can be had."""
    installed = shutil.which(PROGRAM)
    if installed and version(Path(installed)) >= LEAST:
        return Path(installed)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache") / "enarx-deploy/qemu"
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / "root/bin" / PROGRAM
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _unpack(cache)
    return found


def version(found: Path) -> int:
    """The major version of a QEMU; 0 where it does not run."""
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    match = re.search(r"version (\d+)", said)
    return int(match[1]) if match else 0


def _unpack(cache: Path) -> None:
    """Download it and what it is linked to with an apt of its own, which changes nothing of the system's."""
    if "bookworm" not in Path("/etc/os-release").read_text() or shutil.which("apt-get") is None:
        pytest.skip(f"no QEMU {LEAST} or later is installed here, and Debian 12 is where one is fetched")
    apt = cache / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "sources").write_text(_SOURCES)
    settings = {
        "Dir::Etc::sourcelist": apt / "sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run(["apt-get", *options, "update", "-qq"], apt)
    install = ["install", "-s", "-t", "bookworm-backports", "--no-install-recommends", *_PACKAGES]
    planned = _run(["apt-get", *options, *install], apt)
    missing = [f"{name}={version}" for name, version in re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", planned, re.M)]
    _run(["apt-get", *options, "download", "-qq", *missing], apt / "debs")
    part = cache / "root.part"
    shutil.rmtree(part, ignore_errors=True)
    for package in (apt / "debs").glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(part)], apt)
        package.unlink()
    (part / "bin").mkdir()
    wrapper = part / "bin" / PROGRAM
    wrapper.write_text(_WRAPPER.format(root=cache / "root", program=PROGRAM))
    wrapper.chmod(0o755)
    part.rename(cache / "root")


def _run(command: list[str], place: Path) -> str:
    try:
        ended = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("Debian's archive does not answer")
    if ended.returncode:
        pytest.skip(f"Debian's archive cannot be used: {ended.stderr.strip()[-300:]}")
    return ended.stdout
