"""The training loop: draw persons, add each one's clipped gradient, noise, step; ask about consent again and again.

Guarantees that the weights returned depend on frames only through the steps of ``step.py``; that each step is recorded
before its noisy sum exists and ε is computed from that record; that a person who is no longer covered takes no part
after the next check; that nothing is written anywhere, so an interrupt (``KeyboardInterrupt`` goes through) leaves
nothing half-done. Does not reserve or commit budget, and does not open crops.

The losses are *not* covered by ε: they are for the operator's screen while the run lasts, never to be stored,
published or put into a card.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from opacus.accountants import PRVAccountant
from opacus.validators import ModuleValidator

from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.fabnet.accounting import epsilon_of_history
from fabnet_secure.fabnet.model import FabNet, FabNetConfig, tuple_losses
from fabnet_secure.fabnet.noise import RandomSource, SecureNormal
from fabnet_secure.fabnet.sampling import Track, draw_tuples, poisson_persons, usable
from fabnet_secure.fabnet.step import PersonDPOptimizer, contribute
from fabnet_secure.fabnet.step_audit import audit_step
from fabnet_secure.fabnet.weights import load
from fabnet_secure.privacy.audit import StepAudit
from fabnet_secure.privacy.plan import DPPlan
from fabnet_secure.progress import Progress, Silent
from fabnet_secure.types import SubjectId

StillCovered: TypeAlias = Callable[[frozenset[SubjectId]], frozenset[SubjectId]]
_EPSILON_NEWS = 4  # how often ε so far is computed for the screen
_AUDIT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """What a run leaves in memory.

    Attributes:
        model: the network, in evaluation mode.
        losses: mean loss of the drawn persons a step, NaN where nobody was drawn. Private: see the module.
        steps: noisy steps taken.
        epsilon_check: ε of the recorded steps (Opacus' PRV) at the plan's δ.
        audit: what the step audit of this run proved.
        withdrawn: the persons who were no longer covered at a check.
    """

    model: FabNet
    losses: tuple[float, ...] = field(repr=False)
    steps: int
    epsilon_check: float
    audit: StepAudit
    withdrawn: frozenset[SubjectId] = frozenset()


def train(
    plan: DPPlan,
    people: Mapping[SubjectId, Sequence[Track]],
    *,
    initial: Path | None = None,
    initial_sha256: str = "",
    rng: RandomSource | None = None,
    progress: Progress | None = None,
    still_covered: StillCovered = frozenset,
    check_every: int = 10,
    device: str = "cpu",
) -> TrainedModel:
    """Train a network under ``plan``.

    Args:
        plan: the frozen plan.
        people: every eligible person's tracks, (n, S, S, 3) uint8 RGB. Tracks of one frame are left out; a person with
            no other track is eligible, and contributes zero.
        initial: public weights to start from; None starts at random.
        initial_sha256: their digest, required with ``initial``.
        rng: the source of chance; tests only.
        progress: told of every step (``loss``, and ``epsilon`` now and then).
        still_covered: given the persons still in, returns those whose consent holds now; asked before the first step
            and every ``check_every`` steps.
        check_every: steps between two questions.
        device: where to compute.

    Raises:
        NoEffectiveConsent: nobody is covered any more (code ``TRAINING_CONSENTS_GONE``).
        UsageError: a track has another shape, or ``check_every`` is below 1.
        IntegrityFailure: the initial weights are not those registered, or of another shape.
    """
    if check_every < 1:
        raise UsageError("check_every must be at least 1", code="PLAN_INVALID")
    source, news = rng or SecureNormal(), progress or Silent()
    model = _start(plan, initial, initial_sha256).to(device).train()
    optimizer, accountant = _private(plan, model, source)
    present = {subject: usable(tracks) for subject, tracks in people.items()}
    losses: list[float] = []
    for step in range(plan.steps):
        if step % check_every == 0:
            present = _covered(present, still_covered)
        losses.append(_step(plan, model, optimizer, present, source))
        figures = {"loss": losses[-1]} if math.isfinite(losses[-1]) else {}
        if (step + 1) % max(1, plan.steps // _EPSILON_NEWS) == 0:
            figures |= {
                "epsilon": epsilon_of_history(accountant.history, plan.delta),
                "epsilon_planned": plan.epsilon,
            }
        news.advance("train", step + 1, plan.steps, **figures)
    return TrainedModel(
        model=model.eval(),
        losses=tuple(losses),
        steps=sum(count for _, _, count in accountant.history),
        epsilon_check=epsilon_of_history(accountant.history, plan.delta),
        audit=audit_step(plan, rng=rng),
        withdrawn=frozenset(people) - frozenset(present),
    )


def estimate_seconds(plan: DPPlan, *, device: str = "cpu") -> float:
    """Return about how long :func:`train` takes here: one real step on made-up pixels, timed."""
    model = _start(plan, None, "").to(device).train()
    source = SecureNormal()
    optimizer, _ = _private(plan, model, source)
    frames = np.zeros((2, plan.image_size, plan.image_size, 3), dtype=np.uint8)
    marks = []
    for persons in (1, 1, 0):  # the first warms up
        start = time.perf_counter()
        optimizer.begin()
        for _ in range(persons):
            _add(plan, model, optimizer, [frames], source)
        optimizer.step()
        marks.append(time.perf_counter() - start)
    whole, noise = marks[1], min(marks[1:])
    drawn = plan.sampling_probability * plan.persons
    return plan.steps * (noise + drawn * (whole - noise)) + _AUDIT_SECONDS


def _start(plan: DPPlan, initial: Path | None, initial_sha256: str) -> FabNet:
    config = FabNetConfig(image_size=plan.image_size, width=plan.width, embedding_dim=plan.embedding_dim)
    if initial is None:
        return FabNet(config)
    model = load(initial, initial_sha256)
    if model.config != config:
        raise IntegrityFailure("the initial weights have another shape than the plan", code="WEIGHTS_FORMAT")
    return model


def _private(plan: DPPlan, model: FabNet, source: RandomSource) -> tuple[PersonDPOptimizer, PRVAccountant]:
    ModuleValidator.validate(model, strict=True)
    optimizer = PersonDPOptimizer(
        torch.optim.Adam(model.parameters(), lr=plan.learning_rate),
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.clipping_norm,
        expected_batch_size=plan.expected_batch_size,
        rng=source,
    )
    accountant = PRVAccountant()
    optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(plan.sampling_probability))
    return optimizer, accountant


def _covered(present: dict[SubjectId, list[Track]], still_covered: StillCovered) -> dict[SubjectId, list[Track]]:
    covered = still_covered(frozenset(present))
    left = {subject: tracks for subject, tracks in present.items() if subject in covered}
    if not left:
        raise NoEffectiveConsent(
            "nobody's consent to training is in force any more",
            hint="the run was stopped; what it reserved stays spent",
            code="TRAINING_CONSENTS_GONE",
        )
    return left


def _step(
    plan: DPPlan,
    model: FabNet,
    optimizer: PersonDPOptimizer,
    present: Mapping[SubjectId, list[Track]],
    source: RandomSource,
) -> float:
    """Take one noisy step; return the drawn persons' mean loss (private), NaN when nobody was drawn."""
    optimizer.begin()
    drawn = poisson_persons(list(present), plan.sampling_probability, source)
    losses = [_add(plan, model, optimizer, present[subject], source) for subject in drawn if present[subject]]
    optimizer.step()
    return float(np.mean(losses)) if losses else float("nan")


def _add(
    plan: DPPlan,
    model: FabNet,
    optimizer: PersonDPOptimizer,
    tracks: Sequence[Track],
    source: RandomSource,
) -> float:
    device = next(model.parameters()).device
    targets, sources = draw_tuples(tracks, plan.tuples_per_person, plan.image_size, source)
    losses = tuple_losses(model, targets.to(device), sources.to(device))
    contribute(optimizer, losses)
    return float(losses.detach().mean())
