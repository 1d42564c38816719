"""Follow faces from look to look by place and shape alone.

Invariants (tests/invariants/test_tracks.py):

1. Detections are conserved: each detection given is in exactly one track.
2. A track has at most one box in a frame.
3. Numbers of tracks are never used again.
4. No track spans more than ``max_gap_frames`` looks without a box, nor more than that and ``max_skip`` frames,
   nor ``max_gap_ms``, nor a scene cut.
5. No track goes on where it is open which of two faces is its own, or of which of two tracks a face is; nor
   after another track's face was lost, or another face appeared, in touch with its own; nor across an abrupt
   change of place, size or shape. All the tracks concerned end and new ones begin.

Does not guarantee that a swap between two frames is seen when both faces have the same place, size and pose; no
face is recognised here.

Assignment: H. W. Kuhn, "The Hungarian method for the assignment problem", 1955, in SciPy's
``linear_sum_assignment``; overlap as in A. Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from fabnet_secure.video.boxes import SPLITS, Boxes, Track, TrackedBox, iou
from fabnet_secure.video.detect import Detection
from fabnet_secure.video.motion import TICK_MS, Face, Fit, Motion, Now, TrackerSettings

Fits = dict[tuple[int, int], Fit]  # (number of a track, place of a face) -> how it fits; only those that touch

__all__ = ["SPLITS", "Boxes", "Step", "Track", "TrackedBox", "Tracker", "TrackerSettings", "iou"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one look did.

    Attributes:
        numbers: of the track that took each detection, in the detections' order.
        ended: the tracks that came to their end.
    """

    numbers: tuple[int, ...]
    ended: tuple[Track, ...]


class Tracker:
    """Joins detections into tracks; give it every look in order, then call :meth:`finish`."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._live: dict[int, Motion] = {}
        self._ended: list[Track] = []
        self._next = 0
        self._now = Now(-1, 0.0, -1.0)
        self._scene = 0
        self._calm = 0

    def update(self, index: int, detections: Sequence[Detection], time_ms: float | None = None) -> Step:
        """Take the detections of frame ``index``, which must be greater than any before.

        Args:
            index: number of the frame.
            detections: the faces found in it.
            time_ms: its presentation time, if known.

        Raises:
            ValueError: the frames do not come in order.
        """
        if index <= self._now.index:
            raise ValueError(f"frame {index} after frame {self._now.index}")
        self._now = self._now.later(index, time_ms)
        before, live = len(self._ended), len(self._live)
        missing = any(motion.missed for motion in self._live.values())
        for number, motion in list(self._live.items()):
            if motion.is_lost(self._now, self._settings):
                self._end(number, "jump" if motion.lost_nearby else "gap")
        faces = [Face(detection) for detection in detections]
        joined = self._assign(faces)
        numbers = tuple(self._take(face, joined.get(place)) for place, face in enumerate(faces))
        fresh = [face for place, face in enumerate(faces) if place not in joined]
        for number, motion in self._live.items():
            if number not in numbers:
                motion.miss(fresh)
        ended = tuple(self._ended[before:])
        continued = not ended and not fresh and not missing and len(faces) == live
        self._calm = self._calm + 1 if continued else 0
        return Step(numbers=numbers, ended=ended)

    def cut(self) -> tuple[Track, ...]:
        """End every track: the next frame belongs to another scene. Return those ended."""
        before = len(self._ended)
        for number in list(self._live):
            self._end(number, "cut")
        self._scene += 1
        self._calm = 0
        return tuple(self._ended[before:])

    def finish(self) -> tuple[Track, ...]:
        """End every track and return all of them by number."""
        for number in list(self._live):
            self._end(number, "end")
        return tuple(sorted(self._ended, key=lambda track: track.number))

    def steady(self, looks: int, ahead_ms: float) -> bool:
        """Tell whether the frames of the next ``ahead_ms`` milliseconds may go by unseen.

        That is: there is a track, and in the last ``looks`` looks each was continued without doubt, none began
        and none ended; and no face can have moved far, or reached another, by then.
        """
        if self._calm < looks or not self._live:
            return False
        motions = list(self._live.values())
        return all(motion.is_calm(ahead_ms / TICK_MS, self._settings) for motion in motions) and not any(
            motion.reaches(other) for at, motion in enumerate(motions) for other in motions[:at]
        )

    def unsettle(self) -> None:
        """Forget that all was steady: something in the picture changed."""
        self._calm = 0

    def _take(self, face: Face, number: int | None) -> int:
        """Add a face to its track, or to a new one; return the track's number."""
        if number is not None:
            self._live[number].add(self._now, face)
            return number
        self._live[self._next] = Motion(self._now, face)
        self._next += 1
        return self._next - 1

    def _assign(self, faces: Sequence[Face]) -> dict[int, int]:
        """Map places in ``faces`` to live tracks; tracks in doubt are ended and left out."""
        fits = {
            (number, place): fit
            for number, motion in self._live.items()
            for place, fit in motion.fits(self._now, faces, self._settings).items()
        }
        self._end_rivals(fits)
        joined = self._match(fits)
        self._end_abrupt(fits, joined)
        self._end_in_contact(fits, joined, faces)
        return {place: number for place, number in joined.items() if number in self._live}

    def _end_rivals(self, fits: Fits) -> None:
        """End the tracks that two faces could go on with, or whose face could go on with two."""
        claims = [pair for pair, fit in fits.items() if fit.near]
        by_track, by_place = Counter(number for number, _ in claims), Counter(place for _, place in claims)
        for number, place in claims:
            if number in self._live and (by_track[number] > 1 or by_place[place] > 1):
                self._end(number, "doubt")

    def _match(self, fits: Fits) -> dict[int, int]:
        """Assign places to tracks so that the overlaps add up to the most."""
        good = {pair: fit.overlap for pair, fit in fits.items() if not fit.against and pair[0] in self._live}
        if len(good) < 2:
            return {place: number for number, place in good}
        numbers, places = sorted({number for number, _ in good}), sorted({place for _, place in good})
        overlap = np.zeros((len(numbers), len(places)))
        for (number, place), value in good.items():
            overlap[numbers.index(number), places.index(place)] = value
        rows, columns = linear_sum_assignment(-overlap)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        return {places[column]: numbers[row] for row, column in pairs if overlap[row, column] > 0}

    def _end_abrupt(self, fits: Fits, joined: dict[int, int]) -> None:
        """End the tracks in whose place is now nothing but a face that cannot be theirs."""
        for (number, place), fit in fits.items():
            if fit.against and number in self._live and place not in joined and number not in joined.values():
                self._end(number, fit.against)

    def _end_in_contact(self, fits: Fits, joined: dict[int, int], faces: Sequence[Face]) -> None:
        """End the tracks whose face touches one that was just lost, or one that is new: they may have swapped."""
        suspects = set()
        for (number, place), fit in fits.items():
            lost = number in self._live and number not in joined.values()
            if lost and place in joined and fit.overlap > self._settings.contact:
                suspects |= {number, joined[place]}  # lost behind, or in front of, another's face
        fresh = [face.detection.box for place, face in enumerate(faces) if place not in joined]
        for place, number in joined.items():
            box = faces[place].detection.box
            if any(iou(box, other) > self._settings.contact for other in fresh):
                suspects.add(number)
        for number in sorted(suspects):
            self._end(number, "switch")

    def _end(self, number: int, split: str) -> None:
        boxes = self._live.pop(number).boxes
        self._ended.append(Track(number=number, boxes=boxes, scene=self._scene, split=split))
