"""Whatever anybody's gradient is, one person changes the sum under the noise by at most C."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.fabnet.step import PersonDPOptimizer

SIZES = (5, 6)
NUMBER = st.floats(width=32, allow_nan=True, allow_infinity=True)
GRADIENT = st.lists(NUMBER, min_size=11, max_size=11)
MILD = st.lists(st.floats(-1, 1, width=32), min_size=11, max_size=11)
PERSON = st.one_of(GRADIENT, MILD)


def total(gradients, clip):
    params = [torch.nn.Parameter(torch.zeros(size)) for size in SIZES]
    optimizer = PersonDPOptimizer(
        torch.optim.SGD(params), noise_multiplier=1.0, max_grad_norm=clip, expected_batch_size=1
    )
    optimizer.begin()
    for gradient in gradients:
        optimizer.add_person(torch.tensor(gradient, dtype=torch.float32).split(SIZES))
    return torch.cat(optimizer._sums).numpy()


@settings(max_examples=150, deadline=None)
@given(st.lists(PERSON, max_size=6), PERSON, st.integers(0, 6), st.sampled_from([1e-3, 0.1, 1.0, 100.0]))
def test_removing_a_person(others, person, place, clip):
    """Adding or removing one person, huge or not finite, moves the sum by at most C(1 + 1e-6)."""
    without = total(others, clip)
    with_person = total([*others[:place], person, *others[place:]], clip)
    assert np.isfinite(with_person).all()
    assert np.linalg.norm(with_person - without) <= clip * (1 + 1e-6)


@settings(max_examples=100, deadline=None)
@given(PERSON, PERSON, st.sampled_from([1e-3, 0.1, 100.0]))
def test_changing_a_person(one, other, clip):
    """A person contributes at most C whatever they bring, so replacing their data moves the sum by at most 2C."""
    assert np.linalg.norm(total([one], clip)) <= clip * (1 + 1e-6)
    assert np.linalg.norm(total([one], clip) - total([other], clip)) <= 2 * clip * (1 + 1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-30, 1e30), st.integers(200, 400))
def test_crowds_do_not_hide_rounding(seed, scale, persons):
    """Among hundreds of persons, and at any scale, one person's weight in the sum stays C to 1e-6."""
    rng = np.random.default_rng(seed)
    crowd = (rng.standard_normal((persons, 11)) * scale).astype(np.float32).tolist()
    gap = np.linalg.norm(total(crowd, 0.1) - total(crowd[1:], 0.1))
    assert gap <= 0.1 * (1 + 1e-6)
    assert not math.isnan(gap)
