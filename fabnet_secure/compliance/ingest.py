"""``ingest``: what became of every track of every video, and the evidence that no frame was kept.

Guarantees that every video handed in is listed with all its counts, that what contradicts the promise (a frame that
rested, a file written meanwhile, tracks that do not add up, a record held past its deadline) is the report's outcome,
and that what is not recorded is said to be not recorded, never taken for fine. Does not look at a disk: the evidence is
what the program recorded of its own process (docs/threat-model.md).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from fabnet_secure.compliance.evidence import plain
from fabnet_secure.types import Json

RULES: Mapping[str, str] = {
    "counts_broken": "BYS-01",
    "quarantine_overdue": "BYS-04",
    "frames_persisted": "RAW-01",
    "files_written": "RAW-01",
    "source_due": "RAW-01",
    "source_left": "RAW-01",
    "discard_unrecorded": "RAW-01",
    "buffers_unlocked": "GD-32",
    "core_dumps_on": "GD-32",
    "clear_swap": "GD-32",
    "unknown_swap": "GD-32",
}
"""Every finding, and the rule that it is held against."""

BREAKS = frozenset({"counts_broken", "quarantine_overdue", "frames_persisted", "files_written"})
"""The findings that contradict the promise; the others leave it less well evidenced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """How one video was read; None is what was not recorded.

    Attributes:
        core_dumps: ``on`` or ``off``.
        swap: ``none``, ``encrypted``, ``unencrypted`` or ``unknown``.
        sqlite_temp: where the database keeps what is temporary.
        writes_seen: files opened for writing meanwhile.
        frames_detected: frames that the detector looked at; the others were covered by tracks.
        passes: how often the video was read.
        interval: the detector looks at least at every so-manieth frame.
        smallest_face_px: smaller faces are dropped.
    """

    core_dumps: str | None = None
    buffers_locked: bool | None = None
    swap: str | None = None
    sqlite_temp: str | None = None
    writes_seen: int | None = None
    frames_detected: int | None = None
    passes: int | None = None
    detector: str | None = None
    interval: int | None = None
    smallest_face_px: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConsent:
    """Tracks of a video that were bound to one consent: how many, and how many have expired or were erased since."""

    consent_id: str
    subject_id: str
    tracks: int
    gone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A video's time in quarantine: ``state`` is held, released, destroyed or expired."""

    reason: str
    state: str
    created_at: datetime
    deadline: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """What became of the file: keep, delete_due, deleted or delete_failed; ``code`` says why it failed."""

    disposition: str
    bytes: int | None = None
    filesystem: str = ""
    code: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestedVideo:
    """One video: its counts, whose consent its tracks were bound to, and how it was read.

    Attributes:
        reasons: dropped and quarantined tracks by reason.
        track_rows: how many tracks of it are on file now; each leaves a row, whatever became of it.
    """

    video_id: str
    ingested_at: datetime
    status: str
    frames_read: int
    frames_persisted: int
    detected: int
    bound: int
    dropped: int
    quarantined: int
    track_rows: int
    reasons: Mapping[str, int]
    consents: tuple[IngestConsent, ...]
    quarantine: Quarantine | None
    source: SourceFile
    discard: Discard | None
    policy_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How many sources were refused for one reason, before anything of them was kept."""

    code: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestFacts:
    """Everything that the ingest report says, as of ``as_of``."""

    as_of: datetime
    videos: tuple[IngestedVideo, ...]
    refusals: tuple[Refusal, ...]


def build_ingest(facts: IngestFacts) -> dict[str, Json]:
    """Return the report's content: findings, totals, reasons, and the outcome.

    The outcome is ``discard_broken`` when something contradicts the promise, ``discard_gaps`` when evidence is missing
    or weak, ``discard_shown`` otherwise, ``nothing_ingested`` when there is no video.
    """
    ordered = sorted(facts.videos, key=lambda video: (video.ingested_at, video.video_id))
    findings = [(video.video_id, code) for video in ordered for code in findings_of(video, facts.as_of)]
    reasons: Counter[str] = Counter()
    for video in ordered:
        reasons.update(video.reasons)
    return {
        "outcome": _outcome(bool(ordered), {code for _, code in findings}),
        "findings": [{"video_id": video_id, "finding": code, "rule": RULES[code]} for video_id, code in findings],
        "summary": {
            "videos": len(ordered),
            "frames_read": sum(video.frames_read for video in ordered),
            "frames_persisted": sum(video.frames_persisted for video in ordered),
            "detected": sum(video.detected for video in ordered),
            "bound": sum(video.bound for video in ordered),
            "dropped": sum(video.dropped for video in ordered),
            "quarantined": sum(video.quarantined for video in ordered),
            "waiting": sum(_waits(video) for video in ordered),
            "refused": sum(refusal.count for refusal in facts.refusals),
            "findings": len(findings),
        },
        "reasons": [{"reason": reason, "tracks": reasons[reason]} for reason in sorted(reasons)],
        "facts": cast("dict[str, Json]", plain(facts)) | {"videos": plain(ordered)},
    }


def findings_of(video: IngestedVideo, as_of: datetime) -> Iterator[str]:
    """Say what of one video contradicts the promise, or leaves it less well evidenced: keys of :data:`RULES`."""
    if not video.detected == video.bound + video.dropped + video.quarantined == video.track_rows:
        yield "counts_broken"
    if video.quarantine is not None and _waits(video) and video.quarantine.deadline <= as_of:
        yield "quarantine_overdue"
    if video.frames_persisted:
        yield "frames_persisted"
    if video.source.disposition == "delete_due":
        yield "source_due"
    if video.source.disposition == "delete_failed":
        yield "source_left"
    if video.discard is None:
        yield "discard_unrecorded"
    else:
        yield from _weaknesses(video.discard)


def _weaknesses(discard: Discard) -> Iterator[str]:
    if discard.writes_seen:
        yield "files_written"
    if None in (discard.writes_seen, discard.core_dumps, discard.buffers_locked, discard.swap):
        yield "discard_unrecorded"
    if discard.buffers_locked is False:
        yield "buffers_unlocked"
    if discard.core_dumps == "on":
        yield "core_dumps_on"
    if discard.swap == "unencrypted":
        yield "clear_swap"
    if discard.swap == "unknown":
        yield "unknown_swap"


def _waits(video: IngestedVideo) -> bool:
    return video.quarantine is not None and video.quarantine.state == "held"


def _outcome(any_video: bool, codes: set[str]) -> str:
    if codes & BREAKS:
        return "discard_broken"
    if codes:
        return "discard_gaps"
    return "discard_shown" if any_video else "nothing_ingested"
