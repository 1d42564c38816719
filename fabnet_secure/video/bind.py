"""Decide which tracks are the one declared subject's, and drop or quarantine every other.

Guarantees: each track given comes out exactly once, bound, dropped or quarantined; while two faces are seen
together nothing is bound unless the policy says ``largest``, and then one track only; a fragment is bound
only if it goes on where the bound one before it stopped. Does not guarantee that the declared subject is the
person seen: no face is recognised, so one person who takes another's exact place out of sight, within
``max_absence_frames`` and without a scene cut, is not told apart. The reason for every drop is one word of
:data:`REASONS`.

Source: ``docs/concepts.md``, "Several people in one video" (GDPR 5(1)(c) and 25; APPI, PPC Q&A 1-16).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fabnet_secure.errors import UsageError
from fabnet_secure.video.track import Track

REASONS = ("too_short", "too_small", "unbound", "other_scene", "ambiguous")
_MAX_REGROWTH = 2.0  # a face twice as large after a gap is another place before the camera, or another person


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingPolicy:
    """How strictly tracks are bound to the one declared subject.

    Attributes:
        min_track_frames: shorter tracks are dropped, and are no second face by themselves.
        min_face_px: tracks of a smaller median size (longer side of the box) are dropped.
        primary_track: with several faces, ``quarantine`` the video or bind the ``largest`` track alone.
        max_faces: more faces than this at one time quarantine the video whatever ``primary_track`` says.
        max_flicker_share: a second face seen again and again, each time too shortly to count, counts when it
            is there in more than this share of the frames (and in more than ``min_track_frames`` of them).
        max_absence_frames: after a longer absence the face is not taken to be the same person's.
        max_jump: a face that comes back farther away than this many face sizes is not taken to be the same.
        across_cuts: whether a face in another scene is taken to be the same person's.
    """

    min_track_frames: int = 5
    min_face_px: float = 32.0
    primary_track: Literal["quarantine", "largest"] = "quarantine"
    max_faces: int = 4
    max_flicker_share: float = 0.05
    max_absence_frames: int = 75
    max_jump: float = 2.0
    across_cuts: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            UsageError: code POLICY_INVALID.
        """
        known = self.primary_track in {"quarantine", "largest"}
        least = min(self.min_track_frames, self.max_faces) >= 1
        rest = (self.min_face_px, self.max_flicker_share, self.max_absence_frames, self.max_jump)
        if not (known and least and all(value >= 0 for value in rest)):
            raise UsageError(
                "the binding policy holds a value out of range",
                hint="primary_track is quarantine or largest; the numbers are positive",
                code="POLICY_INVALID",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What became of every track of one video.

    Attributes:
        bound: the declared subject's tracks, in order of time; only these may ever be cropped.
        dropped: (track, reason) of the others.
        quarantined: tracks that a person has to look at; nothing is bound when there are any.
        video_quarantined: whether the video as a whole waits for a person.
        reason: why: ``several_faces``, ``flickering_face`` or ``crowd``; empty when it is not quarantined.
    """

    bound: tuple[Track, ...] = ()
    dropped: tuple[tuple[Track, str], ...] = ()
    quarantined: tuple[Track, ...] = ()
    video_quarantined: bool = False
    reason: str = ""

    @property
    def detected(self) -> int:
        """Number of tracks in all: bound + dropped + quarantined."""
        return len(self.bound) + len(self.dropped) + len(self.quarantined)

    @property
    def drop_reasons(self) -> dict[str, int]:
        """Number of dropped tracks for each reason, by reason."""
        return dict(sorted(Counter(reason for _, reason in self.dropped).items()))


def bind(tracks: Sequence[Track], policy: BindingPolicy | None = None) -> Binding:
    """Bind the tracks of one video for one declared subject (see :class:`BindingPolicy`)."""
    policy = policy or BindingPolicy()
    dropped = [(track, reason) for track in tracks if (reason := _too_little(track, policy))]
    gone = {track.number for track, _ in dropped}
    remaining = sorted((track for track in tracks if track.number not in gone), key=lambda track: track.first)
    if not remaining:
        return Binding(dropped=tuple(dropped))
    reason = _second_face(remaining, [track for track, _ in dropped], policy)
    if reason == "crowd" or (reason and policy.primary_track == "quarantine"):
        return Binding(dropped=tuple(dropped), quarantined=tuple(remaining), video_quarantined=True, reason=reason)
    anchor = max(remaining, key=lambda track: (track.weight, -track.number))
    chain = [anchor] if reason else _chain(anchor, remaining, policy)
    dropped.extend(
        (track, _why_unbound(track, anchor, policy, several=bool(reason))) for track in remaining if track not in chain
    )
    return Binding(bound=tuple(chain), dropped=tuple(dropped))


def _too_little(track: Track, policy: BindingPolicy) -> str:
    if track.frames < policy.min_track_frames:
        return "too_short"
    return "too_small" if track.median_size < policy.min_face_px else ""


def _second_face(remaining: Sequence[Track], dropped: Sequence[Track], policy: BindingPolicy) -> str:
    """Say how a second face shows: ``crowd``, ``several_faces``, ``flickering_face``; empty if none."""
    together = most_at_once(remaining)
    if together > policy.max_faces:
        return "crowd"
    if together > 1:
        return "several_faces"
    shown = {index for track in remaining for index in range(track.first, track.last + 1)}
    brief = {
        box.index
        for track in dropped
        if track.frames < policy.min_track_frames and track.median_size >= policy.min_face_px
        for box in track.boxes
    }
    limit = max(policy.min_track_frames, policy.max_flicker_share * len(shown))
    return "flickering_face" if len(brief & shown) > limit else ""


def most_at_once(tracks: Sequence[Track]) -> int:
    """Return the greatest number of tracks that share a frame (gaps within a track count as seen)."""
    changes = sorted([(track.first, 1) for track in tracks] + [(track.last + 1, -1) for track in tracks])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _chain(anchor: Track, remaining: Sequence[Track], policy: BindingPolicy) -> list[Track]:
    """Follow the anchor backwards and forwards through the fragments that plausibly go on with it."""
    at = remaining.index(anchor)
    chain = [anchor]
    for track in reversed(remaining[:at]):
        if _continues(track, chain[0], policy):
            chain.insert(0, track)
    for track in remaining[at + 1 :]:
        if _continues(chain[-1], track, policy):
            chain.append(track)
    return chain


def _continues(before: Track, after: Track, policy: BindingPolicy) -> bool:
    """Tell whether ``after`` begins where ``before``, which is earlier, stopped."""
    old, new = before.boxes[-1], after.boxes[0]
    small, large = sorted((old.size, new.size))
    (old_x, old_y), (new_x, new_y) = _centre(old.detection.box), _centre(new.detection.box)
    jump = max(abs(new_x - old_x), abs(new_y - old_y))
    return (
        (policy.across_cuts or before.scene == after.scene)
        and new.index - old.index - 1 <= policy.max_absence_frames
        and jump <= policy.max_jump * large
        and large <= _MAX_REGROWTH * small
    )


def _centre(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _why_unbound(track: Track, anchor: Track, policy: BindingPolicy, *, several: bool) -> str:
    if several:
        return "unbound"
    return "other_scene" if track.scene != anchor.scene and not policy.across_cuts else "ambiguous"
