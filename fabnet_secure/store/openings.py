"""Sealed openings of the log's commitments: who holds their key can show what a leaf was about.

Deleted with their consent or subject; the leaf then still verifies and points to nobody. Written by a unit of work
only. Does not open anything.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from fabnet_secure.crypto.envelope import Sealed
from fabnet_secure.store.rows import change
from fabnet_secure.store.tables import log_opening
from fabnet_secure.types import ConsentId, SubjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRow:
    """One sealed opening; ``database.opening_context`` of its other fields is what it is bound to."""

    leaf_index: int
    position: int
    subject_id: SubjectId | None
    consent_id: ConsentId | None
    sealed: Sealed


def list_openings(
    connection: Connection,
    *,
    leaf_index: int | None = None,
    consent_id: ConsentId | None = None,
    subject_id: SubjectId | None = None,
) -> list[OpeningRow]:
    """Return the openings (of a leaf, a consent, a subject), in the log's order."""
    wanted = select(log_opening)
    if leaf_index is not None:
        wanted = wanted.where(log_opening.c.leaf_index == leaf_index)
    if consent_id is not None:
        wanted = wanted.where(log_opening.c.consent_id == consent_id)
    if subject_id is not None:
        wanted = wanted.where(log_opening.c.subject_id == subject_id)
    ordered = wanted.order_by(log_opening.c.leaf_index, log_opening.c.position)
    return [OpeningRow(**row) for row in connection.execute(ordered).mappings()]


def replace_opening(connection: Connection, row: OpeningRow, sealed: Sealed) -> None:
    """Put the same opening, sealed anew, in its place; the log itself is not touched.

    Raises:
        UsageError: code ``NOT_FOUND``: it is gone meanwhile.
    """
    place = (log_opening.c.leaf_index == row.leaf_index) & (log_opening.c.position == row.position)
    change(connection, update(log_opening).where(place).values(sealed=sealed), "opening")
