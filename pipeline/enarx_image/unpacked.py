"""Packages laid out in a directory, and the programs in them, by which an image is built: they are pinned too.

Each program is started by the loader that came with it, so that neither the C library nor anything else of this machine
has a say in what it makes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from enarx_image import deb
from enarx_image.contents import contents
from enarx_image.errors import WrongInput
from enarx_image.pins import Package

LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = f"{LIBRARIES}/ld-linux-x86-64.so.2"
_INTERPRETER = "usr/bin/python3.13"
_COMPILER = Path(__file__).with_name("compiling.py")
_PATIENCE = 300.0  # seconds for each program


class Unpacked:
    """A directory with the files of packages. `owner` says of each path which package it is from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.owner: dict[str, str] = {}

    def add(self, package: Package, content: bytes) -> None:
        """Lay out a package whose digest was checked. Raises WrongInput."""
        for member in deb.members(content, package.name, _wanted(package)):
            place = self._place(member.path, package)
            if member.target:
                place.symlink_to(member.target)
            else:
                place.write_bytes(member.content)
                place.chmod(0o755)
            self.owner[member.path] = f"{package.name} {package.version}"

    def _place(self, path: str, package: Package) -> Path:
        """Where a file will be, with nothing there yet. Links of packages may lead on, and not out of here."""
        place = self.root / path
        if not place.parent.resolve().is_relative_to(self.root.resolve()):
            raise WrongInput(f"{package.name} would write outside of where it is laid out: {path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        return place

    def read(self, path: str) -> bytes:
        """A file, links followed. Raises WrongInput."""
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise WrongInput(f"no package has {path}", hint="is it named in contents.toml as it is there?") from error

    def find(self, pattern: str) -> str:
        """The one path that a pattern fits. Raises WrongInput."""
        found = sorted(str(path.relative_to(self.root)) for path in self.root.glob(pattern))
        if len(found) != 1:
            raise WrongInput(f"{len(found)} files of the packages fit {pattern}, and it should be one")
        return found[0]

    def compress(self, content: bytes) -> bytes:
        """By zstd, in one thread, as more would give another result; level 19 takes a third longer for 0.4% less."""
        return self._run("usr/bin/zstd", ["-18", "--single-thread", "--no-progress", "-c"], content)

    def strip(self, library: bytes) -> bytes:
        """A shared library without what only linkers and debuggers read."""
        place = self.root / "stripped"
        place.write_bytes(library)
        self._run("usr/bin/x86_64-linux-gnu-strip", ["--strip-unneeded", str(place)], b"")
        try:
            return place.read_bytes()
        finally:
            place.unlink()

    def compile(self, sources: bytes) -> bytes:
        """What `compiling.py` says, run by the interpreter of the image."""
        return self._run(_INTERPRETER, ["-S", "-s", "-B", str(_COMPILER)], sources)

    def _run(self, program: str, arguments: Iterable[str], given: bytes) -> bytes:
        command = [str(self.root / _LOADER), "--library-path", str(self.root / LIBRARIES), str(self.root / program)]
        environment = {"PYTHONHOME": str(self.root / "usr"), "PYTHONHASHSEED": "0", "LC_ALL": "C"}
        try:
            ended = subprocess.run(
                [*command, *arguments],
                input=given,
                capture_output=True,
                env=environment,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WrongInput(f"{program} cannot be run here: {error}", hint="an image is built on x86-64") from error
        if ended.returncode:
            said = ended.stderr.decode(errors="replace").strip()
            raise WrongInput(f"{program} ended with {ended.returncode}: {said[-500:]}")
        return ended.stdout


def _wanted(package: Package) -> _Filter:
    return _Filter(package.use == "kernel")


class _Filter:
    """Of the kernel's package the kernel and the modules that are listed; of others what programs need."""

    def __init__(self, is_kernel: bool) -> None:
        self._is_kernel = is_kernel
        self._names = tuple(f"/{name}.ko.xz" for name in contents().kernel.all)

    def __call__(self, path: str) -> bool:
        if self._is_kernel:
            return path.startswith("boot/vmlinuz-") or path.endswith(self._names)
        return path.startswith("usr/") and not path.startswith("usr/share/")
