"""Pack: waiting pages, as ingest sealed them by public key, become larger pages sealed under the same keys, in bundles.

Opening a waiting page costs one X25519 exchange (46 µs) and a row of its own; a packed one costs neither, so whoever
holds the embedding keys packs what waits before a question. Guarantees that pages are exchanged in one transaction
with its log entry (a crash leaves the one or the other form, never both or none), that of two processes at once the
second packs what the first left, and that nothing of a consent that has ended is packed. Plaintext stands in locked
memory only, besides the library's own copies.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Final

import numpy as np
import numpy.typing as npt

from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, seal_bulk
from fabnet_secure.memory import locked_zeros
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import covering
from fabnet_secure.pipeline.pages import Keys, census_of, misfit, open_keys
from fabnet_secure.progress import Progress, Silent
from fabnet_secure.store import bundles, embeddings
from fabnet_secure.store.bundles import FORMAT, PAGE_BYTES, PackedPage, Segment
from fabnet_secure.store.database import Work
from fabnet_secure.store.embeddings import EmbeddingPageRow, WaitingCount
from fabnet_secure.store.margins import Margin, pack_margin
from fabnet_secure.store.search import inverse_lengths
from fabnet_secure.types import ConsentId, KeyDomain, ModelId, Purpose, TrackId

BATCH: Final = 2000
"""Waiting pages of one transaction: about half a second under the write lock."""
WORTH_IT: Final = 64
"""Below this many waiting pages a question opens them one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was packed."""

    waiting: int
    pages: int
    bundles: int
    embeddings: int


def pack_if_worthwhile(site: Site, *, progress: Progress | None = None) -> Packed:
    """Pack what waits, if that is much and this keyring opens embeddings; call it before a question's snapshot."""
    nothing = Packed(waiting=0, pages=0, bundles=0, embeddings=0)
    if not site.keyring.opens(KeyDomain.EMBEDDINGS):
        return nothing
    with site.reading() as connection:
        if embeddings.count_waiting(connection) < WORTH_IT:
            return nothing
    return pack(site, progress=progress)


def pack(site: Site, *, progress: Progress | None = None) -> Packed:
    """Pack every waiting page whose consent covers embedding now.

    Raises:
        KeyProblem: (KEY_DOMAIN) this keyring does not open embeddings.
        IntegrityFailure: a page does not open, or pages lack; what was packed before stays packed.
    """
    told = progress or Silent()
    with site.reading() as connection:
        embeddings.check(connection, census_of(site))
        effective = covering(site, connection, Purpose.EMBED).effective
        waiting = [one for one in embeddings.waiting_by_consent(connection) if one.consent_id in effective]
    total = Packed(waiting=0, pages=0, bundles=0, embeddings=0)
    whole = sum(one.pages for one in waiting)
    for batch in _batches(waiting):
        done = _pack_batch(site, batch)
        total = Packed(
            waiting=total.waiting + done.waiting,
            pages=total.pages + done.pages,
            bundles=total.bundles + done.bundles,
            embeddings=total.embeddings + done.embeddings,
        )
        told.advance("pages packed", total.waiting, whole)
    return total


def _batches(waiting: Iterable[WaitingCount]) -> Iterator[list[WaitingCount]]:
    batch: list[WaitingCount] = []
    size = 0
    for one in waiting:
        if batch and (size + one.pages > BATCH or one.model_id != batch[0].model_id):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.pages
    if batch:
        yield batch


