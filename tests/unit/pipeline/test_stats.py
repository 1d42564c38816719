"""Counting people with noise: who counts, who pays, what is told, and what nothing ever tells."""

import math

import pytest

from fabnet_secure.crypto.stream import KeyStream
from fabnet_secure.errors import BudgetExceeded, IntegrityFailure, UsageError
from fabnet_secure.pipeline import stats as room_of
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.filters import Filters
from fabnet_secure.pipeline.plan import check_ledger
from fabnet_secure.pipeline.registers import budgets
from fabnet_secure.pipeline.stats import Question, price, stats
from fabnet_secure.privacy.counting import DELTA
from fabnet_secure.store import ledger, models, tracks, videos
from fabnet_secure.store.states import LedgerSource, LedgerState, ModelKind, ModelStatus
from fabnet_secure.types import TrackStatus, new_id

EPSILON = 1.0


@pytest.fixture(autouse=True)
def _steady(monkeypatch):
    """The same noise in every run."""
    monkeypatch.setattr(room_of, "KeyStream", lambda: KeyStream(lambda n: b"\x11" * n))


@pytest.fixture
def crowd(room, site):
    """Record the consents of so many people and give each some tracks; return the consent ids."""

    def made(people, *, each=1, frames=9, prefix="person", evidence=None, **changes):
        recorded = add(site, [room.application(subject_ref=f"{prefix} {n}", **changes) for n in range(people)])
        with site.work() as work:
            video_id = new_id()
            row = videos.VideoRow(
                video_id=video_id,
                fingerprint=new_id(),
                status=videos.VideoStatus.INGESTED,
                frames_read=9,
                frames_persisted=0,
                detected=people * each,
                bound=people * each,
                dropped=0,
                quarantined=0,
                drop_reasons={},
                policy_sha256=site.policy_sha256,
                disposition="keep",
                ingested_at=room.clock(),
                evidence=evidence or {},
            )
            videos.add_video(work.connection, row)
            for one in recorded:
                for _ in range(each):
                    track = tracks.TrackRow(
                        track_id=new_id(),
                        video_id=video_id,
                        subject_id=one.subject_id,
                        consent_id=one.consent_id,
                        status=TrackStatus.BOUND,
                        reason="",
                        frames=frames,
                        crop_version="test/64",
                        expires_at=None,
                        created_at=room.clock(),
                    )
                    tracks.add_track(work.connection, track)
            work.log("test.crowd", facts={})
        return [one.consent_id for one in recorded]

    return made


def question(**changes):
    plain = {"count": "people", "by": None, "epsilon": EPSILON, "purpose": "query_internal"}
    return Question(**plain | changes)


def entries(site):
    """Return the ledger's entries, each with how many people it counts for."""
    with site.reading() as connection:
        return [
            (row, len(ledger.members_of_entry(connection, row.entry_id))) for row in ledger.list_entries(connection)
        ]


def test_enough_people_are_told_with_noise_and_pay(site, crowd, room):
    """Sixty people at ε = 1: a number near 60; one entry of ε for sixty people, committed, and the log agrees."""
    crowd(60)
    answer = stats(site, question())
    assert abs(answer.cells["all"] - 60) <= 3 * answer.design.error
    ((row, members),) = entries(site)
    assert (row.source, row.run_id, row.state) == (LedgerSource.QUERY, None, LedgerState.COMMITTED)
    assert (row.epsilon, row.delta, members) == (EPSILON, DELTA, 60)
    assert room.acts(site)[-4:] == ["budget.spent", "query.answered", "access.allowed", "access.allowed"]
    spent = room.facts(site, "budget.spent")
    assert (spent["epsilon"], spent["source"]) == (EPSILON, "query")
    with site.reading() as connection:
        check_ledger(connection)
    (people, _) = budgets(site)
    assert {one["spent"] for one in people} == {EPSILON}


def test_the_log_says_no_exact_number_of_people(site, crowd, room):
    """Nothing that the log or the decision says of the answer is a count without noise."""
    crowd(57)
    stats(site, question())
    assert 57 not in room.facts(site, "query.answered").values()
    assert 57 not in room.facts(site, "budget.spent").values()
    told = [row for row in room.decisions(site) if row.action == "query_stats"]
    assert {row.rows for row in told} <= {0, 1}


def test_spent_budget_is_outside_the_databases(site, crowd):
    """The anchor remembers the entry, so that an older database does not give it back."""
    crowd(25)
    stats(site, question())
    ((row, _),) = entries(site)
    assert row.entry_id in site.anchor.state().owed


