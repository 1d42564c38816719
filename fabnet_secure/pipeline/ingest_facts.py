"""What the ``ingest`` report says, read from the store: every video, its tracks, its quarantine and how it was read.

A report's builder decides what is a finding; nothing here does. What a row does not hold is handed on as not recorded.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.compliance.ingest import (
    Discard,
    IngestConsent,
    IngestedVideo,
    IngestFacts,
    Quarantine,
    Refusal,
    SourceFile,
)
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import quarantine, tracks, videos
from fabnet_secure.store.database import Connection
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.store.quarantine import QuarantineRow
from fabnet_secure.store.tracks import TrackRow
from fabnet_secure.types import TrackStatus, VideoId, parse_rfc3339

_REFUSED = "ingest.refused"


def ingest(site: Site) -> IngestFacts:
    """Return every video that was ingested or quarantined, and how many sources were refused and why."""
    with site.reading() as connection:
        rows = videos.list_videos(connection)
        held = {row.video_id: row for row in quarantine.list_quarantine(connection)}
        refusals = _refusals(connection)
        of_video: defaultdict[VideoId, list[TrackRow]] = defaultdict(list)
        for track in tracks.list_tracks(connection):
            of_video[track.video_id].append(track)
    now = site.clock()
    return IngestFacts(
        as_of=now,
        videos=tuple(_video(row, of_video[row.video_id], held.get(row.video_id), now) for row in rows),
        refusals=refusals,
    )


def _video(row: videos.VideoRow, rows: Sequence[TrackRow], held: QuarantineRow | None, now: datetime) -> IngestedVideo:
    return IngestedVideo(
        video_id=row.video_id,
        ingested_at=row.ingested_at,
        status=row.status.value,
        frames_read=row.frames_read,
        frames_persisted=row.frames_persisted,
        detected=row.detected,
        bound=row.bound,
        dropped=row.dropped,
        quarantined=row.quarantined,
        track_rows=len(rows),
        reasons=row.drop_reasons,
        consents=_consents(rows, now),
        quarantine=None
        if held is None
        else Quarantine(
            reason=held.reason,
            state=held.state.value,
            created_at=held.created_at,
            deadline=held.deadline,
            resolved_at=held.resolved_at,
        ),
        source=_source(row),
        discard=_discard(row.evidence),
        policy_sha256=row.policy_sha256,
    )


def _consents(rows: Sequence[TrackRow], now: datetime) -> tuple[IngestConsent, ...]:
    """Count the tracks under each consent, and those that are gone by now: expiry is computed on read."""
    bound = [row for row in rows if row.consent_id is not None and row.subject_id is not None]
    every = Counter((str(row.consent_id), str(row.subject_id)) for row in bound)
    living = Counter(
        str(row.consent_id)
        for row in bound
        if row.status is TrackStatus.BOUND and (row.expires_at is None or row.expires_at > now)
    )
    return tuple(
        IngestConsent(consent_id=consent, subject_id=subject, tracks=count, gone=count - living[consent])
        for (consent, subject), count in sorted(every.items())
    )


def _source(row: videos.VideoRow) -> SourceFile:
    found = _table(row.evidence, "source")
    at = _text(found, "at")
    return SourceFile(
        disposition=str(row.disposition),
        bytes=_count(found, "bytes"),
        filesystem=_text(found, "filesystem") or "",
        code=_text(found, "code") or "",
        at=parse_rfc3339(at) if at else None,
    )


def _discard(evidence: Mapping[str, Any]) -> Discard | None:
    """Read the evidence of one video; None where a version before evidence was recorded read it."""
    if not set(evidence) - {"source"}:
        return None
    detector = _table(evidence, "detector")
    locked = evidence.get("buffers_locked")
    return Discard(
        core_dumps=_text(evidence, "core_dumps"),
        buffers_locked=locked if isinstance(locked, bool) else None,
        swap=_text(evidence, "swap"),
        sqlite_temp=_text(evidence, "sqlite_temp"),
        writes_seen=_count(evidence, "writes_seen"),
        frames_detected=_count(evidence, "frames_detected"),
        passes=_count(evidence, "passes"),
        detector=_text(detector, "name"),
        interval=_count(detector, "interval"),
        smallest_face_px=_count(detector, "smallest_face_px"),
    )


def _refusals(connection: Connection) -> tuple[Refusal, ...]:
    storage = SqlLogStorage(connection)
    entries = (read_leaf(blob) for blob in storage.read_entries(0, storage.size()))
    codes = Counter(str(entry.facts.get("code", "")) for entry in entries if entry.act == _REFUSED)
    return tuple(Refusal(code=code, count=codes[code]) for code in sorted(codes))


def _table(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = body.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(body: Mapping[str, Any], key: str) -> str | None:
    found = body.get(key)
    return found if isinstance(found, str) else None


def _count(body: Mapping[str, Any], key: str) -> int | None:
    found = body.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
