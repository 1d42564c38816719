"""Decide whose each track is, and drop or quarantine every track that is nobody's for certain.

Guarantees: each track given comes out exactly once, bound, dropped or quarantined; a track is bound by the first
of these that is there: the operator's word about that very track, the seat that it never left, or one declared
person who is never seen together with a second face (unless the policy says ``largest``, and then one track only).
Nobody is bound in two places at once, and nothing is bound in a quarantined video. Does not guarantee that the
person named is the person seen: no face is recognised, so whoever takes another's exact place out of sight, within
``max_absence_frames`` and without a scene cut, or sits down on another's seat, is not told apart. The reason for
every drop is one word of :data:`REASONS`, for a quarantine one of :data:`QUARANTINES`.

Source: ``docs/concepts.md``, "Several people in one video" (GDPR 5(1)(c) and 25; APPI, PPC Q&A 1-16).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fabnet_secure.video.assign import assigned
from fabnet_secure.video.presence import centre, flickers, looks_of, most_at_once, unbound_share
from fabnet_secure.video.scene import NOBODY, Assignment, BindingPolicy, Region, Scene
from fabnet_secure.video.seats import seated, touches
from fabnet_secure.video.track import Track

__all__ = [
    "NOBODY",
    "QUARANTINES",
    "REASONS",
    "Assignment",
    "Binding",
    "BindingPolicy",
    "Region",
    "Scene",
    "bind",
    "most_at_once",
]

REASONS = ("too_short", "too_small", "unbound", "other_scene", "ambiguous", "outside_regions")
QUARANTINES = ("several_faces", "flickering_face", "crowd", "bystanders", "several_subjects", "unknown_camera")
_MAX_REGROWTH = 2.0  # a face twice as large after a gap is another place before the camera, or another person


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What became of every track of one video.

    Attributes:
        bound: (track, person), in order of time; only these may ever be encoded or sealed.
        dropped: (track, reason) of the others.
        quarantined: tracks that a person has to look at; nothing is bound when there are any.
        video_quarantined: whether the video as a whole waits for a person.
        reason: why, one of :data:`QUARANTINES`; empty when it is not quarantined.
    """

    bound: tuple[tuple[Track, str], ...] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """Whose each track is and why others are nobody's, by number; why the video waits.

    Attributes:
        told_apart: whether faces were told apart, so that bystanders have to be counted.
    """

    persons: Mapping[int, str] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    quarantine: str = ""
    told_apart: bool = False


def bind(tracks: Sequence[Track], scene: Scene, policy: BindingPolicy | None = None) -> Binding:
    """Bind the tracks of one video in the safest way that ``scene`` allows.

    Raises:
        UsageError: BOX_UNMATCHED, BOX_CONFLICT or PERSON_UNDECLARED: an assignment cannot be carried out; nothing
            is bound.
    """
    policy = policy or BindingPolicy()
    dropped = [(track, reason) for track in tracks if (reason := _too_little(track, policy))]
    gone = {track.number for track, _ in dropped}
    remaining = sorted((one for one in tracks if one.number not in gone), key=lambda one: (one.first, one.number))
    verdict = _judge(remaining, [track for track, _ in dropped], scene, policy)
    reason = verdict.quarantine
    if verdict.told_apart and unbound_share(remaining, verdict.persons) > policy.max_bystander_share:
        reason = reason or "bystanders"
    if reason:
        return Binding(dropped=tuple(dropped), quarantined=tuple(remaining), video_quarantined=True, reason=reason)
    bound = tuple((one, verdict.persons[one.number]) for one in remaining if one.number in verdict.persons)
    others = [one for one in remaining if one.number not in verdict.persons]
    dropped += [(one, verdict.reasons.get(one.number, "unbound")) for one in others]
    return Binding(bound=bound, dropped=tuple(dropped))


def _too_little(track: Track, policy: BindingPolicy) -> str:
    if track.frames < policy.min_track_frames:
        return "too_short"
    return "too_small" if track.median_size < policy.min_face_px else ""


def _judge(remaining: Sequence[Track], dropped: Sequence[Track], scene: Scene, policy: BindingPolicy) -> _Verdict:
    persons = dict.fromkeys(scene.persons)
    if scene.assignments:
        return _Verdict(persons=assigned(remaining, scene, {track.number for track in dropped}))
    if not remaining or not persons:
        return _Verdict()
    if not scene.known_camera and policy.unknown_camera == "quarantine":
        return _Verdict(quarantine="unknown_camera")
    if any(region.person != NOBODY for region in scene.regions):
        bound, reasons = seated(remaining, dropped, scene, policy)
        crowd = "crowd" if most_at_once(remaining) > policy.max_faces else ""
        return _Verdict(persons=bound, reasons=reasons, quarantine=crowd, told_apart=True)
    if len(persons) > 1:
        return _Verdict(quarantine="several_subjects")
    return _alone(next(iter(persons)), remaining, dropped, scene, policy)


def _alone(
    person: str, remaining: Sequence[Track], dropped: Sequence[Track], scene: Scene, policy: BindingPolicy
) -> _Verdict:
    """Bind the one declared person's track and the fragments that plausibly go on with it."""
    reason = _second_face(remaining, dropped, policy)
    if reason == "crowd" or (reason and policy.primary_track == "quarantine"):
        return _Verdict(quarantine=reason)
    eligible = [track for track in remaining if not touches(track, scene)]  # nobody's seats stay nobody's
    if not eligible:
        return _Verdict(told_apart=bool(reason))
    anchor = max(eligible, key=lambda track: (track.weight, -track.number))
    chain = [anchor] if reason else _chain(anchor, eligible, policy)
    reasons = {} if reason else {track.number: _why_unbound(track, anchor, policy) for track in eligible}
    return _Verdict(persons={track.number: person for track in chain}, reasons=reasons, told_apart=bool(reason))


def _second_face(remaining: Sequence[Track], dropped: Sequence[Track], policy: BindingPolicy) -> str:
    """Say how a second face shows: ``crowd``, ``several_faces``, ``flickering_face``; empty if none."""
    together = most_at_once(remaining)
    if together > policy.max_faces:
        return "crowd"
    if together > 1:
        return "several_faces"
    return "flickering_face" if flickers(dropped, remaining, looks_of(remaining, dropped), policy) else ""


def _chain(anchor: Track, eligible: Sequence[Track], policy: BindingPolicy) -> list[Track]:
    """Follow the anchor backwards and forwards through the fragments that plausibly go on with it."""
    at = eligible.index(anchor)
    chain = [anchor]
    for track in reversed(eligible[:at]):
        if _continues(track, chain[0], policy):
            chain.insert(0, track)
    for track in eligible[at + 1 :]:
        if _continues(chain[-1], track, policy):
            chain.append(track)
    return chain


def _continues(before: Track, after: Track, policy: BindingPolicy) -> bool:
    """Tell whether ``after`` begins where ``before``, which is earlier, stopped."""
    old, new = before.boxes[-1], after.boxes[0]
    small, large = sorted((old.size, new.size))
    (old_x, old_y), (new_x, new_y) = centre(old.detection.box), centre(new.detection.box)
    jump = max(abs(new_x - old_x), abs(new_y - old_y))
    return (
        (policy.across_cuts or before.scene == after.scene)
        and new.index - old.index - 1 <= policy.max_absence_frames
        and jump <= policy.max_jump * large
        and large <= _MAX_REGROWTH * small
    )


def _why_unbound(track: Track, anchor: Track, policy: BindingPolicy) -> str:
    return "other_scene" if track.scene != anchor.scene and not policy.across_cuts else "ambiguous"