@pytest.mark.parametrize("people", [0, 1, 19, 24])
def test_few_people_are_never_told(site, crowd, people):
    """Nobody, one, nineteen, or too few to pass the threshold: the same silence, without an error."""
    if people:
        crowd(people)
    answer = stats(site, question())
    assert (dict(answer.cells), answer.withheld) == ({}, 1)


def test_who_cannot_pay_is_left_out(site, crowd):
    """A cap below ε, or none promised at all: not counted, not charged; the others are."""
    crowd(45)
    crowd(10, prefix="poor", dp_epsilon_cap=0.5)
    crowd(10, prefix="silent", purposes=("embed", "query_internal"))  # no training, so no cap was promised
    stats(site, question())
    ((_, members),) = entries(site)
    assert members == 45


def test_asking_until_nothing_is_left(site, crowd):
    """Each answer costs ε of the cap; then nobody can pay, nothing is told; no error tells."""
    crowd(45, dp_epsilon_cap=2.0)
    told = [len(stats(site, question()).cells) for _ in range(3)]
    assert told[2] == 0
    assert sorted(members for _, members in entries(site)) == [0, 45, 45]  # the third charges nobody


def test_a_withdrawn_person_is_not_counted(site, crowd, monkeypatch):
    """Effectiveness is asked inside the answering transaction: who left between decision and answer is out."""
    gone = crowd(45)[0]
    real = room_of.require_answers

    def leave_first(asked, connection, cost):
        left = real(asked, connection, cost)
        covering = room_of.covering

        def without(*arguments):
            found = covering(*arguments)
            kept = {one: consent for one, consent in found.effective.items() if one != gone}
            return type(found)(effective=kept, excluded=found.excluded)

        monkeypatch.setattr(room_of, "covering", without)
        return left

    monkeypatch.setattr(room_of, "require_answers", leave_first)
    stats(site, question())
    ((_, members),) = entries(site)
    assert members == 44


def test_only_consents_for_the_purpose_count(site, crowd):
    """Who consents to training alone is not asked about."""
    crowd(30, purposes=("train_model",))
    stats(site, question())
    assert [members for _, members in entries(site)] == [0]


def test_nobody_leaves_the_same_traces_as_somebody(site, crowd, room):
    """Log and anchor have the same entries, of the same form and size, whether anybody paid or nobody was there."""

    def traces():
        before, lines = len(room.acts(site)), len(site.anchor.lines())
        stats(site, question())
        spent = {name: type(value) for name, value in room.facts(site, "budget.spent").items()}
        written = [(line["kind"], len(line.get("spent", ()))) for line in site.anchor.lines()[lines:]]
        return room.acts(site)[before:], spent, written

    nobody = traces()
    crowd(3)
    somebody = traces()
    acts, *_ = somebody
    assert "budget.spent" in acts
    assert nobody[1:] == somebody[1:]
    assert nobody[0] == acts[: len(nobody[0])]  # a class of consents more has its own decision in the log
    with site.reading() as connection:
        check_ledger(connection)
    room.open()


def test_tracks_and_frames_are_bounded_a_person(site, crowd):
    """A person with 30 tracks of 900 frames counts for at most the stated bound."""
    crowd(70, each=3, frames=900)
    design = price(site, question(count="tracks", at_most=2))
    answer = stats(site, question(count="tracks", at_most=2))
    assert abs(answer.cells["all"] - 140) <= 3 * design.error
    frames = stats(site, question(count="frames", at_most=100))
    assert abs(frames.cells["all"] - 7000) <= 3 * frames.design.error


def test_months_sites_cameras_and_models_are_public_cells(site, room, crowd):
    """Cells come from the calendar, the settings and the registered models, never from what was recorded."""
    crowd(3, evidence={"camera": "secret garden", "site": "villa"})
    room.clock.forward(days=40)
    assert price(site, question(by="month")).cells == ("2026-05", "2026-06")
    assert price(site, question(by="month", filters=Filters(since="2026-06-01"))).cells == ("2026-06",)
    assert price(site, question(by="camera")).cells == ("(none)",)
    with pytest.raises(UsageError) as refused:
        price(site, question(by="model"))
    assert refused.value.code == "MODEL_UNKNOWN"
    model_id = new_id()
    with site.work() as work:
        row = models.ModelRow(
            model_id=model_id,
            kind=ModelKind.PUBLIC,
            run_id=None,
            weights_sha256="ab" * 32,
            card={},
            created_at=room.clock(),
            status=ModelStatus.ACTIVE,
            decision_due=None,
        )
        models.add_model(work.connection, row)
        work.log("test.model", facts={})
    assert price(site, question(by="model")).cells == (model_id,)


