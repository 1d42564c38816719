"""How one live track's face moves, and whether a face seen later can be the same.

Guarantees: a face is compared with where this track's face should be, how large it was and how its landmarks lay in
its box, and with how much these changed before; with nothing else. No appearance is compared and no face is
recognised. Does not guarantee that another person with the same place, size and pose is told apart.

A change is *abrupt* by its surprise: each figure's squared change (movement beyond the expected, log size, log
aspect, landmarks in units of the box) over what this track's changed before, running average, per tick, plus a
floor for the detector's own noise; one mean for place and shape, one for the landmarks, added. Calibrated on
../shared/data/clips (3,737 pairs of consecutive frames in 150 s of 17 people's clips, YuNet at half size). "Joined":
of the 20 ordered pairs of GRID talkers, alike in place and pose, one cut to the other, those told apart without
looking at the cut. "Same box": another person's face, scaled and moved into the very box of the one before, so that
only the landmarks tell:

==============================  =====  ============  =======  =========
looks                           limit  false alarms  joined   same box
==============================  =====  ============  =======  =========
every frame                        15        0.03 %  19 / 20       62 %
every fifth frame                  12        0.28 %  16 / 20       30 %
after 1 or 2 looks unseen           9        1.40 %  20 / 20       67 %
==============================  =====  ============  =======  =========
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fabnet_secure.video.boxes import Boxes, iou
from fabnet_secure.video.detect import Box, Detection

TICK_MS = 40.0
_PLACE_NOISE = 0.012 * 0.012  # the detector's own scatter of place, log size and log aspect, squared
_MARK_NOISE = 0.01 * 0.01  # and of landmarks, in units of the box
_MEMORY = 0.85  # of the running averages: half of it is the last four looks
_PLACES = 4
_NOISE = [_PLACE_NOISE] * _PLACES + [_MARK_NOISE] * 10
_NEAR_TICKS = 2.0  # looks no farther apart count as consecutive
_UNKNOWN = 0.15 * 0.15  # how far a face may move, in sizes, squared, while nobody knows whether it is moving
_PRIOR = 4.0  # times the noise: what a new track is taken to change
_REACH = 3.0
_ELBOW = 0.1  # of each face's size; calm faces farther apart cannot change places between two looks
_MOST_EXPECTED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """When two boxes may be the same face.

    Attributes:
        iou_min: least overlap (intersection over union) of a box with where the face should be.
        max_gap_frames: a face may be unseen in this many looks in a row and its track go on.
        max_size_ratio: a face's longer side may grow or shrink by this factor between two boxes.
        max_skip: frames between two looks that the detector leaves out on purpose; they are no gap.
        max_gap_ms: no track goes on over a longer time between two boxes, whatever the number of frames.
        contact: overlap from which two faces may be mistaken for one another.
        max_drift: while frames are left out, a face moves at most this share of its size.
        max_surprise: a more abrupt change ends the track.
        max_surprise_apart: the same between looks that are farther apart, by frame rate or on purpose.
        max_surprise_after_gap: the same after looks in which the face was not seen.
    """

    iou_min: float = 0.3
    max_gap_frames: int = 2
    max_size_ratio: float = 1.6
    max_skip: int = 0
    max_gap_ms: float = 1500.0
    contact: float = 0.1
    max_drift: float = 0.25
    max_surprise: float = 15.0
    max_surprise_apart: float = 12.0
    max_surprise_after_gap: float = 9.0


@dataclass(frozen=True, slots=True)
class Now:
    """When a look happens.

    Attributes:
        index: number of the frame.
        time_ms: presentation time in milliseconds; 0 throughout where it is not known.
        tick: time in units of 40 ms, as far as the presentation times can be believed.
    """

    index: int
    time_ms: float
    tick: float

    def later(self, index: int, time_ms: float | None) -> "Now":
        """Return the time of a later frame; a frame is taken to last a quarter of a tick at least, four at most."""
        frames = index - self.index
        if time_ms is None:
            return Now(index, self.time_ms, self.tick + frames)
        ticks = (time_ms - self.time_ms) / TICK_MS
        return Now(index, time_ms, self.tick + min(max(ticks, 0.25 * frames), 4.0 * frames))


class Face:
    """A detection with the figures that are compared."""

    __slots__ = ("detection", "shape", "size", "x", "y")

    def __init__(self, detection: Detection) -> None:
        x, y, width, height = detection.box
        width, height = max(width, 1e-6), max(height, 1e-6)
        self.detection = detection
        self.size = max(width, height)
        self.x, self.y = x + width / 2, y + height / 2
        self.shape = [math.log(self.size), math.log(width / height)]
        if detection.landmarks.shape == (5, 2):
            for across, down in detection.landmarks.tolist():
                self.shape += ((across - x) / width, (down - y) / height)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a face fits a track that it touches.

    Attributes:
        overlap: intersection over union with where the face should be.
        near: whether that is enough to be the same face.
        against: why it cannot go on with the track, ``jump`` or ``switch``; empty when it can.
    """

    overlap: float
    near: bool
    against: str


