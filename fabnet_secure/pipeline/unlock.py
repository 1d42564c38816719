"""Unlock: the sealed embeddings of permitted consents become one locked matrix, or blocks of it one after the other.

Guarantees that all stored pages are those that were counted (the census) before any is opened; that a page which does
not open as what it is stored as, and a page that lacks, end the question with exit 30 and nothing answered; that pages
whose key was destroyed meanwhile are left out; and that every plaintext stands in locked memory only and is zeroed.
Does not decide who may ask: ``permitted`` is decided before (access, then consent), and results are held against the
consents again at the moment of the answer. Nothing is written.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fabnet_secure.crypto.envelope import Sealed, bulk_length
from fabnet_secure.memory import lock, unlocked_zeros
from fabnet_secure.pipeline.ahead import hand_over, working
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.pages import Keys, census_of, misfit, open_keys
from fabnet_secure.store import bundles, embeddings
from fabnet_secure.store.bundles import Segment
from fabnet_secure.store.census import changed
from fabnet_secure.store.database import Connection
from fabnet_secure.store.embeddings import Waiting
from fabnet_secure.store.margins import Margin, pack_margin
from fabnet_secure.store.matrix import Bitmap, Located, Matrix, PageRows, Rows
from fabnet_secure.store.search import inverse_lengths
from fabnet_secure.types import ConsentId, ModelId, TrackId

_HALF: Final = 2  # bytes of a float16
BLOCK_BYTES: Final = 64 << 20
"""The vectors that a streamed question holds at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One result: its exact cosine (not to be shown without the permission for scores), and what it is."""

    score: float
    located: Located


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The pages to open, in row order: packed ones by bundle, then waiting ones."""

    segments: list[Segment]
    waiting: list[Waiting]

    @property
    def rows(self) -> int:
        return sum(page.n for page in self.pages())

    @property
    def dim(self) -> int:
        return max((page.dim for page in self.pages()), default=1)

    def pages(self) -> Iterator[Segment | Waiting]:
        return chain(self.segments, self.waiting)

    def consents(self) -> set[ConsentId]:
        return {page.consent_id for page in self.pages()}


def unlock(
    site: Site,
    connection: Connection,
    model_id: ModelId,
    permitted: frozenset[ConsentId],
    *,
    where: Collection[TrackId] | None = None,
) -> Matrix:
    """Open every embedding of a model that stands under a permitted consent.

    Args:
        site: an open vault; its keyring opens embeddings.
        connection: a snapshot of the vault.
        model_id: vectors of different models are not comparable.
        permitted: the consents whose rows may be opened, decided before.
        where: open only pages of these tracks, and answer only with them; None for all.

    Returns:
        the matrix; the caller wipes it (``with``).

    Raises:
        IntegrityFailure: ``EMBEDDINGS_CHANGED``, ``SEAL_BROKEN``, ``SEAL_MALFORMED``, ``STORE_CORRUPT``, ``KEY_LOST``.
        KeyProblem: (KEY_DOMAIN) this keyring does not open embeddings.
    """
    chosen = _choose(site, connection, model_id, permitted, where)
    with _opener(site, connection, model_id, chosen, [chosen]) as opener:
        matrix = opener.fill(chosen)
    if where is not None:
        matrix.keep(where)
    return matrix


def blocks(
    site: Site,
    connection: Connection,
    model_id: ModelId,
    permitted: frozenset[ConsentId],
    *,
    where: Collection[TrackId] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Matrix]:
    """Yield what :func:`unlock` gives in pieces, one after the other; each is zeroed before the next is opened.

    Raises:
        IntegrityFailure, KeyProblem: as :func:`unlock`, at the piece in which it is found: only the last piece's end
            makes an answer.
    """
    chosen = _choose(site, connection, model_id, permitted, where)
    parts = list(_parts(chosen, block_bytes))
    with _opener(site, connection, model_id, chosen, parts) as opener:
        for part in parts:
            with opener.fill(part) as matrix:
                if where is not None:
                    matrix.keep(where)
                yield matrix


