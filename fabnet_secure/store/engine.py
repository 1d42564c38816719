"""Opening the two databases, and the three ways to hold a connection: snapshot, write, upkeep.

Guarantees that a plain connection can only read (its transaction is read-only and one snapshot), that only a write
connection made here can change anything, that it takes the one write lock before its first statement, and that a
transaction which the database gave up is never carried on with. SQLite runs with WAL, ``synchronous=FULL``,
``secure_delete=ON``, ``temp_store=MEMORY`` and foreign keys. Creates no file: :mod:`fabnet_secure.store.schema` does.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, Pool, QueuePool

from fabnet_secure.errors import NoVault, StorageFailed, UsageError
from fabnet_secure.store.failures import given_up, translate_errors

MODE: Final = "fabnet_mode"
_WRITE: Final = "write"
_UPKEEP: Final = "upkeep"
_MAY_COMMIT: Final = "fabnet_may_commit"
_TIMEOUT: Final = "fabnet_lock_timeout_s"


def open_vault_database(url: str, *, lock_timeout_s: float = 5.0) -> Engine:
    """Return an engine for the vault database; nothing is connected yet.

    Args:
        url: ``sqlite:////path/vault.db`` or ``postgresql+psycopg://…``.
        lock_timeout_s: how long to wait for another process's write lock.

    Raises:
        UsageError: code ``DATABASE_URL``: no such URL, another database, or SQLite in memory.
    """
    target = _parsed(url)
    if target.get_backend_name() == "sqlite":
        engine = _open_sqlite(Path(target.database or ""), lock_timeout_s, NullPool)
    else:
        engine = create_engine(target, hide_parameters=True, pool_size=2, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_postgres)
    return _guarded(engine, lock_timeout_s)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path holds."""
    return f"sqlite:///{quote(str(path.absolute()))}"


def open_keystore(url: str, *, lock_timeout_s: float = 5.0) -> Engine:
    """Return an engine for the keystore database; as :func:`open_vault_database`."""
    return open_vault_database(url, lock_timeout_s=lock_timeout_s)


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file behind a SQLite engine, or None on PostgreSQL."""
    return Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None


def check_file(engine: Engine) -> None:
    """Refuse an engine whose SQLite file is not there.

    Raises:
        NoVault: code ``NO_VAULT``.
    """
    path = sqlite_file(engine)
    if path is not None and not path.exists():
        raise NoVault(f"there is no vault database at {path}", hint="run 'fabnet-secure init' first")


@contextmanager
def read_only(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that sees one snapshot and cannot write.

    Raises:
        NoVault: code ``NO_VAULT``: the file is missing.
        StorageFailed: code ``STORAGE_READONLY`` when the block tries to write.
    """
    check_file(engine)
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").all()  # pins the snapshot
        yield connection


@contextmanager
def write_locked(engine: Engine, lock: Callable[[Connection], None] | None = None) -> Iterator[Connection]:
    """Yield a connection inside THE write transaction; the caller allows its commit by :func:`allow_commit`.

    Args:
        engine: the database.
        lock: how to take the write lock on PostgreSQL; SQLite's is taken by ``BEGIN IMMEDIATE``.

    Raises:
        VaultLocked: the lock was not had within the timeout.
    """
    check_file(engine)
    with _writer(engine).connect().execution_options(**{MODE: _WRITE}) as connection:
        connection.info[_MAY_COMMIT] = False
        with connection.begin():
            if lock is not None and engine.dialect.name != "sqlite":
                lock(connection)
            yield connection


@contextmanager
def kept_open(engine: Engine) -> Iterator[None]:
    """Keep one connection to a SQLite file for the writes of this block, so that a commit is one flush to the disk.

    Without it each write opens the file and reads its schema anew, and as its connection is the last to close, SQLite
    empties and removes the write-ahead log, at the price of two more flushes. Between writes the connection holds no
    lock: others read, write, and empty the log on demand. It is used while the file is the same and in this process.
    """
    path = sqlite_file(engine)
    if path is None or engine in _WRITERS:
        yield
        return
    timeout = float(engine.get_execution_options()[_TIMEOUT])
    writer = _guarded(_open_sqlite(path, timeout, QueuePool), timeout)
    try:
        with read_only(writer):
            pass  # a connection counts once it has read
        _WRITERS[engine] = _Writer(engine=writer, files=_identity(path), process=os.getpid())
        yield
    finally:
        _WRITERS.pop(engine, None)
        writer.dispose()


def allow_commit(connection: Connection) -> None:
    """Let a write transaction commit; without this its commit is refused and rolled back."""
    connection.info[_MAY_COMMIT] = True


