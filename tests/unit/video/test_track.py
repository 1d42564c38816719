"""Tracks follow one face and end whenever it is in doubt which."""

import pytest

from fabnet_secure.video.track import Tracker, TrackerSettings, iou


def spans(tracks):
    """Shorten tracks to (number, first, last, frames)."""
    return [(track.number, track.first, track.last, track.frames) for track in tracks]


def follow(frames, settings=None):
    """Track a list of detections per frame."""
    tracker = Tracker(settings)
    for index, detections in enumerate(frames):
        tracker.update(index, detections)
    return tracker.finish()


def test_a_moving_face_is_one_track(make_detection):
    """A face that moves a tenth of its size a frame is followed all the way."""
    tracks = follow([[make_detection(x=10 + 5 * i)] for i in range(20)])
    assert spans(tracks) == [(0, 0, 19, 20)]


def test_two_faces_are_two_tracks_in_any_order_of_detection(make_detection):
    """Two faces keep their tracks although the detector lists them in changing order."""
    pair = [make_detection(x=0), make_detection(x=200)]
    tracks = follow([pair if i % 2 else pair[::-1] for i in range(10)])
    assert spans(tracks) == [(0, 0, 9, 10), (1, 0, 9, 10)]
    assert all(len({box.detection.box[0] for box in track.boxes}) == 1 for track in tracks)


@pytest.mark.parametrize(("missed", "expected"), [(2, 1), (3, 2)])
def test_a_gap_longer_than_allowed_splits(make_detection, missed, expected):
    """Two unseen frames are bridged, three are not."""
    frames = [[make_detection()]] * 5 + [[]] * missed + [[make_detection()]] * 5
    assert len(follow(frames, TrackerSettings(max_gap_frames=2))) == expected


def test_no_gap_at_all_may_be_allowed(make_detection):
    """With max_gap_frames 0 each unseen frame splits, and consecutive frames do not."""
    frames = [[make_detection()]] * 3 + [[]] + [[make_detection()]] * 3
    assert spans(follow(frames, TrackerSettings(max_gap_frames=0))) == [(0, 0, 2, 3), (1, 4, 6, 3)]


def test_a_jump_splits(make_detection):
    """A face that is suddenly elsewhere is a new track."""
    frames = [[make_detection(x=0)]] * 3 + [[make_detection(x=60)]] * 3
    assert spans(follow(frames)) == [(0, 0, 2, 3), (1, 3, 5, 3)]


def test_a_sudden_change_of_size_splits(make_detection):
    """A face 1.7 times as large as a frame ago is another one, though the boxes overlap."""
    frames = [[make_detection(x=0, y=0, size=50)]] * 3 + [[make_detection(x=0, y=0, size=85)]] * 3
    assert iou((0, 0, 50, 50), (0, 0, 85, 85)) > TrackerSettings().iou_min
    assert spans(follow(frames)) == [(0, 0, 2, 3), (1, 3, 5, 3)]


def test_a_face_that_two_tracks_could_claim_ends_both(make_detection):
    """When two faces come together and one is seen, neither track goes on: no silent swap."""
    apart = [make_detection(x=0, size=60), make_detection(x=40, size=60)]
    between = [make_detection(x=20, size=60)]
    tracks = follow([apart] * 4 + [between] * 4)
    assert spans(tracks) == [(0, 0, 3, 4), (1, 0, 3, 4), (2, 4, 7, 4)]


def test_a_track_that_could_go_on_with_two_faces_ends(make_detection):
    """When one face turns into two, the track ends and both begin anew."""
    tracks = follow(
        [[make_detection(x=20, size=60)]] * 4 + [[make_detection(x=0, size=60), make_detection(x=40, size=60)]]
    )
    assert spans(tracks) == [(0, 0, 3, 4), (1, 4, 4, 1), (2, 4, 4, 1)]


def test_a_cut_ends_every_track_and_starts_a_scene(make_detection):
    """After a cut even a face in the same place is a new track in a new scene."""
    tracker = Tracker()
    for index in range(6):
        if index == 3:
            tracker.cut()
        tracker.update(index, [make_detection()])
    tracks = tracker.finish()
    assert spans(tracks) == [(0, 0, 2, 3), (1, 3, 5, 3)]
    assert [track.scene for track in tracks] == [0, 1]


def test_frames_must_come_in_order(make_detection):
    """The same frame twice, or an earlier one, is refused."""
    tracker = Tracker()
    tracker.update(3, [make_detection()])
    for index in (3, 2):
        with pytest.raises(ValueError, match="after frame 3"):
            tracker.update(index, [])


def test_a_track_knows_its_figures(make_track):
    """First, last, frames, median size and weight are those of its boxes."""
    track = make_track(4, first=10, last=13, size=20)
    assert (track.first, track.last, track.frames) == (10, 13, 4)
    assert (track.median_size, track.weight) == (20, 4 * 20 * 20)


@pytest.mark.parametrize(
    ("second", "expected"),
    [((0, 0, 10, 10), 1), ((5, 0, 10, 10), 1 / 3), ((10, 0, 10, 10), 0), ((0, 0, 0, 0), 0)],
)
def test_intersection_over_union(second, expected):
    """Overlap is 1 for equal boxes, a third for half-shifted ones, 0 for those that only touch."""
    assert iou((0, 0, 10, 10), second) == pytest.approx(expected)
