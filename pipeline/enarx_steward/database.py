"""The database behind a Steward: a SQLite file of its own, or a PostgreSQL that several Stewards share.

The schema enforces what the log promises: entries are never changed or removed, and each follows the last one. It has a
version; a newer one than this program knows is left alone.

A PostgreSQL URL never holds a password. libpq finds it in a password file (`?passfile=FILE`, mode 0600, or
`~/.pgpass`) or in `PGPASSWORD`. Unless the URL says otherwise, a server on another machine must prove its name by TLS
(`sslmode=verify-full`).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from . import state
from .errors import ConfigurationError, Unavailable

VERSION: Final = 1
"""Of the schema."""
PATIENCE: Final = 5
"""Seconds to wait for a connection, for a lock, and for any one statement."""
POOL_SIZE: Final = 8
"""Connections that are kept; as many again are opened when needed."""
NO_HASH: Final = "0" * 64
"""What the first entry of a log follows."""

_ADVISORY_LOCK: Final = 0x656E6172_78636C67
"""Held in PostgreSQL by the transaction that appends or makes the schema: any number that nobody else takes."""

_metadata = MetaData()
SCHEMA: Final = Table("steward_schema", _metadata, Column("version", Integer, nullable=False))
ENTRIES: Final = Table(
    "issuance_log",
    _metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", String(27), nullable=False),
    Column("body", Text, nullable=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
NONCES: Final = Table(
    "open_nonces",
    _metadata,
    Column("nonce", LargeBinary(32), primary_key=True),
    Column("expires", DateTime(timezone=True), nullable=False),
    Index("open_nonces_expires", "expires"),
    # Not in PostgreSQL's write-ahead log: quick, and after a crash it is empty, so that no used nonce comes back.
    prefixes=["UNLOGGED"],
)

_POSTGRESQL_PATIENCE: Final = {
    "connect_timeout": PATIENCE,
    "options": f"-c statement_timeout={PATIENCE}s -c lock_timeout={PATIENCE}s",
    # A machine that is gone without a word is noticed too.
    "keepalives_idle": PATIENCE,
    "keepalives_interval": 1,
    "keepalives_count": PATIENCE,
    "tcp_user_timeout": PATIENCE * 1000,
}
_FOLLOWS: Final = f"""\
NEW.seq = (SELECT coalesce(max(seq), 0) + 1 FROM issuance_log)
AND NEW.prev = coalesce((SELECT hash FROM issuance_log ORDER BY seq DESC LIMIT 1), '{NO_HASH}')"""  # noqa: S608 — no input in it
_SQLITE_RULES: Final = (
    f"""CREATE TRIGGER issuance_log_follows BEFORE INSERT ON issuance_log WHEN NOT ({_FOLLOWS})
    BEGIN SELECT RAISE(ABORT, 'an entry of the issuance log follows the last one'); END""",
    *(
        f"""CREATE TRIGGER issuance_log_no_{verb.lower()} BEFORE {verb} ON issuance_log
        BEGIN SELECT RAISE(ABORT, 'the issuance log is append-only'); END"""
        for verb in ("UPDATE", "DELETE")
    ),
)
_POSTGRESQL_RULES: Final = (
    f"""CREATE FUNCTION issuance_log_follows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT ({_FOLLOWS}) THEN RAISE EXCEPTION 'an entry of the issuance log follows the last one'; END IF;
    RETURN NEW; END $$""",
    """CREATE TRIGGER issuance_log_follows BEFORE INSERT ON issuance_log
    FOR EACH ROW EXECUTE FUNCTION issuance_log_follows()""",
    """CREATE FUNCTION issuance_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'the issuance log is append-only'; END $$""",
    """CREATE TRIGGER issuance_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON issuance_log
    FOR EACH STATEMENT EXECUTE FUNCTION issuance_log_is_append_only()""",
)


class Database:
    """One database, its schema made or checked. Safe to use from many threads; connections are made when needed."""

    def __init__(self, engine: Engine, shown: str) -> None:
        self._engine = engine
        self._writing = engine.execution_options(writes=True)
        self._away = False
        self._finding_out = threading.Lock()
        self.shown = shown
        """Where it is, for people."""

    @property
    def shared(self) -> bool:
        """Whether Stewards on other machines can use it too."""
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads. Raises `Unavailable`."""
        with self._faults(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is durable when this ends without an exception. Raises `Unavailable`."""
        with self._faults(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def appending(self) -> Iterator[Connection]:
        """As `writing`, and nobody else appends to the log meanwhile. Raises `Unavailable`."""
        with self.writing() as connection:
            self._lock(connection)
            yield connection

    def close(self) -> None:
        """Let go of all connections; the next use makes new ones."""
        self._engine.dispose()

    def _lock(self, connection: Connection) -> None:
        # SQLite has one writer at a time anyway, from the beginning of its transaction.
        if self.shared:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """While the database is away, one at a time finds out whether it is back, and others are told at once."""
        with self._one_finds_out() if self._away else nullcontext():
            try:
                yield
            except SQLAlchemyError as exc:
                self._away = self.shared and _is_lost(exc)
                raise Unavailable(f"the database {self.shown} does not answer as it should: {_reason(exc)}") from exc
            self._away = False

    @contextmanager
    def _one_finds_out(self) -> Iterator[None]:
        if not self._finding_out.acquire(blocking=False):
            raise Unavailable(f"the database {self.shown} does not answer")
        try:
            yield
        finally:
            self._finding_out.release()

    def _prepare(self) -> None:
        """Make the schema, or check its version. A role that may not make tables can use a schema that is there."""
        with self.reading() as connection:
            if inspect(connection).has_table(SCHEMA.name):
                self._check_version(connection)
                return
        with self.appending() as connection:
            if not inspect(connection).has_table(SCHEMA.name):
                self._make_schema(connection)

    def _check_version(self, connection: Connection) -> None:
        version = connection.execute(select(SCHEMA.c.version)).scalar()
        if version != VERSION:
            raise ConfigurationError(
                f"the database {self.shown} has version {version} of the schema, and this program knows {VERSION}",
                hint="it is a newer program's: use that one; nothing was changed",
            )

    def _make_schema(self, connection: Connection) -> None:
        tables = _metadata.sorted_tables if self.shared else [SCHEMA, ENTRIES]
        _metadata.create_all(connection, tables=tables)
        for rule in _POSTGRESQL_RULES if self.shared else _SQLITE_RULES:
            connection.exec_driver_sql(rule)
        connection.execute(SCHEMA.insert(), {"version": VERSION})


def open_for(directory: Path, url: str) -> Database:
    """The database at a URL; without one, that of a state directory. Raises `ConfigurationError`."""
    return open_url(url) if url else open_file(directory / state.ISSUANCE_LOG)


def open_file(path: Path) -> Database:
    """The SQLite database in a file, made with mode 0600 if there is none. Raises `ConfigurationError`."""
    _own_file(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": PATIENCE, "check_same_thread": False},
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=PATIENCE,
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return _prepared(Database(engine, str(path)))


def open_url(url: str) -> Database:
    """The PostgreSQL database at a URL. Raises `ConfigurationError`, also if it cannot be reached."""
    parsed = _postgresql_url(url)
    try:
        from .postgresql import connect  # psycopg is an extra

        engine = create_engine(
            parsed,
            connect_args=_POSTGRESQL_PATIENCE,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=PATIENCE,
        )
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            "PostgreSQL needs the package psycopg", hint="pip install 'enarx-deploy[postgresql]'"
        ) from exc
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", _set_up_postgresql)
    return _prepared(Database(engine, parsed.render_as_string()))


def _prepared(database: Database) -> Database:
    try:
        database._prepare()
    except Unavailable as exc:
        raise ConfigurationError(str(exc), hint="is it running, and may this user use it?") from exc
    finally:
        # A connection must not be carried over into a process that is forked from this one.
        database.close()
    return database


def _postgresql_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, NoSuchModuleError, ValueError):
        # Not repeated: whatever it is, it may hold a password.
        raise ConfigurationError(
            "the database is not a URL", hint="such as postgresql://steward@db.example.org/steward"
        ) from None
    if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigurationError(
            f"a database of the kind {parsed.drivername!r} is not known",
            hint="name a PostgreSQL by URL, or none for a SQLite file in the state directory",
        )
    if parsed.password is not None or "password" in parsed.query:
        raise ConfigurationError(
            "a database URL must not hold a password: others can read it in files and process lists",
            hint="use ?passfile=FILE with mode 0600, or PGPASSWORD in the environment",
        )
    query: Mapping[str, Any] = dict(parsed.query)
    if "sslmode" not in query and "PGSSLMODE" not in os.environ and not _is_local(parsed):
        query = {**query, "sslmode": "verify-full"}
    return parsed.set(drivername="postgresql+psycopg", query=query)


def _is_local(url: URL) -> bool:
    hosts = url.query.get("host") or url.query.get("hostaddr") or url.host or os.environ.get("PGHOST", "")
    if isinstance(hosts, tuple):
        return False
    if not hosts or hosts.startswith("/") or hosts == "localhost":
        return True
    try:
        return ip_address(hosts).is_loopback
    except ValueError:
        return False


def _own_file(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}", hint="may you read and write there?") from exc
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigurationError(f"{path}: not a file that is yours alone", hint=f"chmod 600 {path}")


def _set_up_sqlite(connection: sqlite3.Connection, record: object) -> None:  # noqa: ARG001 — SQLAlchemy's shape
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE would delete past the trigger


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_up_postgresql(connection: Any, record: object) -> None:  # noqa: ARG001 — SQLAlchemy's shape
    """Have commits wait for the disk, also where the server's default is not to; stronger settings stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _is_lost(exc: SQLAlchemyError) -> bool:
    """Whether there is no connection, or none any more; what a server itself says has an SQLSTATE."""
    return isinstance(exc, DBAPIError) and (exc.connection_invalidated or getattr(exc.orig, "sqlstate", None) is None)


def _reason(exc: SQLAlchemyError) -> str:
    """The first line of what the database said; values of statements are not in it."""
    said = str(getattr(exc, "orig", None) or exc).strip().splitlines()
    return said[0] if said else type(exc).__name__
