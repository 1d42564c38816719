"""Packed pages of embeddings: small subjects share a row that is fetched at once, and each keeps its own key.

A bundle is one row of concatenated sealed pages; its directory, ``embedding_segment``, says where each page lies and
whose it is. Guarantees that a page's number is never used twice, so that an older sealing of the same person's page
opens nowhere; and that an erased page's bytes are overwritten in place. Does not open anything.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from fabnet_secure.crypto.digest import random_bytes
from fabnet_secure.crypto.envelope import Context, Sealed
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store.census import Census
from fabnet_secure.store.columns import in_chunks
from fabnet_secure.store.copy import fetch, mapped
from fabnet_secure.store.rows import change, put
from fabnet_secure.store.tables_embedding import embedding_bundle, embedding_segment, embedding_track
from fabnet_secure.store.tracks import check_sealed
from fabnet_secure.types import ConsentId, ModelId, SubjectId, TrackId

FORMAT: Final = "embeddings/2"
PAGE_BYTES: Final = 256 * 1024
"""The vectors of one packed page at most; a subject with more has several pages."""
BUNDLE_BYTES: Final = 256 * 1024
"""A bundle is full at this size; one page more may lie over it."""

_COLUMNS: Final = tuple(
    embedding_segment.c[name]
    for name in ("page_id", "bundle_id", "start", "length", "consent_id", "subject_id", "model_id", "n", "dim")
)
_TYPES: Final = "int8 int8 int4 int4 text text text int4 int4"


class Segment(NamedTuple):
    """Where one packed page lies, and whose it is: ``n`` vectors of ``dim`` float16 and their margin."""

    page_id: int
    bundle_id: int
    start: int
    length: int
    consent_id: ConsentId
    subject_id: SubjectId
    model_id: ModelId
    n: int
    dim: int

    @property
    def context(self) -> Context:
        """What the page is bound to."""
        return Context(
            format=FORMAT,
            subject=self.subject_id,
            consent=self.consent_id,
            model=self.model_id,
            page=self.page_id,
            n=self.n,
            dim=self.dim,
        )

    @property
    def bound(self) -> bytes:
        """The context's encoding, five times as fast; a name that is no id has another one, and its page stays shut."""
        return (
            f'{{"consent":"{self.consent_id}","dim":{self.dim},"format":"{FORMAT}","model":"{self.model_id}",'
            f'"n":{self.n},"page":{self.page_id},"subject":"{self.subject_id}","track":""}}'
        ).encode()

    def census(self) -> bytes:
        """Return what the census counts this page as; its number stands for the sealing."""
        return f"packed|{self.page_id}|{self.consent_id}|{self.subject_id}|{self.model_id}|{self.n}|{self.dim}".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPage:
    """One page ready to be bundled: sealed to ``context``, holding the embeddings of ``tracks``."""

    context: Context
    sealed: Sealed
    tracks: tuple[TrackId, ...]


def fresh_page_id() -> int:
    """Return a page number that no page ever had (48 random bits)."""
    return int.from_bytes(random_bytes(6))


def add_bundles(connection: Connection, census: Census, model_id: ModelId, pages: Sequence[PackedPage]) -> int:
    """Write packed pages of one model into as few bundles as their sizes allow, and return how many.

    Raises:
        TypeError: a page is not ``Sealed``.
        IntegrityFailure: code ``ROW_REFUSED``, ``EMBEDDINGS_CHANGED``.
    """
    for page in pages:
        check_sealed(page.sealed)
    bundle_id, made = _last_bundle(connection), 0
    for group in _groups(pages):
        bundle_id, made = bundle_id + 1, made + 1
        _add_bundle(connection, census, bundle_id, model_id, group)
    return made


def _add_bundle(
    connection: Connection, census: Census, bundle_id: int, model_id: ModelId, pages: Sequence[PackedPage]
) -> None:
    put(
        connection,
        embedding_bundle,
        bundle_id=bundle_id,
        model_id=model_id,
        sealed=b"".join(page.sealed.blob for page in pages),
    )
    segments, start = [], 0
    for page in pages:
        segments.append(_segment(bundle_id, start, page))
        start += len(page.sealed.blob)
    connection.execute(insert(embedding_segment), [segment._asdict() for segment in segments])
    entries = [(track_id, page.context.page) for page in pages for track_id in page.tracks]
    rows = [{"track_id": track_id, "model_id": model_id, "page_id": page_id} for track_id, page_id in entries]
    connection.execute(insert(embedding_track), rows)
    census.change(
        connection,
        added=[segment.census() for segment in segments],
        tracks_added=[_track_term(*entry) for entry in entries],
    )


