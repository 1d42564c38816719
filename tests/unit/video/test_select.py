"""What is kept of a track is varied in motion and time, and good."""

import numpy as np
import pytest

from fabnet_secure.video.select import Quality, Reservoir, motion_of


def offer_all(reservoir, count, motion=lambda _i: 0.0, value=lambda _i: 0.5):
    """Offer candidates 0, 1, ... 40 ms apart, with a motion along one axis; return those let go."""
    gone = []
    for key in range(count):
        vector = np.zeros(11)
        vector[0] = motion(key)
        left = reservoir.offer(key, motion=vector, time_ms=40.0 * key, value=value(key))
        gone += [] if left is None else [left]
    return gone


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"sharpness": 20.0}),
        ({}, {"size_px": 40.0}),
        ({}, {"score": 0.7}),
        ({}, {"exposure": 0.4}),
        ({"exposure": 1.0}, {"exposure": 0.0}),
    ],
    ids=["sharpness", "size", "score", "exposure", "black"],
)
def test_quality_rises_with_each_figure(better, worse):
    """Sharper, larger, surer, better exposed: each alone is better, and the value stays within 0 and 1."""
    usual = {"size_px": 100.0, "score": 0.9, "sharpness": 100.0, "exposure": 0.9}
    first, second = Quality(**(usual | better)).value(), Quality(**(usual | worse)).value()
    assert 1 > first > second >= 0


def test_motion_is_in_units_of_the_box(make_detection):
    """A face elsewhere moves nothing; a face twice as large moves the scale only; a turned one the landmarks."""
    here, there, large = make_detection(), make_detection(x=300.0), make_detection(size=100.0)
    assert np.allclose(motion_of(here), motion_of(there), atol=1e-5)
    assert np.allclose((motion_of(large) - motion_of(here))[:10], 0, atol=1e-5)
    assert (motion_of(large) - motion_of(here))[10] == pytest.approx(0.5)
    turned = type(here)(box=here.box, score=0.9, landmarks=here.landmarks + 5)
    assert np.allclose((motion_of(turned) - motion_of(here))[:10], 0.1, atol=1e-5)


def test_a_face_without_landmarks_has_a_scale_only(make_detection):
    """A detection whose landmarks were not kept does not fail."""
    bare = type(make_detection())(box=(0.0, 0.0, 64.0, 64.0), score=0.9)
    assert motion_of(bare).tolist() == [0.0] * 10 + [3.0]


def test_nothing_goes_while_there_is_room():
    """Up to the budget all are kept, in the order in which they came."""
    reservoir = Reservoir(8)
    assert offer_all(reservoir, 8) == []
    assert reservoir.keys == tuple(range(8))


def test_never_more_than_the_budget_and_each_leaves_once():
    """What is held and what was let go is what was offered, each once."""
    reservoir = Reservoir(8)
    gone = offer_all(reservoir, 100)
    assert len(reservoir) == 8
    assert sorted([*gone, *reservoir.keys]) == list(range(100))


def test_a_still_face_is_kept_at_even_times():
    """Where nothing moves the frames kept are spread over the whole track."""
    reservoir = Reservoir(8)
    offer_all(reservoir, 400)
    steps = np.diff((0, *reservoir.keys, 400))
    assert steps.max() < 400 / 8 * 2.6


def test_a_brief_movement_is_kept():
    """A head that turns for ten frames of four hundred is among the frames kept."""
    reservoir = Reservoir(8)
    offer_all(reservoir, 400, motion=lambda i: 0.3 if 200 <= i < 210 else 0.0)
    assert any(200 <= key < 210 for key in reservoir.keys)


def test_of_two_alike_the_better_one_stays():
    """Every other frame is blurred; hardly any of them is kept."""
    reservoir = Reservoir(8)
    offer_all(reservoir, 400, value=lambda i: 0.8 if i % 2 else 0.1)
    assert sum(key % 2 for key in reservoir.keys) >= 7


def test_a_worthless_picture_goes_even_from_an_empty_stretch():
    """A black picture is let go at once when the budget is full."""
    reservoir = Reservoir(4)
    assert offer_all(reservoir, 5, motion=float, value=lambda i: 0.0 if i == 4 else 0.5) == [4]


def test_thinning_goes_on_after_the_track_has_ended():
    """A closed reservoir gives up one at a time down to the last, the spread ones last."""
    reservoir = Reservoir(8)
    offer_all(reservoir, 100)
    reservoir.close()
    left = [reservoir.thin() for _ in range(8)]
    assert len(set(left)) == 8
    assert len(reservoir) == 0


def test_the_choice_is_the_same_every_time():
    """Two reservoirs offered the same keep the same."""
    rng = np.random.default_rng(0)
    moves, values = rng.normal(size=200), rng.uniform(size=200)
    kept = []
    for _ in range(2):
        reservoir = Reservoir(16)
        offer_all(reservoir, 200, motion=lambda i: moves[i], value=lambda i: values[i])
        kept.append(reservoir.keys)
    assert kept[0] == kept[1]
