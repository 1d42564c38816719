"""The operator's word binds exactly the tracks it names, or nothing."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.video.assign import box_at, key_frames
from fabnet_secure.video.bind import NOBODY, Assignment, BindingPolicy, Region, Scene, bind
from fabnet_secure.video.track import Track, TrackedBox

LEFT, RIGHT = (10.0, 10.0, 50.0, 50.0), (200.0, 10.0, 50.0, 50.0)


@pytest.fixture
def pair(make_track):
    """Two people side by side for a hundred frames."""
    return [make_track(0, 0, 99), make_track(1, 0, 99, x=200)]


def scene(*assignments, persons=("ada", "ben"), **more):
    """Make a scene in which the operator said this."""
    return Scene(persons=persons, assignments=assignments, width=640, height=360, **more)


def by_box(person, frame, box):
    """Assign the face at a box."""
    return Assignment(person=person, frame=frame, box=box)


def outcome(binding):
    """Shorten a binding to {number: person} and {number: reason}."""
    return (
        {track.number: person for track, person in binding.bound},
        {track.number: reason for track, reason in binding.dropped},
    )


def refused(tracks, *assignments, **more):
    """Bind, expect a refusal, and return its code."""
    with pytest.raises(UsageError) as caught:
        bind(tracks, scene(*assignments, **more))
    assert caught.value.hint
    return caught.value.code


def test_both_people_are_bound_by_a_box_each(pair):
    """A box in any frame names the whole track."""
    binding = bind(pair, scene(by_box("ada", 3, LEFT), by_box("ben", 90, RIGHT)))
    assert outcome(binding) == ({0: "ada", 1: "ben"}, {})


def test_what_is_not_assigned_is_dropped(pair):
    """One of two assigned: the other is a bystander, however much time they take, and nothing is quarantined."""
    assert outcome(bind(pair, scene(by_box("ada", 3, LEFT)))) == ({0: "ada"}, {1: "unbound"})


def test_a_track_is_named_by_its_number(pair):
    """The page assigns by number; nobody is an answer, too."""
    told = (Assignment(person="ben", track=0), Assignment(person=NOBODY, track=1))
    assert outcome(bind(pair, scene(*told))) == ({0: "ben"}, {1: "unbound"})
    nobody = tuple(Assignment(person=NOBODY, track=number) for number in (0, 1))
    assert outcome(bind(pair, scene(*nobody, persons=("ada",)))) == ({}, {0: "unbound", 1: "unbound"})


def test_the_operators_word_comes_before_everything_else(make_track):
    """A crowd, an unknown camera and a region do not matter once a person has looked."""
    crowd = [make_track(number, 0, 20, x=60.0 * number) for number in range(7)]
    region = Region(name="seat", box=(0.0, 0.0, 1.0, 1.0), person="ben")
    told = scene(Assignment(person="ada", track=3), regions=(region,), known_camera=False)
    binding = bind(crowd, told, BindingPolicy(unknown_camera="quarantine", max_faces=2))
    assert outcome(binding) == ({3: "ada"}, dict.fromkeys((0, 1, 2, 4, 5, 6), "unbound"))


@pytest.mark.parametrize(
    ("frame", "box"),
    [
        (3, (400.0, 10.0, 50.0, 50.0)),  # nobody is there
        (100, LEFT),  # the track is over
        (3, (0.0, 0.0, 640.0, 360.0)),  # everybody is in it
        (3, (30.0, 30.0, 10.0, 400.0)),  # it crosses the face's middle, and its own is elsewhere
        (3, (12.0, 12.0, 4.0, 4.0)),  # it lies in a corner of the face
    ],
)
def test_a_box_must_fit_one_face(pair, frame, box):
    """A box beside, after, around everybody or across: BOX_UNMATCHED."""
    assert refused(pair, by_box("ada", frame, box)) == "BOX_UNMATCHED"


def test_a_head_may_be_drawn_for_a_face(pair):
    """A box twice as large around the same middle fits."""
    assert outcome(bind(pair, scene(by_box("ada", 3, (-15.0, -20.0, 100.0, 100.0)))))[0] == {0: "ada"}


def test_two_faces_that_fit_are_one_too_many(make_track):
    """Where two faces overlap so that a box fits both, the box decides nothing."""
    tracks = [make_track(0, 0, 9), make_track(1, 0, 9, x=20)]
    assert refused(tracks, by_box("ada", 3, (15.0, 10.0, 50.0, 50.0))) == "BOX_UNMATCHED"


def test_one_face_is_not_two_peoples(pair):
    """Two boxes on one track for two people: BOX_CONFLICT; twice for the same is no harm."""
    assert refused(pair, by_box("ada", 3, LEFT), by_box("ben", 50, LEFT)) == "BOX_CONFLICT"
    assert refused(pair, by_box("ada", 3, LEFT), Assignment(person=NOBODY, track=0)) == "BOX_CONFLICT"
    assert outcome(bind(pair, scene(by_box("ada", 3, LEFT), by_box("ada", 50, LEFT))))[0] == {0: "ada"}


def test_one_person_has_not_two_faces_at_a_time(pair, make_track):
    """Two tracks of one person may follow each other, not share a frame: BOX_CONFLICT."""
    assert refused(pair, by_box("ada", 3, LEFT), by_box("ada", 3, RIGHT)) == "BOX_CONFLICT"
    parts = [make_track(0, 0, 40), make_track(1, 41, 90, x=200)]
    told = scene(by_box("ada", 3, LEFT), by_box("ada", 50, RIGHT))
    assert outcome(bind(parts, told))[0] == {0: "ada", 1: "ada"}


def test_nobody_undeclared_is_bound(pair):
    """An assignment to somebody the video was not declared to show: PERSON_UNDECLARED."""
    assert refused(pair, by_box("eve", 3, LEFT)) == "PERSON_UNDECLARED"


def test_a_track_that_is_too_short_or_small_stays_dropped(make_track):
    """It has no crops to keep: by number it is dropped for what it is, by a box it fits nothing."""
    tracks = [make_track(0, 0, 50), make_track(1, 0, 2, x=200), make_track(2, 0, 50, x=400, size=20)]
    told = scene(*(Assignment(person=who, track=number) for who, number in (("ada", 0), ("ben", 1), ("ben", 2))))
    assert outcome(bind(tracks, told)) == ({0: "ada"}, {1: "too_short", 2: "too_small"})
    assert refused(tracks, by_box("ben", 1, RIGHT)) == "BOX_UNMATCHED"
    assert refused(tracks, Assignment(person="ada", track=7)) == "BOX_UNMATCHED"


def test_between_two_looks_a_face_is_on_the_line(make_detection):
    """Frame 5 of a face seen at 0 and 10 lies half way; outside the track it is nowhere."""
    ends = ((0, 10.0), (10, 30.0))
    track = Track(number=0, boxes=tuple(TrackedBox(index=at, detection=make_detection(x)) for at, x in ends))
    assert box_at(track, 5) == (20.0, 10.0, 50.0, 50.0)
    assert box_at(track, 10) == (30.0, 10.0, 50.0, 50.0)
    assert box_at(track, 11) is None
    assert key_frames(track) == (0, 5, 10)
