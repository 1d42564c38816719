"""Exact search: the plain definition, and fast cosines that stay within their bound."""

import numpy as np
import pytest
import simsimd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fabnet_secure.errors import UsageError
from fabnet_secure.store.search import cosines, direction, fast_cosines, inverse_lengths, near, near_native, rank

HALVES = st.floats(-60000, 60000, width=16, allow_nan=False, allow_subnormal=True)


def test_nearest_by_cosine_not_by_length():
    """A short vector in the right direction beats a long one beside it; the opposite comes last."""
    matrix = np.array([[9, 9], [0.1, 0], [-5, 0], [0, 3]], dtype=np.float16)
    assert rank(np.array([2.0, 0.0]), matrix, 4).tolist() == [1, 0, 3, 2]


def test_matches_plain_arithmetic_on_random_vectors():
    """The order is that of cosine in float64 against the query's direction in float16."""
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((3000, 64)).astype(np.float16)
    query = rng.standard_normal(64).astype(np.float32)
    wide, wanted = matrix.astype(np.float64), (query / np.linalg.norm(query)).astype(np.float16).astype(np.float64)
    expected = np.argsort(-(wide @ wanted) / np.linalg.norm(wide, axis=1), kind="stable")[:20]
    assert rank(query, matrix, 20).tolist() == expected.tolist()


def test_ties_go_to_the_first_rows():
    """Of more equal rows than asked for, the first ones are returned."""
    matrix = np.tile(np.random.default_rng(2).standard_normal(33).astype(np.float16), (1000, 1))
    assert rank(matrix[0], matrix, 7).tolist() == list(range(7))


def test_rows_without_direction_are_no_answer():
    """NaN, infinity and zero are left out, however many results are asked for."""
    matrix = np.array([[np.nan, 1], [0, 0], [1, 0], [np.inf, 0], [-1, 0]], dtype=np.float16)
    assert rank(np.array([1.0, 0.0]), matrix, 5).tolist() == [2, 4]
    assert inverse_lengths(matrix).tolist() == [0, 0, 1, 0, 1]


def test_no_rows_give_no_answer():
    """An empty matrix gives an empty answer."""
    assert rank(np.ones(3), np.empty((0, 3), dtype=np.float16), 5).tolist() == []


@settings(max_examples=120, deadline=None)
@given(data=st.data(), dim=st.sampled_from([1, 3, 31, 32, 33, 64, 130]))
def test_fast_cosines_keep_their_bound(data, dim):
    """Whatever the vectors, denormal or near overflow, the fast cosine is within the bound that chooses candidates."""
    matrix = data.draw(hnp.arrays(np.float16, (4, dim), elements=HALVES))
    query = data.draw(hnp.arrays(np.float16, dim, elements=HALVES))
    if not query.any():
        return
    wanted, inverse = direction(query, dim), inverse_lengths(matrix)
    fast = fast_cosines(wanted, matrix, inverse, np.zeros((1, 4), np.float32))
    exact = cosines(wanted, matrix)
    there = inverse > 0
    assert there.tolist() == (exact > -np.inf).tolist()
    length = float(np.linalg.norm(wanted.astype(np.float64)))
    assert np.all(np.abs(fast[there] / length - exact[there]) <= near(dim))


NATIVE = near_native(64, 1, 1) is not None


@pytest.mark.skipif(not NATIVE, reason="this CPU does not compute in float16")
@settings(max_examples=120, deadline=None)
@given(data=st.data(), dim=st.sampled_from([1, 31, 32, 33, 130, 256, 600]))
def test_native_cosines_keep_their_bound(data, dim):
    """Whatever the vectors, arithmetic in float16 is within its bound, or is said to be of no use."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 30.0, 900.0]))
    spread = data.draw(st.sampled_from([0.1, 1, 4]))
    with np.errstate(over="ignore"):
        matrix = (scale * rng.standard_normal((50, dim)) * np.exp(spread * rng.standard_normal((50, dim)))).astype(
            np.float16
        )
    if data.draw(st.booleans()):
        matrix = np.abs(matrix)  # sums that grow all the way
    inverse = inverse_lengths(matrix)
    if not (inverse > 0).all():
        return
    bound = near_native(dim, 1 / float(inverse.max()), 1 / float(inverse.min()))
    if bound is None:
        return
    wanted = direction(np.abs(rng.standard_normal(dim)) + 0.01, dim)
    fast = fast_cosines(wanted, matrix, inverse, np.zeros((1, 50), np.float32), native=True)
    length = float(np.linalg.norm(wanted.astype(np.float64)))
    assert np.all(np.abs(fast / length - cosines(wanted, matrix)) <= bound)


def test_native_arithmetic_is_left_where_it_cannot_serve():
    """Sums near float16's largest number, very short vectors, and very long ones."""
    assert near_native(256, 1, 60000) is None
    assert near_native(256, 1e-6, 1) is None
    assert near_native(65536, 1, 1) is None


def test_nothing_else_computes_in_float16():
    """Outside that one step products are summed in float32."""
    assert not simsimd.get_capabilities()["sapphire"]
    ones = np.full((1, 2048), 1.001, np.float16)
    assert float(inverse_lengths(ones)[0] * np.linalg.norm(ones.astype(np.float64))) == pytest.approx(1, abs=1e-6)


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