def test_cells_are_told_apart_by_month(site, room, crowd):
    """Each month has its own count; a month with few people is silent."""
    crowd(80, prefix="may")
    room.clock.forward(days=40)
    crowd(5, prefix="june")
    answer = stats(site, question(by="month"))
    assert set(answer.cells) == {"2026-05"}
    assert abs(answer.cells["2026-05"] - 80) <= 3 * answer.design.error
    assert answer.withheld == 1


def test_filters_narrow_what_is_counted(site, room, crowd):
    """Only videos of the period count; everybody covered pays all the same."""
    crowd(50, prefix="may")
    room.clock.forward(days=40)
    crowd(50, prefix="june")
    answer = stats(site, question(filters=Filters(until="2026-05-31")))
    assert abs(answer.cells["all"] - 50) <= 3 * answer.design.error
    ((_, members),) = entries(site)
    assert members == 100


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 1.01, 0.001])
def test_an_impossible_price_is_refused(site, crowd, epsilon):
    """Zero, negative, NaN, over the maximum: EPSILON_INVALID, and nothing is spent."""
    crowd(2)
    with pytest.raises(UsageError) as refused:
        stats(site, question(epsilon=epsilon))
    assert refused.value.code == "EPSILON_INVALID"
    assert entries(site) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"count": "faces"}, "QUESTION_INVALID"),
        ({"by": "name"}, "QUESTION_INVALID"),
        ({"at_most": 3}, "QUESTION_INVALID"),
        ({"count": "tracks", "at_most": 0}, "QUESTION_INVALID"),
        ({"purpose": "curiosity"}, "PURPOSE_INVALID"),
        ({"filters": Filters(since="yesterday")}, "DATE_INVALID"),
        ({"filters": Filters(since="2026-06-01", until="2026-05-01")}, "PERIOD_INVALID"),
        ({"filters": Filters(camera="roof")}, "CAMERA_UNKNOWN"),
        ({"filters": Filters(site="moon")}, "SITE_UNKNOWN"),
    ],
    ids=lambda one: one if isinstance(one, str) else None,
)
def test_a_question_that_means_nothing_is_refused(site, changes, code):
    """Each bad word has its own code."""
    with pytest.raises(UsageError) as refused:
        stats(site, question(**changes))
    assert refused.value.code == code


def test_a_price_changes_nothing(site, crowd, room):
    """``--dry-run``: the design, and not an entry more."""
    crowd(3)
    before = room.acts(site)
    assert price(site, question()).threshold > 20
    assert (room.acts(site), entries(site)) == (before, [])


def test_an_answer_counts_of_the_day(site, crowd, room):
    """Stats take an answer of the principal's budget."""
    crowd(2)
    left = stats(site, question()).answers_left
    assert stats(site, question()).answers_left == left - 1
    assert sum(row.answers for row in room.decisions(site) if row.action == "query_stats") == 2


def test_over_the_answers_nothing_is_spent(site, crowd, monkeypatch):
    """Without an answer left the question is refused before anybody pays."""
    crowd(2)

    def none_left(*_):
        raise BudgetExceeded("none left", code="QUERY_BUDGET")

    monkeypatch.setattr(room_of, "require_answers", none_left)
    with pytest.raises(BudgetExceeded):
        stats(site, question())
    assert entries(site) == []


def _check_after(site, statement):
    """Check the ledger after a change that is never committed."""
    with site.work() as work:
        work.connection.exec_driver_sql(statement)
        check_ledger(work.connection)


def test_a_changed_ledger_is_noticed(site, crowd):
    """An entry without a run that is deleted, or cheaper than logged, or names fewer people: LEDGER_BROKEN."""
    crowd(25)
    stats(site, question())
    for statement in (
        "UPDATE ledger_entry SET epsilon = 0.1",
        "UPDATE ledger_entry SET dp_event = '{}'",
        "DELETE FROM ledger_member WHERE subject_id = (SELECT min(subject_id) FROM ledger_member)",
    ):
        with pytest.raises(IntegrityFailure) as broken:
            _check_after(site, statement)
        assert broken.value.code == "LEDGER_BROKEN"
    with site.reading() as connection:
        check_ledger(connection)
