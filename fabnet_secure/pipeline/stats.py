"""Query stats: how many people, tracks or frames, with noise that every person counted pays for, or nothing.

The order is the guarantee: access decision → the question's design from public facts alone (settings, the calendar,
the registered models) → in one transaction: an answer is left for the principal; consents are required; whoever's cap
holds ε is counted and pays, everybody else is left out; the ledger's entry, the answer's log entry and the decision are
committed → only then is the answer told. What is told, and why (ε, δ) holds, is the theorem of
:mod:`fabnet_secure.privacy.counting`.

Who pays: every person whose consent covers the purpose, whose class is allowed, and whose promised cap holds the
price beside all that was spent before, whether or not anything of theirs is counted. Who is left out is a function of
that person's own consents and ledger alone, so adding or removing one person changes nobody else's part; the number of
people who pay is told to nobody. Nothing refuses or explains by what was counted: too few people, everybody's budget
spent, and no people at all look the same.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fabnet_secure.access.decision import ConsentClass, Grant
from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.crypto.stream import KeyStream
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.authorize import (
    Verdict,
    authorize_purpose,
    class_verdicts,
    permitted,
    record_grant,
    record_verdicts,
)
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import covering
from fabnet_secure.pipeline.filters import Filters, chosen_videos, period_of, place_of, places_of, require_known
from fabnet_secure.pipeline.plan import check_ledger, promised, spends
from fabnet_secure.pipeline.purposes import read_purpose
from fabnet_secure.pipeline.query_budget import cost_of, refusals_logged, require_answers
from fabnet_secure.pipeline.spending import spend
from fabnet_secure.privacy.counting import DELTA, Contribution, Design, tell
from fabnet_secure.privacy.discrete import draw
from fabnet_secure.privacy.ledger import admits
from fabnet_secure.store import embeddings, ledger, models, tracks, videos
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.store.states import LedgerSource
from fabnet_secure.types import ConsentId, DecisionId, Json, Purpose, SubjectId, TrackId, TrackStatus

KINDS = ("people", "tracks", "frames")
SPLITS = ("month", "site", "camera", "model")
EVERYTHING = "all"
NOWHERE = "(none)"  # videos of which no such place was recorded, or one that the settings do not name any more
GROUPS = 3
"""Cells that one person counts in, at most, where an answer has several."""

_BOUNDS = {"people": 1, "tracks": 10, "frames": 1_000}
_HELD = (TrackStatus.BOUND, TrackStatus.EXPIRED)
_MOST_MONTHS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be counted.

    Attributes:
        count: one of :data:`KINDS`.
        by: one of :data:`SPLITS`, or None for one cell.
        epsilon: the price to each person.
        purpose: the purpose that people's consents must cover.
        at_most: tracks or frames that one person counts for in one cell; None takes 10 or 1,000.
        filters: what it is narrowed to.
    """

    count: str
    by: str | None
    epsilon: float
    purpose: str
    at_most: int | None = None
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An answer: the cells that may be told, and how many are not."""

    decision_id: DecisionId
    design: Design
    cells: Mapping[str, int]
    answers_left: int

    @property
    def withheld(self) -> int:
        """Cells of which nothing is told."""
        return len(self.design.cells) - len(self.cells)


def price(site: Site, question: Question) -> Design:
    """Say how a question would be answered and what it would cost; nobody's data is looked at, nothing is spent.

    Raises:
        UsageError, AccessDenied: as :func:`stats`.
    """
    authorize_purpose(site, "query_stats", Purpose.QUERY_INTERNAL)
    read_purpose(question.purpose)
    return _design(site, question)


def stats(site: Site, question: Question) -> Counted:
    """Answer a question about many people with noise.

    Raises:
        UsageError: code ``PURPOSE_INVALID``, ``EPSILON_INVALID``, ``QUESTION_INVALID``, ``DATE_INVALID``,
            ``PERIOD_INVALID``, ``CAMERA_UNKNOWN`` or ``SITE_UNKNOWN``.
        BudgetExceeded: code ``QUERY_BUDGET``: the principal has no answer left.
        AccessDenied: the principal may not count.
        IntegrityFailure: code ``LEDGER_BROKEN``.
    """
    authorize_purpose(site, "query_stats", Purpose.QUERY_INTERNAL)  # who may not ask at all learns nothing
    purpose = read_purpose(question.purpose)
    design = _design(site, question)
    grant = authorize_purpose(site, "query_stats", purpose)
    with site.reading() as connection:
        effective = covering(site, connection, purpose).effective
    verdicts = class_verdicts(site, "query_stats", purpose, effective)
    with refusals_logged(site, "query_stats", purpose), site.work() as work:
        left = require_answers(site, work.connection, cost_of(1))
        payers = _payers(site, work.connection, purpose, permitted(verdicts), design)
        people = _contributions(site, work.connection, question, payers)
        read = KeyStream().read
        told = tell(list(people.values()), design, lambda scale: draw(scale, read))
        _commit(site, work, _Answer(question=question, design=design, told=len(told)), payers, grant, verdicts)
    return Counted(decision_id=grant.decision_id, design=design, cells=told, answers_left=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    question: Question
    design: Design
    told: int

    def facts(self) -> dict[str, Json]:
        """Return what the log says of it: the question, and how many cells were told, which is private by itself."""
        return {
            "kind": "stats",
            "count": self.question.count,
            "by": self.question.by or "",
            "groups": self.design.groups,
            "bound": self.design.bound,
            "threshold": self.design.threshold,
            "cells": len(self.design.cells),
            "told": self.told,
        }


def _design(site: Site, question: Question) -> Design:
    """Fix the cells, bounds and noise from what is public."""
    table = site.settings.query
    if question.count not in KINDS or (question.by is not None and question.by not in SPLITS):
        hint = f"--count {'|'.join(KINDS)}, --by {'|'.join(SPLITS)}"
        raise UsageError("the question counts nothing that is known", hint=hint, code="QUESTION_INVALID")
    if not question.epsilon <= table.stats_epsilon_max:  # NaN too
        raise UsageError(
            f"ε must be a number of at most {table.stats_epsilon_max:g}",
            hint="query.stats_epsilon_max in <vault>/fabnet.toml is the most that one question may cost a person",
            code="EPSILON_INVALID",
        )
    if question.count == "people" and question.at_most is not None:
        raise UsageError("a person counts once; --at-most is for tracks and frames", code="QUESTION_INVALID")
    require_known(site, question.filters)
    cells = _cells(site, question)
    return Design(
        cells=cells,
        counts_people=question.count == "people",
        groups=min(GROUPS, len(cells)),
        bound=_BOUNDS[question.count] if question.at_most is None else question.at_most,
        epsilon=question.epsilon,
        delta=DELTA,
        min_people=table.min_people,
    )


def _cells(site: Site, question: Question) -> tuple[str, ...]:
    match question.by:
        case "month":
            return _months(site, question.filters)
        case "site" | "camera" as what:
            return (*places_of(site, what), NOWHERE)
        case "model":
            with site.reading() as connection:
                registered = [row.model_id for row in models.list_models(connection)]
            if not registered:
                raise UsageError("no model is registered", hint="run 'fabnet-secure train run'", code="MODEL_UNKNOWN")
            return tuple(registered)
        case _:
            period_of(question.filters)
            return (EVERYTHING,)


def _months(site: Site, filters: Filters) -> tuple[str, ...]:
    """Return the months from the vault's first log entry until now, within the filters' dates."""
    with site.reading() as connection:
        (first,) = SqlLogStorage(connection).read_entries(0, 1)
    period, now = period_of(filters), site.clock()
    start = max(read_leaf(first).at, period.start or read_leaf(first).at)
    end = min(now, period.end or now)
    months = [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(_number(start), _number(end) + 1)]
    return tuple(months[-_MOST_MONTHS:]) or (_month(now),)


def _number(moment: datetime) -> int:
    return moment.year * 12 + moment.month - 1


def _month(moment: datetime) -> str:
    return f"{moment:%Y-%m}"


def _payers(
    site: Site, connection: Connection, purpose: Purpose, allowed: frozenset[ConsentId], design: Design
) -> dict[SubjectId, frozenset[ConsentId]]:
    """Return who is covered, allowed, and has budget left, each with the consents that cover the purpose now."""
    check_ledger(connection)
    covered: defaultdict[SubjectId, set[ConsentId]] = defaultdict(set)
    for consent_id, consent in covering(site, connection, purpose).effective.items():
        if consent_id in allowed:
            covered[consent.subject_id].add(consent_id)
    caps = promised(site, connection)
    entries = ledger.entries_of(connection, sorted(covered))
    return {
        subject: frozenset(consents)
        for subject, consents in covered.items()
        if admits(spends(entries[subject]), design.epsilon, design.delta, caps.get(subject, 0.0))
    }


def _contributions(
    site: Site, connection: Connection, question: Question, payers: Mapping[SubjectId, frozenset[ConsentId]]
) -> dict[SubjectId, Contribution]:
    """Return what each person has in each cell, before any bound."""
    rows = {row.video_id: row for row in videos.list_videos(connection)}
    chosen = chosen_videos(connection, question.filters)
    cells_of = _by_model(connection) if question.by == "model" else None
    found: dict[SubjectId, defaultdict[str, int]] = {subject: defaultdict(int) for subject in payers}
    for track in tracks.list_tracks(connection):
        consents = payers.get(track.subject_id) if track.subject_id else None
        if consents is None or track.consent_id not in consents or track.status not in _HELD:
            continue
        if track.subject_id is None or track.video_id not in chosen:
            continue
        cells = [_place(site, question, rows[track.video_id])] if cells_of is None else cells_of.get(track.track_id, [])
        for cell in cells:
            found[track.subject_id][cell] += track.frames if question.count == "frames" else 1
    return {subject: dict(cells) for subject, cells in found.items()}


def _place(site: Site, question: Question, row: videos.VideoRow) -> str:
    match question.by:
        case "month":
            return _month(row.ingested_at)
        case "site" | "camera" as what:
            place = place_of(row, what)
            return place if place in places_of(site, what) else NOWHERE
        case _:
            return EVERYTHING


def _by_model(connection: Connection) -> dict[TrackId, list[str]]:
    found: defaultdict[TrackId, list[str]] = defaultdict(list)
    for model in models.list_models(connection):
        for track_id in embeddings.embedded_tracks(connection, model.model_id):
            found[track_id].append(model.model_id)
    return found


def _commit(
    site: Site,
    work: Work,
    answer: _Answer,
    payers: Mapping[SubjectId, frozenset[ConsentId]],
    grant: Grant,
    verdicts: Mapping[ConsentClass, Verdict],
) -> None:
    """Let everybody counted pay, and write down what was asked: in the same form where nobody is there to pay."""
    spend(
        site,
        work,
        source=LedgerSource.QUERY,
        dp_event=answer.design.event(),
        epsilon=answer.design.epsilon,
        delta=answer.design.delta,
        subject_ids=sorted(payers),
        facts={"count": answer.question.count},
    )
    work.log("query.answered", facts=answer.facts())
    record_grant(site, work, grant, rows=answer.told, answers=cost_of(1))
    record_verdicts(site, work, verdicts)
