"""Tracks as values: where one face was seen, in 48 bytes a box.

Guarantees: what was appended comes out again, number for number; landmarks are not kept. An hour in which the
detector sees every frame of 25 a second is 4.3 MB for each face.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from fabnet_secure.video.detect import Box, Detection

SPLITS = ("gap", "jump", "cut", "doubt", "switch", "end")
_STRIDE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedBox:
    """A detection and the frame it was made in."""

    index: int
    detection: Detection

    @property
    def size(self) -> float:
        """Longer side of the box, in pixels."""
        return max(self.detection.box[2:])


class Boxes(Sequence[TrackedBox]):
    """A track's boxes in order of frames, without landmarks; each is made into an object when asked for."""

    __slots__ = ("_indices", "_values")

    def __init__(self) -> None:
        self._indices = array("q")
        self._values = array("d")

    def append(self, index: int, detection: Detection) -> None:
        """Add the box of frame ``index``."""
        self._indices.append(index)
        self._values.extend((*detection.box, detection.score))

    @property
    def span(self) -> tuple[int, int]:
        """Indices of the first and the last frame."""
        return self._indices[0], self._indices[-1]

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> TrackedBox: ...

    @overload
    def __getitem__(self, place: slice) -> "tuple[TrackedBox, ...]": ...

    def __getitem__(self, place: int | slice) -> "TrackedBox | tuple[TrackedBox, ...]":
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        index = self._indices[place]
        at = place % len(self) * _STRIDE
        x, y, width, height, score = self._values[at : at + _STRIDE]
        return TrackedBox(index=index, detection=Detection(box=(x, y, width, height), score=score))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Boxes):
            return NotImplemented
        return self._indices == other._indices and self._values == other._values

    def __hash__(self) -> int:
        return hash((len(self._indices), *self._indices[:1], *self._values[:_STRIDE]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One face followed without a break.

    Attributes:
        number: of the track within its video, from 0.
        boxes: in order of frames, at least one.
        scene: number of the scene, from 0; a scene ends at a cut.
        split: why it ended: ``gap`` (unseen too long), ``jump`` (suddenly elsewhere), ``cut`` (another scene),
            ``doubt`` (two faces, or two tracks, could have gone on with it), ``switch`` (it may have become
            another person's: an abrupt change of size or shape, or contact with another face), ``end``.
    """

    number: int
    boxes: Sequence[TrackedBox]
    scene: int = 0
    split: str = "end"

    @property
    def first(self) -> int:
        """Index of the first frame."""
        return self.boxes.span[0] if isinstance(self.boxes, Boxes) else self.boxes[0].index

    @property
    def last(self) -> int:
        """Index of the last frame."""
        return self.boxes.span[1] if isinstance(self.boxes, Boxes) else self.boxes[-1].index

    @property
    def frames(self) -> int:
        """Number of frames covered, from the first box to the last, those between two looks included."""
        return self.last - self.first + 1

    @property
    def seen(self) -> int:
        """Number of frames in which the face was seen."""
        return len(self.boxes)

    @property
    def median_size(self) -> float:
        """Median of the boxes' longer sides, in pixels."""
        return float(np.median([box.size for box in self.boxes]))

    @property
    def weight(self) -> float:
        """Mean area of the boxes times the frames covered: large and long-lasting faces weigh most, in pixels."""
        areas = sum(box.detection.box[2] * box.detection.box[3] for box in self.boxes)
        return areas / self.seen * self.frames


def iou(first: Box, second: Box) -> float:
    """Return intersection over union of two (x, y, width, height) boxes, 0 to 1."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
