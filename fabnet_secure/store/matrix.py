"""The decrypted embeddings of a question, in one locked matrix, and exact nearest neighbours over it.

Guarantees:

1. the vectors stand on locked pages that no core dump holds; :meth:`Matrix.wipe` and :meth:`Matrix.forget` zero them;
2. answers are exact: the best rows by cosine of the float16 values, computed in float64, ties by row number. What is
   compared fast (float32, in any order of summing) only chooses candidates, by a bound that holds on every machine;
3. a row without direction (zero, so a forgotten one; or not finite) is never an answer.

The query's direction is rounded to float16 as stored vectors are, so that both sides are compared in one precision.
Writes nothing: no index file, plain or sealed. Does not decide which rows may be searched; it is filled with those of
permitted consents only, and a bitmap narrows each question.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from fabnet_secure.errors import UsageError
from fabnet_secure.memory import locked_zeros
from fabnet_secure.store.margins import Margin
from fabnet_secure.store.search import best, cosines, direction, fast_cosines, near, near_native
from fabnet_secure.types import ConsentId, ModelId, SubjectId, TrackId

_FEW: Final = 500
"""Candidates that are compared exactly without choosing among them once more."""
Bitmap: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = npt.NDArray[np.intp]
Candidates: TypeAlias = Callable[
    [npt.NDArray[np.float16], npt.NDArray[np.float32], Bitmap, npt.NDArray[np.float32], int, float], "list[Rows | None]"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The rows ``start`` ≤ row < ``stop`` of the matrix are one track's, in the order of its frames."""

    consent_id: ConsentId
    subject_id: SubjectId
    track_id: TrackId
    model_id: ModelId
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """What a row is: whose, of which track, and which frame of its video."""

    consent_id: ConsentId
    subject_id: SubjectId
    track_id: TrackId
    frame: int


class PageRows(NamedTuple):
    """The rows of one stored page, and what tells its tracks and frames apart."""

    consent_id: ConsentId
    subject_id: SubjectId
    start: int
    stop: int
    margin: Margin


