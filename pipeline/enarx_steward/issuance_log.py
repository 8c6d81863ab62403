"""The issuance log: every decision of a Steward, each entry bound to the one before it by a hash.

    hash = SHA-256("enarx-deploy issuance log v1\\n" || prev || seq || time || body)

`prev` is the hash of the entry before, 32 bytes, zeros for the first; `seq` counts from 1, 8 bytes, big-endian; `time`
is 27 characters, such as `2026-11-24T12:00:00.000000Z`; `body` is JSON with sorted keys and no spaces.

Whoever can write to the database's files can make a whole new chain, or cut off its end. Both show against a head that
was kept elsewhere: `Head` signed by the authority's key.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from sqlalchemy import Connection, RowMapping, Select, insert, select

from .database import ENTRIES, NO_HASH, Database
from .decisions import Decision, Sha256

MAX_PAGE: Final = 1000
"""Most entries that are read at a time."""
MAX_BATCH: Final = 256
"""Most entries in one transaction."""
TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"

_LABEL: Final = b"enarx-deploy issuance log v1\n"
_HEAD_LABEL: Final = "enarx-deploy issuance log head v1"

Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]


class Entry(msgspec.Struct, frozen=True):
    """One entry as it stands in the log. `body` is the JSON text of a decision, byte by byte as it was hashed."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    time: Time
    body: msgspec.Raw
    prev: Sha256
    hash: Sha256

    def decision(self) -> Decision:
        """The body, read. Raises `msgspec.MsgspecError` if it is none that this program knows."""
        return _decision.decode(self.body)


class Head(msgspec.Struct, frozen=True):
    """The end of a log. `seq` is 0 and `hash` zeros while it is empty."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    hash: Sha256

    def message(self, time: str) -> bytes:
        """What an authority signs to say that this was the log's end at `time`: four lines of text."""
        return f"{_HEAD_LABEL}\n{self.seq}\n{self.hash}\n{time}\n".encode()


EMPTY: Final = Head(0, NO_HASH)
_LAST: Final = select(ENTRIES.c.seq, ENTRIES.c.hash).order_by(ENTRIES.c.seq.desc()).limit(1)
_APPENDED: Final = insert(ENTRIES)
_decision: msgspec.json.Decoder[Decision] = msgspec.json.Decoder(Decision)


class Broken(Exception):
    """The log is not what was written. `seq` is the first entry that is missing or wrong."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"entry {seq}: {why}")
        self.seq = seq


class IssuanceLog:
    """The log in a database. Safe to use from many threads, and by many processes at once."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._writing = threading.Lock()

    def append(self, decision: Decision) -> None:
        """Write one entry; it is durable when this returns. Raises `Unavailable`, and then it may be there or not.

        Whoever comes while another writes is written by the next one who may, together with all that wait: under load
        one transaction has many entries.
        """
        mine = _Waiting(msgspec.json.encode(decision, order="sorted"))
        self._waiting.append(mine)
        with self._writing:
            if not mine.done:
                self._write_waiting(mine)
        if mine.fault is not None:
            raise mine.fault

    def head(self) -> Head:
        """The end of the log. Raises `Unavailable`."""
        with self._database.reading() as connection:
            return _head(connection)

    def read(self, after: int = 0, limit: int = MAX_PAGE) -> list[Entry]:
        """At most `limit` entries that follow entry `after`, in order. Raises `Unavailable`, `Broken`."""
        chosen = select(ENTRIES).where(ENTRIES.c.seq > after).order_by(ENTRIES.c.seq).limit(min(limit, MAX_PAGE))
        return self._entries(chosen)

    def walk(self, after: int = 0) -> Iterator[Entry]:
        """All entries that follow entry `after`, in order, read page by page. Raises `Unavailable`, `Broken`."""
        while page := self.read(after):
            yield from page
            after = page[-1].seq

    def since(self, time: datetime) -> Iterator[Entry]:
        """All entries from the first one on that was written at `time` or later."""
        first = select(ENTRIES.c.seq).where(ENTRIES.c.time >= shown(time)).order_by(ENTRIES.c.seq).limit(1)
        with self._database.reading() as connection:
            seq = connection.execute(first).scalar()
        return iter(()) if seq is None else self.walk(seq - 1)

    def _entries(self, chosen: Select[tuple[int, str, str, str, str]]) -> list[Entry]:
        with self._database.reading() as connection:
            return [_read(row) for row in connection.execute(chosen).mappings()]

    def _write_waiting(self, mine: _Waiting) -> None:
        batch: list[_Waiting] = []
        while not mine.done:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
            fault: Exception | None = None
            try:
                with self._database.appending() as connection:
                    self._write(connection, [one.body for one in batch])
            except Exception as exc:  # noqa: BLE001 — whatever it is, each of those who wait is told
                fault = exc
            for one in batch:
                one.fault, one.done = fault, True

    def _write(self, connection: Connection, bodies: Sequence[bytes]) -> None:
        head, rows = _head(connection), []
        for body in bodies:
            entry = _next(head, shown(self._clock()), body)
            rows.append({**msgspec.structs.asdict(entry), "body": body.decode()})
            head = Head(entry.seq, entry.hash)
        connection.execute(_APPENDED, rows)


