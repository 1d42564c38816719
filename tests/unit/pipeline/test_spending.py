"""Spending without a training run: ledger, log and anchor agree, or nothing was spent."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import spending
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.plan import check_ledger
from fabnet_secure.store import ledger
from fabnet_secure.store.states import LedgerSource, LedgerState


@pytest.fixture
def person(room, site):
    """Somebody's subject id."""
    consent_id = room.consent(site)
    with site.reading() as connection:
        return find_consent(connection, consent_id)[0].subject_id


def spend(site, work, people, **changes):
    plain = {"source": LedgerSource.RESTORED, "dp_event": '{"event":"x"}', "epsilon": 0.25, "delta": 1e-9}
    return spending.spend(site, work, subject_ids=people, facts={"why": "test"}, **plain | changes)


def test_what_is_spent_stands_in_all_three_places(site, room, person):
    """A committed entry, a log entry that binds it, and the anchor's line before it."""
    with site.work() as work:
        entry_id = spend(site, work, [person, person])
    with site.reading() as connection:
        (row,) = ledger.list_entries(connection)
        assert ledger.members_of_entry(connection, entry_id) == [person]
        assert room.facts(site, spending.ACT)["entry"] == spending.kept_digest(connection, row)
        check_ledger(connection)
    assert (row.state, row.source, row.run_id) == (LedgerState.COMMITTED, LedgerSource.RESTORED, None)
    assert entry_id in site.anchor.state().owed


def test_the_log_names_neither_person_nor_entry(site, room, person):
    """The entry's digest is salted by its random id: whoever guesses the person cannot confirm it."""
    with site.work() as work:
        entry_id = spend(site, work, [person])
    told = str(room.facts(site, spending.ACT))
    assert person not in told
    assert entry_id not in told


def test_an_act_that_fails_spends_nothing_in_the_ledger(site, person):
    """Undone with its transaction; the anchor's line stays uncertain and is not owed."""

    def crash():
        with site.work() as work:
            spend(site, work, [person])
            raise KeyError("crash")

    with pytest.raises(KeyError):
        crash()
    with site.reading() as connection:
        assert ledger.list_entries(connection) == []
    assert site.anchor.state().owed == frozenset()


def test_nobody_cannot_pay(site):
    """An entry names at least one person."""
    with pytest.raises(UsageError) as refused, site.work() as work:
        spend(site, work, [])
    assert refused.value.code == "LEDGER_EMPTY"


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0.5},
        {"delta": 1e-8},
        {"dp_event": "{}"},
        {"source": LedgerSource.QUERY},
        {"subject_ids": ["somebody"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_binds_every_part(site, person, change):
    """Another price, mechanism, source or person is another digest."""
    with site.work() as work:
        spend(site, work, [person])
        (row,) = ledger.list_entries(work.connection)
    people = change.get("subject_ids", [person])
    fields = {name: getattr(row, name) for name in type(row).__dataclass_fields__}
    other = type(row)(**fields | {name: value for name, value in change.items() if name != "subject_ids"})
    assert spending.entry_digest(other, people) != spending.entry_digest(row, [person])
