"""Put into a manifest what was found missing, and take out what is not used, without touching anything else.

Comments and order stay. The new text is believed only if it reads as the old one with the same changes made.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, MutableMapping
from typing import Any

from enarx_deploy.errors import ManifestError
from enarx_deploy.lint.findings import Change, Close, Connect, ConnectNowhere, Package
from enarx_deploy.manifest import FILE_NAME, parse


def rewritten(text: str, changes: Iterable[Change], file: str = FILE_NAME) -> str:
    """The manifest with the changes made. Raises ManifestError where it would not be a good one."""
    import tomlkit

    made = list(changes)
    document, plain = tomlkit.parse(text), tomllib.loads(text)
    for change in made:
        _apply(document, change)
        _apply(plain, change)
    changed = tomlkit.dumps(document)
    if _said(tomllib.loads(changed)) != _said(plain):
        raise ManifestError(
            "cannot be changed without changing more than is meant", file=file, hint="make the changes by hand"
        )
    parse(changed.encode(), file)
    return changed


def _said(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest without tables that say nothing: one is left where it holds comments."""
    return {key: value for key, value in manifest.items() if value != {}}


def _apply(document: MutableMapping[str, Any], change: Change) -> None:
    match change:
        case Close(index):
            _close(document["files"][index])
        case Connect(destination):
            _append(document.setdefault("network", {}), "connect", destination)
        case ConnectNowhere():
            _take_out(document, "network", "connect")
        case Package(source, guest):
            _append(document.setdefault("package", {}), "assets", {"source": source, "guest": guest})


def _close(entry: MutableMapping[str, Any]) -> None:
    for key in [key for key in entry if key not in ("kind", "name")]:
        del entry[key]
    entry["kind"] = "null"


def _append(table: MutableMapping[str, Any], key: str, item: Any) -> None:
    if key in table:
        table[key].append(item)
    else:
        table[key] = [item]


def _take_out(document: MutableMapping[str, Any], table: str, key: str) -> None:
    """Take out a key, and its table where nothing is left in it: a comment at its end may be about what follows."""
    import tomlkit

    document[table].pop(key, None)
    if not document[table] and "#" not in tomlkit.dumps(document[table]):
        del document[table]
