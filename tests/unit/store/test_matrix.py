"""The matrix: exact nearest neighbours, slices, bitmaps, and rows that are forgotten in place."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fabnet_secure.errors import UsageError
from fabnet_secure.store.margins import Margin, pack_margin
from fabnet_secure.store.matrix import Matrix, PageRows
from fabnet_secure.store.search import inverse_lengths, rank
from fabnet_secure.types import new_id

SMALL = st.integers(-2, 2)  # many equal rows, many equal cosines


def make(vectors, *tracks):
    """Make a matrix whose pages hold the given runs of (consent, track, how many); one page for each consent's run."""
    vectors = np.ascontiguousarray(vectors, np.float16)
    runs = tracks or [("c", new_id(), len(vectors))]
    pages, row = [], 0
    for consent_id, track_id, n in runs:
        frames = range(10, 10 + n)
        margin = Margin(pack_margin([(track_id, frames)], inverse_lengths(vectors[row : row + n])), n)
        pages.append(PageRows(consent_id, f"s-{consent_id}", row, row + n, margin))
        row += n
    return Matrix(vectors, pages, "m", locked=False)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_answers_are_those_of_the_definition(data):
    """On any small matrix, ties and all, the rows and their order are those of the slow search."""
    shape = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6)))
    vectors = data.draw(hnp.arrays(np.float16, shape, elements=SMALL))
    query = data.draw(hnp.arrays(np.float32, shape[1], elements=st.floats(-2, 2, width=32)))
    if not np.linalg.norm(query) > 1e-3:
        return
    top = data.draw(st.integers(1, 45))
    bitmap = data.draw(hnp.arrays(np.bool_, shape[0]))
    found = make(vectors)
    assert found.nearest(query, top).tolist() == rank(query, vectors, top).tolist()
    places = np.flatnonzero(bitmap)
    expected = places[rank(query, vectors[places], top)] if len(places) else places
    assert found.nearest(query, top, bitmap).tolist() == expected.tolist()


def test_answers_are_those_of_faiss():
    """On random vectors the rows are those of an exact inner-product index over unit vectors."""
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((5000, 64)).astype(np.float16)
    queries = rng.standard_normal((20, 64)).astype(np.float32)
    wide = vectors.astype(np.float32)
    index = faiss.IndexFlatIP(64)
    index.add(wide / np.linalg.norm(wide, axis=1, keepdims=True))
    found = make(vectors)
    for query in queries:
        asked = (query / np.linalg.norm(query)).astype(np.float16).astype(np.float32)
        scores, rows = index.search(asked[None], 11)
        if np.min(-np.diff(scores[0])) > 1e-6:  # no two so near that float32 could exchange them
            assert found.nearest(query, 10).tolist() == rows[0, :10].tolist()


def test_nearly_equal_rows_are_told_apart():
    """Rows that float32 cannot tell apart are ordered by the exact cosine."""
    rng = np.random.default_rng(2)
    base = rng.standard_normal(256).astype(np.float16)
    vectors = np.tile(base, (300, 1))
    vectors[np.arange(300), rng.integers(0, 256, 300)] += np.float16(0.002)
    query = rng.standard_normal(256)
    assert make(vectors).nearest(query, 50).tolist() == rank(query, vectors, 50).tolist()


def test_close_vectors_are_compared_in_float32_then():
    """Where arithmetic in float16 leaves too many candidates, the next step chooses, now and for later questions."""
    rng = np.random.default_rng(4)
    vectors = (1 + 0.01 * rng.standard_normal((3000, 64))).astype(np.float16)
    found = make(vectors)
    for _ in range(2):
        query = 1 + 0.01 * rng.standard_normal(64)
        assert found.nearest(query, 10).tolist() == rank(query, vectors, 10).tolist()
    assert found._coarse is None


def test_length_is_no_matter():
    """The largest and the smallest vectors of a direction are equally near."""
    vectors = np.array([[60000, 0], [6e-8, 0], [0, 1], [1, 0]], np.float16)
    assert make(vectors).nearest(np.array([1.0, 0]), 4).tolist() == [0, 1, 3, 2]


def test_rows_without_direction_are_never_answers():
    """Zero, infinite and undefined rows are left out of answers and of the bitmap."""
    vectors = np.array([[0, 0], [np.nan, 1], [np.inf, 0], [1, 1]], np.float16)
    found = make(vectors)
    assert found.nearest(np.array([1.0, 0]), 4).tolist() == [3]
    assert found.bitmap().tolist() == [False, False, False, True]


def test_forgotten_rows_are_zero_and_no_answer():
    """A consent's rows are zeroed in place; the others' rows, numbers and answers stay as they are."""
    tracks = [new_id() for _ in range(3)]
    vectors = np.random.default_rng(3).standard_normal((9, 8)).astype(np.float16)
    found = make(vectors, ("a", tracks[0], 4), ("b", tracks[1], 3), ("a", tracks[2], 2))
    kept = found.vectors[4:7].copy()
    assert found.forget("a") == 6
    assert found.forget("a") == 0
    assert not found.vectors[:4].any()
    assert not found.vectors[7:].any()
    assert np.array_equal(found.vectors[4:7], kept)
    assert sorted(found.nearest(np.ones(8), 9).tolist()) == [4, 5, 6]
    assert found.locate(5).consent_id == "b"


