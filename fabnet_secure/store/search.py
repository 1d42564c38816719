"""Cosines: the exact ones that order an answer, and the fast ones that choose what is compared exactly.

Guarantees that equal rows score equally wherever they stand (each is summed on its own, in float64), that every fast
cosine lies within :func:`near` of the exact one, and one order: by exact cosine, ties by row number. Rows without
direction (zero, or not finite) are never an answer. Does not approximate, and gives ranks: scores leak vectors.

Why the bounds hold: a product of two float16 is exact in float32; a sum of d such products, in any order, is off by at
most d · 2^-24 of the sum of their magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), which is at
most the product of the lengths; the inverse length is off by as much again. Native float16 arithmetic (AVX-512
FP16, in two thirds of the time) adds d / 32 products one after the other in each of 32 lanes, then the lanes pairwise:
d / 32 + 5 roundings of 2^-11. That it does so is tried out before it is used; where it does not, it is not used.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import simsimd

from fabnet_secure.errors import UsageError

_NATIVE: Final = "sapphire"
# Arithmetic in float16 is wrong in the third digit: it is used only where its bound is asked for.
for _capability in (_NATIVE, "sve_f16", "neon_f16"):
    simsimd.disable_capability(_capability)

_MOST_DIMS: Final = 65536
_LANES: Final = 32
_LARGEST: Final = float(np.finfo(np.float16).max)
_WORTH_IT: Final = 0.02

Half = npt.NDArray[np.float16]
Single = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]


def near(dim: int) -> float:
    """Return how far a fast cosine of vectors of this length may be from the exact one, at most."""
    return 1.01 * 2 * (dim + 8) * 2.0**-24  # a little more, for the query's own length


def near_native(dim: int, shortest: float, longest: float) -> float | None:
    """Return how far a cosine in native float16 arithmetic may be from the exact one; None where it is of no use.

    Args:
        dim: the length of the vectors.
        shortest: the least of their Euclidean lengths.
        longest: the greatest; sums must stay below float16's largest number.
    """
    if not _native_works() or longest > _LARGEST / 2:
        return None
    steps = -(-dim // _LANES) + 6
    bound = 1.01 * steps * (2.0**-11 + 2.0**-25 / shortest) + near(dim)
    return bound if bound < _WORTH_IT else None


@cache
def _native_works() -> bool:
    """Tell whether native float16 sums run in 32 lanes: a large number swallows only what is added in its own lane."""
    wanted, room = np.ones(256, np.float16), np.zeros((1, 64), np.float32)
    rows = np.ones((64, 256), np.float16)
    rows[np.arange(64), np.arange(64)] = 2048  # 2048 + 1 is 2048 in float16
    with _native_enabled() as there:
        if there:
            simsimd.cdist(wanted[None], rows, metric="dot", out=room, out_dtype="f32")
    return there and bool(np.all(np.abs(room - (2048 + 255)) <= 8 + 6))


@contextmanager
def _native_enabled() -> Iterator[bool]:
    simsimd.enable_capability(_NATIVE)
    try:
        yield bool(simsimd.get_capabilities()[_NATIVE])
    finally:
        simsimd.disable_capability(_NATIVE)


def direction(query: npt.NDArray[np.floating[Any]], dim: int) -> Half:
    """Return a query's direction, scaled to length 1 and rounded to float16 as stored vectors are; shape (dim,).

    Raises:
        UsageError: code ``SEARCH_SHAPE``: it has another shape, or no direction.
    """
    if query.shape != (dim,) or dim > _MOST_DIMS:
        raise UsageError("the query does not fit the embeddings", hint="use the same model", code="SEARCH_SHAPE")
    wide = query.astype(np.float64)
    length = float(np.sqrt(wide @ wide))
    if not np.isfinite(length) or length == 0.0:
        raise UsageError("the query is no direction", hint="use another frame", code="SEARCH_SHAPE")
    return (wide / length).astype(np.float16)


def cosines(wanted: Half, rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the exact cosine of every row; minus infinity for a row without direction.

    Args:
        wanted: from :func:`direction`, shape (d,).
        rows: shape (n, d).
    """
    wide = np.ascontiguousarray(rows, dtype=np.float64)
    query = wanted.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide)) * np.sqrt(np.einsum("j,j->", query, query))
        scores: npt.NDArray[np.float64] = np.einsum("ij,j->i", wide, query) / lengths
    wide.fill(0)
    scores[~np.isfinite(scores)] = -np.inf
    return scores


def best(scores: npt.NDArray[np.float64], top: int) -> Rows:
    """Return the places of the ``top`` highest scores, best first, ties in order; without those of minus infinity."""
    order: Rows = np.argsort(-scores, kind="stable")[:top]
    return order[scores[order] > -np.inf]


def rank(query: npt.NDArray[np.floating[Any]], matrix: npt.NDArray[np.floating[Any]], top: int) -> Rows:
    """Return the rows of ``matrix`` nearest to ``query``: the definition, as plain and slow as it can be said.

    Args:
        query: shape (d,), any scale but zero.
        matrix: shape (n, d).
        top: how many rows to return at most.

    Raises:
        UsageError: code ``SEARCH_SHAPE``: the shapes do not fit, the query is no direction, or ``top`` < 1.
    """
    if matrix.ndim != 2 or top < 1:
        raise UsageError("a search needs rows to compare and at least one result", code="SEARCH_SHAPE")
    return best(cosines(direction(query, matrix.shape[1]), matrix), top)


def inverse_lengths(vectors: Half) -> Single:
    """Return one over each row's length (float32); 0 where a row has no direction. Shapes (n, d) and (n,)."""
    rows = np.ascontiguousarray(vectors)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.sqrt(np.asarray(simsimd.dot(rows, rows), np.float64).reshape(len(rows)))
        found: Single = (1 / lengths).astype(np.float32)
    found[~(np.isfinite(lengths) & (lengths > 0))] = 0
    return found


def fast_cosines(wanted: Half, vectors: Half, inverse: Single, room: Single, *, native: bool = False) -> Single:
    """Return every row's cosine within :func:`near`, in ``room`` (1, n); of rows without direction any number, or NaN.

    Args:
        wanted: from :func:`direction`, shape (d,).
        vectors: shape (n, d).
        inverse: from :func:`inverse_lengths`, shape (n,).
        room: shape (1, n); what was in it is overwritten.
        native: within :func:`near_native` will do.
    """
    with _native_enabled() if native else nullcontext(), np.errstate(invalid="ignore"):
        simsimd.cdist(wanted[None], vectors, metric="dot", out=room, out_dtype="f32")
        np.multiply(room[0], inverse, out=room[0])
    scores: Single = room[0]
    return scores
