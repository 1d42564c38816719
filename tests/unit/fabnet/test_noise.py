"""Facts about fabnet/noise.py."""

import numpy as np
import pytest
from scipy import stats

from fabnet_secure.fabnet.noise import SecureNormal


def test_normal_is_standard_normal():
    """A quarter of a million numbers pass Kolmogorov-Smirnov; mean and spread are right to four errors."""
    n = 250_001
    numbers = SecureNormal().normal(n).numpy()
    assert len(numbers) == n
    assert abs(numbers.mean()) < 4 / np.sqrt(n)
    assert abs(numbers.std() - 1) < 4 / np.sqrt(2 * n)
    assert stats.kstest(numbers, "norm").pvalue > 1e-5


def test_normal_halves_are_independent():
    """The two halves of a Box-Muller block are uncorrelated, in value and in size."""
    numbers = SecureNormal().normal(200_000).numpy()
    first, second = numbers[:100_000], numbers[100_000:]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 0.02


def test_uniform_is_uniform():
    """Uniform numbers lie strictly inside (0, 1) and pass Kolmogorov-Smirnov."""
    numbers = SecureNormal().uniform(100_000).numpy()
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > 1e-5


def test_two_sources_differ():
    """No two sources, and no two reads, repeat each other."""
    one, other = SecureNormal(), SecureNormal()
    first = one.normal(8)
    assert not (first == other.normal(8)).any()
    assert not (first == one.normal(8)).any()


@pytest.mark.parametrize("n", [0, 1, 2, 7, (1 << 19) + 3])
def test_counts(n):
    """Any count is served exactly, odd ones and those over a block too."""
    numbers = SecureNormal().normal(n)
    assert numbers.shape == (n,)
    assert bool(numbers.isfinite().all())
    assert SecureNormal().uniform(n).shape == (n,)


def test_no_seed_in_production():
    """The production source takes no seed."""
    with pytest.raises(TypeError):
        SecureNormal(0)
