"""Reading many rows at once, as fast as the driver can: plain tuples, without a column type's work.

Guarantees the same values on both databases (int, str, bytes) in the order asked for, inside the connection's own
transaction, a few rows in memory at a time. PostgreSQL sends them by ``COPY … (FORMAT BINARY)``, SQLite by its cursor.
Values are as stored: sealed columns are bytes, times and JSON are text. Does not write.

Source: PostgreSQL documentation, COPY, binary format; psycopg 3, ``Copy.set_types``.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg
from sqlalchemy import Connection, Select

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.failures import explain

Row = tuple[Any, ...]
_READING: Final = {"cache_size": 10, "mmap_size": 1 << 40}
_KINDS: Final = {"text": str, "bytea": bytes, "int4": int, "int8": int}


def fetch(connection: Connection, statement: Select[Any], types: str) -> Iterator[Row]:
    """Yield the rows of a statement as tuples.

    Args:
        connection: any of this package's; its transaction goes on.
        statement: a SELECT whose values are our own (identifiers, numbers): they are written into its text.
        types: PostgreSQL's names of the columns' types, separated by spaces, such as ``int8 bytea text``.

    Raises:
        IntegrityFailure: code ``STORE_CORRUPT``: the database is damaged, or a value is of another kind.
        StorageFailed, VaultLocked: as any read.
    """
    text = str(statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    driver = connection.connection.driver_connection
    try:
        if connection.dialect.name == "sqlite":
            yield from _checked(cast("sqlite3.Connection", driver).execute(text), types)
        else:
            yield from _copied(cast("psycopg.Connection[Any]", driver), text, types)
    except (sqlite3.Error, psycopg.Error) as error:
        if isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode"):
            raise _damaged() from error  # text that is none
        raise explain(error) or error from error


def _checked(rows: Iterable[Row], types: str) -> Iterator[Row]:
    """Refuse a value of another kind than its column's: SQLite keeps whatever it is given."""
    kinds = [_KINDS[name] for name in types.split()]
    for row in rows:
        if list(map(type, row)) != kinds:
            raise _damaged()
        yield row


def _damaged() -> IntegrityFailure:
    return IntegrityFailure(
        "a stored value is not of its column's kind",
        hint="restore the database from a backup, then run 'fabnet-secure audit verify'",
        code="STORE_CORRUPT",
    )


@contextmanager
def mapped(connection: Connection) -> Iterator[None]:
    """Let SQLite read large rows out of the mapped file, and keep next to nothing of them: they come in half the time.

    A file that another program cuts short in this very moment ends the process (SIGBUS) before anything is answered.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    before = [(name, int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())) for name in _READING]
    for name, value in _READING.items():
        connection.exec_driver_sql(f"PRAGMA {name} = {value}").close()
    try:
        yield
    finally:
        for name, value in before:
            connection.exec_driver_sql(f"PRAGMA {name} = {value}").close()


def _copied(driver: "psycopg.Connection[Any]", text: str, types: str) -> Iterator[Row]:
    command = f"COPY ({text.replace('%%', '%')}) TO STDOUT (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(command.encode()) as copy:
        copy.set_types(types.split())
        yield from copy.rows()
