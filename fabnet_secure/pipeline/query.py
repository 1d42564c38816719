"""Query: stored tracks (or a clip) and a purpose in, ranks and ids out: never vectors, never without a decision.

Access is decided once a class of equal consents, effectiveness once a consent, before a single page is opened; both are
asked again inside the transaction that answers, and a withdrawal between wins. Every answer is counted against the
principal's budget in that same transaction (:mod:`.query_budget`). Scores leak vectors, so only ranks leave, unless a
site's own policy permits ``query_scores``: then with three digits. Does not stop principals who put their answers
together, nor say how a rank came about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fabnet_secure.access.decision import ConsentClass, Grant
from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.errors import NoEffectiveConsent, UsageError
from fabnet_secure.pipeline.authorize import (
    Verdict,
    authorize,
    authorize_purpose,
    class_of,
    class_verdicts,
    permitted,
    record_grant,
    record_refusal,
    record_verdicts,
)
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import covering, opening, require_consent
from fabnet_secure.pipeline.filters import Filters, chosen_tracks, period_of
from fabnet_secure.pipeline.nearest import Ranked, Scope, embedded_by, nearest_to_tracks
from fabnet_secure.pipeline.purposes import read_purpose
from fabnet_secure.pipeline.query_budget import cost_of, refusals_logged, require_answers
from fabnet_secure.store import models, tracks
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.types import ConsentId, DecisionId, Json, ModelId, Purpose, TrackId, is_id

MOST_TRACKS = 256
_DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a question is put.

    Attributes:
        top: how many results, 1 to 1000, for each track or clip.
        purpose: the purpose of the question; every consent involved must cover it.
        model: the model whose embeddings are searched; None takes the newest that embedded what is searched by.
        filters: what the results are narrowed to.
        scores: tell cosines too, where a policy permits it.
    """

    top: int
    purpose: str
    model: str | None = None
    filters: Filters = field(default_factory=Filters)
    scores: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One result: its place, its track and its frame, and nothing more; the score only where it is permitted."""

    rank: int
    track_id: TrackId
    frame: int
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The results for one track or clip and the decision that allowed them.

    ``searched`` is how many frames were compared; None where filters narrow the question: it would be an exact count
    of what they name, which only ``query stats`` tells, with noise.
    """

    decision_id: DecisionId
    results: tuple[Found, ...]
    searched: int | None
    answers_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What was decided before anything was opened: for the question, for scores, and for each class of consents."""

    purpose: Purpose
    grants: tuple[Grant, ...]
    verdicts: Mapping[ConsentClass, Verdict]

    @property
    def scores(self) -> bool:
        """Whether scores may be told."""
        return any(grant.action == "query_scores" for grant in self.grants)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is searched by, once more required at the answer: whose consent, for which purposes, and what to log.

    Attributes:
        consents: the consents under which it may be searched by, each with the purposes that it must cover.
        facts: what the log says of it.
    """

    consents: Mapping[ConsentId, tuple[Purpose, ...]]
    facts: Mapping[str, Json]


def similar(site: Site, track_ids: Sequence[str], asked: Asked) -> tuple[Answer, ...]:
    """Rank the frames of other tracks by cosine similarity to each track's mean embedding.

    Args:
        site: an open vault.
        track_ids: the stored tracks to search by, at most 256; a track's own frames are left out of its results.
        asked: how.

    Returns:
        One answer a track, in order; they share one decision.

    Raises:
        UsageError: the purpose, the number, a date, a place, the model or a track cannot be used.
        NoEffectiveConsent: a track's own consent does not cover the purpose now.
        AccessDenied: the principal may not query for this purpose, or may not see scores.
        BudgetExceeded: code ``QUERY_BUDGET``.
    """
    authorize_purpose(site, "query_similar", Purpose.QUERY_INTERNAL)  # who may not ask at all learns of no track
    purpose = check_asked(asked)
    wanted = tuple(dict.fromkeys(track_ids))
    if not 1 <= len(wanted) <= MOST_TRACKS:
        raise UsageError(f"search by 1 to {MOST_TRACKS} tracks at once", code="TRACKS_INVALID")
    with site.reading() as connection:
        rows = [_track(connection, one) for one in wanted]
        probes = {consent: _required(site, connection, consent, purpose) for _, consent in rows}
        scope = _scope_of(site, connection, [track for track, _ in rows], asked)
    permit = decide(site, "query_similar", purpose, list(probes.values()), scores=asked.scores)
    cost = cost_of(len(rows), scores=asked.scores)
    with refusals_logged(site, "query_similar", purpose):
        with site.reading() as connection:
            require_answers(site, connection, cost)  # before anything is opened
        found = nearest_to_tracks(
            site,
            [track for track, _ in rows],
            Scope(model_id=scope.model_id, tracks=scope.tracks, consents=permitted(permit.verdicts)),
            asked.top,
        )
        probe = Probe(consents=dict.fromkeys(probes, (purpose,)), facts={"kind": "similar", "questions": len(rows)})
        return answer(site, permit, probe, found, cost=cost, filters=asked.filters)


def check_asked(asked: Asked) -> Purpose:
    """Read what can be judged without looking at anything stored.

    Raises:
        UsageError: code ``PURPOSE_INVALID``, ``TOP_INVALID``, ``DATE_INVALID`` or ``PERIOD_INVALID``.
    """
    purpose = read_purpose(asked.purpose)
    if not 1 <= asked.top <= 1000:
        raise UsageError("--top lies between 1 and 1000", code="TOP_INVALID")
    period_of(asked.filters)
    return purpose


