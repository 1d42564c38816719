"""Principals: which operating-system account is who here, and with which roles.

Guarantees that an account is one principal at most. Does not say what a role may do: that is ``policies/access/``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from fabnet_secure.store.rows import change, put
from fabnet_secure.store.tables import principal


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalRow:
    """A principal: its name here, its account on the host, its roles in order."""

    name: str
    os_user: str
    roles: tuple[str, ...]


def add_principal(connection: Connection, row: PrincipalRow) -> None:
    """Add a principal.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the name or the account is there already.
    """
    put(connection, principal, name=row.name, os_user=row.os_user, roles=sorted(set(row.roles)))


def set_roles(connection: Connection, name: str, roles: Sequence[str]) -> None:
    """Replace a principal's roles.

    Raises:
        UsageError: code ``NOT_FOUND``.
    """
    changed = update(principal).where(principal.c.name == name).values(roles=sorted(set(roles)))
    change(connection, changed, "principal")


def find_by_os_user(connection: Connection, os_user: str) -> PrincipalRow | None:
    """Return the principal of an operating-system account, or None."""
    found = connection.execute(select(principal).where(principal.c.os_user == os_user)).mappings().one_or_none()
    return None if found is None else _row(found)


def get_principal(connection: Connection, name: str) -> PrincipalRow | None:
    """Return one principal by name, or None."""
    found = connection.execute(select(principal).where(principal.c.name == name)).mappings().one_or_none()
    return None if found is None else _row(found)


def list_principals(connection: Connection) -> list[PrincipalRow]:
    """Return every principal, by name."""
    return [_row(found) for found in connection.execute(select(principal).order_by(principal.c.name)).mappings()]


def _row(found: Mapping[Any, Any]) -> PrincipalRow:
    return PrincipalRow(name=found["name"], os_user=found["os_user"], roles=tuple(found["roles"]))
