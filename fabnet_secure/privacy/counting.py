"""Counts of people, tracks or frames that are told with noise, or not at all: the mechanism of ``query stats``.

**What is told.** The cells (months, cameras, models, or one cell for everything) are fixed by public facts before
anybody's data is looked at. A cell is told when at least ``min_people`` people count in it *and* its noisy number of
people reaches :attr:`Design.threshold`; otherwise nothing of it is told, zero cells and small ones alike.

**Theorem.** Let one person be added or removed with everything they contributed. Each person counts in at most
``groups`` cells, in each for at most ``bound`` (:func:`clip`, a function of that person's own data), and which people
count depends for each on their own consents and ledger alone. Then :func:`tell` is (ε, δ)-differentially private:

* a cell's number of people changes by at most 1, in at most ``groups`` cells; discrete Laplace noise of scale
  ``groups``/ε₁ makes all of them together ε₁-private; a count's sum changes by at most ``bound`` in those cells and
  gets noise of scale ``groups · bound``/ε₂; ε = ε₁ + ε₂ (basic composition), and what is done with both noisy
  numbers (threshold, clamping at 0) is post-processing. Where people are counted, one number serves both and ε₂ = 0;
* the exact floor ``min_people`` changes this only in a cell that stands at the floor with the person and below it
  without: told with probability p = P[noise >= threshold - min_people] with them, never without. That is (0, p) more
  for each such cell, at most ``groups`` of them; the threshold is the smallest that keeps ``groups`` · p <= δ.

So neither a number nor the silence about a cell gives a person away beyond (ε, δ), and every cell that is told holds at
least ``min_people`` people, for certain. Not covered: how long an answer took.

Sources: Wilson et al. 2020, «Differentially private SQL with bounded user contribution» (arXiv 1909.01917), for bounded
contribution and the noisy threshold; Desfontaines, Voss, Gipson, Mandayam 2022, «Differentially private partition
selection» (arXiv 2006.03684); Feldman and Zrnic 2021, «Individual privacy accounting» (arXiv 2008.11193), for people
who are left out once their own budget is spent; :mod:`.discrete` for the noise.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fabnet_secure.errors import UsageError
from fabnet_secure.privacy.discrete import reaches
from fabnet_secure.types import Json, canonical_json

DELTA = 1e-9
"""The δ of one answer: small against one over the number of people that any site holds."""

EPSILON_MIN = 0.01
_DIGITS = 1_000_000  # ε is used rounded down to a millionth, so that the noise's scale is a small fraction
_GROUPS_MAX, _BOUND_MAX = 1_000, 1_000_000

Contribution = Mapping[str, int]
"""What one person has in each cell: tracks, frames, or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How one question is answered, before anybody's data is looked at.

    Attributes:
        cells: the cells that may be told; public.
        counts_people: people are counted; else a sum of what each has.
        groups: cells that one person counts in, at most.
        bound: what one person counts in one cell, at most; 1 for people.
        epsilon: the ε of the whole answer.
        delta: the δ of the whole answer.
        min_people: a cell with fewer people is never told.
    """

    cells: tuple[str, ...]
    counts_people: bool
    groups: int
    bound: int
    epsilon: float
    delta: float = DELTA
    min_people: int = 20

    def __post_init__(self) -> None:
        """Refuse a design that means nothing.

        Raises:
            UsageError: code ``EPSILON_INVALID`` or ``QUESTION_INVALID``.
        """
        if not (math.isfinite(self.epsilon) and self.epsilon >= EPSILON_MIN):
            raise UsageError(
                f"ε must be a number of at least {EPSILON_MIN}", hint="such as 0.5", code="EPSILON_INVALID"
            )
        sane = 1 <= self.groups <= _GROUPS_MAX and 1 <= self.bound <= _BOUND_MAX and 0 < self.delta < 1
        if not sane or self.min_people < 1 or (self.counts_people and self.bound != 1):
            raise UsageError("a bound of this question is out of range", code="QUESTION_INVALID")

    @property
    def people_scale(self) -> Fraction:
        """The scale of the noise on a cell's number of people: groups/ε₁."""
        return self.groups / self._share

    @property
    def value_scale(self) -> Fraction:
        """The scale of the noise on what is told: groups · bound/ε₂, or the people's where those are told."""
        return self.people_scale if self.counts_people else self.groups * self.bound / self._share

    @property
    def threshold(self) -> int:
        """A cell is told when its noisy number of people is at least this."""
        return self.min_people + reaches(self.people_scale, self.delta / self.groups)

    @property
    def error(self) -> int:
        """What is told lies within this of the bounded count with a chance of 95 %."""
        return reaches(self.value_scale, 0.025)

    @property
    def _share(self) -> Fraction:
        whole = Fraction(math.floor(Fraction(self.epsilon) * _DIGITS), _DIGITS)  # never more than is paid for
        return whole if self.counts_people else whole / 2

    def event(self) -> str:
        """Return the mechanism for the ledger, as an event that :func:`fabnet_secure.privacy.event.parse_event` reads.

        The cost is written as a bound (ε, δ): accountants know no tighter event for a thresholded answer.
        """
        noise = [str(self.people_scale)] + ([] if self.counts_people else [str(self.value_scale)])
        body: dict[str, Json] = {
            "event": "bounded_count",
            "epsilon": self.epsilon,
            "delta": self.delta,
            "groups": self.groups,
            "bound": self.bound,
            "noise": noise,
            "threshold": self.threshold,
        }
        return canonical_json(body).decode()


def clip(one: Contribution, design: Design) -> dict[str, int]:
    """Bound what one person contributes: their ``groups`` largest cells, each at most ``bound``; unknown cells go.

    Among equals the cell that sorts first stays, so the same question takes the same from a person each time.
    """
    known = [(cell, min(count, design.bound)) for cell, count in one.items() if cell in design.cells and count > 0]
    return dict(sorted(known, key=lambda held: (-held[1], held[0]))[: design.groups])


def tally(people: Iterable[Contribution], design: Design) -> tuple[Counter[str], Counter[str]]:
    """Return each cell's number of people and its sum, of bounded contributions."""
    heads: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for one in people:
        held = clip(one, design)
        heads.update(held.keys())
        sums.update(held)
    return heads, sums


def tell(people: Sequence[Contribution], design: Design, noise: Callable[[Fraction], int]) -> dict[str, int]:
    """Answer: each cell that may be told, with its noisy count (never below 0), in the design's order.

    Args:
        people: what each person has; one entry a person.
        design: how.
        noise: draws from the discrete Laplace distribution of a scale (:func:`fabnet_secure.privacy.discrete.draw`).
    """
    heads, sums = tally(people, design)
    told: dict[str, int] = {}
    for cell in design.cells:  # noise is drawn for every cell, so that their number is all that its use shows
        seen = heads[cell] + noise(design.people_scale)
        value = seen if design.counts_people else sums[cell] + noise(design.value_scale)
        if heads[cell] >= design.min_people and seen >= design.threshold:
            told[cell] = max(0, value)
    return told
