"""Keep what a living consent covers: the one transaction at the end of an ingest.

The consents are required again on the very connection that writes; a withdrawal that landed while the video was read
wins, for that person's tracks alone where several were declared. Rows, counts, drop records, decisions and the entry
«ingest completed» are committed together or not at all.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from fabnet_secure.access.decision import Grant
from fabnet_secure.consent.append import add_duration
from fabnet_secure.crypto.envelope import Context, seal_to
from fabnet_secure.pipeline.authorize import authorize, class_of, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import opening, recipient
from fabnet_secure.pipeline.declared import Declared, Person, declare
from fabnet_secure.pipeline.embed import Encoder, seal_page
from fabnet_secure.pipeline.prints import Prints, bound_before, find_known, of_another, refuse_another
from fabnet_secure.pipeline.quarantine import Held, HeldTrack, end_wait, hold
from fabnet_secure.pipeline.source import Outcome, Source
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.states import Disposition, VideoStatus
from fabnet_secure.types import Domain, Json, Purpose, SubjectId, TrackId, TrackStatus, VideoId, new_id
from fabnet_secure.video.bind import Binding
from fabnet_secure.video.crop import crop_version
from fabnet_secure.video.observe import Observation
from fabnet_secure.video.track import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the reading of one video found.

    Attributes:
        binding: whose its tracks are.
        named: every consent that was named for the video, by whatever way.
        encoder: for people who consent to embedding only; None where nobody does or there is no model.
        persisted: files that were opened for writing meanwhile.
        evidence: how it was read.
    """

    source: Source
    named: tuple[str, ...]
    observation: Observation
    binding: Binding
    prints: Prints
    encoder: Encoder | None
    persisted: int
    evidence: Mapping[str, Json]


def keep(site: Site, seen: Seen) -> Outcome:
    """Commit what was seen of one video.

    Raises:
        NoEffectiveConsent: nobody's consent is in force any more.
        AccessDenied: the policies do not allow to ingest under one of the consents.
        Gap: the same bytes were bound to somebody else meanwhile.
        UsageError: code ``QUARANTINE_OVER``: what is released waits no more.
    """
    grants = _authorized(site, seen)
    with site.work() as work:
        declared = declare(site, work.connection, seen.named)  # a withdrawal that landed meanwhile wins
        refuse_another(work.connection, seen.prints, declared)
        if row := find_known(work.connection, seen.prints, looked_at=looked_at(seen.source)):
            work.log("ingest.skipped", facts={})  # another process was faster
            return Outcome(source=seen.source, status="skipped", video_id=row.video_id, disposition=row.disposition)
        if seen.source.releases:
            end_wait(site, work, seen.source.releases)  # whoever ended it otherwise meanwhile wins
        binding = standing(work.connection, seen.binding, declared, seen)
        row = _video_row(site, VideoId(new_id()), seen, binding)
        videos.add_video(work.connection, row)
        track_ids = tuple(
            _add_bound(site, work, row.video_id, declared.people[SubjectId(person)], track, seen)
            for track, person in binding.bound
        )
        for track, reason in binding.dropped:
            _add_unbound(site, work, row.video_id, track, TrackStatus.DROPPED, reason)
        for track in binding.quarantined:
            _add_unbound(site, work, row.video_id, track, TrackStatus.QUARANTINED, binding.reason)
        if binding.video_quarantined:
            hold(site, work, row.video_id, held=_held(seen, binding))
        outcome = outcome_of(seen, binding, video_id=row.video_id, track_ids=track_ids, disposition=row.disposition)
        kept = {person for _, person in binding.bound} or set(declared.people)
        people = [person for subject_id, person in declared.people.items() if subject_id in kept]
        work.log(
            "ingest.completed",
            facts=_facts(site, outcome, seen.evidence),
            subjects=tuple(opening(site, one.record, "consent", one.record.consent_id) for one in people),
        )
        for grant in grants:
            record_grant(site, work, grant, rows=len(track_ids))
    return outcome


def looked_at(source: Source) -> bool:
    """Tell whether a person says whose the faces are, so that an earlier quarantine does not stand in the way."""
    return bool(source.boxes) or source.released


def standing(connection: Connection, binding: Binding, declared: Declared, seen: Seen) -> Binding:
    """Drop the bound tracks that may not be kept now, each with its reason; keep the others.

    That is where the person's consent is not in force; where it could only be embedded and no model is there; where
    the same bytes were bound to the person before (``already_bound``); and where the video's budget left no crop.

    Raises:
        Gap: code ``SOURCE_OF_ANOTHER``: the same bytes were bound before, and this person was not among those bound:
            one face would become two people's.
    """
    before = bound_before(connection, seen.prints.content)
    ever = bound_before(connection, seen.prints.content, living=False)
    bound: list[tuple[Track, str]] = []
    dropped = list(binding.dropped)
    for track, subject in binding.bound:
        person = declared.people.get(SubjectId(subject))
        if person is None:
            dropped.append((track, declared.refusals[SubjectId(subject)].code.lower()))
        elif person.purpose is Purpose.EMBED and seen.encoder is None:
            dropped.append((track, "no_encoder"))
        elif ever and subject not in ever:
            raise of_another()
        elif subject in before:
            dropped.append((track, "already_bound"))
        elif not seen.observation.candidates(track.number):
            dropped.append((track, "over_budget"))
        else:
            bound.append((track, subject))
    return replace(binding, bound=tuple(bound), dropped=tuple(dropped))


