"""What a store knows of users, repositories, tags and what was put into them: SQLite, of which one process is the user.

Every method is one transaction, on the disk when it returns. `nodes` says which contents a repository's owner has put
there: a content that only others have put is as good as not there, for whoever names its digest may not know it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from .directory_form import Entry
from .errors import ConfigurationError, Full

FILE: Final = "drawbridge.db"
VERSION: Final = 1
MOST_BEGUN: Final = 16
"""Most trees that are put for one tag at once."""

_SCHEMA: Final = f"""
PRAGMA user_version = {VERSION};
CREATE TABLE users (
  name TEXT PRIMARY KEY, subject TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX users_of_subject ON users (subject);
CREATE TABLE repositories (
  id INTEGER PRIMARY KEY, user TEXT NOT NULL REFERENCES users, name TEXT NOT NULL, public INTEGER NOT NULL,
  body BLOB NOT NULL, UNIQUE (user, name)
) STRICT;
CREATE TABLE nodes (
  repository INTEGER NOT NULL REFERENCES repositories, sha256 TEXT NOT NULL, length INTEGER NOT NULL,
  PRIMARY KEY (repository, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_of_digest ON nodes (sha256);
CREATE TABLE uploads (
  repository INTEGER NOT NULL REFERENCES repositories, tag TEXT NOT NULL, sha256 TEXT NOT NULL, root BLOB NOT NULL,
  since INTEGER NOT NULL, PRIMARY KEY (repository, tag, sha256)
) STRICT, WITHOUT ROWID;
CREATE TABLE tags (
  repository INTEGER NOT NULL REFERENCES repositories, tag TEXT NOT NULL, type TEXT NOT NULL, body BLOB NOT NULL,
  root BLOB NOT NULL, whole INTEGER NOT NULL, yanked TEXT NOT NULL, since INTEGER NOT NULL,
  PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;
"""


class User(NamedTuple):
    """A name, and the OpenID Connect subject that it belongs to; `body` is the record as it was put."""

    name: str
    subject: str
    body: bytes


class Repository(NamedTuple):
    """A repository; `body` is its configuration as it was put."""

    id: int
    user: str
    name: str
    public: bool
    body: bytes


class Tag(NamedTuple):
    """A tag; `whole` once all of its tree is there, which is when others see it. `root` is its tree's.

    `yanked` is the reason why it was, or empty.
    """

    type: str
    body: bytes
    root: Entry
    whole: bool
    yanked: str


class Database:
    """One connection, taken in turns. Raises `Full` where the disk is."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(directory / FILE, isolation_level=None, check_same_thread=False)
            self._connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
            )
            self._create(directory / FILE)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{directory / FILE}: {error}", hint="is it a Drawbridge store of ours?"
            ) from error

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def _create(self, path: Path) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise ConfigurationError(
                f"{path} is of form {version}, and this program reads {VERSION}",
                hint="serve it with the version of enarx-deploy that made it",
            )
        if not version:
            self._connection.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT;")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """All of what is done in it, or nothing; nobody else does anything meanwhile."""
        with self._lock:
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.rollback()
                if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise Full("The disk of this registry is full") from error
                raise

    def user(self, name: str) -> User | None:
        """A user by name."""
        with self._lock:
            row = self._connection.execute("SELECT name, subject, body FROM users WHERE name = ?", (name,)).fetchone()
        return row and User(*row)

    def repository(self, user: str, name: str) -> Repository | None:
        """A repository by name."""
        with self._lock:
            row = self._connection.execute(
                "SELECT id, user, name, public, body FROM repositories WHERE user = ? AND name = ?", (user, name)
            ).fetchone()
        return row and Repository(row[0], row[1], row[2], bool(row[3]), row[4])

    def tag(self, repository: int, tag: str) -> Tag | None:
        """A tag, whole or not."""
        with self._lock:
            row = self._connection.execute(
                "SELECT type, body, root, whole, yanked FROM tags WHERE repository = ? AND tag = ?", (repository, tag)
            ).fetchone()
        return row and Tag(row[0], row[1], decode(row[2]), bool(row[3]), row[4])

    def tags(self, repository: int) -> list[str]:
        """The tags that are whole and were not yanked."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT tag FROM tags WHERE repository = ? AND whole AND yanked = '' ORDER BY tag", (repository,)
            ).fetchall()
        return [tag for (tag,) in rows]

    def search(self, words: Sequence[str], most: int) -> list[tuple[str, str, Entry]]:
        """Repository, tag and root of what everybody can see, in whose name each word is found."""
        name = "user || '/' || name || ':' || tag"
        found = " AND ".join([f"instr({name}, ?)"] * len(words)) or "1"
        with self._lock:
            rows = self._connection.execute(
                "SELECT user || '/' || name, tag, root FROM tags JOIN repositories ON id = repository"  # noqa: S608 — only the number of words goes into it
                f" WHERE public AND whole AND yanked = '' AND {found} ORDER BY user, name, tag LIMIT ?",
                (*words, most),
            ).fetchall()
        return [(repository, tag, decode(root)) for repository, tag, root in rows]

    def uploads(self, repository: int, tag: str) -> list[Entry]:
        """The roots that were put for a tag which is not there yet: the latest `MOST_BEGUN`, for each costs a walk."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT root FROM uploads WHERE repository = ? AND tag = ? ORDER BY since DESC LIMIT ?",
                (repository, tag, MOST_BEGUN),
            ).fetchall()
        return [decode(root) for (root,) in rows]

    def length(self, repository: int, sha256: str) -> int | None:
        """Bytes of a content, if the owner has put it into the repository."""
        with self._lock:
            found = self._connection.execute(
                "SELECT length FROM nodes WHERE repository = ? AND sha256 = ?", (repository, sha256)
            ).fetchone()
        return None if found is None else int(found[0])

    def known(self, sha256: str) -> bool:
        """Whether any repository has this content."""
        with self._lock:
            found = self._connection.execute("SELECT 1 FROM nodes WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone()
        return found is not None

    def bytes_of(self, user: str) -> int:
        """How much a user has put into all repositories."""
        with self._lock:
            (total,) = self._connection.execute(
                "SELECT coalesce(sum(length), 0) FROM nodes JOIN repositories ON id = repository WHERE user = ?",
                (user,),
            ).fetchone()
        return int(total)

    def counts(self) -> dict[str, int]:
        """How many there are, of what."""
        with self._lock:
            return {
                name: self._connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608 — of this list
                for name in ("users", "repositories", "tags", "uploads")
            }


def encode(root: Entry) -> bytes:
    """An entry for a column."""
    return msgspec.json.encode(root)


def decode(data: bytes) -> Entry:
    """What `encode` made."""
    return msgspec.json.decode(data, type=Entry)
