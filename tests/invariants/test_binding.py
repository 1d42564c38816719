"""What holds for every binding, whoever was seen, declared, seated or assigned."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.errors import UsageError
from fabnet_secure.video.bind import (
    NOBODY,
    QUARANTINES,
    REASONS,
    Assignment,
    BindingPolicy,
    Region,
    Scene,
    bind,
    most_at_once,
)
from fabnet_secure.video.detect import Detection
from fabnet_secure.video.track import Track, TrackedBox

WIDTH, HEIGHT = 400, 100
PEOPLE = ("ada", "ben", "cleo")


@st.composite
def tracks_of(draw):
    """A few tracks on a coarse grid, with looks every frame or every fifth."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        first, looks = draw(st.integers(0, 30)), draw(st.integers(1, 12))
        step = draw(st.sampled_from([1, 5]))
        size = draw(st.sampled_from([20.0, 40.0, 60.0]))
        places = draw(st.lists(st.integers(0, 9).map(lambda k: 40.0 * k), min_size=1, max_size=2))
        boxes = tuple(
            TrackedBox(
                index=first + step * look,
                detection=Detection(box=(places[look * len(places) // looks], 10.0, size, size), score=0.9),
            )
            for look in range(looks)
        )
        found.append(Track(number=number, boxes=boxes, scene=draw(st.integers(0, 1))))
    return found


@st.composite
def regions_of(draw):
    """Up to four regions side by side, each somebody's or nobody's."""
    count = draw(st.integers(0, 4))
    edges = [place / 4 for place in range(5)]
    return tuple(
        Region(name=f"r{k}", box=(edges[k], 0.0, 0.25, 1.0), person=draw(st.sampled_from([NOBODY, *PEOPLE])))
        for k in range(count)
    )


POLICIES = st.builds(
    BindingPolicy,
    min_track_frames=st.integers(1, 6),
    min_face_px=st.sampled_from([0.0, 30.0]),
    primary_track=st.sampled_from(["quarantine", "largest"]),
    max_faces=st.integers(1, 4),
    max_bystander_share=st.sampled_from([0.0, 0.5, 1.0]),
    unknown_camera=st.sampled_from(["allow", "quarantine"]),
    across_cuts=st.booleans(),
)
SCENES = st.builds(
    Scene,
    persons=st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True).map(tuple),
    regions=regions_of(),
    width=st.just(WIDTH),
    height=st.just(HEIGHT),
    known_camera=st.booleans(),
)


def assignments(tracks):
    """The operator's word about some of these tracks, by number or by a box that was seen."""
    numbers = [track.number for track in tracks]
    by_number = st.builds(Assignment, person=st.sampled_from([NOBODY, *PEOPLE]), track=st.sampled_from(numbers))
    seen = [(box.index, box.detection.box) for track in tracks for box in track.boxes]
    by_box = st.builds(
        lambda person, at: Assignment(person=person, frame=at[0], box=at[1]),
        st.sampled_from([NOBODY, *PEOPLE]),
        st.sampled_from(seen),
    )
    return st.lists(st.one_of(by_number, by_box), min_size=1, max_size=4)


def conserved(tracks, binding):
    """Check that each track came out once, and that a quarantine is whole or not at all."""
    out = [*(one for one, _ in binding.bound), *(one for one, _ in binding.dropped), *binding.quarantined]
    assert sorted(track.number for track in out) == [track.number for track in tracks]
    assert binding.detected == len(tracks)
    assert binding.video_quarantined == bool(binding.reason)
    assert not (binding.bound and binding.video_quarantined)
    assert not (binding.quarantined and not binding.video_quarantined)
    assert {reason for _, reason in binding.dropped} <= set(REASONS)
    assert binding.reason in ("", *QUARANTINES)
    for person in {person for _, person in binding.bound}:
        assert most_at_once([track for track, whose in binding.bound if whose == person]) == 1


@given(tracks_of(), SCENES, POLICIES)
@settings(max_examples=300, deadline=None)
def test_every_track_comes_out_exactly_once(tracks, scene, policy):
    """Bound, dropped or quarantined; only to declared people; nobody in two places; nothing in a quarantined video."""
    binding = bind(tracks, scene, policy)
    conserved(tracks, binding)
    assert {person for _, person in binding.bound} <= set(scene.persons)


@given(tracks_of(), POLICIES)
@settings(max_examples=200, deadline=None)
def test_one_person_is_never_bound_in_company(tracks, policy):
    """While two faces that count share a frame nothing is bound; under "largest" it is one track, the heaviest."""
    scene = Scene(persons=("ada",), width=WIDTH, height=HEIGHT)
    binding = bind(tracks, scene, policy)
    counting = [
        track for track in tracks if track.frames >= policy.min_track_frames and track.median_size >= policy.min_face_px
    ]
    if most_at_once(counting) > 1:
        assert len(binding.bound) <= (policy.primary_track == "largest")
        assert all(one.weight == max(track.weight for track in counting) for one, _ in binding.bound)
    assert most_at_once([track for track, _ in binding.bound]) <= 1


@given(tracks_of(), SCENES, POLICIES)
@settings(max_examples=300, deadline=None)
def test_a_region_never_yields_another_persons_track(tracks, scene, policy):
    """What is bound by seats lay in one seat all the time, is that seat's person's, and was alone in it."""
    if not any(region.person for region in scene.regions):
        return
    binding = bind(tracks, scene, policy)
    for track, person in binding.bound:
        (home,) = {_region_at(scene, box) for box in track.boxes}
        assert home is not None
        assert home.person == person
        for other in tracks:
            if other is not track and other not in [one for one, reason in binding.dropped if reason.startswith("too")]:
                shared = {box.index for box in other.boxes if _region_at(scene, box) is home}
                assert not shared & set(range(track.first, track.last + 1))


@given(st.data(), tracks_of().filter(bool), SCENES, POLICIES)
@settings(max_examples=300, deadline=None)
def test_assignments_bind_only_what_was_assigned(data, tracks, scene, policy):
    """Each bound track was named for that very person; the others are dropped; or all of it is refused."""
    told = data.draw(assignments(tracks))
    spoken = Scene(
        persons=scene.persons,
        assignments=tuple(told),
        regions=scene.regions,
        width=WIDTH,
        height=HEIGHT,
        known_camera=scene.known_camera,
    )
    binding, code = None, ""
    try:
        binding = bind(tracks, spoken, policy)
    except UsageError as refusal:
        code = refusal.code
    assert code in {"", "BOX_UNMATCHED", "BOX_CONFLICT", "PERSON_UNDECLARED"}
    if binding is None:
        return
    conserved(tracks, binding)
    assert not binding.video_quarantined
    for track, person in binding.bound:
        assert any(_names(one, track) for one in told if one.person == person)
        assert not any(_names(one, track) and one.track is not None for one in told if one.person != person)


def _region_at(scene, box):
    x, y, width, height = box.detection.box
    across, down = (x + width / 2) / WIDTH, (y + height / 2) / HEIGHT
    inside = [
        region
        for region in scene.regions
        if region.box[0] <= across < region.box[0] + region.box[2] and region.box[1] <= down < region.box[3]
    ]
    return inside[0] if len(inside) == 1 else None


def _names(assignment, track):
    if assignment.box is None:
        return assignment.track == track.number
    return track.first <= assignment.frame <= track.last
