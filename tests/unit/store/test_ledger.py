"""Plans, runs and the ledger: privacy loss only grows."""

import math
from datetime import timedelta

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.store import ledger
from fabnet_secure.types import new_id


def entry(run_id, subject_ids, make, **changes):
    values = {
        "entry_id": new_id(),
        "run_id": run_id,
        "dp_event": '{"e":1}',
        "epsilon": 1 / 3,
        "delta": 1e-5,
        "created_at": make.at,
        "subject_ids": subject_ids,
    }
    return {**values, **changes}


@pytest.fixture
def trained(site):
    """An open unit of work (logged) with two people and one run: (connection, run_id, subject_ids)."""
    with site.work() as work:
        people = [site.enrol(work.connection, ref=ref) for ref in ("anna", "ben")]
        held = [(c, s, site.track(work.connection, s, c)) for s, c in people]
        _, run_id = site.model(work.connection, held)
        work.log("test.entry", facts={})
        yield work.connection, run_id, [s for s, _ in people]


def test_reservation_counts_for_each_member_and_can_be_committed_once(trained, make):
    """An entry is listed for its members only, exact to the last bit, and commits once."""
    connection, run_id, (anna, ben) = trained
    row = ledger.reserve(connection, **entry(run_id, [anna, anna], make))
    assert ledger.entries_of(connection, [anna, ben]) == {anna: [row], ben: []}
    assert ledger.members_of_entry(connection, row.entry_id) == [anna]
    assert (row.state, row.epsilon) == (ledger.LedgerState.RESERVED, 1 / 3)
    ledger.commit_entry(connection, row.entry_id)
    assert ledger.list_entries(connection)[0].state is ledger.LedgerState.COMMITTED
    with pytest.raises(UsageError):
        ledger.commit_entry(connection, row.entry_id)
    with pytest.raises(UsageError):
        ledger.commit_entry(connection, new_id())


def test_entries_are_listed_oldest_first_for_very_many_people(trained, make):
    """More people than fit one statement are looked up in runs; each list is in time order."""
    connection, run_id, (anna, _) = trained
    late = ledger.reserve(connection, **entry(run_id, [anna], make, created_at=make.at + timedelta(days=1)))
    early = ledger.reserve(connection, **entry(run_id, [anna], make))
    found = ledger.entries_of(connection, [anna, *(new_id() for _ in range(1500))])
    assert found[anna] == [early, late]
    assert sum(map(len, found.values())) == 2


def test_entry_for_nobody_is_refused(trained, make):
    """A reservation names someone."""
    connection, run_id, _ = trained
    with pytest.raises(UsageError) as caught:
        ledger.reserve(connection, **entry(run_id, [], make))
    assert caught.value.code == "LEDGER_EMPTY"


def test_a_question_that_nobody_pays_for_leaves_an_entry(trained, make):
    """An entry of a question may name nobody."""
    connection, run_id, _ = trained
    asked = entry(run_id, [], make) | {"run_id": None, "source": ledger.LedgerSource.QUERY}
    row = ledger.reserve(connection, **asked)
    assert ledger.members_of_entry(connection, row.entry_id) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"delta": 1.0},
        {"delta": -1e-9},
        {"delta": math.nan},
    ],
)
def test_impossible_loss_is_refused(site, make, wrong):
    """Zero, negative, infinite or undefined loss cannot be stored on either database."""
    with site.refused() as work:
        subject_id, consent_id = site.enrol(work.connection)
        track_id = site.track(work.connection, subject_id, consent_id)
        _, run_id = site.model(work.connection, [(consent_id, subject_id, track_id)])
        ledger.reserve(work.connection, **entry(run_id, [subject_id], make, **wrong))


def test_runs_move_forward_only(trained, make):
    """Steps never go back, and a run that has ended stays ended."""
    connection, run_id, _ = trained
    ledger.set_run_state(connection, run_id, state=ledger.RunState.RUNNING, steps_done=5)
    with pytest.raises(UsageError):
        ledger.set_run_state(connection, run_id, state=ledger.RunState.RUNNING, steps_done=4)
    ledger.set_run_state(connection, run_id, state=ledger.RunState.FAILED, steps_done=5, ended_at=make.at)
    with pytest.raises(UsageError):
        ledger.set_run_state(connection, run_id, state=ledger.RunState.RUNNING, steps_done=6)
    row = ledger.get_run(connection, run_id)
    assert (row.state, row.steps_done, row.ended_at) == (ledger.RunState.FAILED, 5, make.at)
    assert ledger.list_runs(connection) == [row]
    assert ledger.get_run(connection, new_id()) is None


def test_plan_round_trips(trained):
    """A plan's body comes back as it was; an unknown plan is None."""
    connection, run_id, _ = trained
    plan_id = ledger.get_run(connection, run_id).plan_id
    assert ledger.get_plan(connection, plan_id).body == {"steps": 3}
    assert ledger.list_plans(connection) == [ledger.get_plan(connection, plan_id)]
    assert ledger.get_plan(connection, new_id()) is None


def test_an_entry_without_a_run_says_what_spent_it(trained, make):
    """A count with noise has no run; it counts for its members like any other entry."""
    connection, _, (anna, _) = trained
    row = ledger.reserve(connection, **entry(None, [anna], make, source=ledger.LedgerSource.QUERY))
    assert ledger.entries_of(connection, [anna]) == {anna: [row]}
    assert (row.run_id, row.source) == (None, ledger.LedgerSource.QUERY)


@pytest.mark.parametrize("source", [None, "query"])
def test_training_names_its_run_and_nothing_else_does(site, make, source):
    """An entry of training without a run, and one of a count with a run, are refused by the database."""
    with site.logged() as work:
        subject_id, consent_id = site.enrol(work.connection)
        track_id = site.track(work.connection, subject_id, consent_id)
        _, run_id = site.model(work.connection, [(consent_id, subject_id, track_id)])
    wrong = {} if source is None else {"source": ledger.LedgerSource(source)}
    with site.refused() as work:
        ledger.reserve(work.connection, **entry(None if source is None else run_id, [subject_id], make, **wrong))
