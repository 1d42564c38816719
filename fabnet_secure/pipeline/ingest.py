"""Ingest: a video and consents in, sealed crops (or embeddings) out, and nothing of anybody else.

Order matters and is the guarantee: access decision → the consents are required → entry «ingest started» → the video is
read once (detect and track; candidate crops in locked memory) → every track is bound, dropped or quarantined, and what
is not bound is zeroed → the consents are required again for every bound track → sealed to each person's public key
(this journey never opens a data key) → the consents are required *once more* inside the transaction that commits rows,
counts and the entry «ingest completed: frames persisted 0» (``keep.py``) → the file is kept or deleted as the policy
says.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from fabnet_secure.errors import (
    AccessDenied,
    FabnetError,
    Gap,
    IntegrityFailure,
    NoEffectiveConsent,
    UnreadableSource,
    UsageError,
)
from fabnet_secure.pipeline.authorize import authorize_purpose, record_refusal
from fabnet_secure.pipeline.cameras import Camera, find_camera, regions_of
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import opening
from fabnet_secure.pipeline.declared import Declared, declare
from fabnet_secure.pipeline.discard import Watch, evidence, require_memory_stays, require_none, watch_writes
from fabnet_secure.pipeline.disposition import Identity, dispose
from fabnet_secure.pipeline.embed import Encoder, current_encoder
from fabnet_secure.pipeline.keep import Seen, disposition_of, keep, looked_at, outcome_of, standing
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.prints import Prints, bound_before, find_known, refuse_another, take
from fabnet_secure.pipeline.source import BoxClaim, Outcome, Source
from fabnet_secure.progress import Progress
from fabnet_secure.store import videos
from fabnet_secure.store.states import Disposition
from fabnet_secure.store.videos import VideoRow
from fabnet_secure.types import Purpose
from fabnet_secure.video.bind import Assignment, Binding, BindingPolicy, Scene, bind
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.live import open_live
from fabnet_secure.video.observe import Observation, ObserveSettings, observe
from fabnet_secure.video.reader import VideoStream, open_video

__all__ = [
    "BoxClaim",
    "Chooser",
    "Outcome",
    "Source",
    "binding_policy",
    "ingest",
    "ingest_each",
    "ingest_one",
    "load_detector",
    "observing",
    "prepare",
    "smallest_face_of",
]

Chooser = Callable[[Observation, Declared], Sequence[Assignment]]
"""Asked whose the tracks are, between reading and binding; the persons it names are subjects of the declared."""

_UNFINISHED = (Disposition.DELETE_DUE, Disposition.DELETE_FAILED)
_REFUSALS = (UnreadableSource, NoEffectiveConsent, Gap, UsageError, AccessDenied)


def ingest(
    site: Site,
    sources: Sequence[Source],
    *,
    progress: Progress,
    dry_run: bool = False,
    choose: Chooser | None = None,
) -> tuple[Outcome, ...]:
    """Ingest every source in this process; one bad video never stops the others.

    Args:
        site: an open vault.
        sources: the videos, each with the ids of the consents it was recorded under.
        progress: told of frames read.
        dry_run: look, bind and count, but store and log nothing of the videos.
        choose: asks a person whose the tracks are; None leaves it to the policy.

    Returns:
        One outcome a source, in order; a refused one holds its error.

    Raises:
        AccessDenied: the principal may not ingest.
        Gap: code ``SWAP_IN_THE_CLEAR``.
    """
    return tuple(ingest_each(site, sources, progress=progress, dry_run=dry_run, choose=choose))


def ingest_each(
    site: Site,
    sources: Sequence[Source],
    *,
    progress: Progress,
    dry_run: bool = False,
    choose: Chooser | None = None,
) -> Iterator[Outcome]:
    """Do what :func:`ingest` does, and tell each outcome as soon as it is there."""
    prepare(site, dry_run=dry_run)
    detector = load_detector(site)
    for done, source in enumerate(sources, start=1):
        yield ingest_one(site, source, detector, progress, dry_run=dry_run, choose=choose)
        progress.advance("videos", done, len(sources))


def prepare(site: Site, *, dry_run: bool = False) -> None:
    """Ask once, before any video, what holds for all of them; sweep what has expired.

    Raises:
        AccessDenied: the principal may not ingest.
        Gap: code ``SWAP_IN_THE_CLEAR``.
        UsageError: code ``POLICY_INVALID``: the budgets hold no crop.
    """
    authorize_purpose(site, "ingest", Purpose.TRAIN_MODEL)
    require_memory_stays(site)
    observing(site)  # budgets that hold no crop are refused now, not once a video
    if not dry_run:
        sweep(site)


def load_detector(site: Site) -> Detector:
    """Load the detector as the policy sets it."""
    table = site.settings.ingest
    return Detector.load(
        score_threshold=table.detector_score, long_side=table.detector_long_side, min_face_px=table.min_face_px
    )


def ingest_one(
    site: Site,
    source: Source,
    detector: Detector,
    progress: Progress,
    *,
    dry_run: bool = False,
    choose: Chooser | None = None,
) -> Outcome:
    """Ingest one source; a refusal is logged and comes back as an outcome that holds its error."""
    try:
        return _take_in(site, source, detector, progress, dry_run=dry_run, choose=choose)
    except _REFUSALS as error:
        refusal: FabnetError = error
    except PermissionError as error:  # a folder on the way to the file that may not be searched
        refusal = UnreadableSource(
            f"the file cannot be reached ({error.strerror})", hint="check its permissions", code="SOURCE_UNREADABLE"
        )
    if not dry_run:
        _record_refusal(site, refusal)
    return Outcome(source=source, status="refused", error=refusal)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is known of one video before it is read."""

    source: Source
    camera: Camera | None
    named: tuple[str, ...]
    declared: Declared
    prints: Prints
    encoder: Encoder | None


