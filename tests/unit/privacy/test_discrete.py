"""Discrete Laplace noise: the exact sampler against the distribution's own formula."""

import math
from collections import Counter
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.crypto.stream import KeyStream
from fabnet_secure.privacy.discrete import below, draw, happens, reaches, tail

DRAWS = 20_000


def stream(seed=7):
    """Return bytes that are the same in every run."""
    return KeyStream(lambda n: bytes([seed]) * n).read


@cache
def weight(scale):
    return sum(math.exp(-abs(one) / scale) for one in range(-4000, 4001))


def chance(scale, x):
    """P[X = x], the slow and obvious way: the formula, normalised by summing the whole line."""
    return math.exp(-abs(x) / scale) / weight(scale)


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(1), Fraction(10, 3), Fraction(25)], ids=str)
def test_draws_follow_the_formula(scale):
    """A chi-square test of 20,000 draws against the formula: χ² stays below its 99.99 % quantile."""
    read = stream()
    seen = Counter(draw(scale, read) for _ in range(DRAWS))
    edge = next(m for m in range(1, 1000) if chance(float(scale), m) * DRAWS < 8)
    bins = range(-edge + 1, edge)
    expected = [chance(float(scale), x) * DRAWS for x in bins]
    observed = [seen[x] for x in bins]
    expected.append(DRAWS - sum(expected))
    observed.append(DRAWS - sum(observed))
    squares = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    freedom = len(expected) - 1
    assert squares < freedom + 4 * math.sqrt(2 * freedom) + 10


def test_bernoulli_of_an_exponential():
    """happens(γ) comes true as often as exp(-γ) says, for γ at both ends and between."""
    read = stream()
    for exponent in (Fraction(0), Fraction(1, 3), Fraction(1)):
        share = sum(happens(exponent, read) for _ in range(DRAWS)) / DRAWS
        assert abs(share - math.exp(-exponent)) < 0.015
    assert all(happens(Fraction(0), read) for _ in range(100))


@given(bound=st.integers(1, 2**70), seed=st.integers(0, 255))
def test_uniform_integers_stay_in_range(bound, seed):
    """Rejection keeps every number in range, however large the bound."""
    assert 0 <= below(bound, stream(seed)) < bound


def test_uniform_integers_are_uniform():
    """A bound that is no power of two favours nobody."""
    read = stream()
    seen = Counter(below(7, read) for _ in range(DRAWS))
    assert max(seen.values()) - min(seen.values()) < 5 * math.sqrt(DRAWS / 7)


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(3), Fraction(40)], ids=str)
def test_tail_is_the_sum_of_the_formula(scale):
    """P[X >= m] equals the formula's sum, and is never below it."""
    for least in (1, 2, 7):
        slow = sum(chance(float(scale), x) for x in range(least, 4001))
        assert slow <= tail(scale, least) <= slow * (1 + 1e-6)


@given(scale=st.fractions(Fraction(1, 5), Fraction(2000)), chance_of=st.floats(1e-12, 0.4))
def test_reaches_is_the_smallest(scale, chance_of):
    """The returned number keeps the chance, the one below it does not."""
    least = reaches(scale, chance_of)
    assert tail(scale, least) <= chance_of
    assert least == 1 or tail(scale, least - 1) > chance_of


def test_bad_scales_and_chances_are_refused():
    """No noise of scale 0, no chance of 0."""
    with pytest.raises(ValueError, match="scale"):
        draw(Fraction(0), stream())
    for wrong in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="chance"):
            reaches(Fraction(1), wrong)


def test_fresh_streams_do_not_repeat():
    """Without injected entropy two questions get different noise."""
    first, second = ([draw(Fraction(1000), KeyStream().read) for _ in range(8)] for _ in range(2))
    assert first != second
