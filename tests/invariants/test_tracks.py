"""The tracker's four invariants, and the binding's sum, over arbitrary detections."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.video.bind import BindingPolicy, bind, most_at_once
from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Tracker, TrackerSettings

COORDINATE = st.integers(0, 12).map(lambda step: 10.0 * step)  # a coarse grid, so that boxes often meet
SIZE = st.sampled_from([20.0, 40.0, 60.0])


@st.composite
def detections(draw):
    """A face on the grid."""
    box = (draw(COORDINATE), draw(COORDINATE), draw(SIZE), draw(SIZE))
    return Detection(box=box, score=0.9, landmarks=np.zeros((5, 2), np.float32))


FRAMES = st.lists(st.tuples(st.lists(detections(), max_size=4), st.integers(1, 5), st.booleans()), max_size=25)
SETTINGS = st.builds(
    TrackerSettings,
    iou_min=st.sampled_from([0.1, 0.3, 0.6]),
    max_gap_frames=st.integers(0, 4),
    max_size_ratio=st.sampled_from([1.2, 1.6, 3.0]),
)


def run(frames, tracker_settings):
    """Feed (detections, step to the next index, cut before) frames; return tracks, the fed, the cuts."""
    tracker, index, fed, cuts = Tracker(tracker_settings), 0, [], []
    for found, step, cut in frames:
        index += step
        if cut:
            tracker.cut()
            cuts.append(index)
        tracker.update(index, found)
        fed += [(index, id(detection)) for detection in found]
    return tracker.finish(), fed, cuts


@given(FRAMES, SETTINGS)
@settings(max_examples=150, deadline=None)
def test_detections_are_conserved(frames, tracker_settings):
    """Every detection is in exactly one track, at the frame it was given in; nothing is made up."""
    tracks, fed, _ = run(frames, tracker_settings)
    kept = [(box.index, id(box.detection)) for track in tracks for box in track.boxes]
    assert Counter(kept) == Counter(fed)


@given(FRAMES, SETTINGS)
@settings(max_examples=150, deadline=None)
def test_a_track_is_one_face_at_a_time_without_long_gaps(frames, tracker_settings):
    """Boxes rise strictly in time, no gap is longer than allowed, and no cut lies inside a track."""
    tracks, _, cuts = run(frames, tracker_settings)
    for track in tracks:
        steps = np.diff([box.index for box in track.boxes])
        assert (steps >= 1).all()
        assert (steps <= tracker_settings.max_gap_frames + 1).all()
        assert not any(track.first < cut <= track.last for cut in cuts)


@given(FRAMES, SETTINGS)
@settings(max_examples=100, deadline=None)
def test_numbers_are_never_used_again(frames, tracker_settings):
    """Numbers are 0, 1, 2, ... in the order in which tracks begin."""
    tracks, _, _ = run(frames, tracker_settings)
    assert [track.number for track in tracks] == list(range(len(tracks)))
    assert [track.first for track in tracks] == sorted(track.first for track in tracks)


@given(FRAMES, SETTINGS)
@settings(max_examples=50, deadline=None)
def test_tracking_is_deterministic(frames, tracker_settings):
    """The same detections give the same tracks."""
    assert run(frames, tracker_settings)[0] == run(frames, tracker_settings)[0]


@given(
    FRAMES,
    st.builds(
        BindingPolicy,
        min_track_frames=st.integers(1, 3),
        min_face_px=st.sampled_from([0.0, 40.0]),
        primary_track=st.sampled_from(["quarantine", "largest"]),
        max_faces=st.integers(1, 4),
        across_cuts=st.booleans(),
    ),
)
@settings(max_examples=200, deadline=None)
def test_binding_conserves_tracks_and_never_binds_two_faces_at_once(frames, policy):
    """Bound + dropped + quarantined = detected, each once; no two bound tracks share a frame."""
    tracks, _, _ = run(frames, TrackerSettings())
    result = bind(tracks, policy)
    outcome = [*result.bound, *(track for track, _ in result.dropped), *result.quarantined]
    assert sorted(track.number for track in outcome) == [track.number for track in tracks]
    assert result.detected == len(tracks)
    assert most_at_once(result.bound) <= 1
    assert not (result.bound and result.quarantined)
    assert result.video_quarantined == bool(result.quarantined) == bool(result.reason)


@given(FRAMES)
@settings(max_examples=200, deadline=None)
def test_under_quarantine_company_means_nothing_is_bound(frames):
    """When two tracks that count share a frame, the default policy binds neither."""
    policy = BindingPolicy(min_track_frames=1, min_face_px=0)
    tracks, _, _ = run(frames, TrackerSettings())
    assert bool(bind(tracks, policy).bound) == (most_at_once(tracks) == 1)
