"""Cut a face out of a frame, without its neighbours.

Guarantees: a crop is (size, size, 3) uint8 RGB; every neighbour's box, widened, that reaches into it is painted
over with the mean colour of what is left before the square is scaled or measured, so a bystander in the margin
leaves no pixels, even where the two boxes overlap; a :class:`Cutter` works in buffers of its own, in locked
memory where the system allows, zeroed after each crop. Does not guarantee anything about a neighbour that was
not detected.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fabnet_secure.memory import locked_zeros
from fabnet_secure.video.detect import Box
from fabnet_secure.video.reader import Pixels

MARGIN = 0.3
_WIDEN = 0.2  # YuNet's box ends at brow and chin; hair and ears are the neighbour's too
CROP_METHOD = "yunet-margin-v2"
CRUSHED, BLOWN = 12, 243  # a grey level beyond these says nothing about a face


def crop_version(size: int) -> str:
    """Name the way a crop was cut; stored beside it, since another way gives other embeddings."""
    return f"{CROP_METHOD}/{size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """What part of a frame a crop shows, in frame pixels; may reach beyond the frame."""

    left: int
    top: int
    side: int

    def place(self, box: Box, scale: float) -> Box:
        """Return a frame's box in the square's own coordinates, times ``scale``."""
        x, y, width, height = box
        return ((x - self.left) * scale, (y - self.top) * scale, width * scale, height * scale)

    def meets(self, box: Box) -> bool:
        """Tell whether the box, widened as it is when painted over, reaches into the square."""
        x, y, width, height = box
        wider, higher = width * _WIDEN + 1, height * _WIDEN + 1
        return (
            x - wider < self.left + self.side
            and x + width + wider > self.left
            and y - higher < self.top + self.side
            and y + height + higher > self.top
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is measured of a crop, in its middle, where the face is.

    Attributes:
        sharpness: variance of the Laplacian of the grey levels.
        exposure: share of pixels that are neither crushed, nor blown, nor painted over, 0 to 1.
    """

    sharpness: float
    exposure: float


def square_of(box: Box, margin: float = MARGIN) -> Square:
    """Return the square around a face; ``margin`` is added on each side, as a share of the longer side."""
    side = max(2, round(max(box[2], box[3]) * (1 + 2 * margin)))
    return Square(left=round(box[0] + box[2] / 2 - side / 2), top=round(box[1] + box[3] / 2 - side / 2), side=side)


def crop(pixels: Pixels, box: Box, size: int, margin: float = MARGIN, others: Sequence[Box] = ()) -> Pixels:
    """Cut a square around ``box`` and scale it.

    Args:
        pixels: (height, width, 3) uint8 BGR; not changed.
        box: (x, y, width, height) of the face in frame pixels; may reach beyond the frame.
        size: side of the crop in pixels.
        margin: added on each side, as a share of the box's longer side; beyond the frame the border repeats.
        others: boxes of other faces in the same frame, to be painted over.

    Returns:
        (size, size, 3) uint8 RGB, a copy.
    """
    cutter = Cutter(size)
    cut = cutter.cut(pixels, square_of(box, margin), others).copy()
    cutter.wipe()
    return cut


