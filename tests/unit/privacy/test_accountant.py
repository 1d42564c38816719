"""Facts about privacy/accountant.py."""

import math

import pytest

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.privacy.accountant import (
    NOISE_MIN,
    agree,
    calibrate_noise,
    check_delta,
    check_epsilon,
    epsilon_of,
    epsilon_of_steps,
)
from fabnet_secure.privacy.event import composed_json, event_json


def gaussian_delta(epsilon: float, noise: float) -> float:
    """δ(ε) of the Gaussian mechanism in closed form (Balle, Wang 2018)."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return phi(0.5 / noise - epsilon * noise) - math.exp(epsilon) * phi(-0.5 / noise - epsilon * noise)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (2.0, 1), (4.0, 16)])
def test_epsilon_closed_form(noise, steps):
    """Without sampling the accountant gives the closed form of the Gaussian mechanism, never less."""
    delta = 1e-3
    epsilon = epsilon_of_steps(noise_multiplier=noise, sampling_probability=1, steps=steps, delta=delta)
    effective = noise / math.sqrt(steps)
    assert gaussian_delta(epsilon, effective) <= delta
    assert gaussian_delta(epsilon * 0.995, effective) > delta


def test_epsilon_known_value():
    """The figure of the design study holds: N = 1000, q = .128, T = 1000, σ = 2.325, δ = 1e-4 costs ε = 8."""
    epsilon = epsilon_of_steps(noise_multiplier=2.325, sampling_probability=0.128, steps=1000, delta=1e-4)
    assert epsilon == pytest.approx(8, rel=0.003)


def test_epsilon_of_event_equals_fields_and_composes():
    """An event tree costs what its fields cost; two in a row cost more than one and less than twice as much."""
    event = event_json(noise_multiplier=2, sampling_probability=0.5, steps=10)
    once = epsilon_of(event, 1e-3)
    twice = epsilon_of(composed_json((event, event)), 1e-3)
    assert once == epsilon_of_steps(noise_multiplier=2, sampling_probability=0.5, steps=10, delta=1e-3)
    assert once < twice < 2 * once
    assert epsilon_of_steps(noise_multiplier=2, sampling_probability=0.5, steps=0, delta=1e-3) == 0


@pytest.mark.parametrize(
    ("epsilon", "delta", "q", "steps"),
    [(8, 1e-2, 0.5, 40), (1, 1e-2, 0.5, 40), (0.05, 1e-2, 0.5, 40), (8, 1e-2, 1, 20), (2, 1e-5, 0.05, 2000)],
)
def test_calibrate_hits_target(epsilon, delta, q, steps):
    """The calibrated noise costs at most the target ε and at least 99 % of it."""
    noise = calibrate_noise(epsilon=epsilon, delta=delta, sampling_probability=q, steps=steps)
    cost = epsilon_of_steps(noise_multiplier=noise, sampling_probability=q, steps=steps, delta=delta)
    assert 0.99 * epsilon <= cost <= epsilon


def test_calibrate_keeps_a_floor_of_noise():
    """However generous the target, noise stays at the floor."""
    assert calibrate_noise(epsilon=90, delta=1e-2, sampling_probability=0.5, steps=1) == NOISE_MIN


def test_calibrate_refuses_free_lunch():
    """A δ near the chance of being drawn at all would be met by publishing pixels: it is refused."""
    with pytest.raises(UsageError) as caught:
        calibrate_noise(epsilon=8, delta=1e-2, sampling_probability=0.001, steps=10)
    assert caught.value.code == "DELTA_TOO_LARGE"


@pytest.mark.parametrize(("q", "steps"), [(0, 10), (1.1, 10), (math.nan, 10), (0.5, 0), (0.5, 10_000_000)])
def test_calibrate_refuses_schedule(q, steps):
    """A sampling probability outside (0, 1] and an impossible number of steps are refused."""
    with pytest.raises(UsageError) as caught:
        calibrate_noise(epsilon=8, delta=1e-2, sampling_probability=q, steps=steps)
    assert caught.value.code == "PLAN_INVALID"


@pytest.mark.parametrize("epsilon", [0, -1, 0.01, 1000, math.nan, math.inf])
def test_epsilon_refused(epsilon):
    """An ε that is no number, or that two accountants cannot confirm, is refused."""
    with pytest.raises(UsageError) as caught:
        check_epsilon(epsilon)
    assert caught.value.code == "EPSILON_INVALID"


@pytest.mark.parametrize(
    ("delta", "code"),
    [
        (0, "DELTA_INVALID"),
        (-1, "DELTA_INVALID"),
        (1, "DELTA_INVALID"),
        (math.nan, "DELTA_INVALID"),
        (0.125, "DELTA_TOO_LARGE"),
        (0.5, "DELTA_TOO_LARGE"),
    ],
)
def test_delta_refused(delta, code):
    """δ must be a probability below one over the number of persons."""
    with pytest.raises(UsageError) as caught:
        check_delta(delta, 8)
    assert caught.value.code == code


def test_sound_numbers_pass():
    """A usual ε and δ are accepted."""
    check_epsilon(8)
    check_delta(1e-2, 8)


@pytest.mark.parametrize(("a", "b"), [(8, 8.2), (8, math.nan), (math.inf, math.inf), (0, 0.1)])
def test_disagreement_fails(a, b):
    """More than one per cent between the accountants fails the run."""
    with pytest.raises(IntegrityFailure) as caught:
        agree(a, b)
    assert caught.value.code == "ACCOUNTANTS_DISAGREE"


def test_agreement_passes():
    """Within one per cent they agree."""
    agree(8, 8.07)
    agree(0, 0)
