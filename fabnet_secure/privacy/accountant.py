"""ε by the privacy loss distribution (PLD), and the noise that a target ε needs.

Guarantees that the ε returned is an upper bound (pessimistic discretisation) for adding or removing one person, over
both directions, and that :func:`calibrate_noise` never returns noise whose ε exceeds the target. Does not check
itself: :func:`agree` compares with the second accountant (Opacus' PRV, ``fabnet/accounting.py``).

Sources: Koskela, Jälkö, Honkela 2020 (arXiv 1906.03049); Doroshenko et al. 2022, «Connect the dots» (arXiv 2207.04380).
"""

import math
from collections.abc import Callable

import dp_accounting
from dp_accounting import pld

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.privacy.event import event_json, parse_event

ACCOUNTANT = f"PLD (dp-accounting {getattr(dp_accounting, '__version__', '0.6')})"
EPSILON_MIN = 0.05  # below it Opacus' PRV needs a grid of more than 10^7 points: ε could not be checked twice
EPSILON_MAX = 100.0
NOISE_MIN = 0.3  # a floor: a generous target never means training with hardly any noise
NOISE_MAX = 1e5
Cost = Callable[[float], float]
_FINE, _COARSE = 1e-4, 1e-3
_SLACK = 2e-3  # how far below its target ε may end: time is worth more


def check_epsilon(epsilon: float) -> None:
    """Refuse an ε that is no number or that cannot be accounted for twice.

    Raises:
        UsageError: code ``EPSILON_INVALID``.
    """
    if not (math.isfinite(epsilon) and EPSILON_MIN <= epsilon <= EPSILON_MAX):
        raise UsageError(
            f"ε must lie between {EPSILON_MIN} and {EPSILON_MAX:g}, not {epsilon:g}",
            hint="ε between 1 and 10 is usual; outside these limits two accountants cannot confirm it",
            code="EPSILON_INVALID",
        )


def check_delta(delta: float, persons: int) -> None:
    """Refuse a δ that is no probability, or that would allow giving one whole person away (δ ≥ 1/N).

    Raises:
        UsageError: codes ``DELTA_INVALID``, ``DELTA_TOO_LARGE``.
    """
    if not (math.isfinite(delta) and 1e-12 <= delta < 1):
        raise UsageError(f"δ must lie between 1e-12 and 1, not {delta:g}", hint="try 1e-5", code="DELTA_INVALID")
    if delta * persons >= 1:
        raise UsageError(
            f"δ = {delta:g} is not below 1/{persons}, one over the number of persons",
            hint=f"use a δ well below {1 / persons:.2g}",
            code="DELTA_TOO_LARGE",
        )


def epsilon_of(event: str, delta: float) -> float:
    """Return the ε of a serialised event tree (``DPPlan.dp_event()``) at ``delta``.

    Raises:
        IntegrityFailure: the event cannot be read (code ``DP_EVENT_BROKEN``).
    """
    return _epsilon(event, delta, _FINE)


def epsilon_of_steps(*, noise_multiplier: float, sampling_probability: float, steps: int, delta: float) -> float:
    """Return the ε of ``steps`` Poisson-sampled Gaussian steps; 0 for no step."""
    if steps == 0:
        return 0.0
    event = event_json(noise_multiplier=noise_multiplier, sampling_probability=sampling_probability, steps=steps)
    return epsilon_of(event, delta)


def calibrate_noise(*, epsilon: float, delta: float, sampling_probability: float, steps: int) -> float:
    """Return the noise multiplier whose ε (PLD) is the target or at most 0.2 % below it.

    The result is never under ``NOISE_MIN``, where ε may end well below the target.

    Raises:
        UsageError: ε or δ out of range; q or steps out of range (code ``PLAN_INVALID``); δ so large that drawing a
            person at all is rarer (``DELTA_TOO_LARGE``); no noise is enough (``EPSILON_INVALID``).
    """
    check_epsilon(epsilon)
    check_delta(delta, 1)
    check_schedule(sampling_probability, steps)
    _refuse_free_lunch(delta, sampling_probability, steps)

    def cost(noise: float, interval: float = _COARSE) -> float:
        event = event_json(noise_multiplier=noise, sampling_probability=sampling_probability, steps=steps)
        return _epsilon(event, delta, interval)

    noise = _search(cost, epsilon)
    while cost(noise, _FINE) > epsilon:
        noise = _round_up(noise * 1.0005)
    return noise