def _take_in(
    site: Site, source: Source, detector: Detector, progress: Progress, *, dry_run: bool, choose: Chooser | None
) -> Outcome:
    camera = find_camera(site, source)
    named = _named(source, camera)
    with site.reading() as connection:
        declared = declare(site, connection, named)
    with _opened(site, source) as stream:  # hostile and broken files are refused here, before anything else is done
        identity = None if stream.descriptor is None else Identity.of_open(stream.descriptor)
        job = _Job(
            source=source,
            camera=camera,
            named=named,
            declared=declared,
            prints=take(site, source, declared, stream.descriptor),
            encoder=_encoder_for(site, declared),
        )
        listing = dry_run and choose is not None  # a person wants to look, whatever is known
        if not listing and (row := _known(site, job)) is not None:
            return _skipped(site, source, row, identity, dry_run=dry_run)
        if not dry_run:
            _log_start(site, job)
        with watch_writes(ours=site.anchor.path) as writes:
            settings = observing(site, smallest_face_of(site, detector, stream))
            observation = observe(stream, detector, settings, progress=progress)
        try:  # from here on candidates are held
            if identity is not None and not _unchanged(site, job, identity, stream.descriptor):
                raise _changed()
            outcome = _settle(site, job, observation, detector, writes, dry_run=dry_run, choose=choose)
        finally:
            observation.wipe()
    return outcome if dry_run or identity is None else _disposed(site, outcome, identity)


def _changed() -> UnreadableSource:
    return UnreadableSource(
        "the video changed while it was read", hint="ingest a file that nothing else writes to", code="SOURCE_CHANGED"
    )


def _unchanged(site: Site, job: _Job, identity: Identity, descriptor: int | None) -> bool:
    """Tell whether the file that was read is still the one that was hashed, and still the one its name leads to."""
    if job.source.path is None or descriptor is None:
        return True
    still = Identity.of_open(descriptor) == identity == Identity.of(job.source.path)
    return still and take(site, job.source, job.declared, descriptor) == job.prints


def _named(source: Source, camera: Camera | None) -> tuple[str, ...]:
    """Return every consent that is named for a video: by itself, for a box, for a seat, by the camera."""
    seats = {} if camera is None else {seat: one for seat, one in camera.consents.items() if seat not in source.seats}
    boxes = [claim.consent_id for claim in source.boxes]
    taken = [one for one in (*source.seats.values(), *seats.values()) if one]  # "" is a seat in which nobody sits
    return tuple(dict.fromkeys([*source.consent_ids, *boxes, *taken]))


@contextmanager
def _opened(site: Site, source: Source) -> Iterator[VideoStream]:
    if source.path is not None:
        with open_video(source.path) as stream:
            yield stream
        return
    most = site.settings.ingest.live_max_seconds
    seconds = most if source.seconds is None else source.seconds
    if not 0 < seconds <= most:
        raise UsageError(
            f"a live source is read for more than 0 and at most {most:g} seconds",
            hint="give --duration, or raise ingest.live_max_seconds in fabnet.toml",
            code="DURATION_INVALID",
        )
    with open_live(source.url, seconds=seconds) as stream:
        yield stream


def _encoder_for(site: Site, declared: Declared) -> Encoder | None:
    """Return the encoder for people who consent to embedding only; who consents to training is embedded later."""
    waiting = [person for person in declared.people.values() if person.purpose is Purpose.EMBED]
    if not waiting:
        return None
    encoder = current_encoder(site)
    if encoder is None and len(waiting) == len(declared.people):
        raise NoEffectiveConsent(
            "the consent covers embedding only, and there is no model to embed with yet",
            hint="train a model first, or record a consent that covers train_model",
            code="NO_ENCODER",
        )
    return encoder


def _known(site: Site, job: _Job) -> VideoRow | None:
    with site.reading() as connection:
        refuse_another(connection, job.prints, job.declared)
        return find_known(connection, job.prints, looked_at=looked_at(job.source))


