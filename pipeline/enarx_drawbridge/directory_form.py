"""Drawbridge's directory form (Drawbridge 0.4, directory v1): what the digest of a directory is taken of.

A directory is a JSON object from names to entries, compact, its names in byte order. An entry has, in this order, the
digests by algorithm (standard base64), the length in bytes and the media type: of a file, or of the JSON of the
directory that it stands for. Nothing of time, order, owner or mode enters.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

DIRECTORY_TYPE = "application/vnd.drawbridge.directory.v1+json"

_TYPES = {".wasm": "application/wasm", ".toml": "application/toml"}
_OTHER_TYPE = "application/octet-stream"
_LARGE = 1 << 18
"""Bytes that take longer to hash than a thread takes to start."""
_HALVES = (("sha-512", "sha-224"), ("sha-384", "sha-256"))
"""The algorithms in two parts that take about as long."""
_ALGORITHMS = {"sha-224": "sha224", "sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}


@dataclass(frozen=True)
class Entry:
    """What a directory says of one name in it."""

    digest: dict[str, str]
    length: int
    type: str

    @property
    def hex(self) -> str:
        """The SHA-256 digest in hexadecimal."""
        return base64.b64decode(self.digest["sha-256"]).hex()

    @property
    def sha256(self) -> str:
        """The SHA-256 digest as records write it: `sha256:` and 64 hex digits."""
        return f"sha256:{self.hex}"


class Digests:
    """The digests of a file, taken while it is read. `only` names the one that is taken, where the others are known."""

    def __init__(self, only: str = "") -> None:
        names = [only] if only else list(_ALGORITHMS)
        self._hashes = {name: hashlib.new(_ALGORITHMS[name]) for name in names}
        self._at_work: threading.Thread | None = None
        self.length = 0

    def update(self, data: bytes) -> None:
        """Take in more of the file. A large piece is hashed on two processors, since hashing lets other threads run.

        Where one digest is taken, the other processor does it, while whoever calls gets the next piece.
        """
        self.length += len(data)
        self._wait()
        if len(data) < _LARGE:
            self._hash(data, *self._hashes)
        elif len(self._hashes) == 1:
            self._at_work = self._started(data, *self._hashes)
        else:
            other = self._started(data, *_HALVES[0])
            self._hash(data, *_HALVES[1])
            other.join()

    def _started(self, data: bytes, *names: str) -> threading.Thread:
        thread = threading.Thread(target=self._hash, args=(data, *names))
        thread.start()
        return thread

    def _wait(self) -> None:
        if self._at_work is not None:
            self._at_work.join()
            self._at_work = None

    def _hash(self, data: bytes, *names: str) -> None:
        for name in names:
            self._hashes[name].update(data)

    def entry(self, media_type: str) -> Entry:
        self._wait()
        digests = {name: encoded(digest.digest()) for name, digest in self._hashes.items()}
        return Entry(digests, self.length, media_type)


def is_entry(entry: Entry) -> bool:
    """Whether an entry that came from elsewhere has all the digests, in their order and each of its length."""
    if list(entry.digest) != list(_ALGORITHMS):
        return False
    sizes = {name: hashlib.new(algorithm).digest_size for name, algorithm in _ALGORITHMS.items()}
    try:
        return all(
            encoded(base64.b64decode(text, validate=True)) == text and len(base64.b64decode(text)) == sizes[name]
            for name, text in entry.digest.items()
        )
    except ValueError:
        return False


def encoded(digest: bytes) -> str:
    """A digest as entries and headers write it."""
    return base64.b64encode(digest).decode()


def media_type(name: str) -> str:
    """The media type of a file: its name decides, as in Enarx."""
    return _TYPES.get(PurePosixPath(name).suffix, _OTHER_TYPE)


def entry_of(data: bytes, type_of_data: str) -> Entry:
    """The entry of something that is held in memory."""
    digests = Digests()
    digests.update(data)
    return digests.entry(type_of_data)


def directory_json(entries: Mapping[str, Entry]) -> bytes:
    """The directory that holds these entries, as bytes."""
    record = {
        name: {"digest": entries[name].digest, "length": entries[name].length, "type": entries[name].type}
        for name in sorted(entries)
    }
    return json.dumps(record, separators=(",", ":")).encode()
