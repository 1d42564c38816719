"""Who may approve, with which key, and which approvals were used.

Guarantees that a key is one person's for ever and that a person has one key in use (the database refuses more), and
that an approval is used once. Does not check a signature or a proof: ``pipeline/approvers.py`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from fabnet_secure.store.rows import change, put
from fabnet_secure.store.tables_approval import approval_used, approver


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproverRow:
    """One key of one person: ``fingerprint`` is its SHA-256 in hex, ``name`` the principal's, ``proof`` the vault's."""

    fingerprint: str
    name: str
    public_key: str
    added_at: datetime
    removed_at: datetime | None
    proof: str


def add_approver(connection: Connection, row: ApproverRow) -> None:
    """Add a key.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the key is there, or the person has another one in use.
    """
    put(
        connection,
        approver,
        fingerprint=row.fingerprint,
        name=row.name,
        public_key=row.public_key,
        added_at=row.added_at,
        removed_at=row.removed_at,
        proof=row.proof,
    )


def remove_approver(connection: Connection, fingerprint: str, *, at: datetime, proof: str) -> None:
    """End the use of a key; its row stays, so that nobody enrols it again.

    Raises:
        UsageError: code ``NOT_FOUND``: it is not in use.
    """
    place = (approver.c.fingerprint == fingerprint) & approver.c.removed_at.is_(None)
    change(connection, update(approver).where(place).values(removed_at=at, proof=proof), "key of an approver")


def list_approvers(connection: Connection) -> list[ApproverRow]:
    """Return every key that was ever enrolled, by person, the oldest first."""
    ordered = select(approver).order_by(approver.c.name, approver.c.added_at, approver.c.fingerprint)
    return [_row(found) for found in connection.execute(ordered).mappings()]


def use_approval(connection: Connection, *, nonce: str, act: str, request_sha256: str, at: datetime) -> None:
    """Record that an approval was used.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: it was used before.
    """
    put(connection, approval_used, nonce=nonce, act=act, request_sha256=request_sha256, at=at)


def is_used(connection: Connection, nonce: str) -> bool:
    """Tell whether an approval with this nonce was used."""
    wanted = select(approval_used.c.nonce).where(approval_used.c.nonce == nonce)
    return connection.execute(wanted).scalar_one_or_none() is not None


def _row(found: Mapping[Any, Any]) -> ApproverRow:
    return ApproverRow(**found)