def _segment(bundle_id: int, start: int, page: PackedPage) -> Segment:
    context = page.context
    return Segment(
        page_id=context.page,
        bundle_id=bundle_id,
        start=start,
        length=len(page.sealed.blob),
        consent_id=ConsentId(context.consent),
        subject_id=SubjectId(context.subject),
        model_id=ModelId(context.model),
        n=context.n,
        dim=context.dim,
    )


def _groups(pages: Iterable[PackedPage]) -> Iterator[list[PackedPage]]:
    group: list[PackedPage] = []
    size = 0
    for page in pages:
        if group and size + len(page.sealed.blob) > BUNDLE_BYTES:
            yield group
            group, size = [], 0
        group.append(page)
        size += len(page.sealed.blob)
    if group:
        yield group


def list_segments(connection: Connection) -> list[Segment]:
    """Return the directory of every bundle, in the order in which rows stand in a matrix."""
    ordered = select(*_COLUMNS).order_by(embedding_segment.c.bundle_id, embedding_segment.c.start)
    return [Segment._make(row) for row in fetch(connection, ordered, _TYPES)]


def pages_of_tracks(
    connection: Connection, census: Census, model_id: ModelId, tracks: Collection[TrackId]
) -> frozenset[int]:
    """Return the numbers of the packed pages that hold embeddings of these tracks.

    Raises:
        IntegrityFailure: code ``EMBEDDINGS_CHANGED``: an entry lacks, or is none that was written.
    """
    entries = list_tracks(connection)
    census.check_tracks(connection, (_track_term(track_id, page_id) for track_id, _, page_id in entries))
    return frozenset(page_id for track_id, of, page_id in entries if of == model_id and track_id in tracks)


def list_tracks(connection: Connection) -> list[tuple[TrackId, ModelId, int]]:
    """Return every entry (track, model, page) that says which tracks a packed page holds."""
    wanted = select(embedding_track.c.track_id, embedding_track.c.model_id, embedding_track.c.page_id)
    return [(row[0], row[1], row[2]) for row in fetch(connection, wanted, "text text int8")]


def check_tracks(connection: Connection, census: Census) -> None:
    """Hold the entries of packed tracks against the census.

    Raises:
        IntegrityFailure: code ``EMBEDDINGS_CHANGED``.
    """
    census.check_tracks(
        connection, (_track_term(track_id, page_id) for track_id, _, page_id in list_tracks(connection))
    )


def _track_term(track_id: str, page_id: int) -> bytes:
    return f"track|{track_id}|{page_id}".encode()


def segments_of_consent(connection: Connection, consent_id: ConsentId) -> list[Segment]:
    """Return the directory's entries of one consent."""
    wanted = select(*_COLUMNS).where(embedding_segment.c.consent_id == consent_id)
    ordered = wanted.order_by(embedding_segment.c.bundle_id, embedding_segment.c.start)
    return [Segment._make(row) for row in connection.execute(ordered)]


def read_bundles(
    connection: Connection, model_id: ModelId, wanted: Sequence[int]
) -> Generator[tuple[int, bytes], None, None]:
    """Yield (number, bytes) of bundles of a model, in order.

    Args:
        connection: a snapshot.
        model_id: whose pages they hold.
        wanted: their numbers, ascending; where they are the better part of the table, the others are read past.
    """
    numbers = frozenset(wanted)
    plain = select(embedding_bundle.c.bundle_id, embedding_bundle.c.sealed).order_by(embedding_bundle.c.bundle_id)
    of_model = embedding_bundle.c.model_id == model_id
    total = connection.execute(select(func.count()).select_from(embedding_bundle).where(of_model)).scalar_one()
    places = (
        [of_model]
        if 2 * len(numbers) > total
        else [embedding_bundle.c.bundle_id.in_(chunk) for chunk in in_chunks(sorted(numbers))]
    )
    with mapped(connection):
        for place in places:
            for number, blob in fetch(connection, plain.where(place), "int8 bytea"):
                if number in numbers:
                    yield number, blob