def test_bitmaps_choose_by_consent_and_track():
    """Consents, tracks and a left-out track narrow the same bitmap."""
    one, two, three = (new_id() for _ in range(3))
    found = make(np.ones((6, 2)), ("a", one, 2), ("a", two, 2), ("b", three, 2))
    assert found.bitmap(consents={"a"}).tolist() == [True] * 4 + [False] * 2
    assert found.bitmap(tracks={two, three}).tolist() == [False] * 2 + [True] * 4
    assert found.bitmap(consents={"a"}, without=one).tolist() == [False] * 2 + [True] * 2 + [False] * 2
    found.keep({one})
    assert found.bitmap().tolist() == [True] * 2 + [False] * 4
    assert found.nearest(np.ones(2), 9).tolist() == [0, 1]


def test_rows_know_what_they_are():
    """Every row has its consent, person, track and frame; a slice table covers them all."""
    one, two = new_id(), new_id()
    found = make(np.ones((5, 2)), ("a", one, 2), ("b", two, 3))
    told = [found.locate(row) for row in range(5)]
    assert [(what.consent_id, what.subject_id, what.track_id, what.frame) for what in told] == [
        ("a", "s-a", one, 10),
        ("a", "s-a", one, 11),
        ("b", "s-b", two, 10),
        ("b", "s-b", two, 11),
        ("b", "s-b", two, 12),
    ]
    assert [(entry.track_id, entry.start, entry.stop) for entry in found.slices()] == [(one, 0, 2), (two, 2, 5)]
    assert [(entry.start, entry.stop) for entry in found.of_track(two)] == [(2, 5)]
    assert found.of_track(new_id()) == []
    for row in (-1, 5):
        with pytest.raises(UsageError):
            found.locate(row)


def test_a_tracks_mean_is_its_rows_mean():
    """The mean of a track is that of its vectors in float32; a track that is not here has none."""
    one = new_id()
    found = make(np.arange(8).reshape(4, 2), ("a", new_id(), 2), ("a", one, 2))
    assert found.mean(one).tolist() == [5.0, 6.0]
    assert found.mean(new_id()) is None


def test_scores_are_exact_cosines():
    """The cosines of an answer's rows, for whoever may see them."""
    vectors = np.array([[3, 4], [0, 2], [0, 0]], np.float16)
    scores = make(vectors).scores(np.array([0.0, 5.0]), np.array([0, 1, 2]))
    assert scores.tolist() == [0.8, 1.0, -np.inf]


def test_after_wiping_nothing_is_left():
    """The context manager zeroes vectors, lengths and scores."""
    with make(np.ones((3, 2))) as found:
        found.nearest(np.ones(2), 1)
        kept = found.vectors
    assert not kept.any()
    assert not found.inverse.any()
    assert found.nearest(np.ones(2), 3).tolist() == []


def test_an_empty_matrix_answers_nothing():
    """Without a row there is no answer, and no failure."""
    empty = Matrix(np.empty((0, 4), np.float16), [], "m", locked=False)
    assert empty.nearest(np.ones(4), 5).tolist() == []
    assert empty.bitmap().tolist() == []
    assert empty.slices() == []


@pytest.mark.parametrize(
    ("query", "top", "bitmap"),
    [
        (np.ones(3), 1, None),
        (np.zeros(2), 1, None),
        (np.ones(2), 0, None),
        (np.ones(2), 1, np.ones(2, np.bool_)),
        (np.ones(2), 1, np.ones(3, np.int8)),
    ],
)
def test_unusable_questions_are_refused(query, top, bitmap):
    """Another dimension, no direction, no result asked for, a bitmap of another shape or type."""
    with pytest.raises(UsageError) as caught:
        make(np.ones((3, 2))).nearest(query, top, bitmap)
    assert caught.value.code == "SEARCH_SHAPE"


@pytest.mark.slow
def test_a_million_vectors_have_the_nearest_that_faiss_finds():
    """1,000,000 × 256: the same rows as an exact index, but where two lie nearer than float32 can tell."""
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((1_000_000, 256), np.float32).astype(np.float16)
    found = make(vectors)
    index = faiss.IndexFlatIP(256)
    for start in range(0, len(vectors), 100_000):
        wide = vectors[start : start + 100_000].astype(np.float32)
        index.add(wide / np.linalg.norm(wide, axis=1, keepdims=True))
    for query in rng.standard_normal((5, 256)).astype(np.float32):
        asked = (query / np.linalg.norm(query)).astype(np.float16).astype(np.float32)
        scores, rows = index.search(asked[None], 11)
        if np.min(-np.diff(scores[0])) > 1e-6:
            assert found.nearest(query, 10).tolist() == rows[0, :10].tolist()
