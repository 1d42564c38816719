"""The search behind every kind of question: which stored frames lie nearest to a direction.

Guarantees that only pages of the consents that are named are opened, and answers come from the tracks that the filters
leave; that a track's own frames are never its results; that the ranking is exact, and the same whether the embeddings
are resident or (over ``[query] memory_limit_mib``) streamed; that every opened number, and each direction that was
searched by, is zeroed before the search returns. Does not ask whether a consent is in force or a principal allowed:
:mod:`.query` does, before and after.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.pack import pack_if_worthwhile
from fabnet_secure.pipeline.unlock import Hit as Row
from fabnet_secure.pipeline.unlock import fits, hits, nearest_many, stream, unlock
from fabnet_secure.store import embeddings
from fabnet_secure.store.database import Connection
from fabnet_secure.store.matrix import Matrix
from fabnet_secure.types import ConsentId, ModelId, TrackId


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What may be searched: one model's embeddings under some consents, of some tracks (None: of all)."""

    model_id: ModelId
    consents: frozenset[ConsentId]
    tracks: frozenset[TrackId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One frame that lies near; the score (cosine) leaves only where scores are permitted."""

    consent_id: ConsentId
    track_id: TrackId
    frame: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """The nearest frames to one direction, best first, and how many were compared."""

    hits: tuple[Hit, ...]
    searched: int


_NOTHING = Ranked(hits=(), searched=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Direction:
    """What one question searches by; ``own`` rows of its track are among those opened, and are no results of it."""

    vector: np.ndarray
    track_id: TrackId | None = None
    own: int = 0


def nearest_to_tracks(site: Site, asked: Sequence[TrackId], scope: Scope, top: int) -> tuple[Ranked, ...]:
    """Search by stored tracks: each one's mean embedding; a track's own frames are left out of its results.

    Returns:
        One ranking a track, in order; an empty one for a track whose key was destroyed meanwhile.
    """
    own = frozenset(asked)
    pack_if_worthwhile(site)
    with site.reading() as connection:
        resident = fits(site, connection, scope.model_id)
    where = own if not resident else None if scope.tracks is None else scope.tracks | own
    with _unlocked(site, scope, where) as matrix:
        found = {track_id: _direction(matrix, track_id, scope) for track_id in own}
        by = {track_id: one for track_id, one in found.items() if one is not None}
        try:
            ranked = _resident(matrix, list(by.values()), scope, top) if resident else _streamed(site, by, scope, top)
        finally:
            for one in by.values():
                one.vector.fill(0)
    told = dict(zip(by, ranked, strict=True))
    return tuple(told.get(track_id, _NOTHING) for track_id in asked)


def nearest_to_vector(site: Site, vector: np.ndarray, scope: Scope, top: int) -> Ranked:
    """Search by one direction (dim,) float32."""
    one = _Direction(vector=vector)
    pack_if_worthwhile(site)
    with site.reading() as connection:
        resident = fits(site, connection, scope.model_id)
    if not resident:
        return _streamed(site, {TrackId(""): one}, scope, top)[0]
    with _unlocked(site, scope, scope.tracks) as matrix:
        return _resident(matrix, [one], scope, top)[0]


def embedded_by(connection: Connection, track_id: TrackId, model_id: ModelId | None) -> ModelId:
    """Return the model to search with: the one named, or the newest that embedded the track.

    Raises:
        UsageError: code ``NOT_EMBEDDED``: that model, or any at all, has not embedded the track.
    """
    own = embeddings.models_of_track(connection, track_id)
    if model_id in own:
        return model_id
    if not own or model_id is not None:
        hint = "run 'fabnet-secure embed --model ID'"
        raise UsageError("this track has no embeddings of that model yet", hint=hint, code="NOT_EMBEDDED")
    return own[-1]


@contextmanager
def _unlocked(site: Site, scope: Scope, where: frozenset[TrackId] | None) -> Iterator[Matrix]:
    """Open the matrix; the snapshot ends before anything is compared, so that no withdrawal has to wait for it."""
    with site.reading() as connection:
        matrix = unlock(site, connection, scope.model_id, scope.consents, where=where)
    with matrix:
        yield matrix


def _direction(matrix: Matrix, track_id: TrackId, scope: Scope) -> _Direction | None:
    vector = matrix.mean(track_id)
    if vector is None:
        return None
    inside = scope.tracks is None or track_id in scope.tracks
    own = sum(entry.stop - entry.start for entry in matrix.of_track(track_id)) if inside else 0
    return _Direction(vector=vector, track_id=track_id, own=own)


def _resident(matrix: Matrix, by: Sequence[_Direction], scope: Scope, top: int) -> list[Ranked]:
    if not by or matrix.rows == 0:
        return [_NOTHING for _ in by]
    bitmap = matrix.bitmap(consents=scope.consents, tracks=scope.tracks)
    searched = int(np.count_nonzero(bitmap))
    queries = np.stack([one.vector for one in by])
    try:
        rows = nearest_many(matrix, queries, top + _spare(by), bitmap)
        return [
            _without_own(one, hits(matrix, one.vector, found), searched, top)
            for one, found in zip(by, rows, strict=True)
        ]
    finally:
        queries.fill(0)


def _streamed(site: Site, by: dict[TrackId, _Direction], scope: Scope, top: int) -> list[Ranked]:
    if not by:
        return []
    queries = np.stack([one.vector for one in by.values()])
    try:
        with site.reading() as connection:
            found, searched = stream(
                site,
                connection,
                scope.model_id,
                scope.consents,
                queries,
                top + _spare(list(by.values())),
                where=scope.tracks,
            )
    finally:
        queries.fill(0)
    return [_without_own(one, rows, searched, top) for one, rows in zip(by.values(), found, strict=True)]


def _spare(by: Sequence[_Direction]) -> int:
    """Return how many more rows to ask for, so that enough are left once a track's own are taken out."""
    return max(one.own for one in by)


def _without_own(one: _Direction, rows: Sequence[Row], searched: int, top: int) -> Ranked:
    others = [row for row in rows if row.located.track_id != one.track_id][:top]
    return Ranked(
        hits=tuple(
            Hit(
                consent_id=row.located.consent_id,
                track_id=row.located.track_id,
                frame=row.located.frame,
                score=row.score,
            )
            for row in others
        ),
        searched=searched - one.own,
    )
