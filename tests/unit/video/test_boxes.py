"""A track's boxes are small in memory and come out as they went in."""

import sys

import numpy as np
import pytest

from fabnet_secure.video.boxes import Boxes, Track, TrackedBox


@pytest.fixture
def filled(make_detection):
    """Boxes of frames 0, 3, 6, ... 27, each a third of a pixel on."""
    boxes = Boxes()
    for i in range(10):
        boxes.append(3 * i, make_detection(x=i / 3, size=50.0 + i, score=0.5 + i / 100))
    return boxes


def test_boxes_come_out_as_they_went_in(filled, make_detection):
    """Index, box and score are the same numbers; landmarks are not kept."""
    assert len(filled) == 10
    for i, box in enumerate(filled):
        kept, given = box.detection, make_detection(x=i / 3, size=50.0 + i, score=0.5 + i / 100)
        assert (box.index, kept.box, kept.score) == (3 * i, given.box, given.score)
        assert kept.landmarks.shape == (0, 2)
    assert filled[-1].index == 27
    assert filled.span == (0, 27)
    assert [box.index for box in filled[2:8:2]] == [6, 12, 18]
    with pytest.raises(IndexError):
        filled[10]


def test_boxes_are_equal_when_their_numbers_are(filled, make_detection):
    """Equality and hash go by the numbers; one more box makes them different."""
    other = Boxes()
    for box in filled:
        other.append(box.index, box.detection)
    assert other == filled
    assert hash(other) == hash(filled)
    other.append(30, make_detection())
    assert other != filled
    assert filled != ()


def test_an_hour_of_boxes_is_a_few_megabytes(make_detection):
    """90,000 boxes take less than 64 bytes each."""
    boxes, detection = Boxes(), make_detection()
    for index in range(90_000):
        boxes.append(index, detection)
    assert sys.getsizeof(boxes._indices) + sys.getsizeof(boxes._values) < 64 * 90_000


def test_a_track_knows_its_figures(make_track):
    """First, last, frames covered, frames seen, median size and weight."""
    track = make_track(4, first=10, last=13, size=20)
    assert (track.first, track.last, track.frames, track.seen) == (10, 13, 4, 4)
    assert (track.median_size, track.weight) == (20, 4 * 20 * 20)


def test_frames_between_two_looks_count_as_covered(make_detection):
    """A face seen in every fifth frame covers those between, and weighs as much as one seen in all."""
    boxes = tuple(TrackedBox(index=index, detection=make_detection(size=20)) for index in (0, 5, 10))
    track = Track(number=0, boxes=boxes)
    assert (track.frames, track.seen) == (11, 3)
    assert track.weight == pytest.approx(11 * 20 * 20)
    assert np.isclose(track.median_size, 20)
