"""From the bytes of `Enarx.toml` to a checked `Manifest`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import tomli
import tomli_w

from enarx_deploy.errors import ManifestError
from enarx_deploy.manifest.types import Manifest

FILE_NAME = "Enarx.toml"
MAX_BYTES = 1_000_000
"""The largest manifest, as in Enarx, which reads no more of one that it fetches."""

_WITHOUT_A_FILE = {"files": [{"kind": "stdin"}, {"kind": "stdout"}, {"kind": "stderr"}]}


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that was read and found good.

    `text` is what goes into the package: the file's own bytes, or the effective manifest as TOML where there was no
    file or where overrides changed it. `warnings` are lines about what is allowed but seldom meant.
    """

    manifest: Manifest
    path: Path | None
    text: bytes
    warnings: list[str]


def load(path: Path | None, overrides: Sequence[str] = ()) -> Loaded:
    """Read a manifest; None is Enarx's default manifest: the three standard streams. Raises ManifestError."""
    if path is None:
        return parse(tomli_w.dumps(_WITHOUT_A_FILE).encode(), "", overrides)
    try:
        loaded = parse(path.read_bytes(), str(path), overrides)
    except OSError as error:
        raise ManifestError(f"cannot be read: {error.strerror}", file=str(path)) from error
    return msgspec.structs.replace(loaded, path=path)


def parse(text: bytes, file: str, overrides: Sequence[str] = ()) -> Loaded:
    """Check a manifest's bytes; `file` is its name in errors. Raises ManifestError."""
    if overrides:
        raise ManifestError("overrides are not read yet", file=file)
    try:
        manifest = msgspec.convert(tomli.loads(text.decode()), Manifest)
    except ValueError as error:
        raise ManifestError(str(error), file=file) from error
    return Loaded(manifest=manifest, path=None, text=text, warnings=[])
