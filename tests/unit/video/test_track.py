"""Tracks follow one face and end whenever it is in doubt which."""

import pytest

from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Tracker, TrackerSettings, iou


def spans(tracks):
    """Shorten tracks to (number, first, last, boxes)."""
    return [(track.number, track.first, track.last, track.seen) for track in tracks]


def splits(tracks):
    """Say why each track ended."""
    return [track.split for track in tracks]


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
    assert splits(tracks) == ["end"]


def test_a_fast_face_is_one_track_from_the_start(make_detection):
    """A face that passes at a quarter of its size a frame is not cut into pieces."""
    assert spans(follow([[make_detection(x=13 * i)] for i in range(20)])) == [(0, 0, 19, 20)]


def test_two_faces_are_two_tracks_in_any_order_of_detection(make_detection):
    """Two faces keep their tracks although the detector lists them in changing order."""
    pair = [make_detection(x=0), make_detection(x=200)]
    tracks = follow([pair if i % 2 else pair[::-1] for i in range(10)])
    assert spans(tracks) == [(0, 0, 9, 10), (1, 0, 9, 10)]
    assert all(len({box.detection.box[0] for box in track.boxes}) == 1 for track in tracks)


def test_a_step_names_the_track_of_each_detection_and_those_that_ended(make_detection):
    """Numbers come in the detections' order; a track that is lost is handed out once, when it ends."""
    tracker = Tracker(TrackerSettings(max_gap_frames=0))
    left, right = make_detection(x=0), make_detection(x=200)
    assert tracker.update(0, [left, right]).numbers == (0, 1)
    assert tracker.update(1, [right, left]).numbers == (1, 0)
    assert tracker.update(2, [right]).ended == ()
    step = tracker.update(3, [right])
    assert (step.numbers, [track.number for track in step.ended]) == ((1,), [0])
    assert [track.number for track in tracker.finish()] == [0, 1]


@pytest.mark.parametrize(("missed", "expected"), [(2, 1), (3, 2)])
def test_a_gap_longer_than_allowed_splits(make_detection, missed, expected):
    """Two unseen looks are bridged, three are not."""
    frames = [[make_detection()]] * 5 + [[]] * missed + [[make_detection()]] * 5
    tracks = follow(frames, TrackerSettings(max_gap_frames=2))
    assert splits(tracks) == ["gap", "end"][-expected:]


def test_no_gap_at_all_may_be_allowed(make_detection):
    """With max_gap_frames 0 each unseen look splits, and consecutive frames do not."""
    frames = [[make_detection()]] * 3 + [[]] + [[make_detection()]] * 3
    assert spans(follow(frames, TrackerSettings(max_gap_frames=0))) == [(0, 0, 2, 3), (1, 4, 6, 3)]


@pytest.mark.parametrize(("skip", "expected"), [(4, 1), (3, 2)])
def test_frames_left_out_on_purpose_are_no_gap(make_detection, skip, expected):
    """With max_skip 4 a face seen in every fifth frame is one track; with less it is not."""
    tracker = Tracker(TrackerSettings(max_gap_frames=0, max_skip=skip))
    for index in (0, 1, 6, 11):
        tracker.update(index, [make_detection()])
    tracks = tracker.finish()
    assert len(tracks) == {1: 1, 2: 3}[expected]
    assert (tracks[0].frames, tracks[0].seen) == ((12, 4) if expected == 1 else (2, 2))


def test_a_long_time_between_two_frames_is_a_gap(make_detection):
    """In a slide show of one frame every two seconds no face is taken to be the one before."""
    tracker = Tracker()
    for index in range(3):
        tracker.update(index, [make_detection()], 2000.0 * index)
    assert splits(tracker.finish()) == ["gap", "gap", "end"]


def test_a_jump_splits(make_detection):
    """A face that is suddenly elsewhere is a new track, whether or not the boxes still touch."""
    for x in (60, 40):
        tracks = follow([[make_detection(x=0)]] * 5 + [[make_detection(x=x)]] * 5)
        assert spans(tracks) == [(0, 0, 4, 5), (1, 5, 9, 5)]
        assert splits(tracks) == ["jump", "end"]


def test_a_jump_is_measured_from_where_the_face_was_going(make_detection):
    """A face that moves to the right is not followed back to where it just was."""
    frames = [[make_detection(x=12 * i)] for i in range(8)] + [[make_detection(x=12 * 5 - 4)]] * 4
    assert splits(follow(frames)) == ["jump", "end"]
    assert len(follow([[make_detection(x=12 * i)] for i in range(12)])) == 1


def test_a_still_face_that_leaps_by_a_third_of_its_size_splits(make_detection):
    """What would pass for a moving face is abrupt for one that never moved."""
    assert splits(follow([[make_detection(x=0)]] * 20 + [[make_detection(x=16)]] * 5)) == ["jump", "end"]


@pytest.mark.parametrize("size", [85, 62])
def test_a_sudden_change_of_size_splits(make_detection, size):
    """A face a quarter larger than a frame ago, or 1.7 times as large, is another one."""
    shift = (50 - size) / 2
    frames = [[make_detection(x=0, y=0, size=50)]] * 8 + [[make_detection(x=shift, y=shift, size=size)]] * 3
    assert splits(follow(frames)) == ["switch", "end"]


def test_another_face_in_the_very_same_box_splits_when_its_landmarks_lie_elsewhere(make_detection):
    """A face seen from the front cannot be one in profile a frame later: the track ends as a switch."""
    front = make_detection()
    side = Detection(box=front.box, score=0.9, landmarks=front.landmarks * 1 - (8, 0))
    assert splits(follow([[front]] * 10 + [[side]] * 10)) == ["switch", "end"]


