"""Quarantined videos: a record exactly as long as a video is held."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from fabnet_secure.errors import UsageError
from fabnet_secure.store import quarantine
from fabnet_secure.store.states import QuarantineState
from fabnet_secure.types import new_id


@pytest.fixture
def hold(site, make):
    """Hold a video in a unit of work and return its id."""

    def held(work, *, days=14, **changes):
        video_id = site.video(work.connection, **changes)
        quarantine.add_held(
            work.connection,
            video_id,
            site.sealed(b"record"),
            reason="crowd",
            deadline=make.at + timedelta(days=days),
            created_at=make.at,
        )
        return video_id

    return held


def test_a_held_video_round_trips(site, make, hold):
    """The row comes back equal, sealed as it was, and is listed by its state; another video has none."""
    with site.logged() as work:
        video_id = hold(work)
    with site.logged() as work:
        row = quarantine.get_quarantine(work.connection, video_id)
        assert (row.reason, row.state, row.resolved_at) == ("crowd", QuarantineState.HELD, None)
        assert row.deadline == make.at + timedelta(days=14)
        assert row.sealed is not None
        assert quarantine.list_quarantine(work.connection) == [row]
        assert quarantine.list_quarantine(work.connection, state=QuarantineState.EXPIRED) == []
        assert quarantine.get_quarantine(work.connection, new_id()) is None


@pytest.mark.parametrize("state", [QuarantineState.RELEASED, QuarantineState.DESTROYED, QuarantineState.EXPIRED])
def test_an_ended_wait_has_no_record_and_stays_ended(site, make, hold, state):
    """However it ends the record goes, the row stays with its time, and it cannot end twice."""
    with site.logged() as work:
        video_id = hold(work)
        before = quarantine.get_quarantine(work.connection, video_id)
        quarantine.resolve(work.connection, video_id, state, make.at)
        after = quarantine.get_quarantine(work.connection, video_id)
    assert after == replace(before, sealed=None, state=state, resolved_at=make.at)
    with site.refused(UsageError, "NOT_FOUND") as work:
        quarantine.resolve(work.connection, video_id, state, make.at)


def test_a_wait_cannot_end_by_being_held(site, make, hold):
    """'held' is how a wait begins, never how it ends."""
    with site.refused(UsageError, "QUARANTINE_STATE") as work:
        quarantine.resolve(work.connection, hold(work), QuarantineState.HELD, make.at)


def test_only_ciphertext_is_held(site, make):
    """Plain bytes do not get into the column."""
    with pytest.raises(TypeError), site.logged() as work:
        quarantine.add_held(
            work.connection, site.video(work.connection), b"path", reason="", deadline=make.at, created_at=make.at
        )


def test_an_unknown_video_and_a_second_wait_are_refused(site, make, hold):
    """A record belongs to a video that is there, and a video waits once."""
    with site.refused() as work:
        quarantine.add_held(
            work.connection, new_id(), site.sealed(), reason="crowd", deadline=make.at, created_at=make.at
        )
    with site.refused() as work:
        quarantine.add_held(
            work.connection, hold(work), site.sealed(), reason="crowd", deadline=make.at, created_at=make.at
        )


@pytest.mark.parametrize(
    "lie",
    ["sealed = NULL", "state = 'released'", "state = 'lost'", "resolved_at = created_at"],
    ids=["no-record", "record-stays", "no-state", "ended-and-held"],
)
def test_the_database_keeps_state_and_record_together(site, hold, lie):
    """A held row without its record, an ended one with it, or an unknown state is refused by the database itself."""
    with site.refused() as work:
        hold(work)
        work.connection.execute(sa.text(f"UPDATE quarantine SET {lie}"))


def test_the_same_bytes_held_elsewhere_are_found(site, make, hold):
    """Whether another video of the same bytes waits; itself, ended waits and unknown bytes do not count."""
    with site.logged() as work:
        first = hold(work, content="c" * 64)
        second = site.video(work.connection, content="c" * 64)
        assert quarantine.holds_content(work.connection, "c" * 64, beside=second)
        assert not quarantine.holds_content(work.connection, "c" * 64, beside=first)
        assert not quarantine.holds_content(work.connection, "d" * 64, beside=second)
        hold(work, content="")
        assert not quarantine.holds_content(work.connection, "", beside=second)
        quarantine.resolve(work.connection, first, QuarantineState.EXPIRED, make.at)
        assert not quarantine.holds_content(work.connection, "c" * 64, beside=second)
