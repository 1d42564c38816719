"""Quarantined videos: a sealed record of each that waits for a person, and how each wait ended.

Guarantees (by CHECK) that a record is there exactly as long as its video is held, and that a wait that ended stays
ended. Does not seal, open or delete anything else: the key is in the keystore, and ``pipeline/quarantine.py`` says
what a record holds and when it goes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select, update

from fabnet_secure.crypto.envelope import Sealed
from fabnet_secure.errors import UsageError
from fabnet_secure.store.rows import change, put
from fabnet_secure.store.states import QuarantineState
from fabnet_secure.store.tables import quarantine, video
from fabnet_secure.store.tracks import check_sealed
from fabnet_secure.types import VideoId


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """One quarantined video; ``sealed`` is None and ``resolved_at`` a time once it is not held any more."""

    video_id: VideoId
    reason: str
    sealed: Sealed | None
    deadline: datetime
    state: QuarantineState
    created_at: datetime
    resolved_at: datetime | None = None


def add_held(
    connection: Connection, video_id: VideoId, sealed: Sealed, *, reason: str, deadline: datetime, created_at: datetime
) -> None:
    """Hold a video.

    Raises:
        TypeError: ``sealed`` is not ``Sealed``.
        IntegrityFailure: code ``ROW_REFUSED``: the video is unknown, or was held before.
    """
    check_sealed(sealed)
    put(
        connection,
        quarantine,
        video_id=video_id,
        reason=reason,
        sealed=sealed,
        deadline=deadline,
        state=QuarantineState.HELD,
        created_at=created_at,
        resolved_at=None,
    )


def get_quarantine(connection: Connection, video_id: VideoId) -> QuarantineRow | None:
    """Return what is known of a video's quarantine, or None when it never was in one."""
    return next(iter(_rows(connection, select(quarantine).where(quarantine.c.video_id == video_id))), None)


def list_quarantine(connection: Connection, *, state: QuarantineState | None = None) -> list[QuarantineRow]:
    """Return every quarantined video (of a state), oldest first."""
    wanted = select(quarantine)
    return _rows(connection, wanted if state is None else wanted.where(quarantine.c.state == state))


def holds_content(connection: Connection, content: str, *, beside: VideoId) -> bool:
    """Tell whether another video of the same bytes is held: its file must stay until a person has decided."""
    wanted = (
        select(quarantine.c.video_id)
        .join(video, video.c.video_id == quarantine.c.video_id)
        .where(quarantine.c.state == QuarantineState.HELD, video.c.content == content, quarantine.c.video_id != beside)
    )
    return bool(content) and connection.execute(wanted).first() is not None


def resolve(connection: Connection, video_id: VideoId, state: QuarantineState, at: datetime) -> None:
    """End a wait: the record goes, the row stays as evidence.

    Raises:
        UsageError: code ``NOT_FOUND``: the video is not held (any more).
    """
    if state is QuarantineState.HELD:
        raise UsageError("a quarantine ends released, destroyed or expired", code="QUARANTINE_STATE")
    place = (quarantine.c.video_id == video_id) & (quarantine.c.state == QuarantineState.HELD)
    change(connection, update(quarantine).where(place).values(state=state, sealed=None, resolved_at=at), "held video")


def _rows(connection: Connection, wanted: Select[Any]) -> list[QuarantineRow]:
    ordered = wanted.order_by(quarantine.c.created_at, quarantine.c.video_id)
    return [QuarantineRow(**row) for row in connection.execute(ordered).mappings()]
