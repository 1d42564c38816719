"""Sealed pages of embeddings: as an ingest wrote them (one row a track, model and page), or packed into bundles.

Guarantees that a page is ciphertext, that it names the consent that it lives and dies with, that the census knows of
every page, and that a deleted page's bytes are gone from its bundle in the same transaction. Does not open pages, and
writes no index file, plain or sealed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, union, update

from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, seal, seal_bulk
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store import bundles
from fabnet_secure.store.census import Census, Tally
from fabnet_secure.store.copy import fetch
from fabnet_secure.store.rows import change, put
from fabnet_secure.store.tables import model
from fabnet_secure.store.tables_embedding import embedding_page, embedding_segment, embedding_track
from fabnet_secure.store.tracks import check_indices, check_sealed
from fabnet_secure.types import ConsentId, ModelId, SubjectId, TrackId, canonical_json

_ORDER = tuple(embedding_page.c[name] for name in ("consent_id", "track_id", "model_id", "page"))
_HEAD_BYTES = 160  # holds a sealed page's wrap, salt and commitment: no two pages agree in it


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPageRow:
    """One sealed page that waits to be packed: ``n`` vectors of ``dim`` float16, from the frames ``frame_indices``."""

    track_id: TrackId
    subject_id: SubjectId
    consent_id: ConsentId
    model_id: ModelId
    page: int
    sealed: Sealed
    n: int
    dim: int
    frame_indices: tuple[int, ...]

    @property
    def waiting(self) -> "Waiting":
        """The page without its ciphertext."""
        frames = canonical_json(list(self.frame_indices)).decode()
        head = self.sealed.blob[:_HEAD_BYTES]
        names = (self.track_id, self.model_id, self.page, self.subject_id, self.consent_id)
        return Waiting(*names, self.n, self.dim, frames, head)


class Waiting(NamedTuple):
    """What is known of a waiting page without its ciphertext; ``head`` is the first bytes of that."""

    track_id: TrackId
    model_id: ModelId
    page: int
    subject_id: SubjectId
    consent_id: ConsentId
    n: int
    dim: int
    frames: str
    head: bytes

    @property
    def context(self) -> Context:
        """What the page is bound to."""
        return Context(
            format="embeddings/1",
            subject=self.subject_id,
            consent=self.consent_id,
            track=self.track_id,
            model=self.model_id,
            page=self.page,
            n=self.n,
            dim=self.dim,
        )

    @property
    def frame_indices(self) -> tuple[int, ...]:
        """The frame of each vector."""
        return tuple(json.loads(self.frames))

    def census(self) -> bytes:
        """Return what the census counts this page as."""
        return json.dumps(["waiting", *self[:-1]]).encode() + bytes(self.head)


class WaitingCount(NamedTuple):
    """How many pages of a model wait under a consent."""

    model_id: ModelId
    consent_id: ConsentId
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPage:
    """One sealed page wherever it lies, with all that is needed to seal it anew.

    Attributes:
        context: what it is bound to now.
        next_context: what its next sealing must be bound to.
        sealed: the ciphertext.
        key: where it lies; for :func:`replace_page`.
    """

    context: Context
    next_context: Context
    sealed: Sealed
    key: "EmbeddingPageRow | bundles.Segment"

    @property
    def seal_with(self) -> Callable[[DataKey, Context, bytes], Sealed]:
        """How to seal the page's plaintext anew, in the form that its place wants."""
        return seal if isinstance(self.key, EmbeddingPageRow) else seal_bulk


def add_page(
    connection: Connection,
    census: Census,
    *,
    track_id: TrackId,
    subject_id: SubjectId,
    consent_id: ConsentId,
    model_id: ModelId,
    page: int,
    sealed: Sealed,
    n: int,
    dim: int,
    frame_indices: Sequence[int],
) -> None:
    """Add one sealed page.

    Raises:
        TypeError: ``sealed`` is not ``Sealed``.
        UsageError: code ``SHAPE``: ``n`` and ``frame_indices`` disagree.
        IntegrityFailure: code ``ROW_REFUSED``: a name is unknown, or the page is there already;
            ``EMBEDDINGS_CHANGED``: the census is not what this vault wrote.
    """
    check_sealed(sealed)
    check_indices(n, frame_indices)
    row = EmbeddingPageRow(
        track_id=track_id,
        subject_id=subject_id,
        consent_id=consent_id,
        model_id=model_id,
        page=page,
        sealed=sealed,
        n=n,
        dim=dim,
        frame_indices=tuple(frame_indices),
    )
    put(
        connection,
        embedding_page,
        track_id=track_id,
        subject_id=subject_id,
        consent_id=consent_id,
        model_id=model_id,
        page=page,
        sealed=sealed,
        n=n,
        dim=dim,
        frame_indices=list(frame_indices),
    )
    census.change(connection, added=[row.waiting.census()])


