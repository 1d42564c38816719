"""The step audit: the real optimiser, watched from outside.

A canary person, whose K tuples all pull in one known direction with a gradient far above C, is in or out of each
audited step by a fair coin; nobody else is. The gradient that the optimiser would hand on is read back. Each of a few
parameter tensors, in two groups, is a direction in turn, so a group without noise is seen.

Guarantees that the optimiser class, the noise source and the person's path
(:func:`fabnet_secure.fabnet.step.contribute`) are those that training uses. Does not audit the network: a person's
frames that reached another person's gradient would not be seen here (the network has no batch statistics by
construction, and a test shows it).
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fabnet_secure.fabnet.noise import RandomSource, SecureNormal
from fabnet_secure.fabnet.step import PersonDPOptimizer, contribute
from fabnet_secure.privacy.audit import Direction, StepAudit, audit
from fabnet_secure.privacy.plan import DPPlan

SHAPES = ((48,), (8, 6), (4, 3, 2, 2), (64,))
_EACH_MIN = 80  # fewer, and the coin may leave too few steps on one side
_PULL = 1e4  # the canary's gradient, in clipping norms
Contribute = Callable[[PersonDPOptimizer, Tensor], None]


def audit_step(
    plan: DPPlan,
    *,
    observations: int = 1200,
    rng: RandomSource | None = None,
    optimizer_class: type[PersonDPOptimizer] = PersonDPOptimizer,
    person: Contribute = contribute,
) -> StepAudit:
    """Audit ``observations`` steps under the plan's σ and C; about a second.

    Args:
        plan: the plan whose claim is tested.
        observations: audited steps, shared among the directions.
        rng: tests only.
        optimizer_class: what is audited.
        person: how one person's tuple losses are added.
    """
    source = rng or SecureNormal()
    params = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    half = len(params) // 2
    inner = torch.optim.SGD([{"params": params[:half]}, {"params": params[half:]}], lr=1.0)
    optimizer = optimizer_class(
        inner,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clipping_norm,
        expected_batch_size=1,
        rng=source,
    )
    each = observations // len(params)
    seen = [_direction(optimizer, target, plan, source, max(each, _EACH_MIN), person) for target in params]
    return audit(
        seen,
        noise_multiplier=plan.noise_multiplier,
        sampling_probability=plan.sampling_probability,
        steps=plan.steps,
        delta=plan.delta,
    )


def _direction(
    optimizer: PersonDPOptimizer,
    target: nn.Parameter,
    plan: DPPlan,
    rng: RandomSource,
    count: int,
    person: Contribute,
) -> Direction:
    """Observe ``count`` steps with a canary that pulls on ``target`` alone; readings in clipping norms."""
    pull = torch.full_like(target, target.numel() ** -0.5)
    readings, noises = np.empty(count), []
    coins = (rng.uniform(count) < 0.5).numpy()
    for index, present in enumerate(coins):
        step = _one_step(optimizer, target, pull, plan, person if present else None)
        readings[index] = float((step * pull).sum())
        if not present:
            noises.append(step.numpy().ravel())
    return Direction(inside=readings[coins], outside=readings[~coins], noise=np.concatenate(noises))


def _one_step(
    optimizer: PersonDPOptimizer,
    target: nn.Parameter,
    pull: Tensor,
    plan: DPPlan,
    person: Contribute | None,
) -> Tensor:
    """Run one step from zero weights and read the update of ``target`` (learning rate 1), in clipping norms."""
    optimizer.begin()
    if person is not None:
        rest = sum(((p * 0).sum() for p in optimizer.params), torch.zeros(()))
        loss = (target * pull).sum() * (_PULL * plan.clipping_norm) + rest
        person(optimizer, loss.expand(plan.tuples_per_person))
    optimizer.step()
    with torch.no_grad():
        update = -target.detach().to(torch.float64) / plan.clipping_norm
        for p in optimizer.params:
            p.zero_()
    return update
