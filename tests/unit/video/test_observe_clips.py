"""Whole clips through one pass: made-up people, and real ones where they are."""

import pytest

from fabnet_secure.synth.clip import write_clip as write_people
from fabnet_secure.video import observe as module
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.observe import ObserveSettings, observe
from fabnet_secure.video.reader import Frame, open_video


@pytest.fixture(scope="module")
def couple(tmp_path_factory):
    """A clip of two made-up people side by side, 40 frames."""
    path = tmp_path_factory.mktemp("couple") / "couple.avi"
    write_people(path, [3, 8], frames=40, width=192, height=144)
    return path


@pytest.mark.parametrize("interval", [1, 5])
def test_two_made_up_people_are_followed_alike_at_any_interval(couple, interval):
    """Two people are two tracks over the whole clip, each on their side, whether every frame is looked at or few."""
    with open_video(couple) as stream:
        seen = observe(stream, Detector.load(min_face_px=24), ObserveSettings(interval=interval, crop_size=64))
    long = [track for track in seen.tracks if track.frames >= 33]
    assert len(long) == 2
    for track in long:
        sides = {box.detection.box[0] + box.detection.box[2] / 2 > 96 for box in track.boxes}
        assert len(sides) == 1
        assert len(seen.candidates(track.number)) >= 7
    assert (seen.frames_detected < 25) == (interval == 5)
    seen.wipe()


@pytest.mark.real_clips
@pytest.mark.parametrize("interval", [1, 5])
def test_one_person_clips_are_one_track(clips_folder, interval):
    """A hand before the face, turning and talking do not break a track; the detector saw a quarter of the frames."""
    detector = Detector.load()
    for name in ("intel/again.mkv", "intel/no.mkv", "grid/bbaf2n.mpg", "pyfeat/single_face.mp4"):
        with open_video(clips_folder / name) as stream:
            seen = observe(stream, detector, ObserveSettings(interval=interval))
        longest = max(seen.tracks, key=lambda track: track.frames)
        assert longest.frames >= 0.9 * seen.frames_read
        assert len(seen.candidates(longest.number)) >= 0.8 * 5 * seen.frames_read / seen.fps - 1
        assert interval == 1 or seen.frames_detected < 0.3 * seen.frames_read
        seen.wipe()


class Joined:
    """Clips of one size, one after the other, as one stream."""

    def __init__(self, paths):
        self.pictures = []
        for path in paths:
            with open_video(path) as stream:
                self.width, self.height, self.fps = stream.width, stream.height, stream.fps
                self.pictures += [frame.pixels.copy() for frame in stream]
        self.expected, self.frames_read, self.locked = len(self.pictures), 0, False

    def grab(self):
        self.frames_read += 1
        return self.frames_read <= self.expected

    @property
    def time_ms(self):
        return 40.0 * (self.frames_read - 1)

    def frame(self):
        index = self.frames_read - 1
        return Frame(pixels=self.pictures[index], index=index, time_ms=40.0 * index)


@pytest.mark.real_clips
@pytest.mark.parametrize("interval", [1, 5])
def test_talkers_joined_are_as_many_tracks(clips_folder, interval):
    """Five people in the same kind of picture, one after the other: no track holds two of them."""
    paths = sorted((clips_folder / "grid").glob("*.mpg"))
    stream = Joined(paths)
    seen = observe(stream, Detector.load(), ObserveSettings(interval=interval))
    assert seen.scenes == len(paths)
    assert (
        [track.first // 75 for track in seen.tracks] == [track.last // 75 for track in seen.tracks] == [0, 1, 2, 3, 4]
    )
    seen.wipe()


@pytest.mark.real_clips
def test_talkers_joined_are_told_apart_by_their_faces_alone(clips_folder, monkeypatch):
    """Even where no cut is seen, a track ends where another person's face takes the place (motion.py: 19 of 20)."""
    monkeypatch.setattr(module, "compare", lambda _before, _now, _apart: module.NO_CHANGE)
    names = ("lbax4n", "bbaf2n", "pwij3p", "swiz3n", "lrwp9a")
    stream = Joined([clips_folder / "grid" / f"{name}.mpg" for name in names])
    seen = observe(stream, Detector.load(min_face_px=96), ObserveSettings(interval=1))
    assert seen.scenes == 1
    assert [(track.first // 75, track.last // 75) for track in seen.tracks] == [(i, i) for i in range(5)]
    seen.wipe()


@pytest.mark.real_clips
def test_an_animated_film_has_no_face(clips_folder):
    """The detector is not fooled by this film's animals."""
    with open_video(clips_folder / "pyfeat" / "no_face.mp4") as stream:
        seen = observe(stream, Detector.load(min_face_px=96), ObserveSettings(interval=5))
    assert (seen.tracks, seen.frames_read, seen.frames_detected) == ((), 95, 95)
