"""Release: a quarantined video is read again, and a person says whose each face is.

Guarantees that what is released is the same file (by its bytes) that was quarantined, that every consent is required
anew by the ingest that follows, that nothing is released past the deadline or without an assignment, and that a release
which fails leaves the video held. A release that a crash cut off is finished by another one. A live capture has no file
to read again: it can only be destroyed.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fabnet_secure.errors import UnreadableSource, UsageError
from fabnet_secure.pipeline.authorize import authorize
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.disposition import Identity, deletes, dispose
from fabnet_secure.pipeline.ingest import Chooser, ingest
from fabnet_secure.pipeline.prints import content_of
from fabnet_secure.pipeline.quarantine import Held, forget_released, open_held
from fabnet_secure.pipeline.source import BoxClaim, Outcome
from fabnet_secure.progress import Progress
from fabnet_secure.store import quarantine, videos
from fabnet_secure.store.states import VideoStatus
from fabnet_secure.types import VideoId

if TYPE_CHECKING:
    from fabnet_secure.pipeline.declared import Declared
    from fabnet_secure.video.bind import Assignment
    from fabnet_secure.video.observe import Observation

_TAKEN = ("ingested", "skipped")


def look(site: Site, video_id: str) -> Held:
    """Return what is held of a video, for whoever is about to release it.

    Raises:
        AccessDenied: the principal may not release.
        UsageError: code ``QUARANTINE_UNKNOWN``, ``QUARANTINE_OVER``.
    """
    authorize(site, "quarantine_release")
    return open_held(site, video_id)


def release(
    site: Site,
    video_id: str,
    *,
    boxes: Sequence[BoxClaim] = (),
    choose: Chooser | None = None,
    progress: Progress,
    dry_run: bool = False,
) -> Outcome:
    """Ingest a quarantined video by a person's assignment, and let go what was held of it.

    Args:
        site: an open vault.
        video_id: the quarantined video.
        boxes: whose the face at a place of a frame is.
        choose: asks a person, as ingest does.
        progress: told of frames read.
        dry_run: read, bind and count; store and log nothing of the video, and leave it held.

    Returns:
        what became of it: ``ingested`` (or ``skipped``, where a release before was cut off after that), or a refusal
        with its error; then the video is still held.

    Raises:
        AccessDenied: the principal may not release, or not ingest.
        UsageError: code ``ASSIGNMENT_MISSING``, ``QUARANTINE_UNKNOWN``, ``QUARANTINE_OVER``, ``LIVE_NOT_RELEASABLE``.
        UnreadableSource: code ``SOURCE_GONE`` or ``SOURCE_CHANGED``.
    """
    grant = authorize(site, "quarantine_release")
    held = open_held(site, video_id)
    if not boxes and choose is None:
        raise _unassigned()
    if (before := _taken_in_before(site, VideoId(video_id), held)) is not None:
        if not dry_run:
            forget_released(site, VideoId(video_id), grant)
        return before
    identity = _same_file(site, held)
    source = replace(held.source, boxes=tuple(boxes), released=True, releases=video_id)
    asked = None if choose is None else _insisting(choose)
    (outcome,) = ingest(site, [source], progress=progress, dry_run=dry_run, choose=asked)
    if dry_run or outcome.status not in _TAKEN:
        return outcome
    forget_released(site, VideoId(video_id), grant)
    return dispose(site, outcome, identity) if outcome.disposition == "delete_due" else outcome


def _insisting(choose: Chooser) -> Chooser:
    """Ask as ``choose`` does, and take nobody for no answer: without one the policy would quarantine it again."""

    def ask(observation: "Observation", declared: "Declared") -> "Sequence[Assignment]":
        chosen = choose(observation, declared)
        if not chosen:
            raise _unassigned()
        return chosen

    return ask


def _taken_in_before(site: Site, video_id: VideoId, held: Held) -> Outcome | None:
    """Find the video that a release, cut off after it, ingested and whose file the policy then deleted."""
    if held.source.path is None or held.source.path.exists() or not deletes(site):
        return None
    with site.reading() as connection:
        row = quarantine.get_quarantine(connection, video_id)
        same = videos.find_by_content(connection, held.content)
    since = [
        one
        for one in same
        if row is not None and one.status is VideoStatus.INGESTED and one.ingested_at >= row.created_at
    ]
    if not since:
        return None
    return Outcome(source=held.source, status="skipped", video_id=since[-1].video_id, disposition=since[-1].disposition)


def _same_file(site: Site, held: Held) -> Identity:
    path = held.source.path
    if path is None:
        raise UsageError(
            "a live capture cannot be read again, so it cannot be released",
            hint="destroy it, and capture again",
            code="LIVE_NOT_RELEASABLE",
        )
    try:
        identity, same = Identity.of(path), content_of(site, path) == held.content
    except (UnreadableSource, UsageError) as error:  # whose words may name the path that was sealed
        raise UnreadableSource(
            "the quarantined video's file is not where it was, or cannot be read",
            hint="put it back where it was, or destroy what is held of it",
            code="SOURCE_GONE",
        ) from error
    if not same:
        raise UnreadableSource(
            "the file is not the one that was quarantined",
            hint="put the same file back, or destroy what is held of it and ingest this one",
            code="SOURCE_CHANGED",
        )
    return identity


def _unassigned() -> UsageError:
    return UsageError(
        "nobody said whose the faces are",
        hint="give --box FRAME:X,Y,W,H=CONSENT_ID, or --show",
        code="ASSIGNMENT_MISSING",
    )
