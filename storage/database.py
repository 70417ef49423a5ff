"""The connection to SQLite or PostgreSQL: opened carefully, read and written in transactions.

Nothing on disk changes before it is clear that the database is ours and not from the future.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import StorageUnavailable
from storage.migrations.run import check_revision, upgrade

LOCK_WAIT_S = 15.0  # another process may migrate or write meanwhile
CONNECT_WAIT_S = 10
POOL_SIZE = 8
POOL_OVERFLOW = 32


class Database:
    """One database at the current schema. Safe to share between threads."""

    def __init__(self, engine: Engine, location: str) -> None:
        self.location = location
        self._engine = engine
        self._writers = engine.execution_options(writes=True)
        self._readers = engine
        if engine.dialect.name == "postgresql":
            # one snapshot for all queries of a transaction, as SQLite gives anyway
            self._readers = engine.execution_options(isolation_level="REPEATABLE READ")

    @classmethod
    def open(cls, url: str) -> "Database":
        """Connect, check what is there, and bring it to the current schema.

        Raises:
            DatabaseTooNew: a newer program wrote it; nothing has changed.
            StorageUnavailable: it cannot be reached, read or written, or is not ours.
        """
        address = _parsed(url)
        location = _location(address)
        with _told(location):
            if address.get_backend_name() == "sqlite":
                engine = _sqlite(address, location)
            else:
                engine = create_engine(
                    address,
                    pool_size=POOL_SIZE,
                    max_overflow=POOL_OVERFLOW,
                    pool_pre_ping=True,
                    connect_args={"connect_timeout": CONNECT_WAIT_S},
                )
            database = cls(engine, location)
            try:
                with database._writers.begin() as connection:
                    upgrade(connection, location)
            except BaseException:
                engine.dispose()
                raise
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with _told(self.location), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may change it; SQLite lets one in at a time."""
        with _told(self.location), self._writers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


@contextmanager
def _told(location: str) -> Iterator[None]:
    """Turn what a database may suffer into one line; defects of ours pass through."""
    try:
        yield
    except (IntegrityError, ProgrammingError, DataError):
        raise
    except (DatabaseError, InterfaceError) as error:
        raise StorageUnavailable(location, _first_line(error.orig)) from error
    except (PoolTimeout, sqlite3.Error) as error:
        raise StorageUnavailable(location, _first_line(error)) from error


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()


def _parsed(url: str) -> URL:
    """The URL with its driver. What cannot be read is not repeated: it may hold a password."""
    try:
        address = make_url(url)
        backend = address.get_backend_name()
        if backend in ("postgres", "postgresql"):
            address = address.set(drivername="postgresql+psycopg")
        address.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StorageUnavailable("database URL", "is not one that can be read") from None
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageUnavailable("database URL", f"{backend!r} is neither sqlite nor postgresql")
    return address


def _location(address: URL) -> str:
    if address.get_backend_name() == "sqlite":
        return address.database or ":memory:"
    host = address.host or "local socket"
    port = f":{address.port}" if address.port else ""
    return f"postgresql://{host}{port}/{address.database or ''}"


def _sqlite(address: URL, location: str) -> Engine:
    name = address.database or ":memory:"
    if name == ":memory:":
        # one connection holds the database; the pool lets one thread at it at a time
        engine = _sqlite_engine(address, poolclass=QueuePool, pool_size=1, max_overflow=0)
        _set_up(engine)
        return engine
    if not name.startswith("file:"):
        _make_folder(Path(name), location)
        _look_first(Path(name), location)
    engine = _sqlite_engine(address, pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW)
    _set_up(engine)
    _keep_a_write_ahead_log(engine)
    return engine


def _sqlite_engine(address: URL, **pool: Any) -> Engine:
    return create_engine(
        address, connect_args={"timeout": LOCK_WAIT_S, "check_same_thread": False}, **pool
    )


def _make_folder(file: Path, location: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise StorageUnavailable(location, "is a folder, not a database")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageUnavailable(location, f"cannot be created: {reason}") from None


def _look_first(file: Path, location: str) -> None:
    """Refuse a file that is not ours before any connection could change it."""
    if not file.exists() or file.stat().st_size == 0:
        return
    uri = f"file:{quote(str(file.absolute()))}?mode=ro"
    reader = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_S),
        poolclass=NullPool,
    )
    with reader.connect() as connection:
        check_revision(connection, location)


def _set_up(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions, we do
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        # a reader that turns writer midway would fail at once instead of waiting its turn
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _keep_a_write_ahead_log(engine: Engine) -> None:
    """Readers do not wait for writers. The mode is kept in the file."""
    deadline = time.monotonic() + LOCK_WAIT_S
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # SQLite does not wait for this lock by itself
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
    finally:
        connection.close()
