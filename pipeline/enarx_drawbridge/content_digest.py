"""The header Content-Digest: `sha-256=:BASE64:,sha-512=:BASE64:`, as Drawbridge writes it and RFC 9530 allows.

Drawbridge knows neither spaces nor other algorithms. Both are read here and never written.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MAX_HEADER: Final = 2048
"""Most characters of the header."""

SIZES: Final = MappingProxyType({"sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64})
"""Bytes of a digest, by algorithm, in the order in which they are written."""

_MEMBER: Final = re.compile(r"([A-Za-z*][A-Za-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):")


class MalformedDigest(ValueError):
    """What should be a digest is none."""


def parse(header: str) -> dict[str, str]:
    """The digests that the header names: standard base64 by algorithm. Raises `MalformedDigest` if there is none."""
    if len(header) > MAX_HEADER:
        raise MalformedDigest(f"the header has more than {MAX_HEADER} characters")
    found: dict[str, str] = {}
    for member in header.split(","):
        match = _MEMBER.fullmatch(member.strip(" \t"))
        if match is None:
            raise MalformedDigest(f"{member[:100]!a} is not of the form ALGORITHM=:BASE64:")
        algorithm = match[1].lower()
        if algorithm in found:
            raise MalformedDigest(f"it names {algorithm} twice")
        if algorithm in SIZES:
            found[algorithm] = check(algorithm, match[2])
    if not found:
        raise MalformedDigest(f"it names none of {', '.join(SIZES)}")
    return found


def render(digests: Mapping[str, str]) -> str:
    """The header for these digests, in Drawbridge's strict form."""
    return ",".join(f"{algorithm}=:{digests[algorithm]}:" for algorithm in SIZES if algorithm in digests)


def check(algorithm: str, text: str) -> str:
    """The base64 of a digest, if it is one of this algorithm and written in the one way. Raises `MalformedDigest`."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != SIZES.get(algorithm) or base64.b64encode(value).decode() != text:
        raise MalformedDigest(f"{text[:100]!a} is not the base64 of a {algorithm} digest")
    return text