def _pack_batch(site: Site, batch: Sequence[WaitingCount]) -> Packed:
    """Pack the waiting pages of some consents of one model, as they are now, in one transaction."""
    census, model_id = census_of(site), batch[0].model_id
    with site.work() as work:
        effective = covering(site, work.connection, Purpose.EMBED).effective
        wanted = [one.consent_id for one in batch if one.consent_id in effective]
        keys = open_keys(site, wanted)
        try:
            made = [_take(work, model_id, one, keys) for one in wanted if one in keys.living]
        finally:
            keys.wipe()
        pages = [page for taken in made for page in taken.pages]
        waiting = [page for taken in made for page in taken.waiting]
        embeddings.remove_waiting(work.connection, census, waiting)
        bundles.erase_segments(work.connection, census, [segment for taken in made for segment in taken.segments])
        moved = bundles.compact(work.connection)
        written = bundles.add_bundles(work.connection, census, model_id, pages)
        count = sum(page.n for page in waiting)
        work.log(
            "embeddings.packed",
            facts={"waiting": len(waiting), "pages": len(pages), "embeddings": count, "moved": moved},
        )
    return Packed(waiting=len(waiting), pages=len(pages), bundles=written, embeddings=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What a consent's waiting pages, and its packed ones that were not full, became."""

    waiting: list[EmbeddingPageRow]
    segments: list[Segment]
    pages: list[PackedPage]


def _take(work: Work, model_id: ModelId, consent_id: ConsentId, keys: Keys) -> _Taken:
    """Open a consent's pages of a model and seal them anew as few larger ones."""
    connection = work.connection
    waiting = embeddings.list_pages(connection, model_id, consent_id=consent_id)
    if not waiting:
        return _Taken(waiting=[], segments=[], pages=[])
    subject_id, dim = waiting[0].subject_id, waiting[0].dim
    partial = [
        (segment, sealed)
        for segment, sealed in bundles.sealed_of_consent(connection, consent_id)
        if segment.model_id == model_id and segment.dim == dim and 4 * segment.n * dim < PAGE_BYTES
    ]
    count = sum(segment.n for segment, _ in partial) + sum(page.n for page in waiting)
    vectors, _ = locked_zeros((count, dim), np.float16)
    try:
        runs = _open_all(keys, partial, waiting, vectors)
        owner = Context(format=FORMAT, subject=subject_id, consent=consent_id, model=model_id, dim=dim)
        pages = list(_seal_all(keys.living[consent_id], owner, runs, vectors))
    finally:
        vectors.fill(0)
    return _Taken(waiting=waiting, segments=[segment for segment, _ in partial], pages=pages)


def _open_all(
    keys: Keys,
    partial: Sequence[tuple[Segment, Sealed]],
    waiting: Sequence[EmbeddingPageRow],
    vectors: npt.NDArray[np.float16],
) -> list[tuple[TrackId, int]]:
    """Open pages one after the other into ``vectors``, and return each row's track and frame."""
    labels: list[tuple[TrackId, int]] = []
    for segment, sealed in partial:
        plain = keys.unseal(segment.consent_id, segment.context, sealed)
        margin = Margin(_put(plain, segment.n, vectors, len(labels)), segment.n)
        labels += margin.labels()
    for page in waiting:
        if page.dim != vectors.shape[1]:
            raise misfit()
        plain = keys.unseal(page.consent_id, page.waiting.context, page.sealed)
        if _put(plain, page.n, vectors, len(labels)):
            raise misfit()
        labels += [(page.track_id, frame) for frame in page.frame_indices]
    return labels


def _put(plain: bytes, n: int, vectors: npt.NDArray[np.float16], row: int) -> bytes:
    """Copy a page's vectors to their rows, and return what stands behind them."""
    size = n * vectors.shape[1] * 2
    if len(plain) < size:
        raise misfit()
    vectors[row : row + n] = np.frombuffer(plain, np.float16, n * vectors.shape[1]).reshape(n, -1)
    return plain[size:]


def _seal_all(
    key: DataKey, owner: Context, labels: Sequence[tuple[TrackId, int]], vectors: npt.NDArray[np.float16]
) -> Iterator[PackedPage]:
    """Seal rows in pages of ``PAGE_BYTES`` at most, each with the margin that names its tracks and frames."""
    most = max(1, PAGE_BYTES // (2 * owner.dim))
    for start in range(0, len(labels), most):
        here = labels[start : start + most]
        tracks = [(track_id, [frame for _, frame in run]) for track_id, run in groupby(here, key=itemgetter(0))]
        context = replace(owner, page=bundles.fresh_page_id(), n=len(here))
        rows = vectors[start : start + len(here)]
        plain = rows.tobytes() + pack_margin(tracks, inverse_lengths(rows))
        named = tuple(dict.fromkeys(track_id for track_id, _ in tracks))
        yield PackedPage(context=context, sealed=seal_bulk(key, context, plain), tracks=named)
