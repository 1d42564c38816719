"""Legal holds, and ε caps that were raised: what was decided about a consent after it was given.

Guarantees that rows are only ever added, and that a hold ends once. Does not check a proof: ``pipeline/`` does.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from fabnet_secure.store.rows import change, put
from fabnet_secure.store.states import HoldGround
from fabnet_secure.store.tables_approval import cap_raise, legal_hold
from fabnet_secure.types import ConsentId


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRow:
    """One hold: why, from when, until when at the latest (None: until two people release it), and its end."""

    hold_id: str
    consent_id: ConsentId
    ground: HoldGround
    placed_at: datetime
    until: datetime | None
    released_at: datetime | None
    proof: str

    def holds(self, at: datetime) -> bool:
        """Tell whether it still holds at a time; its end is computed on read, as a consent's is."""
        return self.released_at is None and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseRow:
    """One raise of the ε that a person was promised at most, by their own fresh evidence."""

    consent_id: ConsentId
    position: int
    cap: float
    evidence_sha256: str
    at: datetime
    proof: str


def add_hold(connection: Connection, row: HoldRow) -> None:
    """Place a hold.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the consent is unknown.
    """
    put(
        connection,
        legal_hold,
        hold_id=row.hold_id,
        consent_id=row.consent_id,
        ground=row.ground,
        placed_at=row.placed_at,
        until=row.until,
        released_at=row.released_at,
        proof=row.proof,
    )


def release_hold(connection: Connection, hold_id: str, *, at: datetime, proof: str) -> None:
    """End a hold.

    Raises:
        UsageError: code ``NOT_FOUND``: there is none, or it has ended.
    """
    place = (legal_hold.c.hold_id == hold_id) & legal_hold.c.released_at.is_(None)
    change(connection, update(legal_hold).where(place).values(released_at=at, proof=proof), "hold")


def list_holds(connection: Connection, *, consent_id: ConsentId | None = None) -> list[HoldRow]:
    """Return every hold (on a consent), ended ones too, oldest first."""
    wanted = select(legal_hold)
    if consent_id is not None:
        wanted = wanted.where(legal_hold.c.consent_id == consent_id)
    ordered = wanted.order_by(legal_hold.c.placed_at, legal_hold.c.hold_id)
    return [HoldRow(**row) for row in connection.execute(ordered).mappings()]


def next_raise(connection: Connection, consent_id: ConsentId) -> int:
    """Return the position that a consent's next raise takes: how many there are."""
    wanted = select(func.count()).select_from(cap_raise).where(cap_raise.c.consent_id == consent_id)
    return int(connection.execute(wanted).scalar_one())


def add_raise(connection: Connection, row: RaiseRow) -> None:
    """Record a raise.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the consent is unknown, the position taken, or the cap impossible.
    """
    put(
        connection,
        cap_raise,
        consent_id=row.consent_id,
        position=row.position,
        cap=row.cap,
        evidence_sha256=row.evidence_sha256,
        at=row.at,
        proof=row.proof,
    )


def list_raises(connection: Connection) -> list[RaiseRow]:
    """Return every raise, by consent, in the order they were recorded."""
    ordered = select(cap_raise).order_by(cap_raise.c.consent_id, cap_raise.c.position)
    return [RaiseRow(**row) for row in connection.execute(ordered).mappings()]