def list_pages(
    connection: Connection,
    model_id: ModelId | None = None,
    *,
    track_id: TrackId | None = None,
    consent_id: ConsentId | None = None,
    limit: int | None = None,
) -> list[EmbeddingPageRow]:
    """Return the waiting pages (of a model, track, consent), ordered by consent, track, model and page."""
    wanted = select(embedding_page)
    for column, value in (("model_id", model_id), ("track_id", track_id), ("consent_id", consent_id)):
        if value is not None:
            wanted = wanted.where(embedding_page.c[column] == value)
    wanted = wanted.order_by(*_ORDER)
    return [
        EmbeddingPageRow(**{**row, "frame_indices": tuple(row["frame_indices"])})
        for row in connection.execute(wanted if limit is None else wanted.limit(limit)).mappings()
    ]


def waiting_by_consent(connection: Connection) -> list[WaitingCount]:
    """Count the waiting pages of each model and consent."""
    names = (embedding_page.c.model_id, embedding_page.c.consent_id)
    wanted = select(*names, func.count()).group_by(*names).order_by(*names)
    return [WaitingCount._make(row) for row in connection.execute(wanted)]


def count_waiting(connection: Connection, model_id: ModelId | None = None) -> int:
    """Return how many pages wait to be packed."""
    wanted = select(func.count()).select_from(embedding_page)
    wanted = wanted if model_id is None else wanted.where(embedding_page.c.model_id == model_id)
    return int(connection.execute(wanted).scalar_one())


def remove_waiting(connection: Connection, census: Census, pages: Sequence[EmbeddingPageRow]) -> None:
    """Delete pages that were packed, each of which must still be there.

    Raises:
        UsageError: code ``NOT_FOUND``: another process was faster.
    """
    for page in pages:
        change(connection, delete(embedding_page).where(_place(page)), "page")
    census.change(connection, removed=[page.waiting.census() for page in pages])


def pages_of_consent(connection: Connection, consent_id: ConsentId) -> list[StoredPage]:
    """Return every sealed page of a consent, packed or waiting."""
    waiting = [
        StoredPage(context=page.waiting.context, next_context=page.waiting.context, sealed=page.sealed, key=page)
        for page in list_pages(connection, consent_id=consent_id)
    ]
    packed = [
        StoredPage(
            context=segment.context,
            next_context=segment._replace(page_id=bundles.fresh_page_id()).context,
            sealed=sealed,
            key=segment,
        )
        for segment, sealed in bundles.sealed_of_consent(connection, consent_id)
    ]
    return [*waiting, *packed]


def replace_page(connection: Connection, census: Census, page: StoredPage, sealed: Sealed) -> None:
    """Put ``sealed``, bound to ``page.next_context``, in the place of a page; the older bytes are gone.

    Raises:
        TypeError: ``sealed`` is not ``Sealed``.
        UsageError: code ``NOT_FOUND``: the page is gone meanwhile.
    """
    check_sealed(sealed)
    if isinstance(page.key, EmbeddingPageRow):
        fresh = replace(page.key, sealed=sealed)
        change(connection, update(embedding_page).where(_place(page.key)).values(sealed=sealed), "page")
        census.change(connection, added=[fresh.waiting.census()], removed=[page.key.waiting.census()])
    else:
        bundles.replace_segment(connection, census, page.key, page.next_context.page, sealed)


def embedded_tracks(connection: Connection, model_id: ModelId) -> frozenset[TrackId]:
    """Return the tracks that a model has embedded, without reading the pages."""
    waiting = select(embedding_page.c.track_id).where(embedding_page.c.model_id == model_id)
    packed = select(embedding_track.c.track_id).where(embedding_track.c.model_id == model_id)
    return frozenset(TrackId(found) for found in connection.execute(union(waiting, packed)).scalars())