def _skipped(site: Site, source: Source, row: VideoRow, identity: Identity | None, *, dry_run: bool) -> Outcome:
    """Leave a known video alone, but finish what was to become of its file."""
    with site.reading() as connection:
        same = videos.find_by_content(connection, row.content)
        kept = bound_before(connection, row.content)
    row = next((one for one in same if one.disposition in _UNFINISHED), row)  # perhaps under other consents or boxes
    due = row.disposition
    if due == Disposition.KEEP and kept and site.settings.ingest.source_disposition == "delete":
        due = Disposition.DELETE_DUE  # kept under an older policy, or a further copy of the file
    outcome = Outcome(source=source, status="skipped", video_id=row.video_id, disposition=due)
    return outcome if dry_run or identity is None else _disposed(site, outcome, identity)


def _disposed(site: Site, outcome: Outcome, identity: Identity) -> Outcome:
    """Carry out what was decided about the file when its video was committed."""
    return outcome if outcome.disposition in ("", "keep") else dispose(site, outcome, identity)


def observing(site: Site, smallest_face: float = 0.0) -> ObserveSettings:
    """Return how often to look, and how much to hold, as the policy sets it."""
    table = site.settings.ingest
    return ObserveSettings(
        interval=table.detector_interval,
        crop_size=table.crop_size,
        crops_per_second=table.crops_per_second,
        frames_per_tracklet=table.frames_per_tracklet,
        tracklet_bytes=table.tracklet_budget_kib * 1024,
        video_bytes=table.video_budget_mib * 1024 * 1024,
        min_track_frames=table.min_track_frames,
        smallest_face=smallest_face,
    )


def smallest_face_of(site: Site, detector: Detector, seen: VideoStream | Observation) -> float:
    """Return the longer side in pixels below which a face is dropped: what the policy asks, or the detector needs."""
    return max(site.settings.ingest.min_face_px, detector.smallest_face(seen.width, seen.height))


def _settle(
    site: Site,
    job: _Job,
    observation: Observation,
    detector: Detector,
    writes: Watch,
    *,
    dry_run: bool,
    choose: Chooser | None,
) -> Outcome:
    """Decide whose every track is, forget the others, and keep what is bound."""
    require_none(writes)
    if not observation.tracks:
        raise UnreadableSource(
            "no face was found in the video",
            hint="check the recording, or lower ingest.detector_score or ingest.min_face_px in fabnet.toml",
            code="NO_FACE",
        )
    seen = Seen(
        source=job.source,
        named=job.named,
        observation=observation,
        binding=_bound(site, job, observation, detector, choose),
        prints=job.prints,
        encoder=job.encoder,
        persisted=writes.count,
        evidence=evidence(observation, detector, site.settings.ingest.detector_interval, writes)
        | {"camera": "" if job.camera is None else job.camera.name, "site": site.settings.access.site},
    )
    with site.reading() as connection:  # for every bound track, before anything of it is encoded
        binding = standing(connection, seen.binding, declare(site, connection, job.named), seen)
    kept = {track.number for track, _ in binding.bound}
    for track in observation.tracks:
        if track.number not in kept:
            observation.release(track.number)
    if dry_run:
        return outcome_of(seen, binding, disposition=disposition_of(site, job.source, binding))
    return keep(site, replace(seen, binding=binding))


def _bound(site: Site, job: _Job, observation: Observation, detector: Detector, choose: Chooser | None) -> Binding:
    """Bind the tracks: by what the operator says now or said before, by seats, or by there being one face only."""
    claims = [
        Assignment(person=job.declared.subject_of[claim.consent_id], frame=claim.frame, box=claim.box)
        for claim in job.source.boxes
    ]
    if choose is not None:
        claims += choose(observation, job.declared)
    scene = Scene(
        persons=job.declared.subjects,
        assignments=tuple(claims),
        regions=regions_of(job.camera, job.source.seats, job.declared.subject_of),
        width=observation.width,
        height=observation.height,
        known_camera=job.camera is not None,
    )
    binding = bind(observation.tracks, scene, binding_policy(site, observation, detector))
    counted = len(binding.bound) + len(binding.dropped) + len(binding.quarantined)
    if counted != len(observation.tracks):
        detected = len(observation.tracks)
        raise IntegrityFailure(f"{detected} tracks were detected but {counted} accounted for", code="COUNTS_BROKEN")
    return binding


def binding_policy(site: Site, observation: Observation, detector: Detector) -> BindingPolicy:
    """Return how tracks are bound, as the policy sets it."""
    table = site.settings.ingest
    return BindingPolicy(
        min_track_frames=table.min_track_frames,
        min_face_px=smallest_face_of(site, detector, observation),
        primary_track=table.primary_track,
        max_faces=table.max_faces,
        max_bystander_share=table.max_bystander_share,
        unknown_camera=table.unknown_camera,
    )


def _log_start(site: Site, job: _Job) -> None:
    with site.work() as work:
        declared = declare(site, work.connection, job.named)  # their keys live as long as this holds
        records = [person.record for person in declared.people.values()]
        work.log(
            "ingest.started",
            facts={},
            subjects=tuple(opening(site, record, "consent", record.consent_id) for record in records),
        )


def _record_refusal(site: Site, error: FabnetError) -> None:
    if isinstance(error, NoEffectiveConsent):
        record_refusal(site, "ingest", Purpose.TRAIN_MODEL, error.code)
    with site.work() as work:
        work.log("ingest.refused", facts={"code": error.code})
