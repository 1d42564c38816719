"""Which of a track's frames to keep: varied in motion and time, good in quality.

Guarantees: pure arithmetic on numbers, the same every time; a reservoir never holds more than its budget.
Does not guarantee the best choice there is: frames come one by one, and one let go is gone.

Choice: of those that resemble each other most, the worst goes; online greedy dispersion, as in
S. S. Ravi, D. J. Rosenkrantz, G. K. Tayi, "Heuristic and special case algorithms for dispersion problems",
Operations Research 42 (1994).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fabnet_secure.video.detect import Detection

_HALF_SIZE = 40.0  # pixels of a face at which half of what more pixels give is had
_HALF_SHARPNESS = 60.0  # variance of the Laplacian at which a crop counts as half sharp
_SCALE = 0.5  # a face twice as large differs as much as a nose that moved by 0.35 of the box
_TIME = 0.5  # the two ends of a track differ as much as a nose that moved by half the box
_SAME = 0.02  # what differs by less is the same picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a picture of a face is.

    Attributes:
        size_px: longer side of the face's box in the frame, in pixels.
        score: the detector's confidence, 0 to 1.
        sharpness: variance of the Laplacian on the face, in the crop.
        exposure: share of the face's pixels that are neither crushed, nor blown, nor painted over, 0 to 1.
    """

    size_px: float
    score: float
    sharpness: float
    exposure: float

    def value(self) -> float:
        """Return one figure, 0 (useless) to 1."""
        size = self.size_px / (self.size_px + _HALF_SIZE)
        sharp = self.sharpness / (self.sharpness + _HALF_SHARPNESS)
        return size * sharp * self.score * self.exposure


def motion_of(detection: Detection) -> npt.NDArray[np.float64]:
    """Return (11,): the landmarks in units of the box (they follow yaw, pitch and speech) and the box's scale."""
    x, y, width, height = detection.box
    vector = np.zeros(11)
    if detection.landmarks.shape == (5, 2):
        vector[:10] = ((detection.landmarks - (x, y)) / (max(width, 1.0), max(height, 1.0))).ravel()
    vector[10] = _SCALE * math.log2(max(width, height, 1.0))
    return vector


class Reservoir:
    """Keeps the numbers of at most ``budget`` candidates; what it lets go, its owner zeroes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._keys: list[int] = []
        self._times = np.zeros(budget + 1)
        self._values = np.zeros(budget + 1)
        self._motions = np.zeros((budget + 1, 11))
        self._apart = np.zeros((budget + 1, budget + 1))

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> tuple[int, ...]:
        """The candidates held, in the order in which they came."""
        return tuple(self._keys)

    def offer(self, key: int, *, motion: npt.NDArray[np.float64], time_ms: float, value: float) -> int | None:
        """Take a candidate in; return the one that has to go for it (perhaps itself), None while there is room."""
        at = len(self._keys)
        self._keys.append(key)
        self._times[at], self._values[at], self._motions[at] = time_ms, value, motion
        apart = np.square(self._motions[:at] - motion).sum(axis=1)
        self._apart[at, :at] = self._apart[:at, at] = apart
        return self.thin() if at >= self._budget else None

    def close(self) -> None:
        """Give up the room for more candidates; from now on this can only be thinned out."""
        count = len(self._keys)
        self._times, self._values = self._times[:count].copy(), self._values[:count].copy()
        self._motions, self._apart = self._motions[:count].copy(), self._apart[:count, :count].copy()

    def thin(self) -> int:
        """Let the least useful candidate go and return its key."""
        count = len(self._keys)
        at = 0 if count == 1 else int(self._use(count).argmin())
        for numbers in (self._times, self._values, self._motions, self._apart):
            numbers[at : count - 1] = numbers[at + 1 : count].copy()
        self._apart[:, at : count - 1] = self._apart[:, at + 1 : count].copy()
        return self._keys.pop(at)

    def _use(self, count: int) -> npt.NDArray[np.float64]:
        """Return for each candidate how far its two nearest fellows are, times how good it is.

        Two, not one: along a line the middle of three goes before an end, so what is left stays spread out.
        """
        times = self._times[:count]
        span = max(float(times.max() - times.min()), 1.0)
        apart = self._apart[:count, :count] + np.square((times[:, None] - times[None, :]) * (_TIME / span))
        nearest = np.sqrt(np.partition(apart, min(2, count - 1), axis=1)[:, :3])  # itself among them, at no distance
        return np.asarray((nearest.sum(axis=1) + _SAME) * self._values[:count])
