"""Shared small steps of the noun modules: insert, one changed row, and no row that should have been there."""

from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.sql.dml import Delete, Update

from fabnet_secure.errors import UsageError


def put(connection: Connection, table: Table, **values: Any) -> None:
    """Insert one row.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: it breaks a rule of the schema.
    """
    connection.execute(insert(table).values(**values))


def change(connection: Connection, statement: Update | Delete, what: str) -> None:
    """Execute a statement that must touch exactly one row.

    Args:
        connection: a unit of work's.
        statement: an UPDATE or DELETE.
        what: the noun for the message, such as ``track``.

    Raises:
        UsageError: code ``NOT_FOUND``: no row, or none in the state that the change starts from.
    """
    if connection.execute(statement).rowcount != 1:
        raise UsageError(f"there is no such {what}, or not in a state for this", code="NOT_FOUND")


def count(connection: Connection, statement: Update | Delete) -> int:
    """Execute a statement and return how many rows it touched."""
    return int(connection.execute(statement).rowcount)
