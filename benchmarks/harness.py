"""What a metric is, how two sides are timed, and the JSON line that comes out.

Guarantees: both sides of a ratio are timed in the same run, in turn, after one warm-up each, and the median of the
rounds counts, so that a machine whose speed drifts drifts for both alike. Does not guarantee that nothing else runs on
the machine: two cores shared with other work give other figures, in ratios too.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ROUNDS = 5
NO_GOAL = "none yet: the first path"

Side = Callable[[int], float]
"""Does the work of one round, which is told its number from 0 (0 is the warm-up), and returns the seconds it took."""


class SkippedError(Exception):
    """A metric cannot be measured on this machine; the others can. Holds the reason, a sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound on one figure of a result.

    Attributes:
        figure: "value", "ratio", or the name of a further field.
        least: the figure is at least this; None for no lower bound.
        most: the figure is at most this; None for no upper bound.
    """

    figure: str = "ratio"
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        """Say the bound in words: ``ratio ≥ 0.3``."""
        sides = (("≥", self.least), ("≤", self.most))
        bounds = (f"{self.figure} {sign} {one:g}" for sign, one in sides if one is not None)
        return " and ".join(bounds)

    def met(self, body: Mapping[str, Any]) -> bool:
        """Tell whether the figures of a printed line keep within the bound."""
        figure = float(body[self.figure])
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measured metric.

    Attributes:
        value: the figure, in ``unit``.
        ratio: of the figure to the baseline's; each metric's description says which way round.
        baseline: what it was measured against.
        goals: all of them must hold; empty where none is set.
        fields: whatever else must be known to read the figure.
    """

    value: float
    unit: str
    ratio: float
    baseline: str
    goals: tuple[Goal, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, name: str) -> dict[str, Any]:
        """Return the JSON form; ``met`` is None where there is no goal."""
        body: dict[str, Any] = {
            "metric": name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "ratio": round(self.ratio, 4),
            "baseline": self.baseline,
            "goal": " and ".join(map(str, self.goals)) or NO_GOAL,
            **self.fields,
        }
        return body | {"met": all(goal.met(body) for goal in self.goals) if self.goals else None}


def line(body: Mapping[str, Any]) -> str:
    """Return one JSON line, as people read it."""
    return json.dumps(body, ensure_ascii=False)


def timed(work: Callable[[], object]) -> Side:
    """Make a side of work that needs no preparation."""

    def side(turn: int) -> float:
        del turn
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return side


def interleaved(*sides: Side, rounds: int = ROUNDS) -> tuple[float, ...]:
    """Return the median seconds of every side, run in turn after one warm-up each."""
    times: list[list[float]] = [[] for _ in sides]
    for turn in range(rounds + 1):
        for place, side in enumerate(sides):
            seconds = side(turn)
            if turn:
                times[place].append(seconds)
    return tuple(statistics.median(one) for one in times)
