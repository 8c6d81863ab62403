"""What users, repositories, tags and nodes may be called (Drawbridge 0.4, where the length of a name has no end).

All are case-sensitive. A tag is a semantic version (semver 2.0), build metadata and all.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .errors import Malformed

DEPTH_LIMIT: Final = 32
"""Most directories above a node."""

_IDENTIFIER: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,18})"
_VERSION: Final = (
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_TAG: Final = re.compile(_VERSION)
_TAG_LENGTH: Final = 255


class Kind(NamedTuple):
    """A kind of name: its form, and what a name that is not of it is told."""

    form: re.Pattern[str]
    wanted: str


USER: Final = Kind(re.compile(r"[0-9A-Za-z]{1,64}"), "1 to 64 letters and digits")
REPOSITORY: Final = Kind(re.compile(r"[0-9A-Za-z-]{1,128}"), "1 to 128 letters, digits and -")
NODE: Final = Kind(re.compile(r"(?!\.{1,2}\Z)[0-9A-Za-z._:-]{1,255}"), "1 to 255 letters, digits and . _ : -")
TAG: Final = Kind(
    re.compile(rf"(?=.{{1,{_TAG_LENGTH}}}\Z){_TAG.pattern}"), "a semantic version such as 1.2.3 or 1.2.3-rc.1"
)


def check(name: str, kind: Kind) -> str:
    """The name, if it is of this kind. Raises `Malformed`."""
    if kind.form.fullmatch(name) is None:
        raise Malformed(f"Invalid name {name[:80]!a}: it must be {kind.wanted}")
    return name


def tree_path(parts: list[str]) -> tuple[str, ...]:
    """The way to a node, as a URL has it: slashes at its ends mean nothing. Raises `Malformed`."""
    while parts and not parts[0]:
        parts = parts[1:]
    while parts and not parts[-1]:
        parts = parts[:-1]
    if len(parts) > DEPTH_LIMIT + 1:
        raise Malformed(f"Invalid path: it has more than {DEPTH_LIMIT} directories")
    return tuple(check(part, NODE) for part in parts)
