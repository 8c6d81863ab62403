"""Sources from crates.io, fetched once by whichever cargo here can: that which compiles for WASI may be too old to."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from enarx_deploy import tools

_PACKAGE = '[package]\nname = "judged"\nversion = "0.0.0"\nedition = "2021"\n\n[dependencies]\n'


def fetched(place: Path, versions: Mapping[str, str]) -> Path:
    """A package that depends on these crates, each in `vendor/NAME-VERSION` with all that it depends on.

    Raises CalledProcessError where no cargo here can fetch them.
    """
    (place / "src").mkdir(parents=True, exist_ok=True)
    (place / "src" / "lib.rs").touch()
    wanted = _PACKAGE + "".join(f'{name} = "={version}"\n' for name, version in versions.items())
    manifest = place / "Cargo.toml"
    if not (place / "vendor").exists() or manifest.read_text() != wanted:
        manifest.write_text(wanted)
        _vendor(place)
    return place


def _vendor(place: Path) -> None:
    said = b"there is no cargo here"
    for cargo in tools.all_on_path("cargo"):
        words = [cargo, "vendor", "--quiet", "--versioned-dirs", "vendor"]
        ended = subprocess.run(words, cwd=place, capture_output=True, check=False)
        (place / "Cargo.lock").unlink(missing_ok=True)  # of a form that an older cargo cannot read
        if ended.returncode == 0:
            return
        said = ended.stderr
    raise subprocess.CalledProcessError(1, ["cargo", "vendor"], stderr=said)
