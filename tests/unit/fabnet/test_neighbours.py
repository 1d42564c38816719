"""Candidates for many queries at once: none is missed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.fabnet import neighbours
from fabnet_secure.fabnet.neighbours import candidates


def exact(vectors, chosen, queries):
    wide = vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = queries.astype(np.float64) @ wide.T / np.linalg.norm(wide, axis=1)
    scores[:, ~chosen | ~np.isfinite(scores).all(axis=0)] = -np.inf
    return scores


def lengths(vectors):
    wide = np.linalg.norm(vectors.astype(np.float64), axis=1)
    found = np.zeros(len(vectors), np.float32)
    usable = np.isfinite(wide) & (wide > 0)
    found[usable] = 1 / wide[usable]
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_candidate_is_missed(data):
    """Over blocks of a few rows, every row that ties with the last asked for is there, or the query is given back."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    rows = data.draw(st.integers(1, 70))
    vectors = rng.integers(-2, 3, (rows, 3)).astype(np.float16)
    vectors[rng.random(rows) < 0.1] = np.nan
    inverse = lengths(vectors)
    chosen = (rng.random(rows) < 0.8) & (inverse > 0)
    if not chosen.any():
        return
    count = data.draw(st.integers(1, int(chosen.sum())))
    queries = rng.standard_normal((4, 3)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    before, neighbours._BLOCK = neighbours._BLOCK, 7
    spare, neighbours._SPARE = neighbours._SPARE, 2
    try:
        found = candidates(vectors, inverse, chosen, queries, count, 1e-5)
    finally:
        neighbours._BLOCK, neighbours._SPARE = before, spare
    for rows_found, scores in zip(found, exact(vectors, chosen, queries), strict=True):
        if rows_found is None:
            continue
        least = np.sort(scores)[-count]
        needed = set(np.flatnonzero(scores >= least - 1e-9).tolist())
        assert needed <= set(rows_found.tolist())
        assert rows_found.tolist() == sorted(rows_found.tolist())
        assert chosen[rows_found].all()


def test_what_cannot_be_told_is_given_back():
    """A block with more equal rows than are kept of it hides some: the query is answered in another way."""
    vectors = np.ones((100, 2), np.float16)
    query = np.full((1, 2), 2**-0.5, np.float32)
    assert candidates(vectors, lengths(vectors), np.ones(100, np.bool_), query, 3, 1e-5) == [None]
    (few,) = candidates(vectors[:19], lengths(vectors[:19]), np.ones(19, np.bool_), query, 5, 1e-5)
    assert few.tolist() == list(range(19))


def test_the_widened_block_is_zeroed(monkeypatch):
    """Nothing of the vectors is left in the float32 block, whatever happens."""
    kept = []
    made = neighbours.locked_zeros
    monkeypatch.setattr(neighbours, "locked_zeros", lambda *shape: kept.append(made(*shape)[0]) or (kept[-1], True))
    vectors = np.ones((30, 2), np.float16)
    candidates(vectors, lengths(vectors), np.ones(30, np.bool_), np.ones((1, 2), np.float32), 1, 1e-5)
    assert not kept[0].any()
    with pytest.raises(RuntimeError):
        candidates(vectors, lengths(vectors), np.ones(30, np.bool_), np.ones((1, 3), np.float32), 1, 1e-5)
    assert not kept[1].any()