def decide(site: Site, action: str, purpose: Purpose, probes: Sequence[EffectiveConsent], *, scores: bool) -> Permit:
    """Decide for the person searched by, for scores, and once for each class of consents to be searched.

    Raises:
        AccessDenied: the question, or its scores, are not permitted.
    """
    kinds = list(dict.fromkeys(class_of(probe) for probe in probes))
    actions = (action, "query_scores") if scores else (action,)
    grants = tuple(authorize(site, one, purpose=purpose, resource=kind) for one in actions for kind in kinds)
    with site.reading() as connection:
        effective = covering(site, connection, purpose).effective
    verdicts = class_verdicts(site, action, purpose, effective)
    if scores:
        seen = class_verdicts(site, "query_scores", purpose, effective)
        verdicts = {kind: verdict for kind, verdict in verdicts.items() if seen[kind].decision.allowed}
    return Permit(purpose=purpose, grants=grants, verdicts=verdicts)


def answer(
    site: Site, permit: Permit, probe: Probe, found: Sequence[Ranked], *, cost: int, filters: Filters
) -> tuple[Answer, ...]:
    """Log and count the answers; a consent that ended while the pages were compared takes its rows out of them.

    Raises:
        NoEffectiveConsent: a consent searched by ended meanwhile.
        BudgetExceeded: code ``QUERY_BUDGET``: somebody else took the last answers meanwhile.
    """
    with site.work() as work:
        left = require_answers(site, work.connection, cost)
        owners = _still_covered(site, work, probe)
        effective = covering(site, work.connection, permit.purpose).effective
        allowed = permitted(permit.verdicts)
        kept = [[hit for hit in one.hits if hit.consent_id in effective and hit.consent_id in allowed] for one in found]
        told = sum(map(len, kept))
        searched = sum(one.searched for one in found)
        work.log(
            "query.answered",
            facts={**probe.facts, "results": told, "searched": searched, "scores": permit.scores},
            subjects=tuple(opening(site, owner.record, "consent", owner.consent_id) for owner in owners),
        )
        first, *others = permit.grants
        record_grant(site, work, first, rows=told, answers=cost)
        for grant in others:
            record_grant(site, work, grant, rows=told)
        kinds = Counter(class_of(effective[hit.consent_id]) for hits in kept for hit in hits)
        record_verdicts(site, work, permit.verdicts, rows=kinds)
    return tuple(
        Answer(
            decision_id=first.decision_id,
            results=tuple(
                Found(
                    rank=place,
                    track_id=hit.track_id,
                    frame=hit.frame,
                    score=round(hit.score, _DIGITS) if permit.scores else None,
                )
                for place, hit in enumerate(hits, start=1)
            ),
            searched=None if filters.any else one.searched,
            answers_left=left,
        )
        for one, hits in zip(found, kept, strict=True)
    )


def _still_covered(site: Site, work: Work, probe: Probe) -> list[EffectiveConsent]:
    """Require once more, in the answering transaction, every consent that is searched by."""
    minted: dict[ConsentId, EffectiveConsent] = {}
    for consent_id, purposes in probe.consents.items():
        for purpose in purposes:
            minted[consent_id] = require_consent(site, work.connection, consent_id, purpose)
    return list(minted.values())


def _track(connection: Connection, track_id: str) -> tuple[TrackId, ConsentId]:
    row = tracks.get_track(connection, TrackId(track_id)) if is_id(track_id) else None
    if row is None or row.consent_id is None:
        hint = "run 'fabnet-secure track list'"
        raise UsageError(f"no bound track has the id {track_id[:60]!r}", hint=hint, code="TRACK_UNKNOWN")
    return row.track_id, row.consent_id


def _required(site: Site, connection: Connection, consent_id: ConsentId, purpose: Purpose) -> EffectiveConsent:
    """Require the asked-about track's own consent; a refusal is an answer too, and it finds nothing."""
    try:
        return require_consent(site, connection, consent_id, purpose)
    except NoEffectiveConsent as refusal:
        refusal.fields["results"] = []
        record_refusal(site, "query_similar", purpose, refusal.code)
        raise


def _scope_of(site: Site, connection: Connection, wanted: Sequence[TrackId], asked: Asked) -> Scope:
    """Say which model and tracks are searched; by which consents is decided later.

    Raises:
        UsageError: as :func:`similar`.
    """
    named = None if asked.model is None else known_model(connection, asked.model)
    used = {embedded_by(connection, track_id, named) for track_id in wanted}
    if len(used) > 1:
        hint = "name one with --model, or ask one by one"
        raise UsageError("these tracks were embedded by different models last", hint=hint, code="MODELS_DIFFER")
    return Scope(model_id=used.pop(), tracks=chosen_tracks(site, connection, asked.filters), consents=frozenset())


def known_model(connection: Connection, model_id: str) -> ModelId:
    """Return the registered model of that id.

    Raises:
        UsageError: code ``MODEL_UNKNOWN``.
    """
    row = models.get_model(connection, ModelId(model_id)) if is_id(model_id) else None
    if row is None:
        hint = "run 'fabnet-secure model list'"
        raise UsageError(f"no model has the id {model_id[:60]!r}", hint=hint, code="MODEL_UNKNOWN")
    return row.model_id
