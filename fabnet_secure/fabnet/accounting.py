"""The second opinion on ε: Opacus' PRV accountant.

Guarantees that ε is computed from the steps that were recorded, with an error bound of 0.2–0.4 % of ε (Opacus'
default adds 0.01 whatever ε is: 20 % of an ε of 0.05), and that a grid too large for memory is refused instead of
being tried. Does not decide: ``privacy.accountant.agree`` compares.

Source: Gopi, Lee, Wutschitz 2021, «Numerical composition of differential privacy» (arXiv 2106.02848).
"""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from opacus.accountants import PRVAccountant
from opacus.accountants.analysis.prv import PoissonSubsampledGaussianPRV, compute_safe_domain_size

from fabnet_secure.errors import UsageError

_ERROR = 0.01
_RELATIVE = (0.002, 0.004)
_POINTS_MAX = 4e6  # about 0.5 GB and 3 s
Steps: TypeAlias = tuple[tuple[float, float, int], ...]


def opacus_epsilon(*, noise_multiplier: float, sampling_probability: float, steps: int, delta: float) -> float:
    """Return ε (PRV, upper bound) of ``steps`` Poisson-sampled Gaussian steps; 0 for no step.

    Raises:
        UsageError: ε is too small, or the steps too many, for this accountant (code ``EPSILON_INVALID``).
    """
    return epsilon_of_history([(noise_multiplier, sampling_probability, steps)], delta)


def epsilon_of_history(history: Sequence[tuple[float, float, int]], delta: float) -> float:
    """Return ε of recorded steps: (noise multiplier, sampling probability, number of steps) each.

    Raises:
        UsageError: as :func:`opacus_epsilon`.
    """
    ran = tuple((float(noise), float(q), steps) for noise, q, steps in history if steps > 0)
    return _refined(ran, float(delta)) if ran else 0.0


@lru_cache(maxsize=64)
def _refined(history: Steps, delta: float) -> float:
    """Find ε roughly, then again with an error in proportion to it."""
    points = _points(history, delta)
    rough = _epsilon(history, delta, _ERROR, points) - _ERROR
    fine, coarse = (share * rough for share in _RELATIVE)
    if fine >= _ERROR:
        return rough + _ERROR
    error = fine if fine > 0 and points <= _POINTS_MAX * fine else coarse
    return _epsilon(history, delta, error, points)


def _epsilon(history: Steps, delta: float, error: float, points: float) -> float:
    if error <= 0 or points > _POINTS_MAX * error:
        raise _unaccountable()
    accountant = PRVAccountant()
    accountant.history = list(history)
    # At q = 1 it takes log(1 - q) = -inf, which is what it means; and RDP, which only sizes the grid, warns that its
    # orders are not optimal.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return float(accountant.get_epsilon(delta, eps_error=error))
        except (ValueError, RuntimeError) as failure:
            raise _unaccountable() from failure


def _points(history: Steps, delta: float) -> float:
    """Return the grid points that Opacus takes (its ``_get_domain``), times the error: they grow as it shrinks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        length = compute_safe_domain_size(
            prvs=[PoissonSubsampledGaussianPRV(q, noise) for noise, q, _ in history],
            max_self_compositions=[steps for _, _, steps in history],
            eps_error=_ERROR,
            delta_error=delta / 1000,
        )
    steps = sum(count for _, _, count in history)
    return 2 * float(length) * math.sqrt(steps * math.log(12_000 / delta) / 2)


def _unaccountable() -> UsageError:
    return UsageError(
        "this ε cannot be confirmed by the second accountant",
        hint="use a larger ε or fewer steps",
        code="EPSILON_INVALID",
    )
