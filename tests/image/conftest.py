"""The image of this tree, as a fixture."""

from __future__ import annotations

from tests.keep_image import debs, image

__all__ = ["debs", "image"]
