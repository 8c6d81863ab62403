"""Take a package from whoever brings it and believe nothing of it but what its digest vouches for.

The root directory comes first, then what it lists, each node in the order of its name and a directory before what is
in it. A directory is Drawbridge's JSON form; an entry in it has the SHA-256 digest of what it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from enarx_keep.channel import Reader, field
from enarx_keep.errors import BadMessage, BadPackage

DIRECTORY_TYPE = "application/vnd.drawbridge.directory.v1+json"
DIRECTORY_LIMIT = 1_000_000
DEPTH_LIMIT = 32
NAMES_LIMIT = 10_000
TOTAL_LIMIT = 4_000_000_000

_NAME = re.compile(r"(?!\.{1,2}\Z)[0-9A-Za-z._:-]+")

Take = Callable[[str, int], bytes]
"""Gets the content of the node at a path, of at most so many bytes."""


class Files(dict[str, bytes]):
    """The files of a package by path, each with the digest that it was found to have (hex of SHA-256)."""

    def __init__(self) -> None:
        super().__init__()
        self.sha256: dict[str, str] = {}


def receive(reader: Reader, digest: str) -> Files:
    """The package as the host sends it, checked as `read` does. Raises BadPackage, BadMessage."""

    def take(path: str, most: int) -> bytes:
        message = reader.message()
        if message["type"] != "node" or field(message, "path", str) != path:
            raise BadMessage(f"expected the package's node {path!r}")
        size = field(message, "size", int)
        if size > most:
            raise BadPackage(f"{path or 'the package'} is too large: it is over {most:,} bytes")
        return reader.payload(size)

    return read(take, digest)


def read(take: Take, digest: str) -> Files:
    """The files of the package `digest` ("sha256:" and 64 hex digits), by path; `take` gets each node once.

    Raises BadPackage, and what `take` raises.
    """
    return _Tree(take).files(digest)


class _Node(NamedTuple):
    path: str
    digest: str
    is_directory: bool
    length: int
    """What its directory says; as many bytes as can be where it says nothing."""


class _Tree:
    def __init__(self, take: Take) -> None:
        self._take = take
        self._names = 0
        self._bytes = 0

    def files(self, digest: str) -> Files:
        files = Files()
        due = [_Node("", digest, True, DIRECTORY_LIMIT)]  # what is still to come, the next one last
        while due:
            node = due.pop()
            content = self._content(node)
            if node.is_directory:
                due.extend(reversed(list(self._listed(node.path, content))))
            else:
                files[node.path] = content
                files.sha256[node.path] = node.digest.removeprefix("sha256:")
        return files

    def _content(self, node: _Node) -> bytes:
        most = min(node.length, TOTAL_LIMIT - self._bytes, DIRECTORY_LIMIT if node.is_directory else TOTAL_LIMIT)
        content = self._take(node.path, most)
        self._bytes += len(content)
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if actual != node.digest:
            raise BadPackage(f"{node.path or 'the package'}: its digest is {actual}, not {node.digest}")
        return content

    def _listed(self, path: str, content: bytes) -> Iterator[_Node]:
        if path.count("/") >= DEPTH_LIMIT:
            raise BadPackage(f"{path} is too deep")
        for name, entry in sorted(_object(content, path).items()):
            self._names += 1
            if self._names > NAMES_LIMIT or not _NAME.fullmatch(name) or not isinstance(entry, dict):
                raise BadPackage(f"{path or 'the package'} lists too many names, or one that is not allowed")
            length = entry.get("length")
            yield _Node(
                path=f"{path}/{name}" if path else name,
                digest=_sha256(entry, name),
                is_directory=entry.get("type") == DIRECTORY_TYPE,
                length=length if type(length) is int and length >= 0 else TOTAL_LIMIT,
            )


def _object(content: bytes, path: str) -> dict[str, Any]:
    try:
        listing = json.loads(content, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise BadPackage(f"{path or 'the package'} is not a directory") from error
    if not isinstance(listing, dict):
        raise BadPackage(f"{path or 'the package'} is not a directory")
    return listing


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that is there twice would be one thing here and another to whoever looked at the package before."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _sha256(entry: dict[str, Any], name: str) -> str:
    digests = entry.get("digest")
    encoded = digests.get("sha-256") if isinstance(digests, dict) else None
    try:
        return f"sha256:{base64.b64decode(encoded, validate=True).hex()}"  # type: ignore[arg-type]  # TypeError is the check
    except (TypeError, ValueError) as error:
        raise BadPackage(f"{name} has no SHA-256 digest") from error
