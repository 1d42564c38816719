"""FAb-Net: an encoder whose embedding lets a decoder warp a source frame onto a target frame of the same face.

Guarantees that a tuple's loss depends on that tuple alone: group normalisation, no buffers, no batch statistics, no
operation in place. Does not guarantee anything about privacy: that is ``step.py``'s.

What differs from the paper (BMVC 2018): GroupNorm for BatchNorm, one decoder with three outputs (flow and confidence)
for two decoders, an unbounded confidence, ``align_corners=True`` with border padding, any power-of-two size.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.types import Json

GROUPS = 8
SIZES = (32, 64, 128, 256)
_ENCODER = (32, 64, 128, 256, 256, 256, 256)
_DECODER = (256, 256, 256, 256, 128, 64, 32)
_FLOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FabNetConfig:
    """The shape of a network.

    Attributes:
        image_size: pixels a side: 32, 64, 128 or 256.
        width: multiplier of the paper's channels, rounded up to a multiple of eight.
        embedding_dim: numbers in an embedding.
    """

    image_size: int = 64
    width: float = 0.25
    embedding_dim: int = 128

    def __post_init__(self) -> None:
        if self.image_size not in SIZES or not 0 < self.width <= 4 or not 1 <= self.embedding_dim <= 4096:
            raise UsageError(
                f"no such network: {self.image_size} px, width {self.width:g}, {self.embedding_dim} numbers",
                hint=f"image_size is one of {SIZES}, width at most 4",
                code="MODEL_SHAPE",
            )

    @property
    def depth(self) -> int:
        """The number of halvings from the image to one pixel."""
        return self.image_size.bit_length() - 1

    def channels(self, base: int) -> int:
        """Scale ``base`` channels by the width, to a multiple of ``GROUPS``."""
        return max(GROUPS, -int(-base * self.width // GROUPS) * GROUPS)

    def to_json(self) -> dict[str, Json]:
        """Return the shape as JSON fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            IntegrityFailure: the fields are no network's shape (code ``WEIGHTS_FORMAT``).
        """
        try:
            return cls(
                image_size=int(body["image_size"]),
                width=float(body["width"]),
                embedding_dim=int(body["embedding_dim"]),
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise IntegrityFailure("the weights name no known network", code="WEIGHTS_FORMAT") from error


class Encoder(nn.Module):
    """Frames (n, 3, S, S) in [0, 1] to embeddings (n, dim)."""

    def __init__(self, config: FabNetConfig) -> None:
        super().__init__()
        widths = [config.channels(base) for base in _ENCODER[: config.depth - 1]] + [config.embedding_dim]
        layers: list[nn.Module] = []
        before = 3
        for index, after in enumerate(widths):
            inner = 0 < index < config.depth - 1  # none on the pixels, none at 1×1
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not inner))
            if inner:
                layers.append(nn.GroupNorm(GROUPS, after))
            if index < config.depth - 1:
                layers.append(nn.LeakyReLU(0.2))
            before = after
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the embeddings."""
        return torch.flatten(self.layers(frames), 1)


class Decoder(nn.Module):
    """Pairs of embeddings (n, 2·dim) to flow (n, 2, S, S) in [-1, 1] and confidence logits (n, 1, S, S)."""

    def __init__(self, config: FabNetConfig) -> None:
        super().__init__()
        widths = [config.channels(base) for base in _DECODER[-(config.depth - 1) :]]
        layers: list[nn.Module] = []
        before = 2 * config.embedding_dim
        for after in widths:
            layers += [
                nn.ReLU(),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.GroupNorm(GROUPS, after),
            ]
            before = after
        layers += [
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(before, _FLOW + 1, 3, padding=1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return flow and confidence."""
        out = self.layers(pairs[:, :, None, None])
        return torch.tanh(out[:, :_FLOW]), out[:, _FLOW:]


class FabNet(nn.Module):
    """Encoder and decoder under one configuration."""

    def __init__(self, config: FabNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, targets: Tensor, sources: Tensor) -> Tensor:
        """Redraw the targets from the sources.

        Args:
            targets: shape (k, 3, S, S), in [0, 1].
            sources: shape (k, m, 3, S, S), m frames of the same track as each target.

        Returns:
            The redrawn targets, shape (k, 3, S, S).
        """
        k, m = sources.shape[:2]
        flat = sources.flatten(0, 1)
        codes = self.encoder(torch.cat([targets, flat]))
        goal = codes[:k].repeat_interleave(m, dim=0)
        flow, confidence = self.decoder(torch.cat([codes[k:], goal], dim=1))
        drawn = warp(flat, flow)
        if m == 1:
            return drawn  # the softmax over one source is 1: no mask is computed
        weights = torch.softmax(confidence.reshape(k, m, *confidence.shape[1:]), dim=1)
        return (weights * drawn.reshape(k, m, *drawn.shape[1:])).sum(dim=1)


def warp(source: Tensor, flow: Tensor) -> Tensor:
    """Move ``source`` (n, 3, S, S) by ``flow`` (n, 2, S, S), in half image widths; zero flow changes nothing."""
    n, _, height, width = source.shape
    y = torch.linspace(-1, 1, height, device=source.device)
    x = torch.linspace(-1, 1, width, device=source.device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(n, -1, -1, -1) + flow.permute(0, 2, 3, 1)
    return functional.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=True)


def tuple_losses(model: FabNet, targets: Tensor, sources: Tensor) -> Tensor:
    """Return the photometric L1 of each tuple, shape (k,); shapes as in :meth:`FabNet.forward`."""
    drawn: Tensor = model(targets, sources)
    return (drawn - targets).abs().mean(dim=(1, 2, 3))


def tuple_loss(model: FabNet, targets: Tensor, sources: Tensor) -> Tensor:
    """Return the mean photometric L1 over the tuples, a scalar."""
    return tuple_losses(model, targets, sources).mean()
