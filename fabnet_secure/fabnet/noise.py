"""Gaussian and uniform numbers from the operating system's entropy.

Guarantees that every number comes from an AES-256-CTR keystream under a fresh ``os.urandom`` key that is never stored
and cannot be chosen: production code has no seed. Does not guarantee an exact Gaussian: uniforms have 53 bits, so
the tails end at 8.6 standard deviations; ``step.py`` sums two draws against attacks on the floating-point grid
(Holohan, Braghin 2021, arXiv 2107.10138).
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from fabnet_secure.crypto.stream import KeyStream

_BLOCK = 1 << 19  # numbers at a time: keeps the temporaries in the cache
_BITS = 53


class RandomSource(Protocol):
    """What the private step and the sampler draw from."""

    def normal(self, n: int) -> Tensor:
        """Return ``n`` independent standard normal numbers, shape (n,), float64."""

    def uniform(self, n: int) -> Tensor:
        """Return ``n`` independent numbers uniform in (0, 1), shape (n,), float64."""


class SecureNormal:
    """The random source of production: Box–Muller over :class:`~fabnet_secure.crypto.stream.KeyStream`."""

    def __init__(self) -> None:
        self._stream = KeyStream()

    def uniform(self, n: int) -> Tensor:
        """Return ``n`` uniform numbers in (0, 1), shape (n,), float64."""
        if n == 0:
            return torch.empty(0, dtype=torch.float64)
        words = torch.frombuffer(self._stream.read(8 * n), dtype=torch.int64)
        whole = words.bitwise_right_shift_(64 - _BITS).bitwise_and_((1 << _BITS) - 1)
        return whole.to(torch.float64).add_(0.5).mul_(2.0**-_BITS)

    def normal(self, n: int) -> Tensor:
        """Return ``n`` standard normal numbers, shape (n,), float64."""
        out = torch.empty(n, dtype=torch.float64)
        for start in range(0, n, _BLOCK):
            block = out[start : start + _BLOCK]
            half = (len(block) + 1) // 2
            uniform = self.uniform(2 * half)
            radius = uniform[:half].log_().mul_(-2).sqrt_()
            angle = uniform[half:].mul_(2 * math.pi)
            block[:half] = radius * angle.cos()
            block[half:] = (radius * angle.sin())[: len(block) - half]
        return out
