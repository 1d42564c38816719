"""Facts about privacy/audit.py."""

import json

import numpy as np
import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.privacy.audit import Direction, audit, bound_mu, bound_noise

CLAIM = {"noise_multiplier": 1.4, "sampling_probability": 0.5, "steps": 40, "delta": 1e-2}


def seen(rng, *, n=500, signal=1.0, noise=1.4) -> Direction:
    return Direction(
        inside=signal + noise * rng.standard_normal(n),
        outside=noise * rng.standard_normal(n),
        noise=noise * rng.standard_normal(20 * n),
    )


def test_bound_mu_holds_at_its_confidence():
    """Over 400 experiments the bound is above the truth in no more than the promised 5 %, and not idle."""
    rng = np.random.default_rng(1)
    bounds = [bound_mu(1 + rng.standard_normal(300), rng.standard_normal(300), alpha=0.05) for _ in range(400)]
    assert np.mean(np.array(bounds) > 1) <= 0.05
    assert np.median(bounds) > 0.75


def test_bound_noise_holds_at_its_confidence():
    """Over 400 experiments the upper bound on the noise is below the truth in about 5 %."""
    rng = np.random.default_rng(2)
    misses = np.mean([bound_noise(rng.standard_normal(500), alpha=0.05) < 1 for _ in range(400)])
    assert 0.02 <= misses <= 0.09


def test_true_claim_is_not_refuted():
    """A step that does what it claims is not refuted, and the bound stays below the claim's ε."""
    result = audit([seen(np.random.default_rng(3))], **CLAIM)
    assert not result.refuted
    assert 0 < result.mu_lower < result.mu_claimed
    assert 0 < result.epsilon_lower < 8
    assert result.observations == 1000


@pytest.mark.parametrize(
    "broken",
    [{"signal": 4.0}, {"noise": 0.7}, {"noise": 0.0}],
    ids=["sensitivity 4C", "noise at half", "no noise"],
)
def test_false_claim_is_refuted(broken):
    """A larger sensitivity or less noise in one of two directions is refuted; the result is valid JSON."""
    rng = np.random.default_rng(4)
    result = audit([seen(rng), seen(rng, **broken)], **CLAIM)
    assert result.refuted
    assert result.mu_lower > result.mu_claimed
    assert result.epsilon_lower > 8
    json.dumps(result.to_json(), allow_nan=False)


def test_half_noise_is_refuted_where_the_canary_is_lost():
    """With much noise the canary is invisible; noise at half its size is refuted all the same."""
    rng = np.random.default_rng(5)
    claim = {**CLAIM, "noise_multiplier": 40.0}
    assert audit([seen(rng, noise=20.0)], **claim).refuted
    assert not audit([seen(rng, noise=40.0)], **claim).refuted


def test_too_few_observations():
    """A handful of observations is refused rather than interpreted."""
    with pytest.raises(UsageError) as caught:
        audit([seen(np.random.default_rng(6), n=5)], **CLAIM)
    assert caught.value.code == "AUDIT_TOO_SMALL"
