"""Two passes: the first keeps boxes only, the second crops only what was bound."""

import numpy as np
import pytest

from fabnet_secure.errors import UnreadableSource
from fabnet_secure.video.bind import BindingPolicy, bind
from fabnet_secure.video.crop import select
from fabnet_secure.video.detect import Detector
from fabnet_secure.video.observe import boxes_near, crop_tracks, observe
from fabnet_secure.video.track import iou


class ScriptedDetector:
    """Finds what a script says: the n-th call gives script[n]."""

    def __init__(self, script):
        self.script = iter(script)

    def detect(self, pixels):
        assert pixels.shape[2] == 3
        return next(self.script)


class Recorder:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.told = []

    def advance(self, stage, done, total=None, **_figures):
        self.told.append((stage, done, total))


def draw_red(frame, index):
    """Paint a red square at (30, 20), 20 wide, and a blue one beside it."""
    frame[:] = 80
    frame[20:40, 30:50] = (0, 0, 255)
    frame[20:40, 54:74] = (255, 0, 0)


def test_a_face_is_followed_through_a_clip(write_clip, make_detection):
    """Tracks, frames, size and fps are those of the clip; progress is told of each frame."""
    news = Recorder()
    seen = observe(write_clip(frames=9), ScriptedDetector([[make_detection()]] * 9), progress=news)
    assert [(track.first, track.last) for track in seen.tracks] == [(0, 8)]
    assert (seen.frames_read, seen.width, seen.height, seen.fps, seen.scenes) == (9, 96, 64, 25.0, 1)
    assert news.told[0] == ("detect", 1, 9)
    assert news.told[-1] == ("detect", 9, 9)


def test_a_scene_cut_splits_a_face_that_stays_in_place(write_clip, make_detection):
    """From dark to bright between two frames is a cut: two tracks, two scenes."""

    def paint(frame, index):
        frame[:] = 60 if index < 6 else 160

    seen = observe(write_clip(frames=12, paint=paint), ScriptedDetector([[make_detection()]] * 12))
    assert [(track.first, track.last, track.scene) for track in seen.tracks] == [(0, 5, 0), (6, 11, 1)]
    assert seen.scenes == 2


def test_only_wanted_tracks_are_cropped(write_clip, make_track):
    """Crops come for the tracks asked for, in the frames asked for, with the right pixels."""
    path = write_clip(frames=10, paint=draw_red)
    tracks = [make_track(0, 0, 9, x=30, y=20, size=20), make_track(1, 0, 9, x=54, y=20, size=20)]
    crops = crop_tracks(path, {0: (0, 4, 9)}, 32, tracks)
    assert list(crops) == [0]
    assert crops[0].shape == (3, 32, 32, 3)
    red, blue = crops[0][..., 0].astype(int), crops[0][..., 2].astype(int)
    assert (red[:, 16, 16] > 200).all()
    assert (blue[:, 16, 16] < 60).all()


def test_a_neighbour_is_painted_over_and_only_then(write_clip, make_track):
    """The blue neighbour shows in the margin when unknown and is gone when it is a track."""
    path = write_clip(frames=10, paint=draw_red)
    subject, other = make_track(0, 0, 9, x=30, y=20, size=20), make_track(1, 0, 9, x=54, y=20, size=20)

    def bluest(tracks):
        cut = crop_tracks(path, {0: (5,)}, 32, tracks)[0].astype(int)
        return (cut[..., 2] - cut[..., 0]).max()

    assert bluest([subject]) > 150
    assert bluest([subject, other]) < 60


def test_nothing_wanted_opens_nothing(tmp_path, make_track):
    """Without a bound track the file is not even opened."""
    assert crop_tracks(tmp_path / "none.mp4", {}, 32, [make_track(0, 0, 5)]) == {}
    assert crop_tracks(tmp_path / "none.mp4", {0: ()}, 32, [make_track(0, 0, 5)])[0].shape == (0, 32, 32, 3)


def test_a_frame_without_a_box_cannot_be_cropped(write_clip, make_track):
    """To crop a frame in which the track was not seen, or an unknown track, is refused."""
    for number, index in ((0, 7), (3, 2)):
        with pytest.raises(ValueError, match="no box"):
            crop_tracks(write_clip(frames=9), {number: (index,)}, 32, [make_track(0, 0, 5)])


