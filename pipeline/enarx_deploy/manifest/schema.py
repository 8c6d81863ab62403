"""The JSON Schema of `Enarx.toml`, made from the types.

It says what every key may be. What holds between keys (`enarx_deploy.manifest.rules`) only the loader can check.
"""

from __future__ import annotations

from typing import Any

import msgspec

from enarx_deploy.manifest.types import Manifest

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema, in the dialect of 2020-12."""
    return {"$schema": DIALECT, "title": "Enarx.toml", **msgspec.json.schema(Manifest)}
