"""Who is drawn in a step, and which of their frames.

Guarantees that every person is drawn independently with the plan's probability (Poisson sampling), so the accountant's
amplification applies, and that a tuple's frames come from one track of one person. Which tuples a drawn person
supplies is that person's own matter and changes nobody else's contribution. Does not hide how many were drawn from
someone who watches the machine.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fabnet_secure.errors import UsageError
from fabnet_secure.fabnet.noise import RandomSource

Id = TypeVar("Id")
Track = npt.NDArray[np.uint8]
FRAMES_MIN = 2


def poisson_persons(ids: Sequence[Id], q: float, rng: RandomSource) -> list[Id]:
    """Draw each of ``ids`` independently with probability ``q``."""
    chosen = rng.uniform(len(ids)) < q
    return [one for one, drawn in zip(ids, chosen.tolist(), strict=True) if drawn]


def usable(tracks: Sequence[Track]) -> list[Track]:
    """Return the tracks with two frames or more: a tuple needs a source and a target.

    Raises:
        UsageError: a track is not (n, S, S, 3) uint8 (code ``TRACK_SHAPE``).
    """
    for track in tracks:
        if track.ndim != 4 or track.shape[3] != 3 or track.dtype != np.uint8 or track.shape[1] != track.shape[2]:
            raise UsageError("a track's crops must have shape (n, S, S, 3) uint8", code="TRACK_SHAPE")
    return [track for track in tracks if len(track) >= FRAMES_MIN]


def draw_tuples(
    tracks: Sequence[Track], k: int, size: int, rng: RandomSource, *, sources: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw ``k`` tuples of one person: for each a track, and in it a target and other frames as sources.

    Args:
        tracks: the person's usable tracks, (n, S, S, 3) uint8 RGB, at least one.
        k: tuples.
        size: pixels a side of what is returned.
        rng: the source of chance.
        sources: source frames a tuple; repeated where a track is shorter.

    Returns:
        Targets (k, 3, size, size) and sources (k, sources, 3, size, size), in [0, 1].
    """
    chance = rng.uniform(k * (2 + sources)).reshape(k, 2 + sources).tolist()
    picked = [_pick(tracks, row) for row in chance]
    frames = torch.stack([to_pixels(frames, size) for frames in picked])  # tracks may differ in size
    return frames[:, 0], frames[:, 1:]


def to_pixels(frames: npt.NDArray[np.uint8], size: int) -> Tensor:
    """Turn frames (n, S, S, 3) uint8 RGB into (n, 3, size, size) float32 in [0, 1], resized with antialiasing."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).to(torch.float32).div(255)
    if pixels.shape[-1] == size and pixels.shape[-2] == size:
        return pixels
    resized: Any = functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return torch.as_tensor(resized).clamp(0, 1)


def _pick(tracks: Sequence[Track], chance: Sequence[float]) -> Track:
    track = tracks[int(chance[0] * len(tracks))]
    n = len(track)
    target = int(chance[1] * n)
    others = [(target + 1 + int(share * (n - 1))) % n for share in chance[2:]]
    return track[[target, *others]]
