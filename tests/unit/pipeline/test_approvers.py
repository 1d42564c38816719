"""Whose keys approve: one key a person, one person a key, every change logged, and no change behind our back."""

import sqlite3
from contextlib import closing

import pytest

from fabnet_secure.errors import AccessDenied, FabnetError, IntegrityFailure, UsageError
from fabnet_secure.pipeline.approvers import checked, enrol, listing, remove


def code_of(error, call, *arguments, **named):
    with pytest.raises(error) as caught:
        call(*arguments, **named)
    return caught.value.code


def behind(room, statement, *values):
    """Change a row behind the program's back."""
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute(statement, values)


def test_an_enrolment_is_logged_by_the_keys_fingerprint(room, site, pair, ssh_keys):
    """The log says which key, by its public fingerprint, and names nobody."""
    facts = room.facts(site, "approver.enrolled")
    (bob,) = (row for row in listing(site) if row.name == "bob")
    assert facts["key"].startswith("SHA256:")
    assert facts["replaces"] == ""
    assert "bob" not in str(facts)
    assert bob.removed_at is None


def test_enrolling_the_same_key_again_changes_nothing(room, site, pair, ssh_keys):
    """Up-arrow-enter: the second time is the first."""
    before = len(room.acts(site))
    assert enrol(site, "alice", ssh_keys["alice"].with_suffix(".pub")).already
    assert len(room.acts(site)) == before


def test_a_key_is_one_persons_for_ever(site, pair, ssh_keys):
    """Nobody enrols a key that is, or ever was, somebody's; its own owner does not either once it was removed."""
    key = ssh_keys["alice"].with_suffix(".pub")
    assert code_of(UsageError, enrol, site, "bob", key) == "KEY_TAKEN"
    remove(site, "alice")
    assert code_of(UsageError, enrol, site, "bob", key) == "KEY_TAKEN"
    assert code_of(UsageError, enrol, site, "alice", key) == "KEY_TAKEN"


def test_a_replacement_names_both_keys(room, site, pair, ssh_keys):
    """A person has one key in use; the log says which one it took the place of."""
    done = enrol(site, "alice", ssh_keys["mallory"].with_suffix(".pub"))
    assert done.replaced == room.facts(site, "approver.enrolled")["replaces"]
    living = [row for row in listing(site) if row.removed_at is None]
    assert sorted(row.name for row in living) == ["alice", "bob"]


def test_dry_runs_change_nothing(room, site, pair, ssh_keys):
    """A rehearsal says what it would do."""
    before = room.acts(site)
    assert enrol(site, "alice", ssh_keys["mallory"].with_suffix(".pub"), dry_run=True).replaced
    assert remove(site, "alice", dry_run=True).replaced
    assert room.acts(site) == before


def test_only_who_grants_roles_enrols(stranger, ssh_keys):
    """An account without roles is denied, and the denial is logged."""
    key = ssh_keys["alice"].with_suffix(".pub")
    assert code_of(AccessDenied, enrol, stranger, "alice", key) == "ACCESS_DENIED"
    assert code_of(AccessDenied, remove, stranger, "alice") == "ACCESS_DENIED"
    assert code_of(AccessDenied, listing, stranger) == "ACCESS_DENIED"


def test_unknown_accounts_and_absent_keys_are_refused(site, ssh_keys, pair):
    """A key belongs to somebody who has a role here."""
    assert code_of(UsageError, enrol, site, "nobody-here", ssh_keys["mallory"].with_suffix(".pub")) == "ACCOUNT_UNKNOWN"
    assert code_of(UsageError, remove, site, "nobody-here") == "ACCOUNT_UNKNOWN"
    remove(site, "alice")
    assert code_of(UsageError, remove, site, "alice") == "NO_KEY"


BOBS_KEY = "(SELECT public_key FROM approver WHERE name = 'bob')"
SWAPS = {
    "the key": f"UPDATE approver SET public_key = {BOBS_KEY} WHERE name = 'alice'",
    "the name": "UPDATE approver SET name = 'carol' WHERE name = 'alice'",
    "the time": "UPDATE approver SET added_at = '2026-01-01T00:00:00.000000Z' WHERE name = 'alice'",
    "the proof": f"UPDATE approver SET proof = '{'0' * 64}' WHERE name = 'alice'",
    "the row": "DELETE FROM approver WHERE name = 'alice'",
    "an end": "UPDATE approver SET removed_at = '2026-05-05T00:00:00.000000Z' WHERE name = 'alice'",
}


@pytest.mark.parametrize("statement", SWAPS.values(), ids=SWAPS.keys())
def test_a_row_changed_behind_our_back_is_refused(room, site, pair, statement):
    """Whatever of a key's row is changed, or the row itself, the keys are believed no more."""
    behind(room, statement)
    with site.reading() as connection:
        assert code_of(IntegrityFailure, checked, site, connection) == "APPROVER_CHANGED"


def test_a_removed_key_cannot_be_put_back(room, site, pair):
    """The whole old row, sound by its digest, does not say what the log says."""
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection:
        old = connection.execute("SELECT * FROM approver WHERE name = 'alice'").fetchone()
    remove(site, "alice")
    behind(room, "DELETE FROM approver WHERE name = 'alice'")
    behind(room, "INSERT INTO approver VALUES (?, ?, ?, ?, ?, ?)", *old)
    assert code_of(IntegrityFailure, listing, site) == "APPROVER_CHANGED"


def test_an_invented_row_is_refused(room, site, pair):
    """A row that was never enrolled is in no log."""
    behind(
        room,
        "INSERT INTO approver SELECT ?, 'carol', public_key, added_at, removed_at, proof FROM approver LIMIT 1",
        "ab" * 32,
    )
    assert code_of(FabnetError, listing, site) == "APPROVER_CHANGED"
