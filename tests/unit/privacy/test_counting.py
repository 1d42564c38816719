"""Counts with noise: bounds on one person, the threshold, and the (ε, δ) of whole answers."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.crypto.stream import KeyStream
from fabnet_secure.errors import UsageError
from fabnet_secure.privacy.counting import Design, clip, tally, tell
from fabnet_secure.privacy.discrete import draw, tail
from fabnet_secure.privacy.event import parse_event

CELLS = ("a", "b", "c", "d")
people = st.lists(st.dictionaries(st.sampled_from((*CELLS, "elsewhere")), st.integers(0, 50)), max_size=12)
designs = st.builds(
    Design,
    cells=st.just(CELLS),
    counts_people=st.just(False),
    groups=st.integers(1, 4),
    bound=st.integers(1, 20),
    epsilon=st.floats(0.01, 3.0),
    min_people=st.integers(1, 30),
)


def made(**changes):
    plain = {"cells": ("all",), "counts_people": True, "groups": 1, "bound": 1, "epsilon": 1.0, "min_people": 20}
    return Design(**plain | changes)


def nothing(scale):
    return 0


def pmf(scale, x):
    """The discrete Laplace distribution's formula."""
    step = 1 / float(scale)
    return math.tanh(step / 2) * math.exp(-abs(x) * step)


@given(crowd=people, person=st.dictionaries(st.sampled_from(CELLS), st.integers(0, 10_000)), design=designs)
def test_one_person_changes_no_more_than_is_paid_for(crowd, person, design):
    """Neighbouring inputs: heads differ by 1 in at most ``groups`` cells, sums by ``bound`` in those."""
    heads, sums = tally(crowd, design)
    more_heads, more_sums = tally([*crowd, person], design)
    moved = [cell for cell in CELLS if more_heads[cell] != heads[cell] or more_sums[cell] != sums[cell]]
    assert len(moved) <= design.groups
    assert all(more_heads[cell] - heads[cell] in (0, 1) for cell in CELLS)
    assert all(0 <= more_sums[cell] - sums[cell] <= design.bound for cell in CELLS)
    assert set(more_heads) <= set(CELLS)


@given(crowd=people, design=designs)
def test_what_is_told_is_the_obvious_count(crowd, design):
    """Without noise: exactly the cells at or above the threshold, with the bounded sum counted the slow way."""
    told = tell(crowd, design, nothing)
    kept = [clip(one, design) for one in crowd]
    for cell in CELLS:
        inside = [one[cell] for one in kept if cell in one]
        assert (cell in told) == (len(inside) >= max(design.threshold, design.min_people))
        if cell in told:
            assert told[cell] == sum(inside)


@given(count=st.integers(0, 60), epsilon=st.sampled_from([0.1, 0.5, 1.0]), groups=st.integers(1, 3))
def test_an_answer_is_epsilon_delta_private(count, epsilon, groups):
    """The whole distribution of one cell's answer, with a person and without: δ(ε) by its definition is kept."""
    design = made(epsilon=epsilon, groups=groups, delta=1e-6)
    share = epsilon / groups

    def answers(present):
        told = {}
        if present >= design.min_people:
            for value in range(design.threshold, design.threshold + 30 * math.ceil(1 / share)):
                told[value] = pmf(design.people_scale, value - present)
        told[None] = 1 - math.fsum(told.values())
        return told

    with_person, without = answers(count + 1), answers(count)
    for one, other in ((with_person, without), (without, with_person)):
        excess = sum(max(0.0, chance - math.exp(share) * other.get(value, 0.0)) for value, chance in one.items())
        assert excess <= design.delta / groups * (1 + 1e-6) + 1e-12


def test_no_cell_below_the_floor_is_ever_told():
    """However large the noise, 19 people are never told apart."""
    crowd = [{"all": 1}] * 19
    assert tell(crowd, made(), lambda _: 10**6) == {}
    assert tell([*crowd, {"all": 1}], made(), lambda _: 10**6) == {"all": 20 + 10**6}


def test_the_threshold_is_the_smallest_that_keeps_delta():
    """One below it a person at the floor would be told of too often."""
    for groups in (1, 3):
        design = made(groups=groups, epsilon=0.5)
        least = design.threshold - design.min_people
        assert groups * tail(design.people_scale, least) <= design.delta
        assert groups * tail(design.people_scale, least - 1) > design.delta


def test_sums_share_epsilon_and_people_do_not():
    """People: one noisy number for all of ε. A sum: half of ε decides, half is for the sum times its bound."""
    assert made(epsilon=0.5, groups=3).people_scale == made(epsilon=0.5, groups=3).value_scale == 6
    summed = made(epsilon=0.5, groups=3, bound=10, counts_people=False)
    assert (summed.people_scale, summed.value_scale) == (12, 120)


@given(epsilon=st.floats(0.01, 5.0))
def test_the_noise_never_costs_more_than_is_paid(epsilon):
    """Rounding ε for the sampler goes down, never up."""
    assert Fraction(1) / made(epsilon=epsilon).people_scale <= Fraction(epsilon)


def test_told_counts_lie_near_the_truth():
    """With the exact sampler and fixed entropy: the error is within the stated one in about 95 of 100 answers."""
    design = made(epsilon=0.5)
    read = KeyStream(lambda n: b"\x05" * n).read
    near = 0
    for _ in range(400):
        told = tell([{"all": 1}] * 150, design, lambda scale: draw(scale, read))
        near += abs(told["all"] - 150) <= design.error
    assert 0.92 <= near / 400 <= 1.0


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 0.001])
def test_an_epsilon_that_buys_nothing_is_refused(epsilon):
    """Zero, negative, NaN, infinite or too small: EPSILON_INVALID."""
    with pytest.raises(UsageError) as refused:
        made(epsilon=epsilon)
    assert refused.value.code == "EPSILON_INVALID"


@pytest.mark.parametrize(
    "wrong", [{"groups": 0}, {"bound": 0}, {"bound": 2}, {"min_people": 0}, {"delta": 0.0}, {"groups": 10**6}], ids=str
)
def test_bounds_out_of_range_are_refused(wrong):
    """A person who may count without limit, or not at all, is no question."""
    with pytest.raises(UsageError) as refused:
        made(**wrong)
    assert refused.value.code == "QUESTION_INVALID"


def test_the_ledger_can_read_the_event():
    """The event names noise, bounds and threshold, and is read back as the worst mechanism of that ε."""
    design = made(epsilon=0.5)
    assert json.loads(design.event())["threshold"] == design.threshold
    event = parse_event(design.event())
    assert math.log(2 / event.noise_parameter - 1) == pytest.approx(0.5)  # the odds of a true answer
