"""Ingest: a video and a consent in, sealed crops (or embeddings) out, and nothing of anybody else.

Order matters and is the guarantee: access decision → the consent is required → entry «ingest started» → first pass
(detect and track, no crop) → every track is bound or dropped → second pass crops bound tracks only → sealed to the
person's public key (this journey never opens a data key) → the consent is required *again* inside the transaction
that commits rows, counts and the entry «ingest completed: frames persisted 0». One declared person a video: several
people in one video are refused as undecidable.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from fabnet_secure.access.decision import Grant
from fabnet_secure.consent.append import add_duration
from fabnet_secure.crypto.envelope import Context, seal_to
from fabnet_secure.errors import (
    FabnetError,
    Gap,
    IntegrityFailure,
    NoEffectiveConsent,
    UnreadableSource,
    UsageError,
)
from fabnet_secure.pipeline.authorize import authorize, authorize_purpose, class_of, record_grant, record_refusal
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import opening, recipient
from fabnet_secure.pipeline.declared import INGESTIBLE, Declared, declare
from fabnet_secure.pipeline.discard import watch_writes
from fabnet_secure.pipeline.embed import Encoder, current_encoder, seal_page
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.prints import Prints, known, refuse_another, take
from fabnet_secure.progress import Progress
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.database import Work
from fabnet_secure.store.states import VideoStatus
from fabnet_secure.types import Domain, Purpose, TrackId, TrackStatus, VideoId, new_id
from fabnet_secure.video.bind import Binding, BindingPolicy, bind
from fabnet_secure.video.crop import crop_version, select
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.observe import Observation, crop_tracks, observe
from fabnet_secure.video.reader import open_video
from fabnet_secure.video.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One video and the consents it was recorded under."""

    path: Path
    consent_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one video."""

    path: Path
    status: str  # ingested, skipped, refused, quarantined
    frames_read: int = 0
    frames_persisted: int = 0
    detected: int = 0
    bound: int = 0
    dropped: int = 0
    quarantined: int = 0
    drop_reasons: Mapping[str, int] = field(default_factory=dict)
    track_ids: tuple[TrackId, ...] = ()
    error: FabnetError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the two passes over one video found.

    Attributes:
        crops: for each bound track's number, uint8 RGB (n, size, size, 3).
        persisted: files that were opened for writing meanwhile.
    """

    observation: Observation
    binding: Binding
    crops: Mapping[int, np.ndarray]
    persisted: int


def ingest(site: Site, sources: Sequence[Source], *, progress: Progress, dry_run: bool = False) -> tuple[Outcome, ...]:
    """Ingest every source; one bad video never stops the others.

    Args:
        site: an open vault.
        sources: the videos, each with the ids of the consents it was recorded under.
        progress: told of frames read.
        dry_run: look, bind and count, but store and log nothing of the videos.

    Returns:
        One outcome a source, in order; a refused one holds its error.

    Raises:
        AccessDenied: the principal may not ingest.
    """
    authorize_purpose(site, "ingest", Purpose.TRAIN_MODEL)
    if not dry_run:
        sweep(site)
    detector = Detector.load(
        score_threshold=site.settings.ingest.detector_score, long_side=site.settings.ingest.detector_long_side
    )
    outcomes: list[Outcome] = []
    for source in sources:
        try:
            outcomes.append(_ingest_one(site, source, detector, progress, dry_run=dry_run))
        except (UnreadableSource, NoEffectiveConsent, Gap, UsageError) as error:
            if not dry_run:
                _record_refusal(site, error)
            outcomes.append(Outcome(path=source.path, status="refused", error=error))
        progress.advance("videos", len(outcomes), len(sources))
    return tuple(outcomes)


