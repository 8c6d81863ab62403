"""Take a package from the host and believe nothing of it but what its digest vouches for.

The root directory comes first, then what it lists, each node in the order of its name and a directory before what is
in it. A directory is Drawbridge's JSON form; an entry in it has the SHA-256 digest of what it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from enarx_keep.channel import Reader, field
from enarx_keep.errors import BadMessage, BadPackage

DIRECTORY_TYPE = "application/vnd.drawbridge.directory.v1+json"
DIRECTORY_LIMIT = 1_000_000
DEPTH_LIMIT = 32
NAMES_LIMIT = 10_000
TOTAL_LIMIT = 4_000_000_000

_NAME = re.compile(r"(?!\.{1,2}\Z)[0-9A-Za-z._:-]+")

Files = dict[str, bytes]


def receive(reader: Reader, digest: str) -> Files:
    """The files of the package `digest` ("sha256:" and 64 hex digits), by path. Raises BadPackage, BadMessage."""
    return _Receiver(reader).files(digest)


class _Receiver:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._names = 0
        self._bytes = 0

    def files(self, digest: str) -> Files:
        files: Files = {}
        # What is still to come, deepest last: (path, expected digest, whether a directory).
        due = [("", digest, True)]
        while due:
            path, expected, is_directory = due.pop()
            content = self._node(path, expected)
            if is_directory:
                due.extend(reversed(list(self._listed(path, content))))
            else:
                files[path] = content
        return files

    def _node(self, path: str, expected: str) -> bytes:
        message = self._reader.message()
        if message["type"] != "node" or field(message, "path", str) != path:
            raise BadMessage(f"expected the package's node {path!r}")
        size = field(message, "size", int)
        self._bytes += size
        if self._bytes > TOTAL_LIMIT:
            raise BadPackage(f"the package is over {TOTAL_LIMIT:,} bytes")
        content = self._reader.payload(size)
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if actual != expected:
            raise BadPackage(f"{path or 'the package'}: its digest is {actual}, not {expected}")
        return content

    def _listed(self, path: str, content: bytes) -> Iterator[tuple[str, str, bool]]:
        if len(content) > DIRECTORY_LIMIT or path.count("/") >= DEPTH_LIMIT:
            raise BadPackage(f"{path or 'the package'} is too large or too deep")
        for name, entry in sorted(_object(content, path).items()):
            self._names += 1
            if self._names > NAMES_LIMIT or not _NAME.fullmatch(name) or not isinstance(entry, dict):
                raise BadPackage(f"{path or 'the package'} lists too many names, or one that is not allowed")
            yield (f"{path}/{name}" if path else name), _sha256(entry, name), entry.get("type") == DIRECTORY_TYPE


def _object(content: bytes, path: str) -> dict[str, Any]:
    try:
        listing = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadPackage(f"{path or 'the package'} is not a directory") from error
    if not isinstance(listing, dict):
        raise BadPackage(f"{path or 'the package'} is not a directory")
    return listing


def _sha256(entry: dict[str, Any], name: str) -> str:
    digests = entry.get("digest")
    encoded = digests.get("sha-256") if isinstance(digests, dict) else None
    try:
        return f"sha256:{base64.b64decode(encoded, validate=True).hex()}"  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise BadPackage(f"{name} has no SHA-256 digest") from error
