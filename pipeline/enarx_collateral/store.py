"""A store of collateral in a directory: blobs by digest, and an entry for each item that says which blob it is.

    blobs/SHA256               the bytes as the vendor gave them
    entries/KIND/KEY….json     digest, window and issue of an item; see `item`
    new/                       what is being written
    lock                       held by whoever writes

1. Nothing enters that was not verified (`admission`), and no item goes back to an older issue.
2. A file is written beside its place, synchronised and moved there; an entry is moved after its blobs. Whoever reads,
   and whoever comes after a crash, meets the old state of an item or the new one.
3. Readers take no lock and never write. A blob that no entry names is removed by `sweep` alone; a reader that held the
   old entry then finds the new one.
4. What is read is compared with its digest. Whoever can write to the directory can damage it, and cannot make a
   verification succeed: that verifies all of it again, under pinned roots.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from enarx_attestation import VENDOR_ANCHORS, Anchors, Collateral, Evidence
from enarx_files.whole import flush_directory

from .admission import Admitted, admit
from .assembly import Assembler
from .cache import Cache
from .errors import DamagedStore, LostBlob, RefusedCollateral
from .item import Entry, Item

MAX_ENTRY: Final = 1 << 14
"""Most bytes of an entry."""
MAX_BLOB: Final = 8 << 20
"""Most bytes of a blob."""
_CACHED_ENTRIES: Final = 1 << 14
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Outcome = Literal["stored", "same", "older"]
"""Of `Store.put`: the item is new here; it was here already; or the store holds a newer issue, which stays."""


class Store:
    """A store in `directory`, which is made when something is first put there.

    `find` answers with collateral that was endorsed under `anchors`: verify under the same.
    """

    def __init__(self, directory: Path, *, anchors: Anchors = VENDOR_ANCHORS) -> None:
        self.directory = directory
        self.anchors = anchors
        self._entries: Cache[tuple[Item, tuple[int, ...]], Entry] = Cache(_CACHED_ENTRIES)
        self._assembler = Assembler(self, anchors)

    def find(
        self, evidence: Evidence, at: datetime, *, revocation: Literal["require", "prefer", "off"] = "require"
    ) -> Collateral:
        """Collateral for a piece of evidence at a time; `Collateral()` for kinds that need none.

        A revocation list that is absent or stale is missing if `revocation` is "require", as in a policy. Raises
        `MissingCollateral`; `MalformedEvidence` or `MalformedCollateral` if what the evidence itself carries cannot be
        read.
        """
        return self._assembler.collateral(evidence, at, lists_required=revocation == "require")

    def put(
        self,
        kind: str,
        data: bytes,
        *,
        chain: bytes | None = None,
        role: Literal["vcek", "vlek"] = "vcek",
        expected: Item | None = None,
    ) -> tuple[Item, Outcome]:
        """Verify an item, and keep it if it is not older than what is there; see `admission.admit`.

        Raises `RefusedCollateral`, also if it is not the item `expected`, and `DamagedStore` if the directory cannot
        be used.
        """
        admitted = admit(kind, data, self.anchors, chain=chain, role=role)
        item = admitted.entry.item
        if expected not in (None, item):
            raise RefusedCollateral(f"expected {expected}, not {item}")
        with self._locked():
            return item, self._keep(admitted)

    def entry(self, item: Item) -> Entry | None:
        """What is known of an item. Raises `DamagedStore` if its entry cannot be read."""
        path = self._entry_path(item)
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        # The item too: the number of a file that was replaced goes to another one, maybe within the same tick.
        known = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        return self._entries.get((item, known), lambda: _read_entry(path, item))

    def items(self, *start: str) -> list[Item]:
        """What the store has entries for, of which kind and key begin so, in order. Raises `DamagedStore`."""
        root = self.directory / "entries"
        return sorted(_item_at(path.relative_to(root)) for path in root.joinpath(*start).rglob("*.json"))

    def read(self, entry: Entry) -> tuple[bytes, bytes]:
        """The bytes of an item, and of its issuers if it has any. Raises `DamagedStore`, `LostBlob`."""
        chain = b"" if entry.chain_sha256 is None else self._blob(entry.chain_sha256, entry.chain_size)
        return self._blob(entry.sha256, entry.size), chain

    def holds(self, entry: Entry) -> bool:
        """Whether the bytes of an item are there, whole."""
        try:
            self.read(entry)
        except DamagedStore:
            return False
        return True

    def _blob(self, sha256: str, size: int) -> bytes:
        path = self.directory / "blobs" / sha256
        try:
            data = _read(path, min(size, MAX_BLOB))
        except FileNotFoundError as exc:
            raise LostBlob(f"{path} is lost", hint="fetch anew") from exc
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedStore(f"{path} is damaged", hint="remove it and fetch anew")
        return data

    def sweep(self) -> None:
        """Remove blobs that no entry names, and what writers that died have left."""
        if not self.directory.is_dir():
            return
        with self._locked():
            used = {digest for item in self.items() for digest in self._blobs_of(item)}
            for path in (self.directory / "blobs").iterdir():
                if path.name not in used:
                    path.unlink()
            for path in (self.directory / "new").iterdir():
                path.unlink()

    def _keep(self, admitted: Admitted) -> Outcome:
        entry = admitted.entry
        with contextlib.suppress(DamagedStore):  # what cannot be read is written anew
            current = self.entry(entry.item)
            if current is not None:
                # Also where the bytes are lost: which issue they were of is known all the same.
                if any(new < old for new, old in zip(entry.order, current.order, strict=True)):
                    return "older"
                if entry.order == current.order and self.holds(current):
                    return "same"
        for digest, data in zip(entry.blobs, (admitted.data, admitted.chain), strict=False):
            self._write(self.directory / "blobs" / digest, data or b"")
        path = self._entry_path(entry.item)
        for directory in reversed(path.relative_to(self.directory).parents[:-1]):
            _make_private(self.directory / directory)
        self._write(path, msgspec.json.format(msgspec.json.encode(entry), indent=1))
        return "stored"

    def _write(self, path: Path, data: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.directory / "new")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        flush_directory(path.parent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among writers. The lock ends with the process, however that ends."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        for directory in (self.directory, *(self.directory / name for name in ("blobs", "entries", "new"))):
            _make_private(directory)
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _entry_path(self, item: Item) -> Path:
        return self.directory / "entries" / item.path

    def _blobs_of(self, item: Item) -> tuple[str, ...]:
        with contextlib.suppress(DamagedStore):
            if (found := self.entry(item)) is not None:
                return found.blobs
        return ()


def _read_entry(path: Path, item: Item) -> Entry:
    try:
        entry = msgspec.json.decode(_read(path, MAX_ENTRY), type=Entry)
    except FileNotFoundError as exc:
        raise LostBlob(f"{path} is lost", hint="fetch anew") from exc
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise DamagedStore(f"{path} is damaged: {exc}", hint="remove it and fetch anew") from exc
    if entry.item != item:
        raise DamagedStore(f"{path} speaks of another item", hint="remove it and fetch anew")
    return entry


def _item_at(path: Path) -> Item:
    kind, *key = path.with_suffix("").parts
    try:
        return Item(kind, tuple(key))
    except ValueError as exc:
        raise DamagedStore(f"{path}: {exc}", hint="remove it: nothing of this store's is called so") from exc


def _read(path: Path, most: int) -> bytes:
    """A plain file of at most `most` bytes."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise DamagedStore(f"{path}: {exc.strerror}", hint="remove it and fetch anew") from exc
    try:
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        data = _read_up_to(descriptor, most + 1) if plain else b""
    finally:
        os.close(descriptor)
    if not plain or len(data) > most:
        raise DamagedStore(f"{path} is no plain file of at most {most:,} bytes", hint="remove it and fetch anew")
    return data


def _read_up_to(descriptor: int, most: int) -> bytes:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(most)


def _make_private(directory: Path) -> None:
    """A directory for its owner alone; made if missing. Raises `DamagedStore` if others can write to it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise DamagedStore(f"{directory} is not a directory of yours", hint="name another place for the store")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DamagedStore(f"{directory}: others can write to it", hint=f"chmod go-w {directory}")