class _Waiting:
    """A body that waits to be written."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.done = False
        self.fault: Exception | None = None


def verify(entries: Iterable[Entry], kept: Head | None = None) -> Head:
    """Walk a whole log from its first entry; returns its end. Raises `Broken`.

    1. Entries are numbered from 1, without a gap.
    2. Each names the hash of the one before it.
    3. Each has the hash of its own content.
    4. A head that was kept elsewhere is in the chain: nothing up to it was cut off or written anew.
    """
    head = EMPTY
    for entry in entries:
        _check_next(head, entry)
        head = Head(entry.seq, entry.hash)
        if kept is not None and kept.seq == head.seq and kept.hash != head.hash:
            raise Broken(head.seq, f"it is not the one of the head that was kept: its hash is {head.hash}")
    if kept is not None and kept.seq > head.seq:
        raise Broken(head.seq + 1, f"it is missing: the log ends before it, and the head that was kept is {kept.seq}")
    return head


def shown(time: datetime) -> str:
    """A time as the log has it."""
    return time.astimezone(UTC).strftime(TIME_FORMAT)


def _check_next(head: Head, entry: Entry) -> None:
    if entry.seq != head.seq + 1:
        raise Broken(head.seq + 1, f"it is missing: entry {head.seq} is followed by entry {entry.seq}")
    if entry.prev != head.hash:
        raise Broken(entry.seq, f"it does not follow entry {head.seq}, whose hash is {head.hash}")
    if entry.hash != _hash(entry.prev, entry.seq, entry.time, bytes(entry.body)):
        raise Broken(entry.seq, "its hash is not that of its content")


def _head(connection: Connection) -> Head:
    row = connection.execute(_LAST).first()
    return EMPTY if row is None else Head(row.seq, row.hash)


def _next(head: Head, time: str, body: bytes) -> Entry:
    seq = head.seq + 1
    return Entry(seq, time, msgspec.Raw(body), head.hash, _hash(head.hash, seq, time, body))


def _hash(prev: str, seq: int, time: str, body: bytes) -> str:
    return hashlib.sha256(_LABEL + bytes.fromhex(prev) + seq.to_bytes(8) + time.encode() + body).hexdigest()


def _read(row: RowMapping) -> Entry:
    """An entry of the database, where anything may stand that somebody put there."""
    try:
        body = row["body"].encode()
        msgspec.json.decode(body)
        return msgspec.convert({**{str(name): row[name] for name in row}, "body": msgspec.Raw(body)}, Entry)
    except (msgspec.MsgspecError, AttributeError, UnicodeEncodeError) as exc:
        raise Broken(row["seq"], f"it is no entry of a log: {exc}") from exc