def check_schedule(sampling_probability: float, steps: int) -> None:
    """Refuse a q outside (0, 1] or no steps (code ``PLAN_INVALID``)."""
    if not 0 < sampling_probability <= 1:
        raise UsageError(
            f"the sampling probability must lie in (0, 1], not {sampling_probability:g}", code="PLAN_INVALID"
        )
    if not 1 <= steps <= 1_000_000:
        raise UsageError(f"steps must lie between 1 and 1000000, not {steps}", code="PLAN_INVALID")


def agree(a: float, b: float, tolerance: float = 0.01) -> None:
    """Compare the two accountants' ε.

    Raises:
        IntegrityFailure: they differ by more than ``tolerance`` (relative to the larger), or one is no finite
            number (code ``ACCOUNTANTS_DISAGREE``).
    """
    if math.isfinite(a) and math.isfinite(b) and abs(a - b) <= tolerance * max(abs(a), abs(b)):
        return
    raise IntegrityFailure(
        f"two privacy accountants disagree: ε = {a:.4g} and {b:.4g}",
        hint="nothing may be trained or released on a bound that cannot be confirmed; please report the plan",
        code="ACCOUNTANTS_DISAGREE",
    )


def _epsilon(event: str, delta: float, interval: float) -> float:
    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    accountant.compose(parse_event(event))
    return float(accountant.get_epsilon(delta))


def _refuse_free_lunch(delta: float, sampling_probability: float, steps: int) -> None:
    # A person is never drawn with probability (1-q)^T. When δ covers the rest, publishing raw pixels would satisfy
    # the definition: such a plan protects nobody, whatever ε it names.
    ever_drawn = -math.expm1(steps * math.log1p(-sampling_probability)) if sampling_probability < 1 else 1.0
    if delta >= ever_drawn / 2:
        raise UsageError(
            f"δ = {delta:g} is not small beside the chance of being drawn at all, {ever_drawn:.2g}",
            hint="use a smaller δ, more steps or a larger sampling probability",
            code="DELTA_TOO_LARGE",
        )


def _search(cost: Cost, target: float) -> float:
    """Find noise with target·(1 − slack) <= cost <= target by bracketing, then false position in log-log."""
    low, high = _bracket(cost, target)
    low_cost, high_cost = cost(low), cost(high)
    for _ in range(60):
        if high <= NOISE_MIN or high_cost >= target * (1 - _SLACK) or high - low < 1e-4 * high:
            break
        middle = _between(low, high, low_cost, high_cost, target * (1 - _SLACK / 2))
        middle_cost = cost(middle)
        if middle_cost > target:
            low, low_cost = middle, middle_cost
        else:
            high, high_cost = middle, middle_cost
    return _round_up(max(high, NOISE_MIN))


def _bracket(cost: Cost, target: float) -> tuple[float, float]:
    low = high = 1.0
    if cost(1.0) > target:
        while cost(high) > target:
            low, high = high, high * 2
            if high > NOISE_MAX:
                raise UsageError("no amount of noise reaches this ε", hint="raise ε or δ", code="EPSILON_INVALID")
        return low, high
    while low > NOISE_MIN and cost(low) <= target:
        low, high = max(low / 2, NOISE_MIN), low
    return (low, low) if cost(low) <= target else (low, high)


def _between(low: float, high: float, low_cost: float, high_cost: float, target: float) -> float:
    span = math.log(high / low)
    share = 0.5
    if high_cost > 0 and low_cost > high_cost:
        share = math.log(low_cost / target) / math.log(low_cost / high_cost)
    return low * math.exp(span * min(max(share, 0.02), 0.98))


def _round_up(noise: float) -> float:
    return math.ceil(noise * 1e4) / 1e4
