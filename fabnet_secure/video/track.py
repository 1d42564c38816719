"""Follow faces from frame to frame by overlap alone.

Invariants (tests/invariants/test_tracks.py):

1. Detections are conserved: each detection given is in exactly one track.
2. A track has at most one box in a frame.
3. Numbers of tracks are never used again.
4. No track spans more than ``max_gap_frames`` frames without a box, nor a scene cut.

Whenever it is open which of two faces a track should go on with, or which of two tracks a face belongs to,
all the tracks concerned end and new ones begin. Does not guarantee that a swap between two frames is
seen when the faces lie in the same place; no face is recognised here.

Assignment: H. W. Kuhn, "The Hungarian method for the assignment problem", 1955, in SciPy's
``linear_sum_assignment``; overlap as in A. Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from fabnet_secure.video.detect import Box, Detection


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSettings:
    """When two boxes may be the same face.

    Attributes:
        iou_min: least overlap (intersection over union) of two consecutive boxes.
        max_gap_frames: a face may be unseen for this many frames in a row and its track go on.
        max_size_ratio: a face's longer side may grow or shrink by this factor between two boxes.
    """

    iou_min: float = 0.3
    max_gap_frames: int = 2
    max_size_ratio: float = 1.6


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedBox:
    """A detection and the frame it was made in."""

    index: int
    detection: Detection

    @property
    def size(self) -> float:
        """Longer side of the box, in pixels."""
        return max(self.detection.box[2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One face followed without a break.

    Attributes:
        number: of the track within its video, from 0.
        boxes: in order of frames, at least one.
        scene: number of the scene, from 0; a scene ends at a cut.
    """

    number: int
    boxes: tuple[TrackedBox, ...]
    scene: int = 0

    @property
    def first(self) -> int:
        """Index of the first frame."""
        return self.boxes[0].index

    @property
    def last(self) -> int:
        """Index of the last frame."""
        return self.boxes[-1].index

    @property
    def frames(self) -> int:
        """Number of frames in which the face was seen."""
        return len(self.boxes)

    @property
    def median_size(self) -> float:
        """Median of the boxes' longer sides, in pixels."""
        return float(np.median([box.size for box in self.boxes]))

    @property
    def weight(self) -> float:
        """Sum of the boxes' areas: large and long-lasting faces weigh most, in pixels."""
        return sum(box.detection.box[2] * box.detection.box[3] for box in self.boxes)


class Tracker:
    """Joins detections into tracks; give it every frame in order, then call :meth:`finish`."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._live: dict[int, list[TrackedBox]] = {}
        self._closed: list[Track] = []
        self._next = 0
        self._index = -1
        self._scene = 0

    def update(self, index: int, detections: Sequence[Detection]) -> None:
        """Take the detections of frame ``index``, which must be greater than any before.

        Raises:
            ValueError: the frames do not come in order.
        """
        if index <= self._index:
            raise ValueError(f"frame {index} after frame {self._index}")
        self._index = index
        oldest = index - self._settings.max_gap_frames - 1
        self._close(number for number, boxes in list(self._live.items()) if boxes[-1].index < oldest)
        joined = self._assign(detections)
        for place, detection in enumerate(detections):
            box = TrackedBox(index=index, detection=detection)
            if place in joined:
                self._live[joined[place]].append(box)
            else:
                self._live[self._next] = [box]
                self._next += 1

    def cut(self) -> None:
        """End every track: the next frame belongs to another scene."""
        self._close(list(self._live))
        self._scene += 1

    def finish(self) -> tuple[Track, ...]:
        """End every track and return all of them by number."""
        self._close(list(self._live))
        return tuple(sorted(self._closed, key=lambda track: track.number))

    def _assign(self, detections: Sequence[Detection]) -> dict[int, int]:
        """Map places in ``detections`` to live tracks; tracks in doubt are closed and left out."""
        numbers = list(self._live)
        if not numbers or not detections:
            return {}
        overlap = self._overlaps([self._live[number][-1].detection for number in numbers], detections)
        rivals = overlap > 0
        doubtful = (rivals.sum(axis=1) > 1) | (rivals & (rivals.sum(axis=0) > 1)).any(axis=1)
        self._close(number for number, doubt in zip(numbers, doubtful, strict=True) if doubt)
        overlap[doubtful] = 0
        rows, columns = linear_sum_assignment(-overlap)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        return {column: numbers[row] for row, column in pairs if overlap[row, column] > 0}

    def _overlaps(self, before: Sequence[Detection], now: Sequence[Detection]) -> npt.NDArray[np.float64]:
        """Return the (tracks, detections) overlaps, 0 where the two cannot be one face."""
        return np.array([[self._plausible(old.box, new.box) for new in now] for old in before], np.float64)

    def _plausible(self, old: Box, new: Box) -> float:
        sizes = sorted((max(old[2:]), max(new[2:])))
        overlap = iou(old, new)
        fits = overlap >= self._settings.iou_min and sizes[1] <= self._settings.max_size_ratio * sizes[0]
        return overlap if fits else 0.0

    def _close(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            boxes = tuple(self._live.pop(number))
            self._closed.append(Track(number=number, boxes=boxes, scene=self._scene))


def iou(first: Box, second: Box) -> float:
    """Return intersection over union of two (x, y, width, height) boxes, 0 to 1."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
