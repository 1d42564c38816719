"""Facts about privacy/ledger.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.privacy.ledger import Spend, admits, delta_spent, spent

COST = st.floats(0, 5)


def test_every_entry_counts():
    """What is spent is the sum over all entries, whatever their state."""
    entries = [Spend(1.0, 1e-5), (2.0, 1e-5)]
    assert spent(entries) == 3
    assert delta_spent(entries) == pytest.approx(2e-5)
    assert spent([]) == 0


@given(st.lists(COST, max_size=8), st.floats(0.1, 10))
def test_admitted_jobs_never_pass_the_cap(costs, cap):
    """However jobs are chosen, those admitted one after the other never pass the cap."""
    done: list[Spend] = []
    for cost in costs:
        if admits(done, cost, 1e-6, cap):
            done.append(Spend(cost, 1e-6))
    assert spent(done) <= cap * (1 + 1e-8)


def test_decimal_costs_fill_a_decimal_cap():
    """Three jobs of 0.1 fit under a cap of 0.3; a fourth does not."""
    done = [Spend(0.1, 0.0)] * 2
    assert admits(done, 0.1, 0, 0.3)
    assert not admits([*done, Spend(0.1, 0.0)], 0.1, 0, 0.3)


def test_delta_has_a_cap_too():
    """δ adds up against its own cap, and never to 1."""
    assert admits([(1, 1e-3)], 1, 1e-3, 10, 2e-3)
    assert not admits([(1, 1e-3)], 1, 1.1e-3, 10, 2e-3)
    assert not admits([(1, 0.6)], 1, 0.4, 10)


@pytest.mark.parametrize("doubtful", [math.nan, -1.0, math.inf])
def test_doubtful_costs_are_refused(doubtful):
    """A cost or a past that is no number never fits."""
    assert not admits([], doubtful, 1e-5, 10)
    assert not admits([], 1, doubtful, 10)
    assert not admits([(doubtful, 1e-5)], 1, 1e-5, 10)
    assert not admits([], 1, 1e-5, math.nan)
