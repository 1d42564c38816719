"""What observations of a training step prove about its privacy: a lower bound, set beside the claim.

A canary person is in or out of audited steps by a fair coin; the noisy sum is read along the canary's direction. One
step of a Gaussian mechanism is μ-GDP with μ = sensitivity / noise standard deviation (Dong, Roth, Su 2019, arXiv
1905.02383), so the two groups' means and spread bound μ from below.

Guarantees that ``mu_lower`` and ``epsilon_lower`` hold with 95 % confidence (Bonferroni over mean, spread and every
direction), and that a correct step is called refuted at most once in a million audits. Does not find leaks that need
other canaries, and a claim that is not refuted is not thereby proved.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from fabnet_secure.errors import UsageError
from fabnet_secure.privacy.accountant import epsilon_of_steps
from fabnet_secure.types import Json

ALPHA = 0.05
ALPHA_REFUTE = 1e-6
_MU_CEILING = 1e6  # stands for «no noise at all», which has no JSON number
_MU_PRICED = 1.5  # ε of a larger μ is not computed: the ε of this one is a lower bound of it
_MU_FLOOR = 0.02  # ε of a smaller μ is called 0
_PAIRS_MIN = 20
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What was seen along one canary's direction, in units of the clipping norm.

    Attributes:
        inside: shape (n,), readings of steps with the canary.
        outside: shape (m,), readings of steps without it.
        noise: shape (k,), every coordinate of steps that held no person at all: pure noise.
    """

    inside: Floats
    outside: Floats
    noise: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAudit:
    """The result of a step audit.

    Attributes:
        mu_lower: what the observations prove μ to be at least (95 %).
        mu_claimed: 1 / noise multiplier.
        noise_ratio_upper: measured over claimed noise at most, in the weakest direction (95 %).
        refuted: the claim is false (one in a million false alarms).
        epsilon_lower: the ε that ``mu_lower`` means for the plan's q, steps and δ.
        observations: how many audited steps.
    """

    mu_lower: float
    mu_claimed: float
    noise_ratio_upper: float
    refuted: bool
    epsilon_lower: float
    observations: int

    def to_json(self) -> dict[str, Json]:
        """Return the audit as JSON fields."""
        return asdict(self)


def bound_mu(inside: Floats, outside: Floats, *, alpha: float) -> float:
    """Return the lower 1 − ``alpha`` bound on (mean difference) / (pooled standard deviation).

    Half of ``alpha`` goes to the difference (Student's t), half to the spread (χ²).
    """
    n, m = len(inside), len(outside)
    freedom = n + m - 2
    pooled = math.sqrt(((n - 1) * inside.var(ddof=1) + (m - 1) * outside.var(ddof=1)) / freedom)
    error = pooled * math.sqrt(1 / n + 1 / m)
    gap = float(inside.mean() - outside.mean()) - float(special.stdtrit(freedom, 1 - alpha / 2)) * error
    widest = pooled * math.sqrt(freedom / float(special.chdtri(freedom, 1 - alpha / 2)))
    if gap <= 0:
        return 0.0
    return min(gap / widest, _MU_CEILING) if widest > 0 else _MU_CEILING


def bound_noise(noise: Floats, *, alpha: float) -> float:
    """Return the upper 1 − ``alpha`` bound on the standard deviation of zero-mean Gaussian ``noise`` (χ²)."""
    return math.sqrt(float(np.square(noise).sum()) / float(special.chdtri(len(noise), 1 - alpha)))


def audit(
    directions: Sequence[Direction],
    *,
    noise_multiplier: float,
    sampling_probability: float,
    steps: int,
    delta: float,
) -> StepAudit:
    """Bound what the audited steps give away and compare with the claim.

    Args:
        directions: the observations, one canary direction each.
        noise_multiplier: the claim.
        sampling_probability: of the plan, to state the bound as an ε.
        steps: of the plan.
        delta: of the plan.

    Raises:
        UsageError: too few observations to say anything (code ``AUDIT_TOO_SMALL``).
    """
    if not directions or any(min(len(d.inside), len(d.outside)) < _PAIRS_MIN for d in directions):
        raise UsageError("a step audit needs more observations", code="AUDIT_TOO_SMALL")
    claimed = 1 / noise_multiplier
    each = ALPHA / len(directions)
    mu_lower = max(bound_mu(d.inside, d.outside, alpha=each) for d in directions)
    noise_upper = min(bound_noise(d.noise, alpha=each) for d in directions) / noise_multiplier
    priced = min(mu_lower, _MU_PRICED)
    return StepAudit(
        mu_lower=mu_lower,
        mu_claimed=claimed,
        noise_ratio_upper=noise_upper,
        refuted=_refuted(directions, noise_multiplier),
        epsilon_lower=0.0
        if priced < _MU_FLOOR
        else epsilon_of_steps(
            noise_multiplier=1 / priced, sampling_probability=sampling_probability, steps=steps, delta=delta
        ),
        observations=sum(len(d.inside) + len(d.outside) for d in directions),
    )


def _refuted(directions: Sequence[Direction], noise_multiplier: float) -> bool:
    each = ALPHA_REFUTE / (2 * len(directions))
    return any(
        bound_mu(d.inside, d.outside, alpha=each) > 1 / noise_multiplier
        or bound_noise(d.noise, alpha=each) < noise_multiplier
        for d in directions
    )
