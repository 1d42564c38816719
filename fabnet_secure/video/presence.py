"""Where and when faces are there: the counting that binding rests on.

A face counts as seen in every frame from its track's first box to its last, whether the detector looked at that frame
or not; where a shorter glimpse began is not known better than "after the detector last looked", and counts so.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from fabnet_secure.video.detect import Box
from fabnet_secure.video.scene import BindingPolicy
from fabnet_secure.video.track import Track

Span = tuple[int, int]
"""First and last frame, both counted."""


def most_at_once(tracks: Sequence[Track]) -> int:
    """Return the greatest number of tracks that share a frame (gaps within a track count as seen)."""
    changes = sorted([(track.first, 1) for track in tracks] + [(track.last + 1, -1) for track in tracks])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def unbound_share(tracks: Sequence[Track], bound: Mapping[int, str]) -> float:
    """Return the share of all face time, in frames, that belongs to tracks whose number is not in ``bound``."""
    total = sum(track.frames for track in tracks)
    return sum(track.frames for track in tracks if track.number not in bound) / total if total else 0.0


def flickers(brief: Sequence[Track], beside: Sequence[Track], looks: Sequence[int], policy: BindingPolicy) -> bool:
    """Tell whether glimpses of a second face add up to somebody.

    Args:
        brief: tracks that are too short to count by themselves.
        beside: the tracks that count.
        looks: frames that the detector looked at and saw a face in, rising.
        policy: from when on they count; glimpses of faces that are too small never do.
    """
    shown = {index for track in beside for index in range(track.first, track.last + 1)}
    glimpsed = {
        index
        for track in brief
        if track.frames < policy.min_track_frames and track.median_size >= policy.min_face_px
        for index in range(_since(track.first, looks), track.last + 1)
    }
    return len(glimpsed & shown) > max(policy.min_track_frames, policy.max_flicker_share * len(shown))


def looks_of(*tracks: Iterable[Track]) -> list[int]:
    """Return the frames in which the detector saw any of these, rising."""
    return sorted({box.index for several in tracks for track in several for box in track.boxes})


def _since(first: int, looks: Sequence[int]) -> int:
    """Return the earliest frame that a face first seen in ``first`` may have been there in."""
    place = bisect_left(looks, first)
    return looks[place - 1] + 1 if place else first


def spans_within(track: Track, box: Box) -> list[Span]:
    """Return when the face's centre was, or may have been, inside ``box`` (in pixels)."""
    inside = [holds(box, centre(one.detection.box)) for one in track.boxes]
    if all(inside):
        return [(track.first, track.last)]
    steps = pairwise(zip(track.boxes, inside, strict=True))
    return [(old.index, new.index) for (old, here), (new, there) in steps if here or there]


def meet(spans: Mapping[int, Sequence[Span]]) -> set[int]:
    """Return the keys whose spans share a frame with another key's."""
    met: set[int] = set()
    open_now: list[tuple[int, int]] = []  # (last frame, key)
    for (first, last), key in sorted((span, key) for key, several in spans.items() for span in several):
        open_now = [(end, other) for end, other in open_now if end >= first]
        rivals = {other for _, other in open_now if other != key}
        met |= rivals | ({key} if rivals else set())
        open_now.append((last, key))
    return met


def holds(box: Box, point: tuple[float, float]) -> bool:
    """Tell whether ``point`` lies in ``box``; the right and lower edges belong to the next box."""
    return box[0] <= point[0] < box[0] + box[2] and box[1] <= point[1] < box[1] + box[3]


def centre(box: Box) -> tuple[float, float]:
    """Return the middle of an (x, y, width, height) box."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2
