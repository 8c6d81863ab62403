"""The store: what is put and what is seen of it, whatever happens in between.

Invariants:

- A content is in the store whole, under its digest, or not at all.
- A tag is seen once all of its tree is there, and never changes from then on. In which order its parts were put does
  not matter, but that a node comes after the directory that lists it.
- A publish that was cut off can be done again; what is there already is answered as there (`False`), by the same bytes.
- What a user has stays within the quota, also where many publish at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal

from enarx_service import private_directory

from . import trees
from .blobs import Blobs, Incoming
from .database import Database, Repository, Tag, User, decode, encode
from .directory_form import DIRECTORY_TYPE, Entry
from .errors import ConfigurationError, Conflict, Forbidden, Malformed, NotFound, TooLarge
from .policy import Quota
from .reading import read_directory

LOCK: Final = "lock"


class Store:
    """A directory, of which one process is the user. Safe to use from many threads."""

    def __init__(self, directory: Path, quota: Quota, clock: Callable[[], float] = time.time) -> None:
        self._quota = quota
        self._clock = clock
        self._lock = _locked(directory)
        self._database = Database(directory)
        self.blobs = Blobs(directory)
        self._reserved: Counter[str] = Counter()
        self._reserving = threading.Lock()
        self._sweeps = 0
        self._awaited = Awaited()
        self.forget_abandoned()
        self.blobs.open_up(self._database.known)
        self.user = self._database.user
        self.repository = self._database.repository
        self.tags = self._database.tags
        self.counts = self._database.counts
        self.search = self._database.search

    def close(self) -> None:
        """Let others have the directory."""
        self._database.close()
        os.close(self._lock)

    def free(self) -> int:
        """Bytes that the disk has left."""
        found = os.statvfs(self.blobs.place)
        return found.f_bavail * found.f_frsize

    def put_user(self, user: User) -> bool:
        """Register a name; whether it is new. Raises `Conflict`."""
        with self._database.transaction() as cursor:
            found = cursor.execute("SELECT subject FROM users WHERE name = ?", (user.name,)).fetchone()
            if found is not None:
                if found != (user.subject,):
                    raise Conflict("Already exists")
                return False
            (names,) = cursor.execute("SELECT count(*) FROM users WHERE subject = ?", (user.subject,)).fetchone()
            if names >= self._quota.users:
                raise Conflict(f"User already associated with OpenID Connect subject `{user.subject}`")
            cursor.execute("INSERT INTO users VALUES (?, ?, ?)", user)
            return True

    def put_repository(self, user: str, name: str, body: bytes, *, public: bool) -> bool:
        """Make a repository; whether it is new. Raises `Conflict`, `Forbidden`."""
        with self._database.transaction() as cursor:
            row = (user, name)
            found = cursor.execute("SELECT public FROM repositories WHERE user = ? AND name = ?", row).fetchone()
            if found is not None:
                if found != (int(public),):
                    raise Conflict("Already exists")
                return False
            (count,) = cursor.execute("SELECT count(*) FROM repositories WHERE user = ?", (user,)).fetchone()
            if count >= self._quota.repositories:
                raise Forbidden(f"Quota exceeded: `{user}` has {count} repositories")
            cursor.execute(
                "INSERT INTO repositories (user, name, public, body) VALUES (?, ?, ?, ?)", (*row, int(public), body)
            )
            return True

    def tag(self, repository: Repository, tag: str) -> Tag:
        """A tag that is whole. Raises `NotFound`."""
        found = self._database.tag(repository.id, tag)
        if found is None or not found.whole:
            raise NotFound("Tag does not exist")
        return found

    def node(self, repository: Repository, tag: str, path: tuple[str, ...]) -> Entry:
        """The entry of a node of a whole tag. Raises `NotFound`."""
        return trees.find(self.blobs, self._held(repository), self.tag(repository, tag).root, path)

    def expected(self, repository: Repository, tag: str, path: tuple[str, ...], sha256: str) -> Entry:
        """What a node of a tag that is being published must be, below its root. Raises `NotFound`, `Malformed`."""
        roots = self._database.uploads(repository.id, tag)
        begun = self._database.tag(repository.id, tag)
        listed: list[Entry] = []
        for root in [*roots, *([begun.root] if begun else [])]:
            with contextlib.suppress(NotFound, Malformed):  # a root that lies concerns itself alone
                listed.append(trees.find(self.blobs, self._held(repository), root, path))
        if not listed:
            raise NotFound("No directory that was put for this tag lists this node: put its directory first")
        for entry in listed:
            if entry.hex == sha256:
                return entry
        raise Malformed("Content digest mismatch: the directory that lists this node names another digest")

    def require_free(self, repository: Repository, tag: str, root: Entry) -> None:
        """Raise `Conflict` if the tag is there already, and stands for another tree."""
        found = self._database.tag(repository.id, tag)
        if found is not None and found.whole and found.root.hex != root.hex:
            raise Conflict("Already exists")

    @contextlib.contextmanager
    def receiving(self, repository: Repository, entry: Entry) -> Iterator[Incoming]:
        """Take a node in, within the quota. Raises `Forbidden`, `TooLarge`, `Full`."""
        limit = trees.limit_of(entry.type)
        if entry.length > limit:
            raise TooLarge(f"A node of the type {entry.type} has at most {limit:,} bytes")
        length = entry.length if self._database.length(repository.id, entry.hex) is None else 0
        with self._reserving:
            if not self._fits(repository.user, length):
                self.forget_abandoned(thoroughly=False)
                if not self._fits(repository.user, length):
                    raise Forbidden(f"Quota exceeded: `{repository.user}` may have {self._quota.bytes:,} bytes")
            self._reserved[repository.user] += length
        try:
            with self.blobs.receive() as incoming:
                yield incoming
        finally:
            with self._reserving:
                self._reserved[repository.user] -= length

    def put_node(self, repository: Repository, tag: str, path: tuple[str, ...], entry: Entry, came: Incoming) -> bool:
        """Keep a node that came whole; whether it is new. Raises `Malformed` if it is not what `entry` says, `Full`."""
        if came.length != entry.length:
            raise Malformed(f"Content length mismatch, expected: {entry.length}, got {came.length}")
        came.finish(entry.digest)
        if entry.type == DIRECTORY_TYPE:
            read_directory(came.path.read_bytes())
        begun = self._database.tag(repository.id, tag)
        with self._database.transaction() as cursor:
            digest = self.blobs.settle(came)
            cursor.execute("INSERT OR IGNORE INTO nodes VALUES (?, ?, ?)", (repository.id, digest, entry.length))
            new = cursor.rowcount == 1
            if not path and not (begun and begun.whole):
                self._require_place_for_a_tag(cursor, repository.user, "uploads")
                row = (repository.id, tag, digest, encode(entry), int(self._clock()))
                cursor.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?)", row)
        if begun is not None and not begun.whole:
            self._complete(repository, tag, begun.root)
        return new

    def put_tag(self, repository: Repository, tag: str, type_: str, body: bytes, root: Entry) -> bool:
        """Name a tree. It is seen at once if the tree is there, and else when its last node has come.

        Whether it is new, or was yanked and is no more. Raises `Conflict`, `Forbidden`, `Malformed`.
        """
        while True:
            sweeps = self._sweeps
            whole = not trees.missing(self.blobs, self._held(repository), root)
            with self._database.transaction() as cursor:
                if sweeps == self._sweeps:  # else what was there may be gone
                    return self._name(cursor, repository, tag, Tag(type_, body, root, whole, ""))

    def yank(self, repository: Repository, tag: str, reason: str) -> None:
        """Withdraw a tag: it is neither listed nor answered, and its tree still is. Raises `NotFound`."""
        self.tag(repository, tag)
        with self._database.transaction() as cursor:
            row = (reason, repository.id, tag)
            cursor.execute("UPDATE tags SET yanked = ? WHERE repository = ? AND tag = ?", row)

    def forget_abandoned(self, *, thoroughly: bool = True) -> None:
        """Forget what was put for tags that did not come in time, and contents that nothing names any more.

        Unless `thoroughly`, contents are only looked for if there is such a tag: it takes a walk of every tree.
        """
        before = int(self._clock() - self._quota.patience.total_seconds())
        gone: set[str] = set()
        with self._database.transaction() as cursor:
            late = cursor.execute("DELETE FROM uploads WHERE since < ?", (before,)).rowcount
            late += cursor.execute("DELETE FROM tags WHERE NOT whole AND since < ?", (before,)).rowcount
            repositories = (
                "SELECT id FROM repositories" if thoroughly or late else "SELECT id FROM repositories LIMIT 0"
            )
            for (repository,) in cursor.execute(repositories).fetchall():
                gone |= self._sweep(cursor, repository)
            self._sweeps += bool(gone)
        for digest in gone:
            with self._database.transaction():
                if not self._database.known(digest):
                    self.blobs.remove(digest)

    def _sweep(self, cursor: sqlite3.Cursor, repository: int) -> set[str]:
        """Have a repository forget the contents that none of its trees names; returns them."""
        trees_ = "SELECT root FROM tags WHERE repository = :r UNION SELECT root FROM uploads WHERE repository = :r"
        roots = [decode(root) for (root,) in cursor.execute(trees_, {"r": repository}).fetchall()]
        held = {digest for (digest,) in cursor.execute("SELECT sha256 FROM nodes WHERE repository = ?", (repository,))}
        unnamed = held - trees.named(self.blobs, held, roots)
        cursor.executemany(
            "DELETE FROM nodes WHERE repository = ? AND sha256 = ?", [(repository, one) for one in unnamed]
        )
        return unnamed

    def _name(self, cursor: sqlite3.Cursor, repository: Repository, tag: str, new: Tag) -> bool:
        """Have a tag stand for a tree; whether it did not before."""
        begun = self._database.tag(repository.id, tag)
        if begun is not None and begun.whole:
            if (begun.type, begun.body) != (new.type, new.body):
                raise Conflict("Already exists")
            again = "UPDATE tags SET yanked = '' WHERE repository = ? AND tag = ?"
            cursor.execute(again, (repository.id, tag))
            return bool(begun.yanked)
        if begun is None:
            self._require_place_for_a_tag(cursor, repository.user)
        row = (repository.id, tag, new.type, new.body, encode(new.root), int(new.whole), "", int(self._clock()))
        cursor.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        if new.whole:
            self._forget_upload(cursor, repository, tag, new.root)
        return True

    def _forget_upload(self, cursor: sqlite3.Cursor, repository: Repository, tag: str, root: Entry) -> None:
        done = "DELETE FROM uploads WHERE repository = ? AND tag = ? AND sha256 = ?"
        cursor.execute(done, (repository.id, tag, root.hex))

    def _complete(self, repository: Repository, tag: str, root: Entry) -> None:
        """Let others see a tag, if all of its tree is there. Raises `Malformed` if it is no tree."""
        held = self._held(repository)
        begun = (repository.id, tag, root.hex)
        if self._awaited.still(begun, held):
            return
        missing = trees.missing(self.blobs, held, root)
        if missing:
            self._awaited.note(begun, missing)
            return
        with self._database.transaction() as cursor:
            whole = "UPDATE tags SET whole = 1 WHERE repository = ? AND tag = ? AND root = ?"
            cursor.execute(whole, (repository.id, tag, encode(root)))
            self._forget_upload(cursor, repository, tag, root)

    def _require_place_for_a_tag(
        self, cursor: sqlite3.Cursor, user: str, table: Literal["tags", "uploads"] = "tags"
    ) -> None:
        query = f"SELECT count(*) FROM {table} JOIN repositories ON id = repository WHERE user = ?"  # noqa: S608 — one of two names
        (count,) = cursor.execute(query, (user,)).fetchone()
        if count >= self._quota.tags:
            raise Forbidden(f"Quota exceeded: `{user}` has {count} {table}")

    def _fits(self, user: str, length: int) -> bool:
        return self._database.bytes_of(user) + self._reserved[user] + length <= self._quota.bytes

    def _held(self, repository: Repository) -> trees.Held:
        return partial(self._database.length, repository.id)


class Awaited:
    """What trees lack whose tag is there already, so that not every node that comes takes a walk of its tree.

    It only says that a tree is not whole yet; that it is, a walk says. Safe to use from many threads.
    """

    MOST_TREES: Final = 64

    def __init__(self) -> None:
        self._missing: dict[tuple[int, str, str], set[str]] = {}
        self._using = threading.Lock()

    def note(self, tree: tuple[int, str, str], missing: set[str]) -> None:
        """Remember what a walk missed; of too many trees, what was remembered first is forgotten."""
        with self._using:
            self._missing[tree] = missing
            while len(self._missing) > self.MOST_TREES:
                del self._missing[next(iter(self._missing))]

    def still(self, tree: tuple[int, str, str], held: trees.Held) -> bool:
        """Whether any of what was missed is not there still."""
        with self._using:
            missing = self._missing.get(tree, set())
            while missing:
                one = missing.pop()
                if held(one) is None:
                    missing.add(one)
                    return True
            self._missing.pop(tree, None)
            return False


def prepare(directory: Path) -> None:
    """Make the directory with mode 0700, or check it. Raises `ConfigurationError` if others can enter it."""
    private_directory.prepare(directory, "--store")


def _locked(directory: Path) -> int:
    """Be the one process that uses a store, for as long as the descriptor is open."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"a Drawbridge server is running from {directory}",
            hint="end it, or give another directory with --store DIR",
        ) from error
    return descriptor
