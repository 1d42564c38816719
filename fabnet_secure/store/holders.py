"""Holders in the keystore: whose keyring opens which domains, and the sealed blob that gives them.

Guarantees that a name and a public key are one holder's each. Does not open or prove anything: that is
``crypto/holder.py``.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fabnet_secure.crypto.holder import Holder
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.rows import change, count, put
from fabnet_secure.store.tables import holder, holder_key
from fabnet_secure.types import KeyDomain


def put_holder(connection: Connection, row: Holder) -> None:
    """Add a holder, or replace the one of its name; what the former one held goes.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: another holder has this public key.
    """
    values = {
        "public": row.public,
        "roles": list(row.roles),
        "domains": [domain.value for domain in row.domains],
        "proof": row.proof,
        "created_at": row.created_at,
        "revoked_at": row.revoked_at,
    }
    drop_holdings(connection, row.name)
    if not count(connection, update(holder).where(holder.c.name == row.name).values(**values)):
        put(connection, holder, name=row.name, **values)


def list_holders(connection: Connection, *, revoked: bool = True) -> list[Holder]:
    """Return every holder by name; without ``revoked`` only those whose keyring still opens."""
    wanted = select(holder).order_by(holder.c.name)
    rows = connection.execute(wanted if revoked else wanted.where(holder.c.revoked_at.is_(None))).mappings()
    return [_row(found) for found in rows]


def find_holder(connection: Connection, public: bytes) -> Holder | None:
    """Return the holder whose key file has this public half, or None."""
    found = connection.execute(select(holder).where(holder.c.public == public)).mappings().one_or_none()
    return None if found is None else _row(found)


def revoke_holder(connection: Connection, name: str, at: datetime, proof: str) -> None:
    """Take a holder's blobs away and mark it revoked, with the root's proof that it is.

    Raises:
        UsageError: code ``NOT_FOUND``: no such holder, or it is revoked already.
    """
    place = (holder.c.name == name) & holder.c.revoked_at.is_(None)
    change(connection, update(holder).where(place).values(revoked_at=at, proof=proof), "holder")
    drop_holdings(connection, name)


def put_holding(connection: Connection, name: str, epoch: int, sealed: bytes) -> None:
    """Store what gives a holder the domain keys of one epoch."""
    connection.execute(insert(holder_key).values(holder=name, epoch=epoch, sealed=sealed))


def get_holding(connection: Connection, name: str, epoch: int) -> bytes | None:
    """Return a holder's blob of one epoch, or None."""
    wanted = select(holder_key.c.sealed).where(holder_key.c.holder == name, holder_key.c.epoch == epoch)
    found = connection.execute(wanted).scalar_one_or_none()
    return None if found is None else bytes(found)


def drop_holdings(connection: Connection, name: str | None = None) -> None:
    """Delete the blobs of one holder, or of all."""
    gone = delete(holder_key)
    connection.execute(gone if name is None else gone.where(holder_key.c.holder == name))


def _row(found: Mapping[Any, Any]) -> Holder:
    try:
        return Holder(
            name=found["name"],
            public=bytes(found["public"]),
            roles=tuple(map(str, found["roles"])),
            domains=tuple(KeyDomain(word) for word in found["domains"]),
            proof=found["proof"],
            created_at=found["created_at"],
            revoked_at=found["revoked_at"],
        )
    except (TypeError, ValueError) as error:
        raise IntegrityFailure("a holder names a domain that does not exist", code="HOLDER_FORGED") from error
