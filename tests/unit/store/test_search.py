"""Exact search: the same answer as the plain definition, whatever the block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fabnet_secure.errors import UsageError
from fabnet_secure.store.search import rank


def test_nearest_by_cosine_not_by_length():
    """A short vector in the right direction beats a long one beside it; the opposite comes last."""
    matrix = np.array([[9, 9], [0.1, 0], [-5, 0], [0, 3]], dtype=np.float16)
    assert rank(np.array([2.0, 0.0]), matrix, 4).tolist() == [1, 0, 3, 2]


def test_matches_float64_on_random_vectors():
    """On well separated rows the order is that of cosine in float64."""
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((3000, 64)).astype(np.float16)
    query = rng.standard_normal(64).astype(np.float32)
    wide = matrix.astype(np.float64)
    expected = np.argsort(-(wide @ query) / np.linalg.norm(wide, axis=1), kind="stable")[:20]
    assert rank(query, matrix, 20).tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(
    matrix=hnp.arrays(np.float16, st.tuples(st.integers(1, 40), st.just(5)), elements=st.integers(-3, 3)),
    top=st.integers(1, 50),
    block=st.integers(1, 41),
)
def test_block_size_never_changes_the_answer(matrix, top, block):
    """Any block size gives the same rows in the same order, and equal rows keep their order."""
    query = np.array([1, 2, -1, 0.5, 3], dtype=np.float32)
    whole = rank(query, matrix, top)
    assert rank(query, matrix, top, block=block).tolist() == whole.tolist()
    assert len(whole) == min(top, len(matrix))
    places = {}
    for row in whole.tolist():
        places.setdefault(matrix[row].tobytes(), []).append(row)
    assert all(rows == sorted(rows) for rows in places.values())


def test_ties_at_the_cut_go_to_the_first_rows():
    """Of more equal rows than asked for, the first ones are returned."""
    matrix = np.tile(np.random.default_rng(2).standard_normal(33).astype(np.float32), (1000, 1))
    assert rank(matrix[0], matrix, 7, block=130).tolist() == list(range(7))


def test_damaged_and_empty_rows_rank_behind():
    """NaN and infinity rank last; a zero row ranks as a right angle."""
    matrix = np.array([[np.nan, 1], [0, 0], [1, 0], [np.inf, 0], [-1, 0]], dtype=np.float16)
    assert rank(np.array([1.0, 0.0]), matrix, 5).tolist() == [2, 1, 4, 0, 3]


def test_no_rows_give_no_answer():
    """An empty matrix gives an empty answer."""
    assert rank(np.ones(3), np.empty((0, 3), dtype=np.float16), 5).tolist() == []


@pytest.mark.parametrize(
    ("query", "matrix", "top"),
    [
        (np.zeros(2), np.ones((3, 2)), 1),
        (np.array([np.nan, 1]), np.ones((3, 2)), 1),
        (np.ones(3), np.ones((3, 2)), 1),
        (np.ones((1, 2)), np.ones((3, 2)), 1),
        (np.ones(2), np.ones(2), 1),
        (np.ones(2), np.ones((3, 2)), 0),
    ],
)
def test_unusable_search_is_refused(query, matrix, top):
    """A query without a direction, of another shape, or for no result is a UsageError."""
    with pytest.raises(UsageError) as caught:
        rank(query, matrix, top)
    assert caught.value.code == "SEARCH_SHAPE"
