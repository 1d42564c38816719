"""How a stream counts, ends and goes on, with a decoder that does what the test says."""

import cv2
import numpy as np
import pytest

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video import reader
from fabnet_secure.video.container import Kind
from fabnet_secure.video.reader import VideoStream


class ScriptedCapture:
    """Stands in for cv2.VideoCapture: gives ``real`` frames where the header says ``declared``."""

    def __init__(self, real, declared, *, odd_at=None, broken_at=None, times=()):
        self.times = times
        self.real, self.odd_at, self.broken_at, self.at = real, odd_at, broken_at, 0
        self.figures = {cv2.CAP_PROP_FRAME_COUNT: declared, cv2.CAP_PROP_FPS: float("nan")}

    def get(self, name):
        if name == cv2.CAP_PROP_POS_MSEC:
            return self.times[min(self.at - 1, len(self.times) - 1)] if self.times else 40.0 * (self.at - 1)
        return self.figures.get(name, 8.0)

    def grab(self):
        self.at += 1
        return self.at <= self.real

    def retrieve(self, buffer):
        buffer.fill(7)
        if self.at == self.odd_at:
            return True, np.full((4, 4, 3), 7, np.uint8)
        return self.at != self.broken_at, buffer


@pytest.mark.parametrize(("real", "declared"), [(100, 100), (95, 100), (90, 100)])
def test_a_header_may_overstate_by_a_tenth(real, declared):
    """Up to a tenth of the declared frames may be missing (edit lists, lost last frames)."""
    assert len(list(VideoStream(ScriptedCapture(real, declared), counted=Kind.MP4))) == real


@pytest.mark.parametrize(("real", "declared"), [(89, 100), (50, 100), (14, 20)])
def test_a_decoder_that_stops_early_is_truncation(real, declared):
    """More than a tenth and more than five frames missing: SOURCE_TRUNCATED, with both numbers."""
    with pytest.raises(UnreadableSource, match=f"{real} of {declared}") as caught:
        list(VideoStream(ScriptedCapture(real, declared), counted=Kind.MP4))
    assert caught.value.code == "SOURCE_TRUNCATED"


def test_empty_frames_of_an_avi_are_no_truncation():
    """An AVI's count holds the empty frames that repeat a picture; its times tell whether it was read to its end."""
    times = [120.0 * index for index in range(40)]
    capture = ScriptedCapture(40, 120, times=times)
    capture.figures[cv2.CAP_PROP_FPS] = 25.0
    assert len(list(VideoStream(capture, counted=Kind.AVI))) == 40
    capture = ScriptedCapture(20, 120, times=times)
    capture.figures[cv2.CAP_PROP_FPS] = 25.0
    with pytest.raises(UnreadableSource, match="20 of 120"):
        list(VideoStream(capture, counted=Kind.AVI))


def test_five_missing_frames_of_a_short_clip_are_forgiven():
    """A clip of 15 declared frames that gives 10 is read."""
    assert len(list(VideoStream(ScriptedCapture(10, 15), counted=Kind.MP4))) == 10


def test_a_count_that_is_only_estimated_is_not_held_against_a_file():
    """Matroska, GIF and MPEG declare no count: FFmpeg's estimate proves nothing."""
    assert len(list(VideoStream(ScriptedCapture(50, 100)))) == 50


def test_a_header_without_figures_reads_as_unknown():
    """A frame rate of NaN is 0.0 and a count of -1 is None."""
    stream = VideoStream(ScriptedCapture(3, -1), counted=Kind.MP4)
    assert (stream.fps, stream.expected, len(list(stream))) == (0.0, None, 3)


def test_a_count_beyond_the_bytes_of_the_file_is_no_forecast():
    """A header that promises more frames than the file has bytes gives no ``expected``, and is still held to it."""
    stream = VideoStream(ScriptedCapture(10, 1_000_000), counted=Kind.MP4, size=40_000)
    assert stream.expected is None
    with pytest.raises(UnreadableSource, match="10 of 1000000"):
        list(stream)
    assert VideoStream(ScriptedCapture(10, 10), counted=Kind.MP4, size=40_000).expected == 10


@pytest.mark.parametrize(
    ("told", "times"),
    [
        ([0, 33, 100, 400], [0, 33, 100, 400]),
        ([-80, 40, 80, 120], [0, 40, 80, 120]),
        ([0, 0, 0, 0], [0, 40, 80, 120]),
        ([0, 40, 20, 90], [0, 40, 80, 90]),
        ([float("nan"), float("inf"), -1e30, 1e30], [0, 40, 80, 120]),
    ],
    ids=["variable", "negative", "none", "backwards", "nonsense"],
)
def test_times_rise_whatever_the_stream_says(told, times):
    """Good times pass as they are; missing, negative, falling and absurd ones are one frame after the last."""
    stream = VideoStream(ScriptedCapture(4, 4, times=told), counted=Kind.MP4)
    assert [round(frame.time_ms) for frame in stream] == times


def test_a_few_damaged_pictures_are_stepped_over():
    """A packet that cannot be decoded does not end the video; eight in a row do."""
    capture = ScriptedCapture(10, 10)
    fine, tries = capture.grab, iter(range(1000))
    capture.grab = lambda: False if 3 <= next(tries) < 8 else fine()
    assert len(list(VideoStream(capture, counted=Kind.MP4))) == 10


def test_a_picture_in_memory_of_its_own_is_moved_into_the_buffer():
    """A back end that ignores the buffer (V4L may) leaves nothing behind: copied over, and zeroed."""
    strays = []

    def stray(buffer):
        strays.append(np.full(buffer.shape, 9, np.uint8))
        return True, strays[-1]

    capture = ScriptedCapture(3, 3)
    capture.retrieve = stray
    with_pixels = [(int(frame.pixels.max()), strays[-1].any()) for frame in VideoStream(capture, counted=Kind.MP4)]
    assert with_pixels == [(9, np.False_)] * 3


def test_a_picture_of_another_size_is_refused():
    """A picture that does not fit the buffer: SOURCE_SIZE_CHANGES."""
    with pytest.raises(UnreadableSource) as caught:
        list(VideoStream(ScriptedCapture(9, 9, odd_at=4), counted=Kind.MP4))
    assert caught.value.code == "SOURCE_SIZE_CHANGES"


def test_a_picture_that_cannot_be_retrieved_ends_the_video():
    """Retrieval that fails midway is the end, and the count says it came too early."""
    with pytest.raises(UnreadableSource) as caught:
        list(VideoStream(ScriptedCapture(40, 40, broken_at=9), counted=Kind.MP4))
    assert caught.value.code == "SOURCE_TRUNCATED"


def test_ffmpeg_is_there_and_its_absence_is_told(monkeypatch):
    """The wheel of OpenCV reads through FFmpeg; a build without it is recognised."""
    assert reader.has_ffmpeg()
    monkeypatch.setattr(cv2.videoio_registry, "getStreamBackends", lambda: [cv2.CAP_V4L2])
    assert not reader.has_ffmpeg()


def test_the_end_is_checked_by_grab_alone(write_clip):
    """A file that nobody looks at is held to its length, too."""
    stream = VideoStream(ScriptedCapture(50, 100), counted=Kind.MP4)
    with pytest.raises(UnreadableSource, match="50 of 100"):
        list(iter(stream.grab, False))