class Cutter:
    """Cuts crops of one size, one at a time, in its own buffers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._edge = round(size * MARGIN / (1 + 2 * MARGIN))
        inner = size - 2 * self._edge
        self._scaled, first = locked_zeros((size, size, 3))
        self._grey, second = locked_zeros((inner, inner))
        self._edges, third = locked_zeros((inner, inner), np.int16)
        self._hidden = 0.0
        self._rough: list[Pixels] = []
        self.locked = first and second and third

    def cut(self, pixels: Pixels, square: Square, others: Sequence[Box] = ()) -> Pixels:
        """Return (size, size, 3) uint8 RGB: this object's buffer, valid until the next cut or :meth:`wipe`."""
        near = [square.place(box, 1.0) for box in others if square.meets(box)]
        part = _inside(pixels, square)
        self._hidden = 0.0
        if near or part.shape[:2] != (square.side, square.side):
            part = self._copy(square, part)
            self._hidden = paint_over(part, near)
        whole = max(1, square.side // self._size)
        if whole > 1:  # whole factors are fast, and leave less than half to the last step
            part = self._shrink(part, square.side // whole, whole)
        cv2.resize(part, (self._size, self._size), dst=self._scaled, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(self._scaled, cv2.COLOR_BGR2RGB, dst=self._scaled)
        for buffer in self._rough:
            buffer.fill(0)
        return self._scaled

    def measure(self) -> Figures:
        """Measure the crop that was cut last."""
        middle = slice(self._edge, self._size - self._edge)
        cv2.cvtColor(self._scaled[middle, middle], cv2.COLOR_RGB2GRAY, dst=self._grey)
        cv2.Laplacian(self._grey, cv2.CV_16S, dst=self._edges)
        deviation = float(cv2.meanStdDev(self._edges)[1][0, 0])
        shown = cv2.countNonZero(cv2.inRange(self._grey, CRUSHED, BLOWN, dst=self._grey)) / self._grey.size
        return Figures(sharpness=deviation * deviation, exposure=shown * (1 - self._hidden))

    def wipe(self) -> None:
        """Overwrite the buffers with zeros."""
        for buffer in (self._scaled, self._grey, self._edges, *self._rough):
            buffer.fill(0)

    def _copy(self, square: Square, part: Pixels) -> Pixels:
        """Copy the square; beyond the frame the border repeats."""
        rough = self._buffer(0, square.side)
        top, left = (min(max(0, -start), square.side - 1) for start in (square.top, square.left))
        below, right = square.side - part.shape[0] - top, square.side - part.shape[1] - left
        cv2.copyMakeBorder(part, top, below, left, right, cv2.BORDER_REPLICATE, dst=rough)
        return rough

    def _shrink(self, part: Pixels, side: int, whole: int) -> Pixels:
        """Shrink by a whole factor; up to whole - 1 rows and columns are left out."""
        rough = self._buffer(1, side)
        return np.asarray(
            cv2.resize(part[: side * whole, : side * whole], (side, side), dst=rough, interpolation=cv2.INTER_AREA),
            np.uint8,
        )

    def _buffer(self, number: int, side: int) -> Pixels:
        """Return a (side, side, 3) view of one of the two rough buffers, which grow as needed."""
        while len(self._rough) <= number:
            self._rough.append(np.zeros(0, np.uint8))
        needed = side * side * 3
        if self._rough[number].size < needed:
            self._rough[number], locked = locked_zeros(2 * needed)
            self.locked = self.locked and locked
        return self._rough[number][:needed].reshape(side, side, 3)


def _inside(pixels: Pixels, square: Square) -> Pixels:
    """Return the part of the square that lies in the frame; a row or column of the border where none does."""
    height, width = pixels.shape[:2]
    top, left = min(max(square.top, 0), height - 1), min(max(square.left, 0), width - 1)
    bottom, right = max(square.top + square.side, top + 1), max(square.left + square.side, left + 1)
    return pixels[top : min(bottom, height), left : min(right, width)]


def paint_over(square: Pixels, others: Sequence[Box]) -> float:
    """Fill the others' boxes, widened, with the mean colour of the rest, in place.

    Args:
        square: (side, side, 3) uint8.
        others: boxes in the square's own coordinates.

    Returns:
        The share of the square's middle, where its own face is, that was painted over.
    """
    side = square.shape[0]
    rest = np.ones((side, side), np.uint8)
    areas = [_widened(box, side) for box in others]
    for rows, columns in areas:
        rest[rows, columns] = 0
    if not areas or rest.all():
        return 0.0
    colour = np.rint(cv2.mean(square, mask=rest)[:3])
    for rows, columns in areas:
        square[rows, columns] = colour
    edge = round(side * MARGIN / (1 + 2 * MARGIN))
    return 1.0 - float(rest[edge : side - edge, edge : side - edge].mean()) if side > 2 * edge else 1.0


def _widened(box: Box, side: int) -> tuple[slice, slice]:
    """Return the rows and columns of a square that a box, widened, covers."""
    x, y, width, height = box
    wider, higher = width * _WIDEN, height * _WIDEN
    first, last = (min(max(math.floor(value), 0), side) for value in (y - higher, math.ceil(y + height + higher)))
    left, right = (min(max(math.floor(value), 0), side) for value in (x - wider, math.ceil(x + width + wider)))
    return slice(first, last), slice(left, right)
