"""The mechanism of a run as data: an event tree that any accountant can read years later.

Guarantees that :func:`parse_event` returns what :func:`event_json` wrote, and that a stored event can name only the
five kinds of event known here (dp-accounting's own decoder imports whatever module the text names). Does not judge
whether the event is what really ran, and of a count (``privacy/counting.py``) states ε alone: its δ is in the ledger.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import dp_accounting

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.types import Json, canonical_json


def event_json(*, noise_multiplier: float, sampling_probability: float, steps: int) -> str:
    """Write ``steps`` compositions of a Poisson-sampled Gaussian mechanism as canonical JSON.

    Args:
        noise_multiplier: standard deviation of the noise, in units of the sensitivity (the clipping norm).
        sampling_probability: the chance of each person in each step.
        steps: the number of steps.
    """
    gaussian: Json = {"event": "gaussian", "noise_multiplier": float(noise_multiplier)}
    sampled: Json = {"event": "poisson_sampled", "probability": float(sampling_probability), "of": gaussian}
    return canonical_json({"event": "self_composed", "count": steps, "of": sampled}).decode()


def composed_json(events: tuple[str, ...]) -> str:
    """Write several events, run one after the other on the same persons, as one."""
    return canonical_json({"event": "composed", "of": [json.loads(event) for event in events]}).decode()


def parse_event(text: str) -> dp_accounting.DpEvent:
    """Read an event tree.

    Raises:
        IntegrityFailure: the text is no event written here (code ``DP_EVENT_BROKEN``).
    """
    try:
        return _build(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityFailure(
            "a stored privacy event cannot be read", hint=type(error).__name__, code="DP_EVENT_BROKEN"
        ) from error


def _build(node: Mapping[str, Any]) -> dp_accounting.DpEvent:
    match node["event"]:
        case "gaussian":
            return dp_accounting.GaussianDpEvent(_within(node["noise_multiplier"], high=float("inf")))
        case "poisson_sampled":
            return dp_accounting.PoissonSampledDpEvent(_within(node["probability"], high=1.0), _build(node["of"]))
        case "self_composed":
            if not isinstance(node["count"], int) or node["count"] < 0:
                raise ValueError("count")
            return dp_accounting.SelfComposedDpEvent(_build(node["of"]), node["count"])
        case "bounded_count" | "lost":  # what was lost with its mechanism is taken for the worst
            return _worst_of(_within(node["epsilon"], high=1e3))
        case "composed":
            return dp_accounting.ComposedDpEvent([_build(part) for part in node["of"]])
        case _:
            raise ValueError("event")


def _worst_of(epsilon: float) -> dp_accounting.DpEvent:
    """Return the mechanism that loses most of all ε-private ones (Kairouz, Oh, Viswanath 2015): a coin's answer."""
    return dp_accounting.RandomizedResponseDpEvent(2 / (1 + math.exp(epsilon)), 2)


def _within(value: Any, *, high: float) -> float:
    number = float(value)
    if not 0 < number <= high:
        raise ValueError("range")
    return number
