"""Cut a face out of a frame, without its neighbours.

Guarantees: a crop is a copy of (size, size, 3) uint8 RGB; every neighbour's box, widened, that reaches into
it is painted over with the mean colour of what is left, so a bystander in the margin leaves no pixels, even
where the two boxes overlap. Does not guarantee anything about a neighbour that was not detected.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.video.detect import Box
from fabnet_secure.video.reader import Pixels
from fabnet_secure.video.track import Track

MARGIN = 0.3
_WIDEN = 0.2  # YuNet's box ends at brow and chin; hair and ears are the neighbour's too
CROP_METHOD = "yunet-margin-v1"


def crop_version(size: int) -> str:
    """Name the way a crop was cut; stored beside it, since another way gives other embeddings."""
    return f"{CROP_METHOD}/{size}"


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
    side = max(2, round(max(box[2], box[3]) * (1 + 2 * margin)))
    left = round(box[0] + box[2] / 2 - side / 2)
    top = round(box[1] + box[3] / 2 - side / 2)
    square = _cut_square(pixels, left, top, side)
    _paint_over(square, [(x - left, y - top, width, height) for x, y, width, height in others])
    scaled = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    square.fill(0)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB), np.uint8)


def select(track: Track, budget: int) -> tuple[int, ...]:
    """Choose at most ``budget`` frames of a track, evenly spread over its boxes; the same every time.

    Returns:
        Indices of frames in rising order, first and last included when ``budget`` is 2 or more.
    """
    count = min(budget, track.frames)
    if count < 1:
        return ()
    places = np.linspace(0, track.frames - 1, count).round().astype(int)
    return tuple(track.boxes[place].index for place in places)


def _cut_square(pixels: Pixels, left: int, top: int, side: int) -> Pixels:
    """Copy a (side, side, 3) square; beyond the frame the border repeats."""
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    return pixels[np.ix_(rows, columns)]


def _paint_over(square: Pixels, others: Sequence[Box]) -> None:
    """Fill the others' boxes, widened, with the mean colour of the rest, in place."""
    side = square.shape[0]
    hidden: npt.NDArray[np.bool_] = np.zeros((side, side), np.bool_)
    for x, y, width, height in others:
        wider, higher = width * _WIDEN, height * _WIDEN
        columns = np.clip((np.floor(x - wider), np.ceil(x + width + wider)), 0, side).astype(int)
        rows = np.clip((np.floor(y - higher), np.ceil(y + height + higher)), 0, side).astype(int)
        hidden[rows[0] : rows[1], columns[0] : columns[1]] = True
    if hidden.any():
        rest = square[~hidden]
        square[hidden] = rest.mean(axis=0).round() if rest.size else 0