def cut(segment: Segment, bundle: memoryview) -> memoryview:
    """Return one page's bytes out of its bundle.

    Raises:
        IntegrityFailure: code ``STORE_CORRUPT``: the bundle was cut short.
    """
    part = bundle[segment.start : segment.start + segment.length]
    if len(part) != segment.length:
        raise IntegrityFailure("a bundle of embeddings was cut short", hint="restore a backup", code="STORE_CORRUPT")
    return part


def sealed_of_consent(connection: Connection, consent_id: ConsentId) -> list[tuple[Segment, Sealed]]:
    """Return every packed page of a consent with its ciphertext.

    Raises:
        IntegrityFailure: code ``STORE_CORRUPT`` or ``SEAL_MALFORMED``: the bundle was changed.
    """
    return [
        (segment, Sealed.from_storage(bytes(cut(segment, memoryview(_blob(connection, segment.bundle_id))))))
        for segment in segments_of_consent(connection, consent_id)
    ]


def replace_segment(connection: Connection, census: Census, old: Segment, page_id: int, sealed: Sealed) -> None:
    """Put a page that was sealed anew into a bundle of its own place, and overwrite the older bytes.

    Raises:
        UsageError: code ``NOT_FOUND``: the page is gone, or lies elsewhere, meanwhile.
    """
    if old not in segments_of_consent(connection, old.consent_id):
        raise UsageError("there is no such page, or not in this place", code="NOT_FOUND")
    tracks = tuple(track_id for track_id, _ in _tracks_of(connection, [old]))
    fresh = PackedPage(context=old._replace(page_id=page_id).context, sealed=sealed, tracks=tracks)
    if old.length == len(sealed.blob):
        _exchange(connection, census, old, page_id, sealed)
        return
    erase_segments(connection, census, [old])
    add_bundles(connection, census, old.model_id, [fresh])


def _exchange(connection: Connection, census: Census, old: Segment, page_id: int, sealed: Sealed) -> None:
    new = old._replace(page_id=page_id)
    _overwrite(connection, old.bundle_id, [(old, sealed.blob)])
    put(connection, embedding_segment, **new._asdict())
    tracks = _tracks_of(connection, [old])
    moved = update(embedding_track).where(embedding_track.c.page_id == old.page_id).values(page_id=page_id)
    connection.execute(moved)
    gone = delete(embedding_segment).where(embedding_segment.c.page_id == old.page_id)
    change(connection, gone, "page")
    census.change(
        connection,
        added=[new.census()],
        removed=[old.census()],
        tracks_added=[_track_term(track_id, page_id) for track_id, _ in tracks],
        tracks_removed=[_track_term(*entry) for entry in tracks],
    )


def erase_consent(connection: Connection, consent_id: ConsentId) -> tuple[list[bytes], list[bytes]]:
    """Erase every packed page of a consent from its bundles.

    Returns:
        what they and their tracks' entries were to the census, which is the caller's.
    """
    segments = segments_of_consent(connection, consent_id)
    entries = _tracks_of(connection, segments)
    _erase(connection, segments)
    return [segment.census() for segment in segments], [_track_term(*entry) for entry in entries]


def erase_segments(connection: Connection, census: Census, segments: Sequence[Segment]) -> None:
    """Overwrite pages with zeros in their bundles and take them out of the directory; an empty bundle goes wholly.

    Raises:
        UsageError: code ``NOT_FOUND``: one of them is gone meanwhile.
    """
    entries = _tracks_of(connection, segments)
    _erase(connection, segments)
    removed = [segment.census() for segment in segments]
    census.change(connection, removed=removed, tracks_removed=[_track_term(*entry) for entry in entries])


def _tracks_of(connection: Connection, segments: Sequence[Segment]) -> list[tuple[TrackId, int]]:
    wanted = select(embedding_track.c.track_id, embedding_track.c.page_id)
    return [
        (row.track_id, row.page_id)
        for chunk in in_chunks([segment.page_id for segment in segments])
        for row in connection.execute(wanted.where(embedding_track.c.page_id.in_(chunk)))
    ]


