"""What the fabnet tests share: a seeded source of chance, a small plan, made-up tracks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fabnet_secure.privacy.plan import DPPlan


class Seeded:
    """A random source that repeats itself; tests only."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def normal(self, n: int) -> torch.Tensor:
        return torch.from_numpy(self._rng.standard_normal(n))

    def uniform(self, n: int) -> torch.Tensor:
        return torch.from_numpy(self._rng.random(n))


@pytest.fixture
def rng() -> Seeded:
    return Seeded()


@pytest.fixture
def seeded() -> type[Seeded]:
    return Seeded


PLAN = DPPlan(
    plan_id="plan",
    dataset_id="dataset",
    persons=4,
    epsilon=3.7,
    epsilon_target=3.7,
    delta=1e-2,
    noise_multiplier=1.0,
    clipping_norm=0.1,
    sampling_probability=0.5,
    steps=6,
    expected_batch_size=2.0,
    tuples_per_person=2,
    image_size=32,
    width=0.25,
    embedding_dim=16,
    learning_rate=2e-3,
)


@pytest.fixture
def plan() -> DPPlan:
    return replace(PLAN)


@pytest.fixture
def people() -> dict[str, list[np.ndarray]]:
    """Four persons, two tracks each, of other sizes than the network's."""
    made = np.random.default_rng(7)
    return {
        f"person-{index}": [made.integers(0, 256, (n, side, side, 3), dtype=np.uint8) for n, side in ((5, 32), (3, 48))]
        for index in range(4)
    }
