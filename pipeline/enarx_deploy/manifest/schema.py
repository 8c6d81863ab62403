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
    made = msgspec.json.schema(Manifest)
    made["$defs"]["Deploy"]["additionalProperties"] = {
        "type": "object",
        "description": "The table that a target of this name has of its own.",
    }
    return {"$schema": DIALECT, "title": "Enarx.toml", **made}
