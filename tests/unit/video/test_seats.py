"""Seats: a face that never leaves one seat, alone in it, is the person's who sits there; no other is."""

import pytest

from fabnet_secure.video.bind import BindingPolicy, Region, Scene, bind
from fabnet_secure.video.track import Track, TrackedBox

LEFT = Region(name="left", box=(0.0, 0.0, 0.5, 1.0), person="ada")
RIGHT = Region(name="right", box=(0.5, 0.0, 0.5, 1.0), person="ben")
EMPTY = Region(name="right", box=(0.5, 0.0, 0.5, 1.0), person="")
LENIENT = BindingPolicy(max_bystander_share=1.0)


@pytest.fixture
def walk(make_detection):
    """Make a track from {frame: x of the box}; a face's middle is 25 pixels on."""

    def make(number, places):
        boxes = (TrackedBox(index=index, detection=make_detection(x)) for index, x in places.items())
        return Track(number=number, boxes=tuple(boxes))

    return make


def scene(*regions, persons=("ada", "ben")):
    """Make a scene of 640 × 360 with these regions."""
    return Scene(persons=persons, regions=regions, width=640, height=360)


def outcome(binding):
    """Shorten a binding to {number: person} and {number: reason}."""
    return (
        {track.number: person for track, person in binding.bound},
        {track.number: reason for track, reason in binding.dropped},
    )


def test_each_seat_is_its_persons(make_track):
    """Two people on two seats, one of them twice."""
    tracks = [make_track(0, 0, 99), make_track(1, 0, 40, x=400), make_track(2, 60, 99, x=500)]
    assert outcome(bind(tracks, scene(LEFT, RIGHT))) == ({0: "ada", 1: "ben", 2: "ben"}, {})


def test_a_face_that_leaves_its_seat_is_nobodys(make_track, walk):
    """One box outside is enough: outside_regions."""
    stray = walk(1, {index: 400.0 if index < 40 else 200.0 for index in range(50)})
    assert outcome(bind([make_track(0, 60, 99), stray], scene(LEFT, RIGHT), LENIENT)) == (
        {0: "ada"},
        {1: "outside_regions"},
    )


def test_a_face_beside_every_seat_is_nobodys(make_track):
    """Half of the picture is a seat, the other half is not."""
    binding = bind([make_track(0, 0, 99), make_track(1, 0, 99, x=400)], scene(LEFT))
    assert outcome(binding) == ({0: "ada"}, {1: "outside_regions"})


def test_two_faces_on_one_seat_are_both_ambiguous(make_track):
    """While they share a frame nobody can say who is who; a later fragment alone is bound again."""
    tracks = [make_track(0, 0, 50), make_track(1, 50, 80, x=100), make_track(2, 90, 99)]
    assert outcome(bind(tracks, scene(LEFT, RIGHT), LENIENT)) == ({2: "ada"}, {0: "ambiguous", 1: "ambiguous"})


def test_somebody_passing_through_a_seat_makes_it_ambiguous(make_track, walk):
    """A face that enters the seat while its person is there; one that passed before does no harm."""
    passing = walk(1, {20: 400.0, 21: 300.0, 22: 250.0, 23: 200.0, 24: 250.0, 25: 400.0})
    later, together = make_track(0, 30, 60), make_track(0, 10, 60)
    assert outcome(bind([later, passing], scene(LEFT), LENIENT))[0] == {0: "ada"}
    assert outcome(bind([together, passing], scene(LEFT), LENIENT)) == ({}, {0: "ambiguous", 1: "outside_regions"})


def test_a_seat_entered_between_two_looks_counts(make_track, walk):
    """Outside at frame 10, inside at frame 20: from 11 on it may have been there."""
    passing = walk(1, dict.fromkeys(range(11), 400.0) | {20: 200.0})
    assert outcome(bind([make_track(0, 0, 10), passing], scene(LEFT), LENIENT))[1][0] == "ambiguous"
    assert outcome(bind([make_track(0, 0, 9), passing], scene(LEFT), LENIENT))[0] == {0: "ada"}


def test_glimpses_on_a_seat_add_up(make_track):
    """A second face that flickers on a seat makes it ambiguous; on another seat it does not."""
    glimpses = [make_track(number, 10 * number, 10 * number + 3, x=150) for number in (2, 3, 4)]
    tracks = [make_track(0, 0, 99), make_track(1, 0, 99, x=400), *glimpses]
    bound, dropped = outcome(bind(tracks, scene(LEFT, RIGHT), LENIENT))
    assert bound == {1: "ben"}
    assert dropped[0] == "ambiguous"


def test_a_region_without_a_consent_binds_nobody(make_track):
    """Its face is unbound, and counts as a bystander."""
    tracks = [make_track(0, 0, 99), make_track(1, 0, 99, x=400)]
    assert outcome(bind(tracks, scene(LEFT, EMPTY))) == ({0: "ada"}, {1: "unbound"})
    long = [make_track(0, 0, 98), tracks[1]]
    assert bind(long, scene(LEFT, EMPTY)).reason == "bystanders"


def test_a_seat_of_somebody_undeclared_binds_nobody(make_track):
    """A region's person who was not declared for the video is nobody."""
    binding = bind([make_track(0, 0, 99), make_track(1, 0, 99, x=400)], scene(LEFT, RIGHT, persons=("ada",)))
    assert outcome(binding) == ({0: "ada"}, {1: "unbound"})


def test_one_person_is_not_on_two_seats_at_a_time(make_track):
    """Two seats of one person, both taken at once: one of the two is somebody else."""
    other = Region(name="right", box=(0.5, 0.0, 0.5, 1.0), person="ada")
    together = [make_track(0, 0, 50), make_track(1, 50, 99, x=400)]
    assert outcome(bind(together, scene(LEFT, other), LENIENT)) == ({}, {0: "ambiguous", 1: "ambiguous"})
    turns = [make_track(0, 0, 49), make_track(1, 50, 99, x=400)]
    assert outcome(bind(turns, scene(LEFT, other)))[0] == {0: "ada", 1: "ada"}


def test_the_edge_between_two_seats_is_the_right_ones(make_track):
    """A middle exactly on the line lies in one region, not in two."""
    assert outcome(bind([make_track(0, 0, 99, x=295)], scene(LEFT, RIGHT)))[0] == {0: "ben"}


def test_where_two_regions_overlap_nobody_is_bound(make_track, walk):
    """A face in two regions, all the time or once, is in neither for certain."""
    wide = Region(name="wide", box=(0.0, 0.0, 1.0, 1.0), person="ben")
    once = walk(0, dict.fromkeys(range(50), 400.0) | {50: 200.0})
    for track in (make_track(0, 0, 99), once):
        assert outcome(bind([track], scene(LEFT, wide), LENIENT)) == ({}, {0: "outside_regions"})


def test_a_crowd_before_seats_is_quarantined(make_track):
    """More faces at once than the policy allows wait for a person, whoever sits where."""
    crowd = [make_track(number, 0, 20, x=60.0 * number) for number in range(5)]
    assert bind(crowd, scene(LEFT, RIGHT), LENIENT).reason == "crowd"


def test_nobody_on_their_seat_is_a_matter_of_bystanders(make_track):
    """A lone face outside every seat is all bystander."""
    assert bind([make_track(0, 0, 50, x=400)], scene(LEFT)).reason == "bystanders"