def models_of_track(connection: Connection, track_id: TrackId) -> list[ModelId]:
    """Return the models that embedded a track, the newest model last."""
    waiting = select(embedding_page.c.model_id).where(embedding_page.c.track_id == track_id)
    packed = select(embedding_track.c.model_id).where(embedding_track.c.track_id == track_id)
    found = select(model.c.model_id).where(model.c.model_id.in_(union(waiting, packed)))
    ordered = found.order_by(model.c.created_at, model.c.model_id)
    return [ModelId(one) for one in connection.execute(ordered).scalars()]


def plain_bytes(connection: Connection, model_id: ModelId) -> int:
    """Return how many bytes a model's embeddings take when they are open."""
    size = 0
    for table in (embedding_page, embedding_segment):
        wanted = select(func.coalesce(func.sum(table.c.n * table.c.dim), 0)).where(table.c.model_id == model_id)
        size += 2 * int(connection.execute(wanted).scalar_one())
    return size


def count(connection: Connection, consent_id: ConsentId) -> int:
    """Return how many embeddings (vectors, not pages) are stored under a consent."""
    return remaining(connection, consent_id)["embeddings"]


def remaining(connection: Connection, consent_id: ConsentId) -> dict[str, int]:
    """Return how many ``embedding_pages`` and ``embeddings`` (vectors) are stored under a consent."""
    rows = [
        connection.execute(
            select(func.count(), func.coalesce(func.sum(table.c.n), 0)).where(table.c.consent_id == consent_id)
        ).one()
        for table in (embedding_page, embedding_segment)
    ]
    return {"embedding_pages": sum(int(row[0]) for row in rows), "embeddings": sum(int(row[1]) for row in rows)}


def delete_consent(connection: Connection, census: Census, consent_id: ConsentId) -> None:
    """Delete every page of a consent; in a bundle its bytes are overwritten with zeros and its segment goes.

    Goes on where the census is not what this vault wrote: a withdrawal waits for no repair, and no question is
    answered before one.
    """
    waiting = list_waiting(connection, consent_id)
    connection.execute(delete(embedding_page).where(embedding_page.c.consent_id == consent_id))
    packed, tracks = bundles.erase_consent(connection, consent_id)
    gone = [page.census() for page in waiting] + packed
    with suppress(IntegrityFailure):
        census.change(connection, removed=gone, tracks_removed=tracks)


def list_waiting(connection: Connection, consent_id: ConsentId | None = None) -> list[Waiting]:
    """Return every waiting page (of a consent) without its ciphertext, ordered as :func:`read_waiting` does."""
    columns = (embedding_page.c[name] for name in Waiting._fields[:-2])
    head = func.substr(embedding_page.c.sealed, 1, _HEAD_BYTES)
    wanted: Select[Any] = select(*columns, embedding_page.c.frame_indices, head).order_by(*_ORDER)
    if consent_id is not None:
        wanted = wanted.where(embedding_page.c.consent_id == consent_id)
    return [Waiting._make(row) for row in fetch(connection, wanted, "text text int4 text text int4 int4 text bytea")]


def read_waiting(connection: Connection, model_id: ModelId) -> Iterator[tuple[TrackId, int, bytes]]:
    """Yield (track, page, sealed bytes) of a model's waiting pages, by consent, track and page."""
    columns = (embedding_page.c[name] for name in ("track_id", "page", "sealed"))
    wanted = select(*columns).where(embedding_page.c.model_id == model_id).order_by(*_ORDER)
    return fetch(connection, wanted, "text int4 bytea")


def adopt(connection: Connection, census: Census) -> Tally:
    """Count what is there for the first time: in a vault of an older version, which has no bundles yet."""
    return census.adopt(connection, (page.census() for page in list_waiting(connection)))


def check(connection: Connection, census: Census) -> None:
    """Hold the stored pages against the census.

    Raises:
        IntegrityFailure: code ``EMBEDDINGS_CHANGED``.
    """
    census.check(connection, _terms(connection))
    bundles.check_tracks(connection, census)


def _place(page: EmbeddingPageRow) -> ColumnElement[bool]:
    same = (embedding_page.c.track_id == page.track_id) & (embedding_page.c.model_id == page.model_id)
    return same & (embedding_page.c.page == page.page)


def _terms(connection: Connection) -> list[bytes]:
    packed = [page.census() for page in bundles.list_segments(connection)]
    return packed + [page.census() for page in list_waiting(connection)]
