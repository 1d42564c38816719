"""Only the one declared subject's tracks are bound; whatever is in doubt is not."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.video.bind import BindingPolicy, bind, most_at_once

LARGEST = BindingPolicy(primary_track="largest")


def numbers(tracks):
    """Shorten tracks to their numbers."""
    return [track.number for track in tracks]


def drops(binding):
    """Shorten drops to {number: reason}."""
    return {track.number: reason for track, reason in binding.dropped}


def test_no_tracks_bind_nothing():
    """A video without faces is neither bound nor quarantined."""
    binding = bind([])
    assert (binding.detected, binding.video_quarantined, binding.drop_reasons) == (0, False, {})


def test_one_face_is_bound(make_track):
    """A single track is the declared subject's."""
    binding = bind([make_track(0, 0, 50)])
    assert numbers(binding.bound) == [0]
    assert binding.detected == 1


@pytest.mark.parametrize(("last", "bound"), [(4, True), (3, False)])
def test_a_track_shorter_than_five_frames_is_dropped(make_track, last, bound):
    """Five frames are enough to be bound, four are not."""
    binding = bind([make_track(0, 0, last)])
    assert bool(binding.bound) is bound
    assert drops(binding) == ({} if bound else {0: "too_short"})


@pytest.mark.parametrize(("size", "bound"), [(32, True), (31, False)])
def test_a_small_face_is_dropped(make_track, size, bound):
    """A face of 32 pixels is bound, one of 31 is dropped."""
    binding = bind([make_track(0, 0, 50, size=size)])
    assert bool(binding.bound) is bound
    assert drops(binding) == ({} if bound else {0: "too_small"})


def test_fragments_of_one_face_are_all_bound_in_order_of_time(make_track):
    """A hand before the face splits its track; the parts are the same person's."""
    parts = [make_track(2, 60, 90), make_track(0, 0, 20), make_track(1, 24, 50, x=30)]
    assert numbers(bind(parts).bound) == [0, 1, 2]


def test_two_faces_together_quarantine_the_video(make_track):
    """Two faces that share a frame: nothing is bound, both wait for a person."""
    binding = bind([make_track(0, 0, 50), make_track(1, 50, 60, x=200)])
    assert binding.bound == ()
    assert numbers(binding.quarantined) == [0, 1]
    assert (binding.video_quarantined, binding.reason) == (True, "several_faces")


def test_largest_binds_one_track_and_drops_the_others(make_track):
    """Under "largest" the heaviest track alone is bound, not even its own later fragment."""
    tracks = [make_track(0, 0, 50, x=200), make_track(1, 0, 50, size=80), make_track(2, 60, 90, size=80)]
    binding = bind(tracks, LARGEST)
    assert numbers(binding.bound) == [1]
    assert drops(binding) == {0: "unbound", 2: "unbound"}
    assert not binding.video_quarantined


def test_of_two_equal_faces_the_first_is_the_largest(make_track):
    """Ties are broken the same way every time."""
    assert numbers(bind([make_track(1, 0, 9, x=200), make_track(0, 0, 9)], LARGEST).bound) == [0]


@pytest.mark.parametrize("policy", [BindingPolicy(), LARGEST])
def test_a_briefly_seen_second_face_is_dropped(make_track, policy):
    """Four frames of a second face do not stop the first from being bound."""
    binding = bind([make_track(0, 0, 50), make_track(1, 20, 23, x=200)], policy)
    assert numbers(binding.bound) == [0]
    assert drops(binding) == {1: "too_short"}


def test_a_second_face_that_flickers_quarantines(make_track):
    """Three glimpses of four frames are somebody: together they are more than a false alarm."""
    glimpses = [make_track(number, 10 * number, 10 * number + 3, x=200) for number in (1, 2, 3)]
    binding = bind([make_track(0, 0, 50), *glimpses])
    assert (binding.video_quarantined, binding.reason) == (True, "flickering_face")
    assert numbers(binding.quarantined) == [0]
    assert binding.drop_reasons == {"too_short": 3}


def test_false_alarms_in_a_long_video_do_not_quarantine(make_track):
    """Ten single frames in a thousand are one per cent, under the five that count."""
    glimpses = [make_track(number, 50 * number, 50 * number, x=200) for number in range(1, 11)]
    assert numbers(bind([make_track(0, 0, 999), *glimpses]).bound) == [0]


def test_a_crowd_is_quarantined_even_under_largest(make_track):
    """Five faces at once are more than max_faces."""
    crowd = [make_track(number, 0, 20, x=100 * number) for number in range(5)]
    assert bind(crowd, LARGEST).reason == "crowd"
    assert bind(crowd[:4], LARGEST).reason == ""


def test_a_face_elsewhere_is_not_taken_for_the_same(make_track):
    """A face that comes back far away, or twice as large, is dropped as ambiguous."""
    for other in (make_track(1, 70, 80, x=200), make_track(1, 70, 80, size=105)):
        binding = bind([make_track(0, 0, 60, size=50), other], BindingPolicy(max_jump=2.0))
        heaviest = max((make_track(0, 0, 60, size=50), other), key=lambda track: track.weight).number
        assert numbers(binding.bound) == [heaviest]
        assert list(drops(binding).values()) == ["ambiguous"]


@pytest.mark.parametrize(("first", "bound"), [(136, True), (137, False)])
def test_a_long_absence_is_not_bridged(make_track, first, bound):
    """After 75 unseen frames the face is still taken for the same person's, after 76 it is not."""
    binding = bind([make_track(0, 0, 60), make_track(1, first, first + 20)])
    assert numbers(binding.bound) == ([0, 1] if bound else [0])
    assert drops(binding) == ({} if bound else {1: "ambiguous"})


def test_the_chain_passes_over_a_stranger(make_track):
    """A stranger elsewhere between two fragments is dropped; the fragments stay bound, before and after."""
    tracks = [make_track(0, 0, 10), make_track(1, 15, 25, x=300), make_track(2, 30, 60), make_track(3, 65, 70)]
    binding = bind(tracks)
    assert numbers(binding.bound) == [0, 2, 3]
    assert drops(binding) == {1: "ambiguous"}


def test_a_face_after_a_cut_is_not_taken_for_the_same(make_track):
    """Another scene may show another person in the same place; the policy may say otherwise."""
    tracks = [make_track(0, 0, 60), make_track(1, 61, 90, scene=1)]
    assert drops(bind(tracks)) == {1: "other_scene"}
    assert numbers(bind(tracks, BindingPolicy(across_cuts=True)).bound) == [0, 1]


@pytest.mark.parametrize(
    "fault",
    [
        {"primary_track": "biggest"},
        {"min_track_frames": 0},
        {"max_faces": 0},
        {"min_face_px": -1},
        {"max_jump": float("nan")},
    ],
)
def test_a_policy_out_of_range_is_refused(fault):
    """A value that means nothing: POLICY_INVALID."""
    with pytest.raises(UsageError) as caught:
        BindingPolicy(**fault)
    assert caught.value.code == "POLICY_INVALID"


def test_most_at_once_counts_shared_frames_only(make_track):
    """Tracks that follow each other without sharing a frame never count together."""
    assert most_at_once([make_track(0, 0, 4), make_track(1, 5, 9)]) == 1
    assert most_at_once([make_track(0, 0, 5), make_track(1, 5, 9)]) == 2
    assert most_at_once([]) == 0
