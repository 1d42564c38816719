"""The plan of a private training run: every number that decides what it costs, frozen before it starts.

Guarantees that a plan built by :func:`make_plan` names the ε of exactly the mechanism it describes. A plan is public:
it is written into the log, the model card and the report. What ε does not cover is said here too: the number of
persons, which the plan publishes, and which δ, q and the divisor are chosen by (``NOT_PROTECTED``).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.privacy.accountant import (
    calibrate_noise,
    check_delta,
    check_epsilon,
    check_schedule,
    epsilon_of_steps,
)
from fabnet_secure.privacy.event import event_json
from fabnet_secure.types import DatasetId, Json, PlanId, canonical_json

PRIVACY_UNIT = "person"
ADJACENCY = "add or remove one person with everything they contributed"
MECHANISM = "Gaussian on the Poisson-sampled sum of one clipped gradient a person"
NOT_PROTECTED = ("the number of persons in the dataset, which the plan publishes",)
PERSONS_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DPPlan:
    """One private training run, priced.

    Attributes:
        plan_id: its id.
        dataset_id: the frozen dataset it will train on.
        persons: the number of persons in that dataset.
        epsilon: the ε that the whole run costs each person (PLD).
        epsilon_target: the ε that was asked for; ``epsilon`` is at most this.
        delta: the δ that ``epsilon`` holds at.
        noise_multiplier: standard deviation of the noise over the clipping norm.
        clipping_norm: the largest norm of one person's contribution to one step.
        sampling_probability: the chance of each person in each step.
        steps: the number of noisy steps.
        expected_batch_size: the public divisor of every step's sum (q · persons, at least 1).
        tuples_per_person: tuples in one drawn person's mean loss; costs time, not ε.
        image_size: pixels a side.
        width: multiplier of the network's channels.
        embedding_dim: numbers in an embedding.
        learning_rate: of the optimiser, fixed.
    """

    plan_id: PlanId
    dataset_id: DatasetId
    persons: int
    epsilon: float
    epsilon_target: float
    delta: float
    noise_multiplier: float
    clipping_norm: float
    sampling_probability: float
    steps: int
    expected_batch_size: float
    tuples_per_person: int
    image_size: int
    width: float
    embedding_dim: int
    learning_rate: float

    def to_json(self) -> dict[str, Json]:
        """Return the plan as JSON fields, with the unit it protects."""
        return {**asdict(self), "privacy_unit": PRIVACY_UNIT}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            IntegrityFailure: a field is missing, of another type, or the unit is not the person
                (code ``PLAN_BROKEN``).
        """
        if body.get("privacy_unit") != PRIVACY_UNIT:
            raise IntegrityFailure("a stored plan protects another unit than the person", code="PLAN_BROKEN")
        try:
            return cls(**{field.name: _typed(field.type, body[field.name]) for field in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityFailure("a stored plan cannot be read", hint=str(error), code="PLAN_BROKEN") from error

    def sha256(self) -> str:
        """Return the hash of the plan's canonical JSON, in hex."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def dp_event(self, *, steps: int | None = None) -> str:
        """Return the mechanism as a serialised event tree for the ledger (:mod:`.event`).

        Args:
            steps: how many steps ran, where that is not the whole plan.
        """
        return event_json(
            noise_multiplier=self.noise_multiplier,
            sampling_probability=self.sampling_probability,
            steps=self.steps if steps is None else steps,
        )


def suggested_sampling_probability(persons: int) -> float:
    """Return a public q for a site of about this size: steps of some ten persons, never more than half."""
    for at_most, probability in ((20, 0.5), (100, 0.25), (1000, 0.1)):
        if persons <= at_most:
            return probability
    return 0.05


def make_plan(
    *,
    plan_id: PlanId,
    dataset_id: DatasetId,
    persons: int,
    epsilon: float,
    delta: float,
    sampling_probability: float | None = None,
    steps: int = 40,
    clipping_norm: float = 0.1,
    tuples_per_person: int = 4,
    image_size: int = 64,
    width: float = 0.25,
    embedding_dim: int = 128,
    learning_rate: float = 2e-3,
) -> DPPlan:
    """Price a run: find its noise, and the ε that noise really costs.

    Args are the fields of :class:`DPPlan`; ``epsilon`` is the target, and without a ``sampling_probability`` it is
    :func:`suggested_sampling_probability`.

    Raises:
        UsageError: codes ``EPSILON_INVALID``, ``DELTA_INVALID``, ``DELTA_TOO_LARGE``, ``PLAN_INVALID``,
            ``TOO_FEW_PERSONS``.
    """
    check_epsilon(epsilon)
    if persons < PERSONS_MIN:
        raise UsageError(
            f"training needs at least {PERSONS_MIN} persons with consent, not {persons}",
            hint="record more consents for train_model and ingest their videos",
            code="TOO_FEW_PERSONS",
        )
    check_delta(delta, persons)
    q = suggested_sampling_probability(persons) if sampling_probability is None else sampling_probability
    check_schedule(q, steps)
    _check_sizes(clipping_norm, learning_rate, width, tuples_per_person, embedding_dim)
    noise = calibrate_noise(epsilon=epsilon, delta=delta, sampling_probability=q, steps=steps)
    return DPPlan(
        plan_id=plan_id,
        dataset_id=dataset_id,
        persons=persons,
        epsilon=epsilon_of_steps(noise_multiplier=noise, sampling_probability=q, steps=steps, delta=delta),
        epsilon_target=epsilon,
        delta=delta,
        noise_multiplier=noise,
        clipping_norm=clipping_norm,
        sampling_probability=q,
        steps=steps,
        expected_batch_size=max(1.0, q * persons),
        tuples_per_person=tuples_per_person,
        image_size=image_size,
        width=width,
        embedding_dim=embedding_dim,
        learning_rate=learning_rate,
    )


def _check_sizes(*numbers: float) -> None:
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise UsageError("a plan's sizes and rates must be positive numbers", code="PLAN_INVALID")


def _typed(kind: Any, value: Any) -> Any:
    if kind is int:
        if isinstance(value, bool) or int(value) != value:
            raise TypeError("an integer was expected")
        return int(value)
    if kind is float:
        number = float(value)
        if isinstance(value, (bool, str)) or not math.isfinite(number):
            raise TypeError("a finite number was expected")
        return number
    if not isinstance(value, str):
        raise TypeError("text was expected")
    return value