def outcome_of(
    seen: Seen, binding: Binding, *, video_id: str = "", track_ids: tuple[TrackId, ...] = (), disposition: str = ""
) -> Outcome:
    """Say what became of the video."""
    return Outcome(
        source=seen.source,
        status=_status(binding),
        video_id=video_id,
        frames_read=seen.observation.frames_read,
        frames_persisted=seen.persisted,
        detected=len(seen.observation.tracks),
        bound=len(binding.bound),
        dropped=len(binding.dropped),
        quarantined=len(binding.quarantined),
        drop_reasons=_reasons(binding),
        track_ids=track_ids,
        disposition=disposition,
    )


def disposition_of(site: Site, source: Source, binding: Binding) -> Disposition:
    """Say what is to become of the file: a quarantined one is kept until it is decided."""
    deletes = site.settings.ingest.source_disposition == "delete" and source.path is not None
    return Disposition.DELETE_DUE if deletes and not binding.video_quarantined else Disposition.KEEP


def _authorized(site: Site, seen: Seen) -> list[Grant]:
    """Decide about each class of the people's consents, for the purpose that their tracks are kept for."""
    with site.reading() as connection:
        declared = declare(site, connection, seen.named)
    asked = {(person.purpose, class_of(person.binding)) for person in declared.people.values()}
    return [
        authorize(site, "ingest", purpose=purpose, resource=resource)
        for purpose, resource in sorted(asked, key=lambda one: (one[0], sorted(one[1].purposes)))
    ]


def _add_bound(site: Site, work: Work, video_id: VideoId, person: Person, track: Track, seen: Seen) -> TrackId:
    record, track_id = person.record, TrackId(new_id())
    encoder = seen.encoder if person.purpose is Purpose.EMBED else None
    frames, crops = seen.observation.crops(track.number)
    size = site.settings.ingest.crop_size
    tracks.add_track(
        work.connection,
        tracks.TrackRow(
            track_id=track_id,
            video_id=video_id,
            subject_id=record.subject_id,
            consent_id=record.consent_id,
            status=TrackStatus.BOUND,
            reason="",
            frames=track.frames,
            crop_version=crop_version(size),
            expires_at=None if encoder else _expiry(site, person),
            created_at=site.clock(),
        ),
    )
    try:
        if encoder is not None:
            seal_page(site, work, record=record, track_id=track_id, frames=frames, crops=crops, encoder=encoder)
        else:
            _seal_tracklet(site, work, person, track_id, frames, crops)
    finally:
        crops.fill(0)
        seen.observation.release(track.number)
    return track_id


def _seal_tracklet(
    site: Site, work: Work, person: Person, track_id: TrackId, frames: tuple[int, ...], crops: np.ndarray
) -> None:
    """Seal one track's crops (n, size, size, 3) to the person's public key."""
    record, (n, size) = person.record, crops.shape[:2]
    context = Context(
        format="tracklet/1", subject=record.subject_id, consent=record.consent_id, track=track_id, n=n, dim=size
    )
    sealed = seal_to(recipient(site, record, Domain.TRACKLETS), context, crops.tobytes())
    tracks.add_tracklet(work.connection, track_id, sealed, n=n, size=size, frame_indices=frames)


def _expiry(site: Site, person: Person) -> datetime:
    """Return when the crops must be gone: the policy's retention, or the consent's end where that is sooner."""
    retained = add_duration(site.clock(), site.settings.ingest.tracklet_retention)
    return min(retained, person.ends) if person.ends else retained


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
            frames=track.frames,
            crop_version="",
            expires_at=None,
            created_at=site.clock(),
        ),
    )


def _held(seen: Seen, binding: Binding) -> Held:
    return Held(
        source=seen.source,
        named=seen.named,
        content=seen.prints.content,
        reason=binding.reason,
        tracks=tuple(HeldTrack.of(track) for track in binding.quarantined),
    )


def _video_row(site: Site, video_id: VideoId, seen: Seen, binding: Binding) -> videos.VideoRow:
    return videos.VideoRow(
        video_id=video_id,
        fingerprint=seen.prints.quarantined if binding.video_quarantined else seen.prints.ingested,
        content=seen.prints.content,
        status=_status(binding),
        frames_read=seen.observation.frames_read,
        frames_persisted=seen.persisted,
        detected=len(seen.observation.tracks),
        bound=len(binding.bound),
        dropped=len(binding.dropped),
        quarantined=len(binding.quarantined),
        drop_reasons=_reasons(binding),
        policy_sha256=site.policy_sha256,
        disposition=disposition_of(site, seen.source, binding),
        evidence=dict(seen.evidence),
        ingested_at=site.clock(),
    )


def _status(binding: Binding) -> VideoStatus:
    return VideoStatus.QUARANTINED if binding.video_quarantined else VideoStatus.INGESTED


def _reasons(binding: Binding) -> dict[str, int]:
    reasons = Counter(reason for _, reason in binding.dropped)
    if binding.quarantined:
        reasons[binding.reason] += len(binding.quarantined)
    return dict(reasons)


def _facts(site: Site, outcome: Outcome, evidence: Mapping[str, Json]) -> dict[str, Json]:
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
        "disposition": outcome.disposition,
        # A place's name is the site's own word and may be a person's: it stays in the row.
        "evidence": {name: found for name, found in evidence.items() if name not in ("camera", "site")},
    }