class Motion:
    """The state of one live track; ``missed`` counts the looks since its last box."""

    __slots__ = ("_spread", "_then", "_velocity", "boxes", "last", "lost_nearby", "missed")

    def __init__(self, now: Now, face: Face) -> None:
        self.boxes = Boxes()
        self.boxes.append(now.index, face.detection)
        self.last = face
        self.lost_nearby = False
        self._then = now
        self.missed = 0
        self._velocity = (0.0, 0.0)
        self._spread = [_UNKNOWN, _UNKNOWN, *(_PRIOR * noise for noise in _NOISE[2:])]

    def add(self, now: Now, face: Face) -> None:
        """Go on with this face."""
        elapsed = now.tick - self._then.tick
        for at, change in enumerate(self._changes(elapsed, face)):
            self._spread[at] = _MEMORY * self._spread[at] + (1 - _MEMORY) * change * change / elapsed
        if len(self.boxes) == 1:
            self._spread[:2] = [_PRIOR * _PLACE_NOISE] * 2  # from now on it is known how the face moves
        now_x, now_y = (face.x - self.last.x) / elapsed, (face.y - self.last.y) / elapsed
        if len(self.boxes) > 1:
            now_x, now_y = (now_x + self._velocity[0]) / 2, (now_y + self._velocity[1]) / 2
        self._velocity = now_x, now_y
        self.boxes.append(now.index, face.detection)
        self.last, self._then = face, now
        self.missed, self.lost_nearby = 0, False

    def miss(self, fresh: Sequence[Face]) -> None:
        """Count a look without a box; ``fresh`` are the faces that were new in it."""
        self.missed += 1
        self.lost_nearby = self.lost_nearby or any(self._is_within_reach(face) for face in fresh)

    def is_lost(self, now: Now, settings: TrackerSettings) -> bool:
        """Tell whether a box at this time would be too late to go on with."""
        unseen = now.index - self._then.index - 1
        return (
            self.missed > settings.max_gap_frames
            or unseen > settings.max_gap_frames + settings.max_skip
            or now.time_ms - self._then.time_ms > settings.max_gap_ms
        )

    def is_calm(self, ticks: float, settings: TrackerSettings) -> bool:
        """Tell whether the face was seen last time and will not have moved far in so many ticks."""
        return self.missed == 0 and max(map(abs, self._velocity)) * ticks <= settings.max_drift * self.last.size

    def reaches(self, other: "Motion") -> bool:
        """Tell whether two faces are near enough to meet while nobody looks."""
        apart = max(abs(self.last.x - other.last.x), abs(self.last.y - other.last.y))
        return apart < (0.5 + _ELBOW) * (self.last.size + other.last.size)

    def fits(self, now: Now, faces: Sequence[Face], settings: TrackerSettings) -> dict[int, Fit]:
        """Say by its place how each face seen now fits, if it touches where this track's should be."""
        elapsed = now.tick - self._then.tick
        expected = self._expected(elapsed)
        return {
            place: self._fit(elapsed, face, overlap, settings)
            for place, face in enumerate(faces)
            if (overlap := iou(expected, face.detection.box)) > 0
        }

    def _fit(self, elapsed: float, face: Face, overlap: float, settings: TrackerSettings) -> Fit:
        if overlap < settings.iou_min:
            return Fit(overlap, near=False, against="jump")
        small, large = sorted((self.last.size, face.size))
        if large > settings.max_size_ratio * small:
            return Fit(overlap, near=True, against="switch")
        return Fit(overlap, near=True, against=self._abrupt(elapsed, face, settings))

    def _abrupt(self, elapsed: float, face: Face, settings: TrackerSettings) -> str:
        """Name an abrupt change: of place (``jump``) or of size, aspect or landmarks (``switch``)."""
        surprises = [
            change * change / (spread * elapsed + noise)
            for change, spread, noise in zip(self._changes(elapsed, face), self._spread, _NOISE, strict=False)
        ]
        places, marks = surprises[:_PLACES], surprises[_PLACES:]
        total = sum(places) / _PLACES + (sum(marks) / len(marks) if marks else 0.0)
        limit = settings.max_surprise if elapsed <= _NEAR_TICKS else settings.max_surprise_apart
        if total <= (settings.max_surprise_after_gap if self.missed else limit):
            return ""
        return "jump" if (places[0] + places[1]) / _PLACES > total / 2 else "switch"

    def _changes(self, elapsed: float, face: Face) -> list[float]:
        """Return the changes: place (2, beyond the expected, in sizes), log size, log aspect, landmarks (10 or 0)."""
        across = (face.x - self.last.x - self._velocity[0] * elapsed) / self.last.size
        down = (face.y - self.last.y - self._velocity[1] * elapsed) / self.last.size
        return [across, down, *(new - old for new, old in zip(face.shape, self.last.shape, strict=False))]

    def _expected(self, elapsed: float) -> Box:
        """Return where the box should be now: it goes on as it moved, by half its size at most."""
        x, y, width, height = self.last.detection.box
        limit = _MOST_EXPECTED * self.last.size
        move_x, move_y = (max(-limit, min(limit, speed * elapsed)) for speed in self._velocity)
        return (x + move_x, y + move_y, width, height)

    def _is_within_reach(self, face: Face) -> bool:
        apart = max(abs(self.last.x - face.x), abs(self.last.y - face.y))
        return apart < _REACH * max(self.last.size, face.size)
