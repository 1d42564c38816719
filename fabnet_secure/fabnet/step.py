"""One private step: the quantity that persons can change, and by how much.

The quantity. In a step the persons drawn by the Poisson sampler contribute one vector each: the gradient of the mean
loss of their K tuples with respect to every trainable parameter, all tensors together one vector g. It is scaled by
min(1, C/‖g‖₂), or replaced by zero when ‖g‖₂ is not finite, and summed:

    s = Σ_drawn clip(g_p, C)

The only way a person's frames reach the weights is through s. Given the weights at the start of the step (which come
from earlier noisy steps), g_p depends on person p alone: no batch statistics, no divisor or rank taken over others.
Adding or removing person p, with everything they contributed, therefore changes s by one term:

    ‖s − s'‖₂ ≤ C

(up to float64 rounding of the sum, under 1e-9 C). What is released is (s + N(0, (σC)² I)) / B with σ and B public and
fixed by the plan, so one step is the Poisson-sampled Gaussian mechanism with noise multiplier σ and sampling
probability q. Replacing a person counts twice; nothing here claims that adjacency.

Guarantees: clipping over all parameters together, in float64; noise in every coordinate of every parameter, also when
nobody was drawn; the accounting hook runs *before* the noisy sum exists, so an interrupted step is counted. Does not
guarantee how persons are drawn (``sampling.py``), nor timing side channels.

Opacus' own optimiser clips rows; its unit is replaced here, its shape and step hook are kept.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor

from fabnet_secure.fabnet.noise import RandomSource, SecureNormal

_DRAWS = 2  # independent draws summed for one noise value, see noise.py


class PersonDPOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus ships no types
    """Opacus' optimiser with the person as its unit: ``begin``, ``add_person`` for each drawn person, ``step``.

    Args:
        optimizer: the wrapped optimiser; sees only noisy gradients.
        noise_multiplier: σ, finite and above 0.
        max_grad_norm: C, finite and above 0.
        expected_batch_size: the public divisor B, at least 1; never the number of persons drawn.
        rng: the source of noise; tests only. Production leaves it out.

    Raises:
        ValueError: a number is out of range, or a parameter is not trainable.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
        rng: RandomSource | None = None,
    ) -> None:
        for name, number in (("noise_multiplier", noise_multiplier), ("max_grad_norm", max_grad_norm)):
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name} must be a finite number above 0")
        if not (math.isfinite(expected_batch_size) and expected_batch_size >= 1):
            raise ValueError("expected_batch_size must be a finite number of at least 1")
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
        )
        if not all(p.requires_grad for group in optimizer.param_groups for p in group["params"]):
            raise ValueError("a frozen parameter must not be given to the optimiser")
        self._rng = rng or SecureNormal()
        self._sums: list[Tensor] | None = None

    @property
    def accumulated_iterations(self) -> int:
        """Always 1: a step is one batch (read by Opacus' accounting hook)."""
        return 1

    def begin(self) -> None:
        """Open a step with a sum of zero, in float64."""
        self._sums = [torch.zeros_like(p, dtype=torch.float64) for p in self.params]

    @torch.no_grad()
    def add_person(self, grads: Sequence[Tensor]) -> None:
        """Add one person's clipped gradient to the sum; one that is not finite adds zero, and nothing is said.

        Args:
            grads: one tensor a parameter, in the optimiser's order and the parameters' shapes.

        Raises:
            RuntimeError: no step is open.
            ValueError: the tensors are not the parameters'.
        """
        if self._sums is None:
            raise RuntimeError("begin() opens a step")
        if [g.shape for g in grads] != [total.shape for total in self._sums]:
            raise ValueError("one gradient a parameter, in the parameters' shapes")
        exact = [g.to(torch.float64) for g in grads]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in exact])))
        if not math.isfinite(norm):
            return
        factor = min(1.0, self.max_grad_norm / norm) if norm > 0 else 1.0
        torch._foreach_add_(self._sums, exact, alpha=factor)

    @torch.no_grad()
    def add_noise(self) -> None:
        """Set every parameter's gradient to its sum plus N(0, (σC)²), drawn anew for every coordinate."""
        if self._sums is None:
            raise RuntimeError("begin() opens a step")
        std = self.noise_multiplier * self.max_grad_norm / math.sqrt(_DRAWS)
        for p, total in zip(self.params, self._sums, strict=True):
            noise = self._rng.normal(p.numel())
            for _ in range(_DRAWS - 1):
                noise = noise + self._rng.normal(p.numel())
            p.grad = (total + std * noise.view_as(p).to(p.device)).to(p.dtype)

    @torch.no_grad()
    def scale_grad(self) -> None:
        """Divide by the public batch size."""
        for p in self.params:
            p.grad /= self.expected_batch_size

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Account, add noise, divide, and let the wrapped optimiser move the weights.

        Raises:
            RuntimeError: no step is open.
            ValueError: a closure is given; it would compute a gradient outside the sum.
        """
        if closure is not None:
            raise ValueError("a private step takes no closure")
        if self._sums is None:
            raise RuntimeError("begin() opens a step")
        if self.step_hook:
            self.step_hook(self)
        try:
            self.add_noise()
            self.scale_grad()
            return self.original_optimizer.step()
        finally:
            self._sums = None
            for p in self.params:
                p.grad = None


def contribute(optimizer: PersonDPOptimizer, losses: Tensor) -> None:
    """Add one person: the gradient of the mean of *all* their tuples' losses (k,), clipped once.

    Both training and the step audit come through here.
    """
    grads = torch.autograd.grad(losses.mean(), optimizer.params)
    optimizer.add_person(grads)
