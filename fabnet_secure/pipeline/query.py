"""Query: a stored track and a purpose in, ranks and ids out: never scores, never vectors, never without a decision.

Access is decided once a class of equal consents, effectiveness once a consent, at the moment of the answer; both
select rows before a single page is opened. 256 exact inner products would give a vector away, so only ranks leave.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from fabnet_secure.access.decision import Grant
from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.crypto.envelope import unseal
from fabnet_secure.errors import NoEffectiveConsent, UsageError
from fabnet_secure.pipeline.authorize import (
    allowed,
    authorize,
    authorize_purpose,
    class_of,
    record_grant,
    record_refusal,
)
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import covering, opening, require_consent
from fabnet_secure.pipeline.embed import data_key, page_context
from fabnet_secure.store import embeddings, tracks
from fabnet_secure.store.database import Connection
from fabnet_secure.store.search import rank
from fabnet_secure.types import ConsentId, DecisionId, Domain, Purpose, TrackId, is_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One result: its place, its track and its frame, and nothing more."""

    rank: int
    track_id: TrackId
    frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The results of one query and the decision that allowed it."""

    decision_id: DecisionId
    results: tuple[Found, ...]
    searched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    page: embeddings.EmbeddingPageRow
    vectors: np.ndarray


def similar(site: Site, track_id: str, *, top: int, purpose: str) -> Answer:
    """Rank the frames of other tracks by cosine similarity to one track's mean embedding.

    Args:
        site: an open vault.
        track_id: the stored track to search by; its own frames are left out.
        top: how many results, 1 to 1000.
        purpose: the purpose of the query; the person's consent must cover it, as must every row's.

    Raises:
        UsageError: the purpose, the number or the track cannot be used.
        NoEffectiveConsent: the track's own consent does not cover the purpose now.
        AccessDenied: the principal may not query for this purpose.
    """
    authorize_purpose(site, "query_similar", Purpose.QUERY_INTERNAL)  # who may not ask at all learns of no track
    wanted = _purpose(purpose)
    if not 1 <= top <= 1000:
        raise UsageError("--top lies between 1 and 1000", code="TOP_INVALID")
    with site.reading() as connection:
        row = tracks.get_track(connection, TrackId(track_id)) if is_id(track_id) else None
        if row is None or row.consent_id is None:
            hint = "run 'fabnet-secure track list'"
            raise UsageError(f"no bound track has the id {track_id[:60]!r}", hint=hint, code="TRACK_UNKNOWN")
        probe = _required(site, connection, row.consent_id, wanted)
        effective = covering(site, connection, wanted).effective
    grant = authorize(site, "query_similar", purpose=wanted, resource=class_of(probe))
    permitted = allowed(site, "query_similar", wanted, effective)
    with site.reading() as connection:
        pages = _open_pages(site, connection, TrackId(track_id), permitted)
    try:
        found, searched = _rank(pages, TrackId(track_id), top)
    finally:
        for opened in pages:
            opened.vectors.fill(0)
    return _answer(site, grant, probe, found, searched, wanted)


def _required(site: Site, connection: Connection, consent_id: ConsentId, purpose: Purpose) -> EffectiveConsent:
    """Require the asked-about track's own consent; a refusal is an answer too, and it finds nothing."""
    try:
        return require_consent(site, connection, consent_id, purpose)
    except NoEffectiveConsent as refusal:
        refusal.fields["results"] = []
        record_refusal(site, "query_similar", purpose, refusal.code)
        raise


def _purpose(text: str) -> Purpose:
    try:
        return Purpose(text)
    except ValueError:
        hint = "one of: " + ", ".join(Purpose)
        raise UsageError(f"unknown purpose: {text[:40]!r}", hint=hint, code="PURPOSE_INVALID") from None


def _open_pages(
    site: Site, connection: Connection, track_id: TrackId, permitted: frozenset[ConsentId]
) -> list[_Opened]:
    """Open the pages of allowed consents, of the newest model that embedded the probe's track."""
    own = embeddings.list_pages(connection, track_id=track_id)
    if not own:
        hint = "run 'fabnet-secure embed --model ID'"
        raise UsageError("this track has no embeddings yet", hint=hint, code="NOT_EMBEDDED")
    model_id = own[-1].model_id
    pages = [page for page in embeddings.list_pages(connection, model_id) if page.consent_id in permitted]
    opened: list[_Opened] = []
    for page in pages:
        with suppress(NoEffectiveConsent):  # a withdrawal destroyed the key after this snapshot was taken
            opened.append(_open(site, connection, page))
    return opened


def _open(site: Site, connection: Connection, page: embeddings.EmbeddingPageRow) -> _Opened:
    row = tracks.get_track(connection, page.track_id)
    if row is None:
        raise UsageError("a page of embeddings has lost its track", code="TRACK_UNKNOWN")
    key = data_key(site, row, Domain.EMBEDDINGS)
    context = page_context(page.subject_id, page.consent_id, page.track_id, page.model_id, (page.n, page.dim))
    plain = bytearray(unseal(key, context, page.sealed))
    return _Opened(page=page, vectors=np.frombuffer(plain, np.float16).reshape(page.n, page.dim))


def _rank(pages: Sequence[_Opened], track_id: TrackId, top: int) -> tuple[list[tuple[ConsentId, TrackId, int]], int]:
    """Return the best (consent, track, frame), best first, and how many frames were compared."""
    probe = [opened for opened in pages if opened.page.track_id == track_id]
    others = [opened for opened in pages if opened.page.track_id != track_id]
    if not probe or not others:
        return [], 0
    query = np.concatenate([opened.vectors for opened in probe]).astype(np.float32).mean(axis=0)
    matrix = np.concatenate([opened.vectors for opened in others])
    labels = [
        (opened.page.consent_id, opened.page.track_id, frame)
        for opened in others
        for frame in opened.page.frame_indices
    ]
    best = rank(query, matrix, top)
    matrix.fill(0)
    return [labels[row] for row in best], len(labels)


def _answer(
    site: Site,
    grant: Grant,
    probe: EffectiveConsent,
    found: Sequence[tuple[ConsentId, TrackId, int]],
    searched: int,
    purpose: Purpose,
) -> Answer:
    """Log the answer; a consent that ended while the pages were compared takes its rows out of it."""
    with site.work() as work:
        require_consent(site, work.connection, probe.consent_id, purpose)
        effective = covering(site, work.connection, purpose).effective
        kept = [(track_id, frame) for consent_id, track_id, frame in found if consent_id in effective]
        work.log(
            "query.answered",
            facts={"kind": "similar", "results": len(kept), "searched": searched},
            subjects=(opening(site, probe.record, "consent", probe.consent_id),),
        )
        record_grant(site, work, grant, rows=len(kept))
    results = tuple(
        Found(rank=place, track_id=track_id, frame=frame) for place, (track_id, frame) in enumerate(kept, start=1)
    )
    return Answer(decision_id=grant.decision_id, results=results, searched=searched)
