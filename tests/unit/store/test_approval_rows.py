"""Keys of approvers, used approvals, holds and raises as rows, on both databases; and finding entries of the log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.store import approvals, holds
from fabnet_secure.store.approvals import ApproverRow
from fabnet_secure.store.database import read_only
from fabnet_secure.store.holds import HoldRow, RaiseRow
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.store.states import HoldGround
from fabnet_secure.types import new_id

AT = datetime(2026, 5, 4, 3, 2, 1, 7, tzinfo=UTC)
SHA = "ab" * 32

KEY = ApproverRow(fingerprint=SHA, name="alice", public_key="ssh-ed25519 A", added_at=AT, removed_at=None, proof=SHA)


def hold(consent_id):
    return HoldRow(
        hold_id=new_id(),
        consent_id=consent_id,
        ground=HoldGround.LEGAL_CLAIM,
        placed_at=AT,
        until=AT + timedelta(days=3),
        released_at=None,
        proof=SHA,
    )


def test_a_key_and_a_person_have_each_other_alone(site):
    """The database refuses a second living key of a person, and a key of a second person, removed or not."""
    with site.logged() as work:
        approvals.add_approver(work.connection, KEY)
    with site.refused() as work:
        approvals.add_approver(work.connection, replace(KEY, name="bob"))
    with site.refused() as work:
        approvals.add_approver(work.connection, replace(KEY, fingerprint="cd" * 32))
    with site.logged() as work:
        approvals.remove_approver(work.connection, SHA, at=AT, proof="cd" * 32)
        approvals.add_approver(work.connection, replace(KEY, fingerprint="cd" * 32))
    with site.refused() as work:
        approvals.add_approver(work.connection, replace(KEY, name="bob"))
    with site.refused(UsageError, "NOT_FOUND") as work:
        approvals.remove_approver(work.connection, SHA, at=AT, proof=SHA)
    with read_only(site.engine) as connection:
        first, second = approvals.list_approvers(connection)
    assert {first.removed_at, second.removed_at} == {AT, None}


def test_an_approval_is_used_once(site):
    """The second row with a nonce is refused by the database itself."""
    with site.logged() as work:
        approvals.use_approval(work.connection, nonce=SHA, act="budget_raise", request_sha256=SHA, at=AT)
        assert approvals.is_used(work.connection, SHA)
        assert not approvals.is_used(work.connection, "cd" * 32)
    with site.refused() as work:
        approvals.use_approval(work.connection, nonce=SHA, act="key_destroy", request_sha256=SHA, at=AT)


def test_a_hold_ends_once_and_by_its_date(site):
    """Placed on a consent that is there; released once; past its date it holds no more."""
    with site.logged() as work:
        _, consent_id = site.enrol(work.connection)
        row = hold(consent_id)
        holds.add_hold(work.connection, row)
    assert row.holds(AT)
    assert not row.holds(AT + timedelta(days=3))
    with site.refused() as work:
        holds.add_hold(work.connection, hold(new_id()))
    with site.logged() as work:
        holds.release_hold(work.connection, row.hold_id, at=AT, proof="cd" * 32)
    with site.refused(UsageError, "NOT_FOUND") as work:
        holds.release_hold(work.connection, row.hold_id, at=AT, proof=SHA)
    with read_only(site.engine) as connection:
        (held,) = holds.list_holds(connection, consent_id=consent_id)
    assert held == replace(row, released_at=AT, proof="cd" * 32)
    assert not held.holds(AT)


@pytest.mark.parametrize("changes", [{"cap": 0.0}, {"cap": 1000.5}, {"position": -1}])
def test_a_raise_is_a_row_after_another(site, changes):
    """Raises are numbered; an impossible cap, a number below 0 and a position taken are refused."""
    with site.logged() as work:
        _, consent_id = site.enrol(work.connection)
        assert holds.next_raise(work.connection, consent_id) == 0
        row = RaiseRow(consent_id=consent_id, position=0, cap=9.5, evidence_sha256=SHA, at=AT, proof=SHA)
        holds.add_raise(work.connection, row)
        assert holds.next_raise(work.connection, consent_id) == 1
        assert holds.list_raises(work.connection) == [row]
    for bad in (row, replace(row, **{"position": 1} | changes)):
        with site.refused() as work:
            holds.add_raise(work.connection, bad)


def test_entries_are_found_by_how_their_act_begins(site):
    """All of them, in order, and no others."""
    with site.work() as work:
        for number, act in enumerate(("hold.placed", "holder.added", "hold.released", "query.hold.x")):
            work.log(act, facts={"number": number})
    with read_only(site.engine) as connection:
        found = entries_of(connection, "hold.")
        assert [(entry.act, entry.facts["number"]) for entry in found] == [("hold.placed", 0), ("hold.released", 2)]
        assert entries_of(connection, "nothing.") == []
