"""What an image is made of, by name, version and digest: `pins.toml`, or a table of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tomli
import tomli_w

from enarx_image.errors import BadPins

BUILT_IN = Path(__file__).with_name("pins.toml")
Use = Literal["kernel", "image", "tool"]
"""What a package is for: the kernel and its modules, a part of the initramfs, or a program that builds it."""

_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9.+:~_-]*\Z", max_length=200)]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_LIMIT = 1 << 20


class Package(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A package of Debian; `sha256` and `size` (bytes) are of its file."""

    name: _Word
    version: _Word
    architecture: _Word
    use: Use
    size: Annotated[int, msgspec.Meta(gt=0, le=1 << 29)]
    sha256: _Sha256

    @property
    def file_names(self) -> tuple[str, str]:
        """How its file is called by apt, and by the archive, which leaves a version's epoch out."""
        versions = self.version.replace(":", "%3a"), self.version.rpartition(":")[2]
        by_apt, by_archive = (f"{self.name}_{version}_{self.architecture}.deb" for version in versions)
        return by_apt, by_archive


class Installed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Python distribution as it is installed; `sha256` is of the files that are taken (`tree.digest_of`)."""

    name: _Word
    version: _Word
    sha256: _Sha256


class Pins(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All inputs, but for this distribution's own. `suite` is the release of Debian, by its code name."""

    suite: _Word
    packages: tuple[Package, ...]
    installed: tuple[Installed, ...]

    def of(self, *uses: Use) -> Iterator[Package]:
        """The packages for some uses."""
        return (package for package in self.packages if package.use in uses)


def load(path: Path = BUILT_IN) -> Pins:
    """Read a table of pins. Raises BadPins."""
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT + 1)
        if len(text) > _LIMIT:
            raise BadPins(f"{path}: larger than {_LIMIT} bytes")
        return msgspec.convert(tomli.loads(text.decode()), Pins)
    except OSError as error:
        raise BadPins(f"{path}: {error.strerror}", hint="`enarx-deploy image lock` writes one") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise BadPins(f"{path}: {error}", hint="`enarx-deploy image lock` writes it anew") from error


def dump(pins: Pins, comment: Sequence[str]) -> bytes:
    """The table as TOML, behind some lines of comment."""
    head = "".join(f"# {line}\n" for line in comment)
    return f"{head}\n{tomli_w.dumps(msgspec.to_builtins(pins))}".encode()
