"""Reading what others wrote in Drawbridge's form: entries, directories and the bodies of tags. Only its rules count.

A directory is refused if two of its names are the same, also where letters differ by case alone: on some disks they
would be one file. What an entry says beside digest, length and type is left alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final, TypeVar

import msgspec

from . import content_digest, strict_json
from .content_digest import MalformedDigest
from .directory_form import Entry
from .errors import Malformed
from .names import NODE, check

ENTRY_TYPE: Final = "application/vnd.drawbridge.entry.v1+json"
JWS_TYPE: Final = "application/jose+json"
MAX_TAG: Final = 64 * 1024
"""Most bytes of a tag's body."""
MAX_LENGTH: Final = 2**53
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")

Read = TypeVar("Read")


class _Entry(msgspec.Struct, frozen=True):
    digest: dict[str, str]
    length: int
    type: str


class _Jws(msgspec.Struct, frozen=True):
    payload: str


def media_type(text: str) -> str:
    """A media type without parameters. Raises `Malformed`."""
    if _MEDIA_TYPE.fullmatch(text) is None:
        raise Malformed(f"Invalid content type {text[:100]!a}")
    return text


def read_directory(data: bytes) -> dict[str, Entry]:
    """The entries of a directory, by name. Raises `Malformed`."""
    entries = {
        check(name, NODE): _checked(entry)
        for name, entry in _convert(_json(data), dict[str, _Entry], "a directory").items()
    }
    folded: dict[str, str] = {}
    for name in entries:
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise Malformed(f"Invalid directory: {other} and {name} differ by case alone")
    return entries


def read_tag(data: bytes, content_type: str) -> Entry:
    """The root of a tag's tree, from the tag's body: an entry, or a JWS with one for its payload. Raises `Malformed`.

    Signatures are not verified here: they are for whoever fetches, who alone knows the keys to go by.
    """
    if content_type == ENTRY_TYPE:
        return read_entry(data)
    if content_type != JWS_TYPE:
        raise Malformed("Invalid content type")
    jws = _convert(_json(data), _Jws, "a JWS")
    try:
        return read_entry(base64.b64decode(jws.payload + "=" * (-len(jws.payload) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise Malformed("Invalid JWS: its payload is not base64url") from error


def read_entry(data: bytes) -> Entry:
    """An entry. Raises `Malformed`."""
    return _checked(_convert(_json(data), _Entry, "an entry"))


def _checked(entry: _Entry) -> Entry:
    if not 0 <= entry.length <= MAX_LENGTH:
        raise Malformed(f"Invalid entry: a length of {entry.length}")
    if "sha-256" not in entry.digest:
        raise Malformed("Invalid entry: it has no sha-256 digest")
    try:
        digests = {algorithm: content_digest.check(algorithm, text) for algorithm, text in entry.digest.items()}
    except MalformedDigest as error:
        raise Malformed(f"Invalid entry: {error}") from error
    return Entry(digests, entry.length, media_type(entry.type))


def _json(data: bytes) -> Any:
    try:
        return strict_json.read(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"Invalid JSON: {error}") from error


def _convert(value: Any, kind: type[Read], wanted: str) -> Read:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"Not {wanted}: {error}") from error
