"""Tracks, and the sealed tracklets of those that may be trained on.

Guarantees that a bound track names its subject and consent, that a tracklet is ciphertext, and that an expired
track's crops can be found by time alone. Does not open tracklets and does not decide when they expire.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, select, update

from fabnet_secure.crypto.envelope import Sealed
from fabnet_secure.errors import UsageError
from fabnet_secure.store.columns import in_chunks
from fabnet_secure.store.rows import change, count, put
from fabnet_secure.store.tables import track, tracklet
from fabnet_secure.types import ConsentId, SubjectId, TrackId, TrackStatus, VideoId


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRow:
    """One track: whose it is (pseudonyms, or None when bound to nobody), what became of it and why."""

    track_id: TrackId
    video_id: VideoId
    subject_id: SubjectId | None
    consent_id: ConsentId | None
    status: TrackStatus
    reason: str
    frames: int
    crop_version: str
    expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackletRow:
    """Sealed crops of one track: ``n`` crops of ``size`` × ``size`` pixels from the frames ``frame_indices``."""

    track_id: TrackId
    sealed: Sealed
    n: int
    size: int
    frame_indices: tuple[int, ...]


def add_track(connection: Connection, row: TrackRow) -> None:
    """Add a track.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: its video or consent is unknown, or it is bound to nobody.
    """
    put(connection, track, **asdict(row))


def get_track(connection: Connection, track_id: TrackId) -> TrackRow | None:
    """Return one track, or None."""
    row = connection.execute(select(track).where(track.c.track_id == track_id)).mappings().one_or_none()
    return None if row is None else TrackRow(**row)


def list_tracks(
    connection: Connection,
    *,
    status: TrackStatus | None = None,
    consent_id: ConsentId | None = None,
    video_id: VideoId | None = None,
) -> list[TrackRow]:
    """Return every track (of a status, consent, video), oldest first."""
    wanted = select(track)
    if status is not None:
        wanted = wanted.where(track.c.status == status)
    if consent_id is not None:
        wanted = wanted.where(track.c.consent_id == consent_id)
    if video_id is not None:
        wanted = wanted.where(track.c.video_id == video_id)
    return _tracks(connection, wanted)


def list_expired(connection: Connection, at: datetime) -> list[TrackRow]:
    """Return the bound tracks whose crops were to be gone by ``at`` and that still have a tracklet."""
    wanted = select(track).join(tracklet, tracklet.c.track_id == track.c.track_id).where(track.c.expires_at <= at)
    return _tracks(connection, wanted)


def set_status(connection: Connection, track_id: TrackId, status: TrackStatus, reason: str | None = None) -> None:
    """Change what became of a track (and why, unless ``reason`` is None).

    Raises:
        UsageError: code ``NOT_FOUND``.
    """
    values: dict[str, Any] = {"status": status} if reason is None else {"status": status, "reason": reason}
    change(connection, update(track).where(track.c.track_id == track_id).values(**values), "track")


def add_tracklet(
    connection: Connection,
    track_id: TrackId,
    sealed: Sealed,
    *,
    n: int,
    size: int,
    frame_indices: Sequence[int],
) -> None:
    """Add the sealed crops of a track: ``n`` of them, each ``size`` × ``size`` pixels, from ``frame_indices``.

    Raises:
        TypeError: ``sealed`` is not ``Sealed``.
        UsageError: code ``SHAPE``: ``n`` and ``frame_indices`` disagree.
        IntegrityFailure: code ``ROW_REFUSED``: the track is unknown or has a tracklet.
    """
    check_sealed(sealed)
    check_indices(n, frame_indices)
    put(connection, tracklet, track_id=track_id, sealed=sealed, n=n, size=size, frame_indices=list(frame_indices))


def count_crops(connection: Connection) -> dict[TrackId, int]:
    """Return how many crops each track with a tracklet has, without reading them."""
    return {TrackId(row[0]): int(row[1]) for row in connection.execute(select(tracklet.c.track_id, tracklet.c.n))}


def get_tracklet(connection: Connection, track_id: TrackId) -> TrackletRow | None:
    """Return the sealed crops of a track, or None."""
    return next(iter(list_tracklets(connection, [track_id])), None)


def list_tracklets(connection: Connection, track_ids: Sequence[TrackId] | None = None) -> list[TrackletRow]:
    """Return the sealed crops of these tracks (of all), in the order of their ids. All are in memory at once."""
    if track_ids is None:
        return _tracklets(connection, select(tracklet).order_by(tracklet.c.track_id))
    return [
        row
        for chunk in in_chunks(sorted(set(track_ids)))
        for row in _tracklets(
            connection, select(tracklet).where(tracklet.c.track_id.in_(chunk)).order_by(tracklet.c.track_id)
        )
    ]


def replace_tracklet(connection: Connection, track_id: TrackId, sealed: Sealed) -> None:
    """Put the same crops, sealed anew, in the place of a tracklet's.

    Raises:
        UsageError: code ``NOT_FOUND``: it is gone meanwhile.
    """
    check_sealed(sealed)
    change(connection, update(tracklet).where(tracklet.c.track_id == track_id).values(sealed=sealed), "tracklet")


def delete_tracklet(connection: Connection, track_id: TrackId) -> int:
    """Delete a track's sealed crops and return how many rows went (0 or 1)."""
    return count(connection, delete(tracklet).where(tracklet.c.track_id == track_id))


def check_sealed(value: object) -> None:
    """Refuse anything but ciphertext (TypeError)."""
    if not isinstance(value, Sealed):
        raise TypeError(f"the store takes Sealed, not {type(value).__name__}")


def check_indices(n: int, frame_indices: Sequence[int]) -> None:
    """Refuse a count that is not the number of frame indices (UsageError ``SHAPE``)."""
    if n != len(frame_indices):
        raise UsageError(f"{n} items but {len(frame_indices)} frame indices", code="SHAPE")


def _tracks(connection: Connection, wanted: Select[Any]) -> list[TrackRow]:
    ordered = wanted.order_by(track.c.created_at, track.c.track_id)
    return [TrackRow(**row) for row in connection.execute(ordered).mappings()]


def _tracklets(connection: Connection, wanted: Select[Any]) -> list[TrackletRow]:
    return [
        TrackletRow(**{**row, "frame_indices": tuple(row["frame_indices"])})
        for row in connection.execute(wanted).mappings()
    ]
