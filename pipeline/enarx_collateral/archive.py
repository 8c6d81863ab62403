"""One file that carries a store to a machine without a network: a plain tar, the same bytes for the same content.

    manifest.json      `{"format": "enarx-collateral/1", "entries": [...]}`, entries as in the store, sorted
    blobs/SHA256       each blob that an entry names, sorted

Only this form is read: regular files in this order, no extended headers, no links, nothing compressed. Hence reading
takes at most the memory and time of what `MAX_ARCHIVE` and `MAX_ENTRIES` bound, whoever made the file.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from typing import IO, Annotated, Final, Literal

import msgspec

from .directory import Offer
from .errors import LostBlob, RefusedArchive
from .item import Entry, Item
from .store import MAX_BLOB, Store

FORMAT: Final = "enarx-collateral/1"
MAX_ARCHIVE: Final = 256 << 20
"""Most bytes of an archive."""
MAX_ENTRIES: Final = 50_000
"""Most entries of an archive; each has two blobs at most."""
MAX_MANIFEST: Final = 64 << 20
"""Most bytes of its manifest."""
_MOST_BLOBS: Final = MAX_ARCHIVE - MAX_MANIFEST - (1 << 20)
_MANIFEST: Final = "manifest.json"
_BLOB: Final = re.compile(r"blobs/([0-9a-f]{64})")
_BLOCK: Final = tarfile.BLOCKSIZE
_HINT: Final = "make one with `enarx-deploy collateral export`"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an archive says of itself. Nothing of it is believed but which blob to try as what."""

    format: Literal["enarx-collateral/1"]
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=MAX_ENTRIES)]


def export_archive(store: Store, file: IO[bytes]) -> int:
    """Write everything that the store holds, and return how many items.

    Raises `RefusedArchive` if that is more than an archive may have, and `DamagedStore`.
    """
    found = [_content(store, item) for item in store.items()]
    entries = [entry for entry, _ in found if entry is not None]
    blobs = {digest: data for _, some in found for digest, data in some.items()}
    if len(entries) > MAX_ENTRIES or sum(_padded(len(data)) + _BLOCK for data in blobs.values()) > _MOST_BLOBS:
        raise RefusedArchive(
            f"an archive has at most {MAX_ENTRIES:,} items and {MAX_ARCHIVE:,} bytes", hint="use several stores"
        )
    manifest = msgspec.json.format(msgspec.json.encode(Manifest(FORMAT, tuple(entries))), indent=1)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in [(_MANIFEST, manifest), *((f"blobs/{digest}", blobs[digest]) for digest in sorted(blobs))]:
            archive.addfile(_member(name, len(data)), BytesIO(data))
    return len(entries)


def read_archive(file: IO[bytes]) -> list[Offer]:
    """The items of an archive, which are not verified yet. Raises `RefusedArchive`."""
    members = _members(file)
    name, data = next(members, ("", b""))
    if name != _MANIFEST:
        raise RefusedArchive("the archive does not begin with its manifest", hint=_HINT)
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise RefusedArchive(f"{_MANIFEST}: {exc}", hint=_HINT) from exc
    blobs = _blobs(members)
    wanted = {digest for entry in manifest.entries for digest in entry.blobs}
    if wanted != blobs.keys():
        raise RefusedArchive(f"{len(wanted ^ blobs.keys())} blobs are lacking or not in the manifest", hint=_HINT)
    if len({entry.item for entry in manifest.entries}) != len(manifest.entries):
        raise RefusedArchive(f"{_MANIFEST} names an item twice", hint=_HINT)
    return [_offer(entry, blobs) for entry in manifest.entries]


def _content(store: Store, item: Item) -> tuple[Entry | None, dict[str, bytes]]:
    """An item's entry, and its blobs by digest."""
    try:
        return _read_item(store, item)
    except LostBlob:
        return _read_item(store, item)  # it was replaced while it was read: what its entry names now is there


def _read_item(store: Store, item: Item) -> tuple[Entry | None, dict[str, bytes]]:
    entry = store.entry(item)
    return entry, {} if entry is None else dict(zip(entry.blobs, store.read(entry), strict=False))


def _offer(entry: Entry, blobs: dict[str, bytes]) -> Offer:
    item = entry.item
    chain = None if entry.chain_sha256 is None else blobs[entry.chain_sha256]
    role: Literal["vcek", "vlek"] = "vlek" if item.kind == "amd-crl" and item.key[1] == "vlek" else "vcek"
    return Offer(f"blobs/{entry.sha256[:12]}…", item.kind, blobs[entry.sha256], chain, role)


def _blobs(members: Iterator[tuple[str, bytes]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    last = ""
    for name, data in members:
        match = _BLOB.fullmatch(name)
        if match is None or name <= last:
            raise RefusedArchive(f"{name!r} is no blob, or is out of its place", hint=_HINT)
        if hashlib.sha256(data).hexdigest() != match[1]:
            raise RefusedArchive(f"{name} is damaged: its digest is another", hint="copy the archive anew")
        found[match[1]], last = data, name
    return found


def _members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's members, read once from front to back."""
    left, count = MAX_ARCHIVE, 0
    while any(header := _take(file, _BLOCK)):
        try:
            member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.TarError, ValueError) as exc:
            raise RefusedArchive(f"not a tar archive: {exc}", hint=_HINT) from exc
        most = MAX_MANIFEST if count == 0 else MAX_BLOB
        if member.type != tarfile.REGTYPE:
            raise RefusedArchive(f"{member.name!r} is not a plain file", hint=_HINT)
        if not 0 <= member.size <= most:
            raise RefusedArchive(f"{member.name!r} has {member.size:,} bytes, and may have {most:,}", hint=_HINT)
        count, left = count + 1, left - _padded(member.size) - _BLOCK
        if left < 0 or count > 2 * MAX_ENTRIES + 1:
            raise RefusedArchive(
                f"the archive has more than {MAX_ARCHIVE:,} bytes or {2 * MAX_ENTRIES:,} blobs", hint=_HINT
            )
        yield member.name, _take(file, _padded(member.size))[: member.size]
    if file.read(2 * tarfile.RECORDSIZE).strip(b"\0"):
        raise RefusedArchive("something follows the end of the archive", hint=_HINT)


def _take(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise RefusedArchive("the archive is cut short", hint="copy the archive anew")
    return data


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A member without anything of the machine and the time it was made on."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member
