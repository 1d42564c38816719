"""Many queries at once against a large float16 matrix: blocks widened to float32, one matrix product each.

Guarantees that every row whose cosine, within the margin, can be among the best is returned, or None for a query where
that cannot be told from what was kept of a block. Does not order: the caller compares candidates exactly.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fabnet_secure.memory import locked_zeros

_BLOCK = 8192  # rows: 8 MB widened at 256 dimensions
_SPARE = 16  # kept of a block beyond what is asked for, for rows that agree within the margin

Rows = npt.NDArray[np.intp]


def candidates(
    vectors: npt.NDArray[np.float16],
    inverse: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.bool_],
    queries: npt.NDArray[np.float32],
    count: int,
    margin: float,
) -> list[Rows | None]:
    """Return for each query the ascending rows that can be among its best ``count``, or None.

    Args:
        vectors: shape (n, d) float16.
        inverse: one over each row's length, shape (n,) float32.
        chosen: the rows that may be answers, shape (n,); at least ``count`` of them.
        queries: directions of length 1, shape (k, d) float32.
        count: how many rows are asked for.
        margin: how much lower than the ``count``-th best a row may score and still be a candidate.
    """
    weights = np.where(chosen, inverse, np.float32(0))
    closed = np.where(chosen, np.float32(0), np.float32(-np.inf))
    wide, _ = locked_zeros((min(_BLOCK, len(vectors)), vectors.shape[1]), np.float32)
    scores: list[torch.Tensor] = []
    rows: list[torch.Tensor] = []
    asked = torch.from_numpy(queries)
    try:
        for start in range(0, len(vectors), _BLOCK):
            stop = min(start + _BLOCK, len(vectors))
            block = torch.from_numpy(wide[: stop - start])
            block.copy_(torch.from_numpy(vectors[start:stop]))
            block[torch.from_numpy(inverse[start:stop] == 0)] = 0  # what is not finite would rank first
            found = asked @ block.T
            found.mul_(torch.from_numpy(weights[start:stop])).add_(torch.from_numpy(closed[start:stop]))
            kept = torch.topk(found, min(count + _SPARE, stop - start), dim=1)
            scores.append(kept.values)
            rows.append(kept.indices + start)
    finally:
        wide.fill(0)
    return _merge(scores, rows, count, margin)


def _merge(scores: list[torch.Tensor], rows: list[torch.Tensor], count: int, margin: float) -> list[Rows | None]:
    """Keep what lies within the margin of the ``count``-th best; None where a block may hold more than it kept."""
    together, numbers = torch.cat(scores, dim=1), torch.cat(rows, dim=1)
    least = torch.topk(together, count, dim=1).values[:, -1:] - margin
    # A block that kept all its rows hides none; its last one may well lie within the margin.
    partial = [kept for kept in scores if kept.shape[1] == count + _SPARE]
    hides = torch.zeros(len(together), dtype=torch.bool)
    for kept in partial:
        hides |= (kept[:, -1:] >= least).squeeze(1)
    inside = together >= least
    return [_row(numbers[place][inside[place]], hidden=bool(hides[place])) for place in range(len(together))]


def _row(found: "torch.Tensor", *, hidden: bool) -> "Rows | None":
    if hidden:
        return None
    ordered: npt.NDArray[Any] = np.sort(found.numpy()).astype(np.intp)
    return ordered
