"""Rows that the log, or another row, tells of: none is missed in a sound vault, each is once it is gone."""

import sqlite3
from contextlib import closing

import pytest

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.wholeness import check_rows, missing
from fabnet_secure.pipeline.withdraw import withdraw


@pytest.fixture
def full(room, site):
    """Two people with a track each; the first has withdrawn."""
    both = [room.consent(site, subject_ref=name) for name in ("ada", "ben")]
    for consent in both:
        room.track(site, consent)
    withdraw(site, both[0], confirm=both[0])
    return both


@pytest.fixture
def take_out(room):
    """Return a function that deletes behind the program's back."""

    def run(statement, file="vault.db"):
        with closing(sqlite3.connect(room.place.root / file)) as database, database:
            assert database.execute(statement).rowcount > 0

    return run


@pytest.mark.usefixtures("full")
def test_a_sound_vault_misses_nothing(site, room):
    """After a withdrawal, and after everything has expired and was swept."""
    check_rows(site)
    room.clock.forward(days=800)
    sweep(site)
    assert not missing(site)


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("DELETE FROM consent_event WHERE type = 'withdrawn'", "consent_event"),
        ("DELETE FROM consent_event WHERE type = 'given'", "consent_event"),
        ("DELETE FROM erasure", "erasure"),
        ("DELETE FROM consent", "consent"),
        ("DELETE FROM subject", "subject"),
        ("DELETE FROM notice", "notice"),
        ("DELETE FROM video", "video"),
        ("DELETE FROM track WHERE status = 'bound'", "track"),
        ("DELETE FROM tracklet", "tracklet"),
        ("DELETE FROM decision", "decision"),
    ],
)
@pytest.mark.usefixtures("full")
def test_a_row_that_is_gone_is_missed(site, statement, table, take_out):
    """Told by its table; code ROWS_MISSING, exit status 30."""
    take_out(statement)
    assert missing(site)[table] > 0
    with pytest.raises(IntegrityFailure, match=table) as caught:
        check_rows(site)
    assert (caught.value.code, caught.value.exit_code) == ("ROWS_MISSING", 30)


@pytest.mark.usefixtures("full")
def test_a_key_that_is_gone_is_missed(site, take_out):
    """A destroyed key leaves its row; one without a row was taken out."""
    take_out("DELETE FROM data_key WHERE destroyed_at IS NOT NULL", "keystore.db")
    assert missing(site)["data_key"] == 3


def test_a_quarantine_is_missed_with_its_key(site, quarantined, room, take_out):
    """The record and the secret that opens it."""
    quarantined(site, [room.consent(site)], None)
    assert set(missing(site)) <= {"track"}  # the fixture holds a video without its rows of tracks
    take_out("DELETE FROM secret WHERE name LIKE 'quarantine/%'", "keystore.db")
    assert missing(site)["secret"] == 1
    take_out("DELETE FROM quarantine")
    assert missing(site)["quarantine"] == 1
