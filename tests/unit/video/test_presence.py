"""Counting who is there when."""

import pytest

from fabnet_secure.video.bind import BindingPolicy
from fabnet_secure.video.presence import flickers, holds, looks_of, meet, spans_within, unbound_share
from fabnet_secure.video.track import Track, TrackedBox

BOX = (0.0, 0.0, 100.0, 100.0)


@pytest.fixture
def walk(make_detection):
    """Make a track from {frame: x of the box}; a face's middle is 25 pixels on."""

    def make(number, places):
        boxes = (TrackedBox(index=index, detection=make_detection(x)) for index, x in places.items())
        return Track(number=number, boxes=tuple(boxes))

    return make


def test_the_right_and_lower_edges_are_the_next_boxs():
    """A point on the left edge is inside, one on the right edge is not."""
    assert holds(BOX, (0.0, 0.0))
    assert not holds(BOX, (100.0, 50.0))
    assert not holds(BOX, (50.0, 100.0))


def test_spans_reach_to_the_looks_around(walk):
    """In and out between two looks: both looks' frames bound the span; never inside: none."""
    assert spans_within(walk(0, {0: 10.0, 5: 20.0}), BOX) == [(0, 5)]
    assert spans_within(walk(0, {0: 200.0, 5: 20.0, 9: 200.0, 12: 200.0}), BOX) == [(0, 5), (5, 9)]
    assert spans_within(walk(0, {0: 200.0, 5: 300.0}), BOX) == []
    assert spans_within(walk(0, {3: 10.0}), BOX) == [(3, 3)]


def test_those_who_share_a_frame_meet():
    """Spans of one key do not meet each other; touching in one frame is meeting."""
    assert meet({1: [(0, 10)], 2: [(10, 20)], 3: [(21, 30)]}) == {1, 2}
    assert meet({1: [(0, 10), (5, 15)], 2: [(16, 20)]}) == set()
    assert meet({1: [(0, 100)], 2: [(5, 6)], 3: [(50, 60)]}) == {1, 2, 3}
    assert meet({}) == set()


def test_the_share_of_time_that_is_nobodys(make_track):
    """Frames count once for each face; without faces there is no share."""
    tracks = [make_track(0, 0, 9), make_track(1, 0, 29)]
    assert unbound_share(tracks, {0: "ada"}) == 0.75
    assert unbound_share([], {}) == 0.0


def test_glimpses_count_from_the_last_look(make_track, walk):
    """A glimpse in frame 20, when the last look was at 15, is five frames; small and long ones are no glimpses."""
    beside = [walk(0, dict.fromkeys(range(0, 100, 5), 10.0))]
    policy = BindingPolicy(min_track_frames=5, max_flicker_share=0.0)
    looks = looks_of(beside)
    glimpse = [make_track(1, 20, 20), make_track(2, 41, 41)]
    assert flickers(glimpse, beside, looks, policy)
    assert not flickers(glimpse[:1], beside, looks, policy)
    assert not flickers([make_track(1, 20, 23, size=20), make_track(2, 50, 53, size=20)], beside, looks, policy)
    assert not flickers([make_track(1, 200, 203), make_track(2, 300, 303)], beside, looks, policy)