def test_a_file_that_lost_frames_between_the_passes_is_refused(write_clip, make_track):
    """The second pass finds fewer frames than the first: SOURCE_CHANGED, and no crops."""
    with pytest.raises(UnreadableSource) as caught:
        crop_tracks(write_clip(frames=6), {0: (2, 8)}, 32, [make_track(0, 0, 9)])
    assert caught.value.code == "SOURCE_CHANGED"


def test_the_second_pass_stops_at_the_last_wanted_frame(write_clip, make_track):
    """Frames after the last one wanted are not decoded."""
    news = Recorder()
    crop_tracks(write_clip(frames=30), {0: (1, 3)}, 16, [make_track(0, 0, 29)], progress=news)
    assert news.told[-1] == ("crop", 4, 4)


@pytest.mark.parametrize(
    ("index", "boxes"), [(4, 0), (5, 1), (9, 1), (10, 1), (12, 1), (13, 2), (15, 1), (25, 1), (26, 0)]
)
def test_a_neighbour_is_thought_to_be_where_it_was(make_track, index, boxes):
    """Seen: its box. In a gap: both sides. Five frames before and after: the end's box. Else nothing."""
    early, late = make_track(0, 10, 12), make_track(0, 14, 20, x=60)
    track = type(early)(number=0, boxes=early.boxes + late.boxes)
    assert len(boxes_near(track, index, (500.0, 500.0, 50.0, 50.0))) == boxes


def test_a_guessed_neighbour_never_hides_the_face_itself(make_track):
    """Where the subject is seen, a fragment that ended in that very place is not a neighbour."""
    before, own = make_track(0, 0, 3), make_track(1, 4, 20).boxes[0].detection.box
    assert iou(before.boxes[-1].detection.box, own) == 1
    assert boxes_near(before, 4, own) == ()
    assert boxes_near(before, 3, own) != ()


@pytest.mark.real_clips
def test_one_person_clips_come_out_bound(clips_folder):
    """A hand before the face and one false alarm do not quarantine a clip of one person."""
    detector = Detector.load()
    for name in ("intel/again.mkv", "intel/help.mkv", "grid/bbaf2n.mpg", "pyfeat/single_face.mp4"):
        seen = observe(clips_folder / name, detector)
        binding = bind(seen.tracks)
        assert not binding.video_quarantined
        assert sum(track.frames for track in binding.bound) >= 0.9 * seen.frames_read
        assert set(binding.drop_reasons) <= {"too_short"}


@pytest.mark.real_clips
def test_two_real_people_are_quarantined_or_the_bystander_is_dropped(clips_folder):
    """Two people, one consent: quarantined by default; under "largest" one is bound and cropped alone."""
    path = clips_folder / "intel" / "head-pose-face-detection-female-and-male.gif"
    seen = observe(path, Detector.load())
    cautious, largest = bind(seen.tracks), bind(seen.tracks, BindingPolicy(primary_track="largest"))
    assert (cautious.bound, cautious.reason) == ((), "several_faces")
    assert len(largest.bound) == largest.drop_reasons["unbound"] == 1
    centres = np.array([box.detection.box[0] for box in largest.bound[0].boxes])
    assert centres.min() > seen.width / 2, "one person stays on one side; the track never swaps over"
    crops = crop_tracks(path, {track.number: select(track, 8) for track in largest.bound}, 64, seen.tracks)
    assert [cut.shape for cut in crops.values()] == [(8, 64, 64, 3)]


@pytest.mark.real_clips
def test_an_animated_film_has_no_face(clips_folder):
    """The detector is not fooled by this film's animals: nothing detected, nothing bound."""
    seen = observe(clips_folder / "pyfeat" / "no_face.mp4", Detector.load())
    assert (seen.tracks, seen.frames_read) == ((), 95)


@pytest.mark.real_clips
def test_every_clip_is_read_to_its_end(clips_folder):
    """No real clip is taken for a truncated or hostile file."""
    for path in sorted(clips_folder.rglob("*.*")):
        assert observe(path, ScriptedDetector([[]] * 1000)).frames_read >= 23
