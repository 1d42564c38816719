"""Videos: what was read, how many tracks came of it and why some were dropped; never a frame, never a file name.

Guarantees one row a fingerprint, and (by CHECK) that detected = bound + dropped + quarantined and no frame rests.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from fabnet_secure.store.rows import change, put
from fabnet_secure.store.states import Disposition, VideoStatus
from fabnet_secure.store.tables import video
from fabnet_secure.types import Json, VideoId

__all__ = [
    "Disposition",
    "VideoRow",
    "VideoStatus",
    "add_video",
    "find_by_content",
    "find_by_fingerprint",
    "get_video",
    "list_videos",
    "set_disposition",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """One video as it was ingested.

    Attributes:
        fingerprint: names the bytes under the consents they came with.
        disposition: what became of the source file: one of :class:`Disposition`.
        content: names the bytes alone; "" when unknown.
        evidence: how the video was read (``pipeline/discard.py``), and what its source's deletion found, under
            ``source``; empty for a video of a version that recorded neither.
    """

    video_id: VideoId
    fingerprint: str
    status: VideoStatus
    frames_read: int
    frames_persisted: int
    detected: int
    bound: int
    dropped: int
    quarantined: int
    drop_reasons: Mapping[str, int]
    policy_sha256: str
    disposition: str
    ingested_at: datetime
    content: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict)


def add_video(connection: Connection, row: VideoRow) -> None:
    """Add a video.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the fingerprint is there already, or the counts do not add up.
    """
    put(connection, video, **asdict(row))


def find_by_fingerprint(connection: Connection, fingerprint: str) -> VideoRow | None:
    """Return the video with this fingerprint, or None."""
    return _one(connection, video.c.fingerprint == fingerprint)


def find_by_content(connection: Connection, content: str) -> list[VideoRow]:
    """Return every video of these bytes, under whatever consent, oldest first."""
    wanted = select(video).where(video.c.content == content).order_by(video.c.ingested_at, video.c.video_id)
    return [VideoRow(**row) for row in connection.execute(wanted).mappings()]


def get_video(connection: Connection, video_id: VideoId) -> VideoRow | None:
    """Return one video, or None."""
    return _one(connection, video.c.video_id == video_id)


def list_videos(connection: Connection) -> list[VideoRow]:
    """Return every video, oldest first."""
    rows = connection.execute(select(video).order_by(video.c.ingested_at, video.c.video_id))
    return [VideoRow(**row) for row in rows.mappings()]


def set_disposition(
    connection: Connection, video_id: VideoId, disposition: Disposition, found: Mapping[str, Json] | None = None
) -> None:
    """Record what became of a video's source file, and (under ``evidence.source``) what was found on the way.

    Raises:
        UsageError: code ``NOT_FOUND``.
    """
    values: dict[str, Any] = {"disposition": disposition}
    row = get_video(connection, video_id)
    if row is not None and found is not None:
        values["evidence"] = {**row.evidence, "source": dict(found)}
    change(connection, update(video).where(video.c.video_id == video_id).values(**values), "video")


def _one(connection: Connection, condition: Any) -> VideoRow | None:
    row = connection.execute(select(video).where(condition)).mappings().one_or_none()
    return None if row is None else VideoRow(**row)
