"""What is trusted before any evidence is looked at: digests of the vendors' own certificates."""

from __future__ import annotations

from typing import Final

import msgspec


class Anchors(msgspec.Struct, frozen=True, kw_only=True):
    """SHA-256 digests (hexadecimal) of certificates in DER, byte for byte."""

    intel_roots: frozenset[str] = frozenset()
    nitro_roots: frozenset[str] = frozenset()


VENDOR_ANCHORS: Final = Anchors()
"""The vendors' production roots."""