def stream(
    site: Site,
    connection: Connection,
    model_id: ModelId,
    permitted: frozenset[ConsentId],
    queries: npt.NDArray[np.floating[Any]],
    top: int,
    *,
    where: Collection[TrackId] | None = None,
    without: TrackId | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[list[list[Hit]], int]:
    """Answer queries without the matrix ever being resident: the best of each block are merged.

    Args:
        site: as in :func:`unlock`.
        connection: as in :func:`unlock`.
        model_id: as in :func:`unlock`.
        permitted: as in :func:`unlock`.
        where: as in :func:`unlock`.
        queries: shape (k, dim).
        top: how many results a query, at most.
        without: leave this track's own rows out.
        block_bytes: how many bytes of vectors are open at once (one page at least).

    Returns:
        for each query its hits, best first, in the order in which :func:`unlock` and :func:`nearest_many` give them;
        and how many rows were compared.
    """
    best: list[list[Hit]] = [[] for _ in queries]
    searched = 0
    for matrix in blocks(site, connection, model_id, permitted, where=where, block_bytes=block_bytes):
        bitmap = matrix.bitmap(without=without)
        searched += int(np.count_nonzero(bitmap))
        for place, rows in enumerate(nearest_many(matrix, queries, top, bitmap)):
            found = best[place] + hits(matrix, queries[place], rows)
            best[place] = sorted(found, key=lambda hit: -hit.score)[:top]  # stable: earlier rows first
    return best, searched


def hits(matrix: Matrix, query: npt.NDArray[np.floating[Any]], rows: Rows) -> list[Hit]:
    """Say what some rows are, with their exact cosines."""
    scores = matrix.scores(query, rows)
    return [Hit(score=float(score), located=matrix.locate(int(row))) for row, score in zip(rows, scores, strict=True)]


def nearest_many(
    matrix: Matrix, queries: npt.NDArray[np.floating[Any]], top: int, bitmap: Bitmap | None = None
) -> list[Rows]:
    """Return for each query what ``matrix.nearest`` does; many at once cost a fraction of one after the other.

    Args:
        matrix: from :func:`unlock`.
        queries: shape (k, dim).
        top: how many rows a query, at most.
        bitmap: shape (n,): the rows that may be answers; None for all.

    Raises:
        UsageError: code ``SEARCH_SHAPE``.
    """
    if len(queries) == 1:
        return [matrix.nearest(queries[0], top, bitmap)]
    from fabnet_secure.fabnet.neighbours import candidates

    return matrix.nearest_by(candidates, queries, top, bitmap)


def fits(site: Site, connection: Connection, model_id: ModelId) -> bool:
    """Tell whether a model's embeddings may be resident under ``[query] memory_limit_mib``."""
    return embeddings.plain_bytes(connection, model_id) <= site.settings.query.memory_limit_mib << 20


def _choose(
    site: Site,
    connection: Connection,
    model_id: ModelId,
    permitted: frozenset[ConsentId],
    where: Collection[TrackId] | None,
) -> _Chosen:
    """Hold every stored page against the census, and choose those to open."""
    segments, waiting = bundles.list_segments(connection), embeddings.list_waiting(connection)
    census = census_of(site)
    census.check(connection, chain((page.census() for page in segments), (page.census() for page in waiting)))
    named = None if where is None else bundles.pages_of_tracks(connection, census, model_id, where)
    return _Chosen(
        segments=[
            page
            for page in segments
            if page.consent_id in permitted and page.model_id == model_id and (named is None or page.page_id in named)
        ],
        waiting=[
            page
            for page in waiting
            if page.consent_id in permitted and page.model_id == model_id and (where is None or page.track_id in where)
        ],
    )


def _parts(chosen: _Chosen, block_bytes: int) -> Iterator[_Chosen]:
    """Cut the pages into runs of about ``block_bytes`` of vectors, in order; at least one, so that a run is checked."""
    segments: list[Segment] = []
    waiting: list[Waiting] = []
    size = 0
    for page in chosen.pages():
        more = page.n * page.dim * _HALF
        if size and size + more > block_bytes:
            yield _Chosen(segments=segments, waiting=waiting)
            segments, waiting, size = [], [], 0
        (segments if isinstance(page, Segment) else waiting).append(page)  # type: ignore[arg-type]
        size += more
    if size:
        yield _Chosen(segments=segments, waiting=waiting)


@contextmanager
def _opener(
    site: Site, connection: Connection, model_id: ModelId, chosen: _Chosen, parts: Sequence[_Chosen]
) -> Iterator["_Opener"]:
    """Make room for the largest part, and unwrap the keys while the kernel finds and locks its pages."""
    room = unlocked_zeros(max((part.rows * chosen.dim * _HALF + _spill(part) for part in parts), default=0))
    with working(lock, room) as locked:
        keys = open_keys(site, chosen.consents())
        try:
            yield _Opener(connection, model_id, keys, room, chosen.dim, locked=locked())
        finally:
            keys.wipe()


@dataclass(slots=True)
class _Opener:
    """Opens chosen pages into its room, one choice after the other; each matrix must be wiped before the next."""

    connection: Connection
    model_id: ModelId
    keys: Keys
    room: npt.NDArray[np.uint8]
    dim: int
    locked: bool

    def fill(self, chosen: _Chosen) -> Matrix:
        """Open every chosen page whose key lives; wipe what was opened when one does not open."""
        chosen = self._living(chosen)
        filling = _Filling(room=memoryview(self.room.data), keys=self.keys, width=self.dim * _HALF)
        try:
            self._packed(chosen.segments, filling)
            self._waiting(chosen.waiting, filling)
            self.room[filling.row * filling.width :] = 0  # the last margin
        except BaseException:
            self.room.fill(0)
            raise
        vectors = self.room[: filling.row * filling.width].view(np.float16).reshape(filling.row, self.dim)
        return Matrix(vectors, filling.pages, self.model_id, locked=self.locked)

    def _living(self, chosen: _Chosen) -> _Chosen:
        living = self.keys.living
        return _Chosen(
            segments=[page for page in chosen.segments if page.consent_id in living],
            waiting=[page for page in chosen.waiting if page.consent_id in living],
        )

    def _packed(self, segments: Sequence[Segment], filling: "_Filling") -> None:
        """Read bundles here and open their pages at the side: the database and the cipher each have a core."""
        runs = [(number, list(run)) for number, run in groupby(segments, key=attrgetter("bundle_id"))]
        expected = iter(runs)

        def take(bundle: tuple[int, bytes]) -> None:
            number, pages = next(expected)
            if number != bundle[0]:
                raise changed("a bundle of embeddings is gone")
            view = memoryview(bundle[1])
            for segment in pages:
                filling.packed(segment, bundles.cut(segment, view))

        with closing(bundles.read_bundles(self.connection, self.model_id, [number for number, _ in runs])) as bundled:
            hand_over(bundled, take)
        if next(expected, None) is not None:
            raise changed("a bundle of embeddings is gone")

    def _waiting(self, pages: Sequence[Waiting], filling: "_Filling") -> None:
        if not pages:
            return
        reader = embeddings.read_waiting(self.connection, self.model_id)
        for page in pages:
            for track_id, number, sealed in reader:
                if (track_id, number) == (page.track_id, page.page):
                    filling.waiting(page, Sealed.from_storage(sealed))
                    break
            else:
                raise changed("a page of embeddings is gone")


@dataclass(slots=True)
class _Filling:
    """A matrix that is being filled: where the next page goes."""

    room: memoryview
    keys: Keys
    width: int
    row: int = 0
    pages: list[PageRows] = field(default_factory=list)

    def packed(self, page: Segment, sealed: memoryview) -> None:
        """Open a packed page in its place; its margin, behind its vectors, is taken out before the next one comes."""
        room = self.room[self.row * self.width :]
        length = self.keys.unseal_into(page.consent_id, page.bound, sealed, room)
        size = page.n * self.width
        if page.dim * _HALF != self.width or length < size:
            raise misfit()
        self._add(page, Margin(bytes(room[size:length]), page.n))

    def waiting(self, page: Waiting, sealed: Sealed) -> None:
        """Open a page as ingest wrote it."""
        plain = self.keys.unseal(page.consent_id, page.context, sealed)
        size = page.n * self.width
        if page.dim * _HALF != self.width or len(plain) != size:
            raise misfit()
        place = self.row * self.width
        self.room[place : place + size] = plain
        rows = np.frombuffer(self.room[place : place + size], np.float16).reshape(page.n, page.dim)
        self._add(page, Margin(pack_margin([(page.track_id, page.frame_indices)], inverse_lengths(rows)), page.n))

    def _add(self, page: Segment | Waiting, margin: Margin) -> None:
        stop = self.row + page.n
        self.pages.append(PageRows(page.consent_id, page.subject_id, self.row, stop, margin))
        self.row = stop


def _spill(chosen: _Chosen) -> int:
    """Return how far the last page's margin can reach over the end of the vectors."""
    return max((bulk_length(page.length) - page.n * page.dim * _HALF for page in chosen.segments), default=0)
