"""A person's privacy budget: what is spent, and whether one more job fits.

Guarantees that a sequence of jobs admitted here, each chosen after seeing the results of those before, is
(cap, Σδ)-differentially private for the person: basic composition is a valid privacy filter (Rogers, Roth, Ullman,
Vadhan 2016, «Privacy odometers and filters», arXiv 1605.08294). A reservation counts as spent until it is committed
as what ran; a crash therefore never gives budget back. Does not use tighter composition: a PLD budget is no filter
for jobs chosen adaptively. Does not store anything.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

# Decimal caps and costs (0.3 = 3 × 0.1) are not exact in binary.
_ROUNDING = 1e-9


class Spend(NamedTuple):
    """One job's cost to one person, reserved or committed; a plain ``(epsilon, delta)`` will do."""

    epsilon: float
    delta: float


def spent(entries: Iterable[tuple[float, float]]) -> float:
    """Return the ε spent: committed and reserved alike. A cost that is no number counts as infinite."""
    return math.fsum(_cost(epsilon) for epsilon, _ in entries)


def delta_spent(entries: Iterable[tuple[float, float]]) -> float:
    """Return the δ spent: committed and reserved alike."""
    return math.fsum(_cost(delta) for _, delta in entries)


def admits(
    entries: Iterable[tuple[float, float]],
    epsilon: float,
    delta: float,
    cap: float,
    delta_cap: float | None = None,
) -> bool:
    """Tell whether one more job of (``epsilon``, ``delta``) stays within the caps; anything doubtful does not.

    Args:
        entries: every job the person was eligible for so far.
        epsilon: the new job's ε.
        delta: the new job's δ.
        cap: the ε promised to the person.
        delta_cap: the δ promised to the person; None when none was.
    """
    past = tuple(entries)
    asked = Spend(epsilon, delta)
    total, total_delta = spent((*past, asked)), delta_spent((*past, asked))
    # δ ≥ 1 promises nothing at all, so it is refused even where no δ was agreed.
    limit = 1.0 if delta_cap is None else delta_cap * (1 + _ROUNDING)
    return total <= cap * (1 + _ROUNDING) and total_delta <= limit and total_delta < 1


def _cost(value: float) -> float:
    return value if value >= 0 else math.inf  # NaN and negative costs too