def _ingest_one(site: Site, source: Source, detector: Detector, progress: Progress, *, dry_run: bool) -> Outcome:
    with site.reading() as connection:
        declared = declare(site, connection, source.consent_ids)
    with open_video(source.path):  # hostile and broken files are refused here, before anything is asked of them
        pass
    encoder = _encoder_for(site, declared)
    prints = take(site, source.path, declared)
    with site.reading() as connection:
        refuse_another(connection, prints, declared)
        if known(connection, prints):
            return Outcome(path=source.path, status="skipped")
    if not dry_run:
        _log_start(site, source)
    with watch_writes() as writes:
        observation = observe(source.path, detector, progress=progress)
        binding = bind(observation.tracks, _binding_policy(site))
        crops = {} if dry_run else _crops(site, source.path, observation, binding)
        if take(site, source.path, declared) != prints:
            raise UnreadableSource(
                "the video changed while it was read",
                hint="ingest a file that nothing else writes to",
                code="SOURCE_CHANGED",
            )
    _conserved(binding, len(observation.tracks))
    if writes.count:
        raise IntegrityFailure(
            "a file was opened for writing while a video was read; nothing of the video was kept",
            hint="run with --debug; no plug-in may write frames",
            code="FRAMES_PERSISTED",
        )
    if not observation.tracks:
        raise UnreadableSource(
            "no face was found in the video",
            hint="check the recording, or lower ingest.detector_score in fabnet.toml",
            code="NO_FACE",
        )
    seen = _Seen(observation=observation, binding=binding, crops=crops, persisted=writes.count)
    if dry_run:
        return _outcome(source, seen, ())
    try:
        return _commit(site, source, seen, encoder, prints)
    finally:
        for pixels in crops.values():
            pixels.fill(0)


def _encoder_for(site: Site, declared: Declared) -> Encoder | None:
    """Return the encoder for a person who consents to embedding only; a person who trains is embedded later."""
    if Purpose.TRAIN_MODEL in declared.consents:
        return None
    encoder = current_encoder(site)
    if encoder is None:
        raise NoEffectiveConsent(
            "the consent covers embedding only, and there is no model to embed with yet",
            hint="train a model first, or record a consent that covers train_model",
            code="NO_ENCODER",
        )
    return encoder


def _binding_policy(site: Site) -> BindingPolicy:
    table = site.settings.ingest
    return BindingPolicy(
        min_track_frames=table.min_track_frames,
        min_face_px=table.min_face_px,
        primary_track=table.primary_track,
        max_faces=table.max_faces,
    )


def _conserved(binding: Binding, detected: int) -> None:
    counted = len(binding.bound) + len(binding.dropped) + len(binding.quarantined)
    if counted != detected:
        raise IntegrityFailure(f"{detected} tracks were detected but {counted} accounted for", code="COUNTS_BROKEN")


def _crops(site: Site, path: Path, observation: Observation, binding: Binding) -> dict[int, np.ndarray]:
    """Crop the selected frames of the bound tracks: uint8, (n, size, size, 3) a track."""
    if not binding.bound:
        return {}
    wanted = {track.number: select(track, site.settings.ingest.frames_per_tracklet) for track in binding.bound}
    return crop_tracks(path, wanted, site.settings.ingest.crop_size, observation.tracks)


def _commit(site: Site, source: Source, seen: _Seen, encoder: Encoder | None, prints: Prints) -> Outcome:
    binding = seen.binding
    grant = _authorized(site, source)
    with site.work() as work:
        declared = declare(site, work.connection, source.consent_ids)  # a withdrawal that landed meanwhile wins
        refuse_another(work.connection, prints, declared)
        if known(work.connection, prints):
            work.log("ingest.skipped", facts={})
            return Outcome(path=source.path, status="skipped")
        video_id = VideoId(new_id())
        videos.add_video(work.connection, _video_row(site, video_id, seen, prints))
        track_ids = tuple(
            _add_bound(site, work, video_id, declared, track, seen.crops[track.number], encoder)
            for track in binding.bound
        )
        for track, reason in binding.dropped:
            _add_unbound(site, work, video_id, track, TrackStatus.DROPPED, reason)
        for track in binding.quarantined:
            _add_unbound(site, work, video_id, track, TrackStatus.QUARANTINED, binding.reason)
        outcome = _outcome(source, seen, track_ids)
        record = declared.record
        work.log(
            "ingest.completed",
            facts=_facts(site, outcome),
            subjects=(opening(site, record, "consent", record.consent_id),),
        )
        record_grant(site, work, grant, rows=len(track_ids))
    return outcome


def _authorized(site: Site, source: Source) -> Grant:
    """Decide about this person's class of consent, for the purpose that the video is kept for."""
    with site.reading() as connection:
        declared = declare(site, connection, source.consent_ids)
    purpose = next(purpose for purpose in INGESTIBLE if purpose in declared.consents)
    consent = declared.consents[purpose]
    return authorize(site, "ingest", purpose=purpose, resource=class_of(consent))


