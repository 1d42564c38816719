"""Facts about fabnet/step_audit.py."""

from dataclasses import replace

import pytest
import torch

from fabnet_secure.fabnet.step import PersonDPOptimizer, contribute
from fabnet_secure.fabnet.step_audit import audit_step


class HalfNoise(PersonDPOptimizer):
    """Adds noise of half the claimed size."""

    def add_noise(self):
        claimed, self.noise_multiplier = self.noise_multiplier, self.noise_multiplier / 2
        super().add_noise()
        self.noise_multiplier = claimed


class SilentGroup(PersonDPOptimizer):
    """Forgets the noise of the second parameter group."""

    def add_noise(self):
        super().add_noise()
        kept = {id(p) for p in self.param_groups[1]["params"]}
        for p, total in zip(self.params, self._sums, strict=True):
            if id(p) in kept:
                p.grad = total.to(p.dtype)


class TensorClip(PersonDPOptimizer):
    """Never clips at all."""

    def add_person(self, grads):
        torch._foreach_add_(self._sums, [g.double() for g in grads])


def tuple_by_tuple(optimizer, losses):
    """Clips each tuple instead of the person: K times the sensitivity."""
    for index in range(len(losses)):
        grads = torch.autograd.grad(losses[index], optimizer.params, retain_graph=True)
        optimizer.add_person(grads)


@pytest.fixture
def audited(plan):
    return replace(plan, noise_multiplier=1.4, steps=40, tuples_per_person=4)


def test_the_real_step_is_not_refuted(audited, rng):
    """The real optimiser is not refuted; the bound is positive and below the claim."""
    result = audit_step(audited, rng=rng)
    assert not result.refuted
    assert 0.2 < result.mu_lower <= result.mu_claimed
    assert 0.97 < result.noise_ratio_upper < 1.05
    assert 0 < result.epsilon_lower <= 8
    assert result.observations >= 1000


def test_the_real_noise_source_is_not_refuted(audited):
    """With the production source of noise the real step is not refuted either (false alarm: one in a million)."""
    assert not audit_step(audited).refuted


@pytest.mark.parametrize("broken", [HalfNoise, SilentGroup, TensorClip])
def test_broken_optimizers_are_refuted(audited, rng, broken):
    """Noise at half, a parameter group without noise, and no clipping are each refuted."""
    result = audit_step(audited, rng=rng, optimizer_class=broken)
    assert result.refuted
    assert result.mu_lower > result.mu_claimed


def test_tuple_level_clipping_is_refuted(audited, rng):
    """Clipping each of K = 4 tuples instead of the person is refuted; the person's own path is not."""
    assert audit_step(audited, rng=rng, person=tuple_by_tuple).refuted
    assert not audit_step(audited, rng=rng, person=contribute).refuted