@contextmanager
def upkeep(engine: Engine) -> Iterator[Connection]:
    """Yield an autocommit connection for statements that run outside transactions (VACUUM, checkpoints)."""
    check_file(engine)
    options = {MODE: _UPKEEP, "isolation_level": "AUTOCOMMIT"}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def lock_table(table: str) -> Callable[[Connection], None]:
    """Return how to take the write lock on PostgreSQL by one table, against other writers only."""

    def take(connection: Connection) -> None:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")

    return take


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """The engine that keeps a connection, and the files and the process that it was made for."""

    engine: Engine
    files: Sequence[tuple[int, int]]
    process: int


_WRITERS: Final[WeakKeyDictionary[Engine, _Writer]] = WeakKeyDictionary()


def _writer(engine: Engine) -> Engine:
    """Return the engine that writes for ``engine``: the one that keeps a connection, as long as it is good."""
    kept = _WRITERS.get(engine)
    path = sqlite_file(engine)
    if kept is None or path is None or (kept.files, kept.process) != (_identity(path), os.getpid()):
        return engine
    return kept.engine


def _identity(path: Path) -> Sequence[tuple[int, int]]:
    """Return which files the database is now: itself and its write-ahead log, (0, 0) for one that is not there."""
    found: list[tuple[int, int]] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = one.stat()
        except FileNotFoundError:
            found.append((0, 0))
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _guarded(engine: Engine, lock_timeout_s: float) -> Engine:
    """Add what every engine here has: its timeout, no commit unless allowed, errors in our words."""
    engine.update_execution_options(**{_TIMEOUT: lock_timeout_s})
    event.listen(engine, "commit", _check_commit)
    translate_errors(engine)
    return engine


def _parsed(url: str) -> URL:
    hint = "write sqlite:////path/vault.db or postgresql+psycopg://name@host/database"
    try:
        target = make_url(url)
    except ArgumentError as error:
        raise UsageError("the database URL cannot be read", hint=hint, code="DATABASE_URL") from error
    kind = target.get_backend_name()
    in_memory = kind == "sqlite" and (not target.database or target.database.startswith((":", "file:")))
    if in_memory or kind not in {"sqlite", "postgresql"}:
        raise UsageError("the database must be a SQLite file or PostgreSQL", hint=hint, code="DATABASE_URL")
    return target.set(drivername="postgresql+psycopg") if kind == "postgresql" else target


def _open_sqlite(path: Path, lock_timeout_s: float, pool: type[Pool]) -> Engine:
    def connect() -> sqlite3.Connection:
        target = f"file:{quote(str(path.absolute()))}?mode=rw"  # never creates a file by reading it
        # A kept connection may serve another thread next, but never two at once: the pool sees to that.
        shared = pool is not NullPool
        return sqlite3.connect(
            target, uri=True, isolation_level=None, timeout=lock_timeout_s, check_same_thread=not shared
        )

    named = URL.create("sqlite", database=str(path))
    engine = create_engine(named, creator=connect, poolclass=pool, hide_parameters=True)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "before_cursor_execute", _check_alive)
    return engine


def _set_pragmas(connection: sqlite3.Connection, record: object) -> None:
    del record
    # A journal mode is written into the file: never into one that no migration of ours has touched.
    migrated = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    for pragma in (
        *(["journal_mode = WAL"] if migrated else []),
        "synchronous = FULL",
        "secure_delete = ON",
        "temp_store = MEMORY",
        "foreign_keys = ON",
        "trusted_schema = OFF",
        "cell_size_check = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _mode(connection: Connection) -> str:
    return str(connection.get_execution_options().get(MODE, ""))


def _begin_sqlite(connection: Connection) -> None:
    mode = _mode(connection)
    if mode == _UPKEEP:
        return
    writes = mode == _WRITE
    _driver(connection).execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}").close()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    mode = _mode(connection)
    if mode == _UPKEEP:
        return
    if mode != _WRITE:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return
    timeout_ms = int(1000 * connection.get_execution_options()[_TIMEOUT])
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {timeout_ms}")
    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")


def _check_alive(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
    """Refuse to go on in a transaction that SQLite has rolled back by itself (a full disk does that).

    Without this, statements after a swallowed error would commit one by one.
    """
    del cursor, rest
    if _mode(connection) == _WRITE and not statement.startswith("BEGIN") and not _driver(connection).in_transaction:
        raise given_up()


def _check_commit(connection: Connection) -> None:
    if _mode(connection) != _WRITE:
        return
    if connection.dialect.name == "sqlite" and not _driver(connection).in_transaction:
        raise given_up()
    if not connection.info.pop(_MAY_COMMIT, False):
        connection.connection.rollback()  # SQLAlchemy takes the refused transaction for ended and would pool it open
        raise StorageFailed(
            "a write was to be committed outside its unit of work: nothing was kept", code="STORAGE_COMMIT"
        )


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)
