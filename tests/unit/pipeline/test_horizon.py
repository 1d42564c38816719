"""Until when older copies of the keystore open what was destroyed, and how it is said."""

import pytest

from fabnet_secure.pipeline import facts
from fabnet_secure.pipeline.horizon import horizon, keystore_copies
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.withdraw import withdraw


@pytest.fixture
def gone(room, site):
    """A consent that was withdrawn on the third day of the epoch."""
    consent = room.consent(site)
    room.clock.forward(days=3)
    withdraw(site, consent, confirm=consent)
    return consent


def told(site):
    (one,) = facts.erasure(site).erasures
    return one.backups_note, one.backups_until, one.backups_closed


def test_until_the_renewal_a_date_is_promised(room, site, gone):
    """30 days after the epoch began, by policy."""
    note, until, closed = told(site)
    assert (note, closed) == ("keystore_copies_until", None)
    assert (until - room.clock()).days == 27


def test_an_overdue_renewal_promises_nothing(room, site, gone):
    """The report does not name a date that is past."""
    room.clock.forward(days=28)
    assert told(site) == ("keystore_copies_overdue", None, None)


def test_after_the_renewal_it_is_done(room, site, gone):
    """Since when, by the epoch that wrapped the destroyed keys; later renewals change nothing of it."""
    room.clock.forward(days=1)
    rekey(site)
    at = room.clock()
    again = room.open()
    assert told(again) == ("keystore_copies_closed", None, at)
    room.clock.forward(days=40)
    rekey(again)
    assert told(room.open()) == ("keystore_copies_closed", None, at)


def test_without_a_destroyed_key_nothing_is_said(room, site):
    """A consent in force has no horizon."""
    assert keystore_copies(site, room.consent(site)).note == ""


@pytest.mark.parametrize(
    ("days", "status"), [(29, "ok"), (31, "warn"), (59, "warn"), (60, "fail")], ids=["due", "over", "long", "twice"]
)
def test_the_doctor_warns_and_then_fails(room, site, days, status):
    """Overdue, and twice overdue; the remedy names the command."""
    room.clock.forward(days=days)
    found = horizon(site)
    assert found.status == status
    assert "epoch 1" in found.detail
    assert (status == "ok") == (found.remedy == "")


def test_the_doctor_finds_a_renewal_that_was_cut_off(room, site, monkeypatch):
    """While the old gate lies beside the new one."""
    from fabnet_secure.pipeline import rekey as pipeline

    def cut(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "checkpoint_wal", cut)
    with pytest.raises(KeyboardInterrupt):
        rekey(site)
    monkeypatch.undo()
    found = horizon(room.open())
    assert (found.status, "keys rekey" in found.remedy) == ("warn", True)
