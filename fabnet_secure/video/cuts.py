"""See a scene cut in two thumbnails.

Guarantees: arithmetic on 32 by 18 pixels, the same every time. Does not guarantee that a cut between two pictures
that look alike is seen (the same seat, light and pose): :mod:`fabnet_secure.video.motion` looks at the faces.

Two pictures belong to two scenes when they differ much (mean absolute difference) and one does not follow from
the other by a change of light (correlation of the grey levels), or when they differ very much. What counts as much
grows with the frames between them. Calibrated on ../shared/data/clips, every clip against itself and against the
others (the five GRID talkers sit before the same kind of wall: the hardest cuts there are):

========================================  =====  =============
frames apart                                MAD  1 - correlation
========================================  =====  =============
1, within a take, greatest of 19 clips      7.0   0.072
5, within a take, greatest, real people    10.6   0.117
5, within a take, greatest, a film's pan   18.1   0.148
two GRID talkers joined, least             12.5   0.233
two GRID talkers joined, next            27.3   0.26
========================================  =====  =============
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fabnet_secure.video.reader import Pixels

_LEAST_DIFFERENCE = 8.0
_LEAST_CHANGE = 0.10
_DIFFERENCE_A_FRAME = 0.75  # 11 when five frames apart
_CHANGE_A_FRAME = 0.02  # 0.18 when five frames apart
_SURE_DIFFERENCE = 25.0
_FRAMES = 4  # farther apart nothing more is allowed for


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How two thumbnails differ.

    Attributes:
        cut: they belong to two scenes.
        restless: as much changed as would be a cut in two consecutive frames.
    """

    cut: bool
    restless: bool


NO_CHANGE = Change(cut=False, restless=False)


def compare(before: Pixels, now: Pixels, apart: int = 1) -> Change:
    """Compare the thumbnails, (18, 32, 3) uint8, of two frames that are ``apart`` frames from one another."""
    difference = sum(cv2.mean(cv2.absdiff(before, now))[:3]) / 3
    if difference <= _LEAST_DIFFERENCE:
        return NO_CHANGE
    change = 1.0 - _correlation(before, now)
    more = min(apart - 1, _FRAMES)
    cut = difference > _SURE_DIFFERENCE or (
        difference > _LEAST_DIFFERENCE + more * _DIFFERENCE_A_FRAME and change > _LEAST_CHANGE + more * _CHANGE_A_FRAME
    )
    return Change(cut=cut, restless=change > _LEAST_CHANGE)


def _correlation(before: Pixels, now: Pixels) -> float:
    """Return the correlation of the grey levels, -1 to 1; 0 when either picture is of one colour."""
    first, second = (picture.mean(axis=2, dtype=np.float64) for picture in (before, now))
    first -= first.mean()
    second -= second.mean()
    size = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / size if size > 0 else 0.0
