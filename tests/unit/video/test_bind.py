"""One declared person: their tracks alone are bound; whatever is in doubt is not."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.video.bind import BindingPolicy, Region, Scene, most_at_once
from fabnet_secure.video.bind import bind as bind_scene
from fabnet_secure.video.track import Track, TrackedBox

LARGEST = BindingPolicy(primary_track="largest", max_bystander_share=0.7)
ADA = Scene(persons=("ada",), width=640, height=360)


def bind(tracks, policy=None, scene=ADA):
    """Bind for one declared person unless another scene is given."""
    return bind_scene(tracks, scene, policy)


@pytest.fixture
def make_sparse(make_detection):
    """Make a track with boxes in these frames only, as when the detector looks now and then."""

    def make(number, frames, x=10.0):
        return Track(
            number=number, boxes=tuple(TrackedBox(index=index, detection=make_detection(x)) for index in frames)
        )

    return make


def numbers(tracks):
    """Shorten tracks, or (track, person), to numbers."""
    return [(one[0] if isinstance(one, tuple) else one).number for one in tracks]


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
    assert [(track.number, person) for track, person in binding.bound] == [(0, "ada")]
    assert binding.detected == 1


@pytest.mark.parametrize(("last", "bound"), [(4, True), (3, False)])
def test_a_track_shorter_than_five_frames_is_dropped(make_track, last, bound):
    """Five frames are enough to be bound, four are not."""
    binding = bind([make_track(0, 0, last)])
    assert bool(binding.bound) is bound
    assert drops(binding) == ({} if bound else {0: "too_short"})


@pytest.mark.parametrize(("size", "bound"), [(48, True), (47, False)])
def test_a_small_face_is_dropped(make_track, size, bound):
    """A face of 48 pixels is bound, one of 47 is dropped."""
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


def test_a_glimpse_counts_from_when_the_detector_last_looked(make_track, make_sparse):
    """Between two looks a face may have been there all the time: two glimpses of one look each are ten frames."""
    seen = make_sparse(0, range(0, 100, 5))
    glimpses = [make_track(1, 20, 20, x=200), make_track(2, 60, 60, x=200)]
    assert bind([seen, *glimpses]).reason == "flickering_face"
    assert numbers(bind([seen, glimpses[0]]).bound) == [0]
    watched = make_track(0, 0, 99)
    assert numbers(bind([watched, *glimpses]).bound) == [0]


def test_frames_between_two_looks_are_covered(make_sparse):
    """A track of two boxes five frames apart covers six frames: it is not too short."""
    assert numbers(bind([make_sparse(0, (0, 5))]).bound) == [0]


def test_a_crowd_is_quarantined_even_under_largest(make_track):
    """Five faces at once are more than max_faces."""
    crowd = [make_track(number, 0, 20, x=100 * number, size=60 + 10 * (number == 0)) for number in range(5)]
    lenient = BindingPolicy(primary_track="largest", max_bystander_share=1.0)
    assert bind(crowd, lenient).reason == "crowd"
    assert numbers(bind(crowd[:4], lenient).bound) == [0]


@pytest.mark.parametrize(("frames", "reason"), [(50, ""), (51, "bystanders")])
def test_more_bystander_time_than_the_policy_allows_quarantines(make_track, frames, reason):
    """Half of all face time may be nobody's under "largest", and not a frame more; too short or small is no time."""
    others = [make_track(1, 0, frames - 1, x=200), make_track(2, 60, 62, x=300), make_track(3, 60, 99, x=400, size=20)]
    binding = bind([make_track(0, 0, 49, size=90), *others], BindingPolicy(primary_track="largest"))
    assert binding.reason == reason
    assert bool(binding.bound) is not bool(reason)


def test_one_face_after_another_is_no_matter_of_shares(make_track):
    """Fragments elsewhere of a lone face are dropped as ambiguous, however many: nobody was together with it."""
    tracks = [make_track(0, 0, 20, size=70), *(make_track(n, 100 * n, 100 * n + 20, x=300 * n) for n in (1, 2, 3))]
    binding = bind(tracks)
    assert numbers(binding.bound) == [0]
    assert not binding.video_quarantined


def test_several_persons_and_nothing_else_are_quarantined(make_track):
    """Two declared people: even a single face may be either's."""
    both = Scene(persons=("ada", "ben"), width=640, height=360)
    binding = bind([make_track(0, 0, 50)], scene=both)
    assert (binding.reason, numbers(binding.quarantined)) == ("several_subjects", [0])
    twice = Scene(persons=("ada", "ada"), width=640, height=360)
    assert numbers(bind([make_track(0, 0, 50)], scene=twice).bound) == [0]


def test_nobody_declared_means_nothing_bound(make_track):
    """Without a declared person every track is dropped."""
    assert drops(bind([make_track(0, 0, 50)], scene=Scene(persons=(), width=9, height=9))) == {0: "unbound"}


@pytest.mark.parametrize(("policy", "reason"), [("quarantine", "unknown_camera"), ("allow", "")])
def test_an_unknown_camera_quarantines_where_the_policy_says_so(make_track, policy, reason):
    """What the site does not name waits for a person, or not."""
    scene = Scene(persons=("ada",), width=640, height=360, known_camera=False)
    binding = bind([make_track(0, 0, 50), make_track(1, 0, 2)], BindingPolicy(unknown_camera=policy), scene)
    assert (binding.reason, drops(binding)) == (reason, {1: "too_short"})
    assert binding.video_quarantined is bool(reason)
    assert bind([make_track(0, 0, 50)], BindingPolicy(unknown_camera=policy)).reason == ""


def test_nothing_is_bound_in_a_region_without_a_consent(make_track):
    """One person, a poster on the wall: the poster's region is nobody's, and the person's face elsewhere is bound."""
    poster = Region(name="poster", box=(0.5, 0.0, 0.5, 1.0), person="")
    scene = Scene(persons=("ada",), regions=(poster,), width=640, height=360)
    wall, face = make_track(0, 0, 50, x=400), make_track(1, 60, 99, x=10)
    assert numbers(bind([wall, face], scene=scene).bound) == [1]
    assert drops(bind([wall], scene=scene)) == {0: "unbound"}
    assert bind([wall, make_track(1, 0, 50)], scene=scene).reason == "several_faces"


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
        {"max_bystander_share": 1.1},
        {"max_bystander_share": float("nan")},
        {"unknown_camera": "maybe"},
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