def _erase(connection: Connection, segments: Sequence[Segment]) -> None:
    for bundle_id in sorted({segment.bundle_id for segment in segments}):
        here = [segment for segment in segments if segment.bundle_id == bundle_id]
        for segment in here:
            connection.execute(delete(embedding_track).where(embedding_track.c.page_id == segment.page_id))
            gone = delete(embedding_segment).where(embedding_segment.c.page_id == segment.page_id)
            change(connection, gone, "page")
        left = select(func.count()).select_from(embedding_segment).where(embedding_segment.c.bundle_id == bundle_id)
        if connection.execute(left).scalar_one():
            _overwrite(connection, bundle_id, [(segment, bytes(segment.length)) for segment in here])
        else:
            connection.execute(delete(embedding_bundle).where(embedding_bundle.c.bundle_id == bundle_id))


def compact(connection: Connection) -> int:
    """Move what is left in bundles that are more than half erased into fuller ones, and return how many pages moved.

    Nothing is opened or sealed anew: a page is bound to its number, not to its place.
    """
    living = func.sum(embedding_segment.c.length)
    sparse = (
        select(embedding_bundle.c.bundle_id, embedding_bundle.c.model_id)
        .join(embedding_segment, embedding_segment.c.bundle_id == embedding_bundle.c.bundle_id)
        .group_by(embedding_bundle.c.bundle_id, embedding_bundle.c.model_id)
        .having(2 * living < func.max(func.length(embedding_bundle.c.sealed)))
        .order_by(embedding_bundle.c.model_id, embedding_bundle.c.bundle_id)
    )
    moved = 0
    for model_id, rows in groupby(connection.execute(sparse).all(), key=lambda row: ModelId(row.model_id)):
        numbers = [int(row.bundle_id) for row in rows]
        if len(numbers) > 1:  # one alone has nowhere to go
            moved += _move(connection, model_id, numbers)
    return moved


def _move(connection: Connection, model_id: ModelId, numbers: Sequence[int]) -> int:
    fresh = _last_bundle(connection) + 1
    put(connection, embedding_bundle, bundle_id=fresh, model_id=model_id, sealed=b"")
    together = bytearray()
    moved = 0
    for number in numbers:
        blob = memoryview(_blob(connection, number))
        wanted = select(*_COLUMNS).where(embedding_segment.c.bundle_id == number)
        for segment in [Segment._make(row) for row in connection.execute(wanted)]:
            place = embedding_segment.c.page_id == segment.page_id
            values = {"bundle_id": fresh, "start": len(together)}
            change(connection, update(embedding_segment).where(place).values(**values), "page")
            together += cut(segment, blob)
            moved += 1
        connection.execute(delete(embedding_bundle).where(embedding_bundle.c.bundle_id == number))
    place = embedding_bundle.c.bundle_id == fresh
    change(connection, update(embedding_bundle).where(place).values(sealed=bytes(together)), "bundle")
    return moved


def _overwrite(connection: Connection, bundle_id: int, parts: Sequence[tuple[Segment, bytes]]) -> None:
    blob = bytearray(_blob(connection, bundle_id))  # gone behind our back: then nothing is left to overwrite
    if not blob:
        return
    for segment, fresh in parts:
        blob[segment.start : segment.start + segment.length] = fresh
    place = embedding_bundle.c.bundle_id == bundle_id
    change(connection, update(embedding_bundle).where(place).values(sealed=bytes(blob)), "bundle")


def _blob(connection: Connection, bundle_id: int) -> bytes:
    """Return a bundle's bytes; none where it is gone."""
    wanted = select(embedding_bundle.c.bundle_id, embedding_bundle.c.sealed)
    rows = fetch(connection, wanted.where(embedding_bundle.c.bundle_id == bundle_id), "int8 bytea")
    return next((blob for _, blob in rows), b"")


def _last_bundle(connection: Connection) -> int:
    return int(connection.execute(select(func.coalesce(func.max(embedding_bundle.c.bundle_id), 0))).scalar_one())
