"""Sealed pages of embeddings: one row a track, model and page.

Guarantees that a page is ciphertext and names the consent that it lives and dies with. Does not open pages, and
writes no index file, plain or sealed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from fabnet_secure.crypto.envelope import Sealed
from fabnet_secure.store.rows import put
from fabnet_secure.store.tables import embedding_page
from fabnet_secure.store.tracks import check_indices, check_sealed
from fabnet_secure.types import ConsentId, ModelId, SubjectId, TrackId


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPageRow:
    """One sealed page: ``n`` vectors of ``dim`` float16, from the frames ``frame_indices``."""

    track_id: TrackId
    subject_id: SubjectId
    consent_id: ConsentId
    model_id: ModelId
    page: int
    sealed: Sealed
    n: int
    dim: int
    frame_indices: tuple[int, ...]


def add_page(
    connection: Connection,
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
        IntegrityFailure: code ``ROW_REFUSED``: a name is unknown, or the page is there already.
    """
    check_sealed(sealed)
    check_indices(n, frame_indices)
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


def list_pages(
    connection: Connection, model_id: ModelId | None = None, *, track_id: TrackId | None = None
) -> list[EmbeddingPageRow]:
    """Return every page (of a model, of a track), ordered by track, model and page. All are in memory at once."""
    wanted = select(embedding_page)
    if model_id is not None:
        wanted = wanted.where(embedding_page.c.model_id == model_id)
    if track_id is not None:
        wanted = wanted.where(embedding_page.c.track_id == track_id)
    ordered = wanted.order_by(embedding_page.c.track_id, embedding_page.c.model_id, embedding_page.c.page)
    return [
        EmbeddingPageRow(**{**row, "frame_indices": tuple(row["frame_indices"])})
        for row in connection.execute(ordered).mappings()
    ]


def embedded_tracks(connection: Connection, model_id: ModelId) -> frozenset[TrackId]:
    """Return the tracks that a model has embedded, without reading the pages."""
    wanted = select(embedding_page.c.track_id).where(embedding_page.c.model_id == model_id).distinct()
    return frozenset(TrackId(found) for found in connection.execute(wanted).scalars())


def count(connection: Connection, consent_id: ConsentId) -> int:
    """Return how many embeddings (vectors, not pages) are stored under a consent."""
    total = select(func.coalesce(func.sum(embedding_page.c.n), 0)).where(embedding_page.c.consent_id == consent_id)
    return int(connection.execute(total).scalar_one())
