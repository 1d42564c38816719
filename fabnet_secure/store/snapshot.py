"""A whole database as one file, and back: what a backup holds of either database, whichever kind it is.

Guarantees that a copy is one moment of the database (the connection's own snapshot), that it is a SQLite file of this
program's schema on its own (no write-ahead log beside it) which its owner alone may read, and that a copy into a
database happens wholly or not at all, and never into one that holds a vault. Values pass as they are stored: nothing
is opened, parsed or written anew. Does not encrypt: ``crypto/age.py`` does.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, cast

from sqlalchemy import Column, Connection, Engine, MetaData, Table, delete, func, insert, inspect, select

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store.engine import (
    allow_commit,
    open_vault_database,
    read_only,
    sqlite_file,
    sqlite_url,
    write_locked,
)
from fabnet_secure.store.failures import explain
from fabnet_secure.store.meta import set_meta
from fabnet_secure.store.schema import Which, downgrade, migrate

_ROWS: Final = 500  # a batch: a page of embeddings or crops has at most a few hundred KiB
_REVISION: Final = "alembic_version"
_SEEDED: Final = "log_head"  # a migration puts its one row there: a log of no entries


def pin(connection: Connection) -> None:
    """Fix the moment that a read-only connection sees: from here on nothing that others commit."""
    connection.exec_driver_sql("SELECT 1").all()  # SQLite's is fixed as it begins (``read_only``)


def copy_out(connection: Connection, path: Path, which: Which) -> None:
    """Write what a pinned, read-only connection sees into a new SQLite file (mode 0600).

    Args:
        connection: from ``read_only``.
        path: where nothing is yet.
        which: the schema that the connection's database has.

    Raises:
        StorageFailed: the disk is full, or the file cannot be written; what was written of it is for the caller to
            remove.
    """
    path.touch(mode=0o600, exist_ok=False)
    if connection.dialect.name == "sqlite":
        _copy_pages(connection, path)
        return
    engine = open_vault_database(sqlite_url(path))
    try:
        migrate(engine, which)
        with write_locked(engine) as target:
            _copy_rows(connection, target)
            allow_commit(target)
    finally:
        engine.dispose()
    _close_journal(path)


def copy_in(path: Path, engine: Engine, which: Which) -> None:
    """Read a copy into a database that is empty, or has this program's schema and no rows of a vault.

    Raises:
        UsageError: code ``DATABASE_IN_USE``: it holds something; it is left as it is.
        StorageFailed, VaultLocked: as any write; the database is empty again.
    """
    refuse_used(engine)
    source = open_vault_database(sqlite_url(path))
    try:
        migrate(engine, which)
        with read_only(source) as held, write_locked(engine) as target:
            _copy_rows(held, target)
            allow_commit(target)
    except BaseException:
        remove(engine, which)
        raise
    finally:
        source.dispose()


def refuse_used(engine: Engine) -> None:
    """Refuse a database that holds a single row of anything.

    Raises:
        UsageError: code ``DATABASE_IN_USE``.
    """
    with read_only(engine) as connection:
        used = any(_is_used(connection, table) for table in _tables(connection))
    if used:
        raise UsageError(
            "the database is not empty",
            hint="restore into an empty one: a vault is never restored over anything",
            code="DATABASE_IN_USE",
        )


def remove(engine: Engine, which: Which) -> None:
    """Remove this program's tables and all they hold: of a restore that came to nothing."""
    with read_only(engine) as connection:
        there = bool(_tables(connection))
    if there:
        downgrade(engine, which)


def note(engine: Engine, key: str, value: str) -> None:
    """Write one of a copy's small facts (``store/meta.py``) before it is a vault: nothing serves it, no log is kept."""
    with write_locked(engine) as connection:
        set_meta(connection, key, value)
        allow_commit(connection)


def check_copy(engine: Engine) -> None:
    """Check a SQLite file as SQLite can: every page, index and CHECK, and that no row refers to nothing.

    Raises:
        IntegrityFailure: code ``STORE_CORRUPT``.
    """
    if sqlite_file(engine) is None:
        return  # PostgreSQL checked each reference and CHECK as the rows came in
    with read_only(engine) as connection:
        told = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        astray = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if told != ["ok"] or astray is not None:
        raise IntegrityFailure("the database is damaged", hint="use another copy", code="STORE_CORRUPT")


def _copy_pages(connection: Connection, path: Path) -> None:
    """Copy page by page, in one step, out of the transaction that the connection is in."""
    source = cast("sqlite3.Connection", connection.connection.driver_connection)
    try:
        with closing(sqlite3.connect(path)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE").close()
    except sqlite3.Error as error:
        raise explain(error) or error from error


def _close_journal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as target:
        target.execute("PRAGMA journal_mode = DELETE").close()


def _copy_rows(source: Connection, target: Connection) -> None:
    """Copy every table, those that others refer to first, in place of what a migration puts into a fresh schema."""
    reading = source.execution_options(stream_results=True, yield_per=_ROWS)
    tables = _tables(source)
    for table in reversed(tables):
        target.execute(delete(table))
    for table in tables:
        for rows in reading.execute(select(table)).mappings().partitions():
            target.execute(insert(table), [dict(row) for row in rows])


def _tables(connection: Connection) -> list[Table]:
    """Return the tables as the database describes them, without our types: a sealed blob is plain bytes here.

    Those that others refer to come first.
    """
    found = inspect(connection)
    names = [name for name, _ in found.get_sorted_table_and_fkc_names() if name not in (None, _REVISION)]
    return [
        Table(name, MetaData(), *(Column(one["name"], one["type"]) for one in found.get_columns(str(name))))
        for name in map(str, names)
    ]


def _is_used(connection: Connection, table: Table) -> bool:
    """Tell whether a table holds a row that no migration put there."""
    wanted = select(func.count()).select_from(table)
    if table.name == _SEEDED:
        wanted = wanted.where(table.c.size > 0)
    return bool(connection.execute(wanted).scalar_one())
