"""Debian's archive, by the user's own apt: nothing of the system's is changed, and no host is asked but its own.

Where packages come from decides nothing: each is taken only if it has the digest that is pinned.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from enarx_image.errors import MissingInput, MovedOn, WrongInput
from enarx_image.pins import Package

_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PATIENCE = 900.0  # seconds for each step of apt
_DEBS_HINT = "or give the packages: --debs DIR"


class Archive:
    """An apt of its own below `place`, for one release. `mirror` is a URL; without it, the one that apt here uses."""

    def __init__(self, place: Path, suite: str, mirror: str = "") -> None:
        self._place = place
        self._suite = suite
        self._mirror = mirror
        self._is_ready = False
        self._complaint = ""

    def fetch(self, packages: Sequence[Package], into: Path) -> None:
        """Download some packages, all or none. Raises MissingInput, MovedOn."""
        self._make_ready()
        wanted = [f"{package.name}:{package.architecture}={package.version}" for package in packages]
        ended = self._apt("apt-get", ["download", "-qq", *wanted], into)
        if ended.returncode:
            for package in packages:
                self._require_version(package)
            said = ended.stderr.strip()[-300:]
            raise MissingInput(f"apt cannot download the packages: {said}", hint=f"try again, {_DEBS_HINT}")

    def candidate(self, name: str) -> str:
        """The version of a package that the archive has. Raises MissingInput."""
        self._make_ready()
        shown = self._apt("apt-cache", ["policy", name], self._place).stdout
        versions = [line.split()[1] for line in shown.splitlines() if line.strip().startswith("Candidate:")]
        if not versions or versions[0] == "(none)":
            told = f": apt complains: {self._complaint}" if self._complaint else ""
            raise MissingInput(f"{self._suite} has no package {name}{told}", hint=f"try --mirror URL, {_DEBS_HINT}")
        return versions[0]

    def depends(self, name: str) -> list[str]:
        """The packages that one depends on, as the archive says."""
        self._make_ready()
        shown = self._apt("apt-cache", ["depends", name], self._place).stdout
        return [line.split()[1] for line in shown.splitlines() if line.strip().startswith("Depends:")]

    def _require_version(self, package: Package) -> None:
        has = self.candidate(package.name)
        if has != package.version:
            raise MovedOn(
                f"the archive has {package.name} {has} now, and {package.version} is pinned",
                hint="`enarx-deploy image lock FILE` pins what is there now, for `image build --lock FILE`; a --mirror "
                f"that keeps old versions, such as snapshot.debian.org, still has it; {_DEBS_HINT}",
            )

    def _make_ready(self) -> None:
        if self._is_ready:
            return
        if shutil.which("apt-get") is None:
            raise MissingInput("packages of Debian are fetched by apt-get, which is not here", hint=_DEBS_HINT)
        for name in ("lists/partial", "cache/archives/partial"):
            (self._place / name).mkdir(parents=True, exist_ok=True)
        (self._place / "status").touch()
        signed = f"[signed-by={_KEYS}] " if _KEYS.exists() else ""
        (self._place / "sources.list").write_text(f"deb {signed}{self._mirror or _own_mirror()} {self._suite} main\n")
        ended = self._apt("apt-get", ["update", "-qq"], self._place)
        if ended.returncode:
            raise MissingInput(
                f"apt cannot read the archive: {ended.stderr.strip()[-300:]}", hint=f"try --mirror URL, {_DEBS_HINT}"
            )
        self._complaint = ended.stderr.strip()[-300:]  # an archive that is not reached is no error, if it was before
        self._is_ready = True

    def _apt(self, program: str, words: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
        settings = {
            "Dir::Etc::sourcelist": self._place / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": self._place / "lists",
            "Dir::Cache": self._place / "cache",
            "Dir::State::status": self._place / "status",
            "Acquire::Languages": "none",
            "APT::Architecture": "amd64",
            # An archive that keeps old versions has old signatures; what is fetched is pinned.
            "Acquire::Check-Valid-Until": "false",
        }
        if os.geteuid() == 0:
            settings["APT::Sandbox::User"] = "root"  # its usual user cannot reach a private directory
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        try:
            return subprocess.run(
                [program, *options, *words],
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise MissingInput("the archive does not answer", hint=f"try again, {_DEBS_HINT}") from error


def _own_mirror() -> str:
    """The place of Debian's main archive that this machine's apt is set to. Raises MissingInput."""
    words = ["indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"]
    shown = subprocess.run(["apt-get", *words], capture_output=True, text=True, timeout=60, check=False).stdout
    lines = [line.split(" ", 1) for line in shown.splitlines()]
    for uri, *label in lines:
        if label == ["Debian"] or uri.rstrip("/").endswith("/debian"):
            return uri
    raise MissingInput(
        "apt here knows no archive of Debian", hint=f"name one: --mirror http://HOST/debian, {_DEBS_HINT}"
    )


def obtain(packages: Sequence[Package], kept: Path, archive: Archive, given: Path | None) -> dict[str, bytes]:
    """The files of all packages by name, each checked: from `given` alone, or else kept ones, or the archive's.

    Raises MissingInput, MovedOn, WrongInput.
    """
    if given is None:
        absent = [package for package in packages if find(package, kept) is None]
        if absent:
            archive.fetch(absent, kept)
    return {package.name: _checked(package, given or kept) for package in packages}


def find(package: Package, folder: Path) -> Path | None:
    """The file of a package in a folder, by either of its names."""
    return next((path for name in package.file_names if (path := folder / name).is_file()), None)


def _checked(package: Package, folder: Path) -> bytes:
    path = find(package, folder)
    if path is None:
        raise MissingInput(f"{folder} has no {package.file_names[0]}", hint="put it there")
    with path.open("rb") as file:
        content = file.read(package.size + 1)
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise WrongInput(
            f"{path} is not the package that is pinned",
            hint=f"remove it; {package.size} bytes with the SHA-256 {package.sha256} are wanted",
        )
    return content