class Matrix:
    """Embeddings (n, dim) float16 of one model, whose they are, and search over them.

    Args:
        vectors: shape (n, dim) float16, on locked memory; the matrix owns it and zeroes it.
        pages: what stands where, in row order, without gaps.
        model_id: the model that made all of them.
        locked: whether the kernel keeps the pages out of the swap.
    """

    def __init__(
        self, vectors: npt.NDArray[np.float16], pages: Sequence[PageRows], model_id: ModelId, *, locked: bool
    ) -> None:
        self._vectors = vectors
        self._pages = list(pages)
        self._model_id = model_id
        self._locked = locked
        self._starts = np.array([page.start for page in self._pages], np.intp)
        self._inverse, _ = locked_zeros(len(vectors), np.float32)
        self._scores, _ = locked_zeros((1, len(vectors)), np.float32)
        if self._pages:
            np.concatenate([page.margin.inverse() for page in self._pages], out=self._inverse)
        self._living: Bitmap = self._inverse > 0
        self._coarse = self._native_bound()
        self._places: dict[ConsentId, list[PageRows]] = {}
        self._slices: list[Slice] | None = None

    @property
    def rows(self) -> int:
        """How many rows there are, forgotten ones too."""
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self._vectors.shape[1])

    @property
    def model_id(self) -> ModelId:
        """The model that made the embeddings."""
        return self._model_id

    @property
    def locked(self) -> bool:
        """Whether the kernel keeps the vectors out of the swap."""
        return self._locked

    @property
    def vectors(self) -> npt.NDArray[np.float16]:
        """The vectors themselves, for whoever compares them here; never to be kept or copied out."""
        return self._vectors

    @property
    def inverse(self) -> npt.NDArray[np.float32]:
        """One over each row's length, 0 for a row without direction; shape (n,)."""
        return self._inverse

    def slices(self) -> list[Slice]:
        """Return the slice table: one entry a track and page, in row order."""
        if self._slices is None:
            self._slices = [entry for page in self._pages for entry in self._of_page(page)]
        return self._slices

    def _of_page(self, page: PageRows) -> list[Slice]:
        return [
            Slice(
                consent_id=page.consent_id,
                subject_id=page.subject_id,
                track_id=track_id,
                model_id=self._model_id,
                start=page.start + first,
                stop=page.start + last,
            )
            for track_id, first, last in page.margin.tracks()
        ]

    def bitmap(
        self,
        *,
        consents: Collection[ConsentId] | None = None,
        tracks: Collection[TrackId] | None = None,
        without: TrackId | None = None,
    ) -> Bitmap:
        """Return which rows may be answers: shape (n,), True for rows of these consents and tracks that are there.

        Args:
            consents: only theirs; None for all in the matrix.
            tracks: only of these; None for all.
            without: leave this track's own rows out.
        """
        chosen = self._living.copy()
        if consents is not None:
            for page in self._pages:
                if page.consent_id not in consents:
                    chosen[page.start : page.stop] = False
        if tracks is not None:
            for entry in self.slices():
                if entry.track_id not in tracks:
                    chosen[entry.start : entry.stop] = False
        if without is not None:
            for entry in self.of_track(without):
                chosen[entry.start : entry.stop] = False
        return chosen

    def of_track(self, track_id: TrackId) -> list[Slice]:
        """Return where a track's rows are; empty when it has none here."""
        pages = [page for page in self._pages if page.margin.names(track_id)]
        return [entry for page in pages for entry in self._of_page(page) if entry.track_id == track_id]

    def mean(self, track_id: TrackId) -> npt.NDArray[np.float32] | None:
        """Return the mean embedding of a track, shape (dim,), or None when none of its rows is here."""
        found = self.of_track(track_id)
        if not found:
            return None
        rows = np.concatenate([self._vectors[entry.start : entry.stop] for entry in found])
        try:
            middle: npt.NDArray[np.float32] = rows.mean(axis=0, dtype=np.float32)
            return middle
        finally:
            rows.fill(0)

    def nearest(self, query: npt.NDArray[np.floating[Any]], top: int, bitmap: Bitmap | None = None) -> Rows:
        """Return the rows nearest to ``query`` by cosine, best first, ties in row order.

        Args:
            query: shape (dim,), any scale but zero.
            top: how many rows at most.
            bitmap: shape (n,): the rows that may be answers; None for all.

        Raises:
            UsageError: code ``SEARCH_SHAPE``: the shapes do not fit, the query is no direction, or ``top`` < 1.
        """
        wanted = direction(query, self.dim)
        chosen = self._chosen(bitmap)
        return self._exact(wanted, self._candidates(wanted, self._asked(top, chosen), chosen), top)

    def nearest_by(
        self,
        candidates: Candidates,
        queries: npt.NDArray[np.floating[Any]],
        top: int,
        bitmap: Bitmap | None = None,
    ) -> list[Rows]:
        """Return for each query what :meth:`nearest` does; ``candidates`` chooses for all of them at once.

        Args:
            candidates: given the vectors, the inverse lengths, the bitmap, the queries (float32), how many rows are
                asked for and the margin, returns for each query the ascending rows that can be among them, or None
                when it cannot tell.
            queries: shape (k, dim).
            top: how many rows a query, at most.
            bitmap: as in :meth:`nearest`.

        Raises:
            UsageError: code ``SEARCH_SHAPE``.
        """
        if queries.ndim != 2:
            raise UsageError("the queries do not fit the embeddings", code="SEARCH_SHAPE")
        wanted = [direction(query, self.dim) for query in queries]
        chosen = self._chosen(bitmap)
        count = self._asked(top, chosen)
        if not wanted or not count:
            return [np.empty(0, np.intp) for _ in wanted]
        wide = np.array(wanted, np.float32)
        found = candidates(self._vectors, self._inverse, chosen, wide, count, 2 * near(self.dim))
        return [
            self._exact(one, self._candidates(one, count, chosen) if rows is None else rows, top)
            for one, rows in zip(wanted, found, strict=True)
        ]

    def scores(self, query: npt.NDArray[np.floating[Any]], rows: Rows) -> npt.NDArray[np.float64]:
        """Return the exact cosines of some rows; a caller who shows them needs the permission for scores."""
        wanted, found = direction(query, self.dim), self._vectors[rows]
        try:
            return cosines(wanted, found)
        finally:
            found.fill(0)

    def locate(self, row: int) -> Located:
        """Return what a row is.

        Raises:
            UsageError: code ``SEARCH_SHAPE``: there is no such row.
        """
        if not 0 <= row < self.rows:
            raise UsageError("there is no such row", code="SEARCH_SHAPE")
        page = self._pages[int(np.searchsorted(self._starts, row, side="right")) - 1]
        track_id, frame = page.margin.at(row - page.start)
        return Located(consent_id=page.consent_id, subject_id=page.subject_id, track_id=track_id, frame=frame)

    def keep(self, tracks: Collection[TrackId]) -> None:
        """Let only rows of these tracks be answers from now on."""
        self._living = self.bitmap(tracks=tracks)

    def forget(self, consent_id: ConsentId) -> int:
        """Zero every row of a consent in place, and return how many there were: they are never answers again."""
        if not self._places:
            for page in self._pages:
                self._places.setdefault(page.consent_id, []).append(page)
        gone = 0
        for page in self._places.get(consent_id, ()):
            rows = slice(page.start, page.stop)
            gone += int(np.count_nonzero(self._living[rows]))
            for array in (self._vectors, self._inverse, self._living):
                array[rows] = 0
        return gone

    def wipe(self) -> None:
        """Zero everything; nothing is found here afterwards."""
        for array in (self._vectors, self._inverse, self._scores):
            array.fill(0)
        self._living[:] = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def _chosen(self, bitmap: Bitmap | None) -> Bitmap:
        if bitmap is None:
            return self._living
        if bitmap.shape != (self.rows,) or bitmap.dtype != np.bool_:
            raise UsageError("the bitmap does not fit the matrix", code="SEARCH_SHAPE")
        return bitmap & self._living

    @staticmethod
    def _asked(top: int, chosen: Bitmap) -> int:
        if top < 1:
            raise UsageError("a search returns at least one result", code="SEARCH_SHAPE")
        return min(top, int(np.count_nonzero(chosen)))

    def _native_bound(self) -> float | None:
        lengths = self._inverse[self._living]
        if not len(lengths):
            return None
        return near_native(self.dim, 1 / float(lengths.max()), 1 / float(lengths.min()))

    def _candidates(self, wanted: npt.NDArray[np.float16], count: int, chosen: Bitmap) -> Rows:
        """Return every row that can be among the best ``count``: first by the coarse score, where that leaves few."""
        if count == 0:
            return np.empty(0, np.intp)
        if self._coarse is not None:
            found = self._above(wanted, count, chosen, self._coarse, native=True)
            if len(found) <= _FEW + 4 * count:
                return found
            self._coarse = None  # these vectors lie too close together for it
        return self._above(wanted, count, chosen, near(self.dim), native=False)

    def _above(
        self, wanted: npt.NDArray[np.float16], count: int, chosen: Bitmap, wrong: float, *, native: bool
    ) -> Rows:
        """Return the rows whose score, wrong by at most ``wrong``, can be among the best ``count``."""
        scores = fast_cosines(wanted, self._vectors, self._inverse, self._scores, native=native)
        scores[~chosen] = -np.inf
        place = len(scores) - count
        least = np.partition(scores, place)[place]
        return np.flatnonzero(scores >= least - 2 * wrong)

    def _exact(self, wanted: npt.NDArray[np.float16], candidates: Rows, top: int) -> Rows:
        rows = self._vectors[candidates]
        try:
            return candidates[best(cosines(wanted, rows), top)]
        finally:
            rows.fill(0)
