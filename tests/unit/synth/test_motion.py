"""How faces move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.synth.motion import PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT, Motion, wander


@given(seed=st.integers(0, 2**32), n=st.integers(1, 90), reach=st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_stays_within_its_limits(units, seed, n, reach):
    """Whatever the seed and length: the right shapes, weights within [0, 1], angles within the limits."""
    motion = Motion.draw(np.random.default_rng(seed), n, units=units, reach=reach)
    assert motion.pose.shape == (n, 3)
    assert motion.expression.shape == (n, 52)
    assert motion.gaze.shape == (n, 2)
    assert motion.expression.min() >= 0
    assert motion.expression.max() <= 1
    limits = np.array([YAW_LIMIT, PITCH_LIMIT, ROLL_LIMIT]) * reach
    assert (np.abs(motion.pose) <= limits + 1e-6).all()


@pytest.fixture(scope="module")
def units(head):
    """The names of the expression units."""
    return head.units


def test_a_track_turns_speaks_and_blinks(units):
    """In every three seconds the head turns by 20 degrees or more, the face changes, and the eyes close."""
    for seed in range(20):
        motion = Motion.draw(np.random.default_rng(seed), 75, units=units)
        assert np.degrees(np.ptp(motion.pose[:, 0])) > 20
        assert np.ptp(motion.expression, axis=0).max() > 0.5
        assert motion.expression[:, units.index("eyeBlinkLeft")].max() > 0.9


def test_motion_is_smooth(units):
    """No head jumps: less than 12 degrees from one frame to the next."""
    for seed in range(20):
        motion = Motion.draw(np.random.default_rng(seed), 75, units=units)
        assert np.degrees(np.abs(np.diff(motion.pose, axis=0)).max()) < 12


def test_seed_decides(units):
    """The same seed gives the same motion, another seed another."""
    first, again, other = (Motion.draw(np.random.default_rng(seed), 30, units=units) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.expression, again.expression)
    assert not np.array_equal(first.pose, other.pose)


def test_most_units_occur(units):
    """Over many tracks nearly every unit is used, so none is a constant label."""
    used = np.zeros(52)
    for seed in range(150):
        used = np.maximum(used, Motion.draw(np.random.default_rng(seed), 75, units=units).expression.max(axis=0))
    assert (used > 0.1).sum() >= 48


def test_lids_follow_the_gaze(units):
    """Looking to the left raises the left eye's 'out' and the right eye's 'in'."""
    motion = Motion.draw(np.random.default_rng(5), 75, units=units)
    frame = int(motion.gaze[:, 0].argmax())
    weights = motion.expression[frame]
    assert weights[units.index("eyeLookOutLeft")] > weights[units.index("eyeLookInLeft")]
    assert weights[units.index("eyeLookInRight")] > weights[units.index("eyeLookOutRight")]


def test_wandering_repeats_after_its_period():
    """A wandering repeats after ``period`` seconds of 25 frames."""
    path = wander(np.random.default_rng(0), 150, 1.0, period=2.0)
    np.testing.assert_allclose(path[:50], path[50:100], atol=1e-5)
