"""A scene cut shows in two thumbnails; a take does not look like one."""

import numpy as np
import pytest

from fabnet_secure.video.cuts import compare
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.reader import open_video


@pytest.fixture
def take():
    """A thumbnail of coarse noise: many greys, no two regions alike."""
    return np.random.default_rng(0).integers(40, 200, (18, 32, 3), np.uint8)


def test_the_same_picture_and_a_little_noise_are_no_cut(take):
    """Nothing, or a few grey levels, is no change at all."""
    noisy = take + np.random.default_rng(1).integers(0, 6, take.shape, np.uint8)
    for now in (take, noisy):
        assert compare(take, now) == compare(take, take)
        assert not compare(take, now).cut


def test_another_picture_is_a_cut(take):
    """A picture that does not follow from the one before is a cut, also when frames were left out between."""
    other = np.random.default_rng(2).integers(40, 200, take.shape, np.uint8)
    assert all(compare(take, other, apart).cut for apart in (1, 3, 5, 100))


def test_a_change_of_light_is_no_cut_unless_it_is_great(take):
    """The lamp goes on: the same room, brighter. From dark to bright without a trace of the room: a cut."""
    assert not compare(take, take + 20).cut
    assert compare(np.full((18, 32, 3), 60, np.uint8), np.full((18, 32, 3), 160, np.uint8)).cut


def test_more_is_allowed_for_the_farther_apart_two_frames_are(take):
    """What is a cut from frame to frame may be movement over five frames; it makes restless all the same."""
    moved = take.copy()
    moved[:3] = moved[:3, ::-1]
    near, far = compare(take, moved, 1), compare(take, moved, 5)
    assert (near.cut, far.cut) == (True, False)
    assert near.restless
    assert far.restless


class Silent:
    """A detector without its network."""

    def find(self, _picture):
        return np.empty((0, 15), np.float32)


@pytest.mark.real_clips
def test_no_real_take_holds_a_cut_and_every_change_of_talker_is_one(clips_folder):
    """Every clip against itself, 1 to 5 frames apart: no cut. GRID talkers joined, at any distance: always a cut."""
    ends = {}
    detector = Detector(Silent(), 640, 48)
    for path in sorted(clips_folder.rglob("*.*")):
        with open_video(path) as stream:
            shown = [detector.look(frame.pixels).thumbnail for frame in stream]
        for apart in range(1, 6):
            pairs = zip(shown, shown[apart:], strict=False)
            assert not any(compare(before, now, apart).cut for before, now in pairs), (path.stem, apart)
        if path.parent.name == "grid":
            ends[path.stem] = (shown[0], shown[-1])
    for first in ends:
        for second in ends:
            apart_cuts = [compare(ends[first][1], ends[second][0], apart).cut for apart in range(1, 6)]
            assert first == second or all(apart_cuts), (first, second)