def test_after_a_gap_less_change_is_let_pass(make_detection):
    """A face a little different goes on while it is seen, and is another one when it comes from behind a hand."""
    before, after = make_detection(size=50), make_detection(x=6.7, y=6.7, size=56.6)
    assert len(follow([[before]] * 10 + [[after]] * 10)) == 1
    assert splits(follow([[before]] * 10 + [[]] + [[after]] * 10)) == ["switch", "end"]
    assert len(follow([[before]] * 10 + [[]] + [[before]] * 10)) == 1


def test_a_face_that_two_tracks_could_claim_ends_both(make_detection):
    """When two faces come together and one is seen, neither track goes on: no silent swap."""
    apart = [make_detection(x=0, size=60), make_detection(x=40, size=60)]
    between = [make_detection(x=20, size=60)]
    tracks = follow([apart] * 4 + [between] * 4)
    assert spans(tracks) == [(0, 0, 3, 4), (1, 0, 3, 4), (2, 4, 7, 4)]
    assert splits(tracks) == ["doubt", "doubt", "end"]


def test_a_track_that_could_go_on_with_two_faces_ends(make_detection):
    """When one face turns into two, the track ends and both begin anew."""
    tracks = follow(
        [[make_detection(x=20, size=60)]] * 4 + [[make_detection(x=0, size=60), make_detection(x=40, size=60)]]
    )
    assert spans(tracks) == [(0, 0, 3, 4), (1, 4, 4, 1), (2, 4, 4, 1)]
    assert splits(tracks)[0] == "doubt"


def test_a_face_lost_in_touch_with_another_ends_both(make_detection):
    """One face passes behind another: who is seen afterwards may be either, so both tracks end."""
    tracks = follow([[make_detection(x=0), make_detection(x=38)]] * 6 + [[make_detection(x=0)]] * 6)
    assert spans(tracks) == [(0, 0, 5, 6), (1, 0, 5, 6), (2, 6, 11, 6)]
    assert splits(tracks) == ["switch", "switch", "end"]


def test_a_face_that_appears_in_touch_with_another_ends_it(make_detection):
    """A face comes out from behind another: which of the two is the old one is open."""
    tracks = follow([[make_detection(x=0)]] * 6 + [[make_detection(x=0), make_detection(x=38)]] * 6)
    assert spans(tracks) == [(0, 0, 5, 6), (1, 6, 11, 6), (2, 6, 11, 6)]
    assert splits(tracks) == ["switch", "end", "end"]


def test_faces_that_do_not_touch_may_come_and_go(make_detection):
    """A face lost at a distance leaves the other's track alone."""
    tracks = follow([[make_detection(x=0), make_detection(x=80)]] * 6 + [[make_detection(x=0)]] * 6)
    assert spans(tracks) == [(0, 0, 11, 12), (1, 0, 5, 6)]


def test_a_cut_ends_every_track_and_starts_a_scene(make_detection):
    """After a cut even a face in the same place is a new track in a new scene."""
    tracker = Tracker()
    for index in range(6):
        if index == 3:
            assert [track.split for track in tracker.cut()] == ["cut"]
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


def steady_after(frames, looks=3, ahead_ms=200.0):
    """Tell after each frame whether the tracker was steady."""
    tracker, told = Tracker(), []
    for index, detections in enumerate(frames):
        tracker.update(index, detections)
        told.append(tracker.steady(looks, ahead_ms))
    return told


def test_steady_means_three_looks_without_anything_new_or_lost(make_detection):
    """Nothing is steady without a face, nor for three looks after one came, nor while one is missing."""
    one, two = [make_detection()], [make_detection(), make_detection(x=300)]
    assert steady_after([[]] * 5) == [False] * 5
    assert steady_after([one] * 5) == [False, False, False, True, True]
    assert steady_after([one] * 4 + [two] * 4) == [False] * 3 + [True] + [False] * 3 + [True]
    assert steady_after([one] * 4 + [[]] + [one] * 4) == [False] * 3 + [True] + [False] * 4 + [True]


def test_a_fast_face_is_never_steady(make_detection):
    """A face that would be elsewhere before the next look is looked at in every frame."""
    assert not any(steady_after([[make_detection(x=5 * i)] for i in range(12)]))
    assert any(steady_after([[make_detection(x=5 * i)] for i in range(12)], ahead_ms=40.0))


def test_two_faces_that_could_meet_are_never_steady(make_detection):
    """Neighbours closer than a fifth of a face could swap while nobody looks; at a distance they cannot."""
    assert not any(steady_after([[make_detection(x=0), make_detection(x=58)]] * 8))
    assert any(steady_after([[make_detection(x=0), make_detection(x=62)]] * 8))


def test_a_restless_picture_unsettles(make_detection):
    """After unsettle three more looks are needed."""
    tracker = Tracker()
    for index in range(6):
        tracker.update(index, [make_detection()])
    tracker.unsettle()
    assert not tracker.steady(3, 200.0)


@pytest.mark.parametrize(
    ("second", "expected"),
    [((0, 0, 10, 10), 1), ((5, 0, 10, 10), 1 / 3), ((10, 0, 10, 10), 0), ((0, 0, 0, 0), 0)],
    ids=["same", "half", "touching", "empty"],
)
def test_intersection_over_union(second, expected):
    """Overlap is 1 for equal boxes, a third for half-shifted ones, 0 for those that only touch."""
    assert iou((0, 0, 10, 10), second) == pytest.approx(expected)