def _add_bound(
    site: Site,
    work: Work,
    video_id: VideoId,
    declared: Declared,
    track: Track,
    crops: np.ndarray,
    encoder: Encoder | None,
) -> TrackId:
    record, track_id = declared.record, TrackId(new_id())
    size = site.settings.ingest.crop_size
    frames = tuple(select(track, site.settings.ingest.frames_per_tracklet))
    expires = None if encoder else _expiry(site, declared)
    tracks.add_track(
        work.connection,
        tracks.TrackRow(
            track_id=track_id,
            video_id=video_id,
            subject_id=record.subject_id,
            consent_id=record.consent_id,
            status=TrackStatus.BOUND,
            reason="",
            frames=len(track.boxes),
            crop_version=crop_version(size),
            expires_at=expires,
            created_at=site.clock(),
        ),
    )
    if encoder is not None:
        seal_page(site, work, record=record, track_id=track_id, frames=frames, crops=crops, encoder=encoder)
        return track_id
    context = Context(
        format="tracklet/1",
        subject=record.subject_id,
        consent=record.consent_id,
        track=track_id,
        n=len(frames),
        dim=size,
    )
    sealed = seal_to(recipient(site, record, Domain.TRACKLETS), context, crops.tobytes())
    tracks.add_tracklet(work.connection, track_id, sealed, n=len(frames), size=size, frame_indices=frames)
    return track_id


def _expiry(site: Site, declared: Declared) -> datetime:
    """Return when the crops must be gone: the policy's retention, or the consent's end where that is sooner."""
    retained = add_duration(site.clock(), site.settings.ingest.tracklet_retention)
    return min(retained, declared.ends) if declared.ends else retained


def _add_unbound(site: Site, work: Work, video_id: VideoId, track: Track, status: TrackStatus, reason: str) -> None:
    """Record that a track existed, and nothing about whom it showed or where."""
    tracks.add_track(
        work.connection,
        tracks.TrackRow(
            track_id=TrackId(new_id()),
            video_id=video_id,
            subject_id=None,
            consent_id=None,
            status=status,
            reason=reason,
            frames=len(track.boxes),
            crop_version="",
            expires_at=None,
            created_at=site.clock(),
        ),
    )


def _video_row(site: Site, video_id: VideoId, seen: _Seen, prints: Prints) -> videos.VideoRow:
    binding = seen.binding
    return videos.VideoRow(
        video_id=video_id,
        fingerprint=prints.quarantined if binding.video_quarantined else prints.ingested,
        content=prints.content,
        status=_status(binding),
        frames_read=seen.observation.frames_read,
        frames_persisted=seen.persisted,
        detected=len(seen.observation.tracks),
        bound=len(binding.bound),
        dropped=len(binding.dropped),
        quarantined=len(binding.quarantined),
        drop_reasons=_reasons(binding),
        policy_sha256=site.policy_sha256,
        disposition="keep",
        ingested_at=site.clock(),
    )


def _status(binding: Binding) -> VideoStatus:
    return VideoStatus.QUARANTINED if binding.video_quarantined else VideoStatus.INGESTED


def _outcome(source: Source, seen: _Seen, track_ids: tuple[TrackId, ...]) -> Outcome:
    binding = seen.binding
    return Outcome(
        path=source.path,
        status=_status(binding),
        frames_read=seen.observation.frames_read,
        frames_persisted=seen.persisted,
        detected=len(seen.observation.tracks),
        bound=len(binding.bound),
        dropped=len(binding.dropped),
        quarantined=len(binding.quarantined),
        drop_reasons=_reasons(binding),
        track_ids=track_ids,
    )


def _reasons(binding: Binding) -> dict[str, int]:
    reasons = Counter(reason for _, reason in binding.dropped)
    if binding.quarantined:
        reasons[binding.reason] += len(binding.quarantined)
    return dict(reasons)


def _facts(site: Site, outcome: Outcome) -> dict[str, str | int | dict[str, int]]:
    return {
        "status": outcome.status,
        "frames_read": outcome.frames_read,
        "frames_persisted": outcome.frames_persisted,
        "detected": outcome.detected,
        "bound": outcome.bound,
        "dropped": outcome.dropped,
        "quarantined": outcome.quarantined,
        "drop_reasons": dict(outcome.drop_reasons),
        "policy": site.policy_sha256,
        "disposition": "keep",
    }


def _log_start(site: Site, source: Source) -> None:
    with site.work() as work:
        declared = declare(site, work.connection, source.consent_ids)  # its keys live as long as this holds
        work.log(
            "ingest.started",
            facts={},
            subjects=(opening(site, declared.record, "consent", declared.record.consent_id),),
        )


def _record_refusal(site: Site, error: FabnetError) -> None:
    if isinstance(error, NoEffectiveConsent):
        record_refusal(site, "ingest", Purpose.TRAIN_MODEL, error.code)
    with site.work() as work:
        work.log("ingest.refused", facts={"code": error.code})
