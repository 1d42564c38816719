"""A vault of an older version: it says what to do, and doing that keeps everything."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.command import downgrade as alembic_downgrade
from alembic.command import upgrade as alembic_upgrade

from fabnet_secure.commands.init import init
from fabnet_secure.config import load
from fabnet_secure.errors import AccessDenied, IntegrityFailure, NoVault
from fabnet_secure.pipeline import context, promises
from fabnet_secure.pipeline import upgrade as upgrade_journey
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.registers import list_tracks
from fabnet_secure.pipeline.upgrade import upgrade
from fabnet_secure.store import schema
from fabnet_secure.store.database import open_vault_database, sqlite_url
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.types import utc_now


@pytest.fixture(autouse=True)
def made_by_an_older_program(monkeypatch):
    """An older program's log does not name the version of the vault that it made."""
    monkeypatch.setattr(upgrade_journey, "entries_of", _older_entries)


def _older_entries(connection, act):
    return [
        replace(entry, facts={"format": 1}) if entry.act == "vault.created" else entry
        for entry in entries_of(connection, act)
    ]


@pytest.fixture
def change(room):
    """Return a function that runs statements behind the program's back."""

    def run(*statements):
        with closing(sqlite3.connect(room.place.root / "vault.db")) as database, database:
            for statement in statements:
                database.execute(statement)

    return run


UNPROVEN = "DELETE FROM meta WHERE key = 'embeddings' OR key LIKE 'consent/%'"


@pytest.fixture
def old(room, change):
    """Turn the room's vault back into one of the first version, with its log, keys and consents."""
    change(UNPROVEN)
    downgrade(room)
    return room


def downgrade(room):
    engine = open_vault_database(sqlite_url(room.place.root / "vault.db"))
    with schema.write_locked(engine) as connection:
        config = schema._config(connection, "vault")
        alembic_downgrade(config, "vault_0001")
        schema.allow_commit(connection)
    engine.dispose()


def test_an_older_vault_says_what_to_do_and_doing_it_helps(room, site, monkeypatch, capsys, request):
    """Opening it is refused with 'init' as the hint; 'init' migrates it, keeps consents and tracks, and says so."""
    consent = room.consent(site)
    track = room.track(site, consent)
    request.getfixturevalue("old")
    with pytest.raises(NoVault) as caught:
        room.open()
    assert caught.value.code == "VAULT_NOT_MIGRATED"
    assert "fabnet-secure init" in caught.value.hint
    monkeypatch.delenv("FABNET_DATABASE_URL", raising=False)
    for migrated in (True, False):
        init(vault=room.place.root, key_file=room.place.key_file, as_json=True)
        told = json.loads(capsys.readouterr().out)
        assert (told["created"], told["migrated"]) == (False, migrated)
    room.clock.now = utc_now()  # the program ran by the real clock
    again = room.open()
    assert [row["track_id"] for row in list_tracks(again)] == [track]
    assert room.acts(again)[-3:] == ["vault.migration_begun", "vault.migrated", "access.allowed"]
    newest = {which: names[-1] for which, names in schema.REVISIONS.items()}
    assert room.facts(again, "vault.migrated") == newest
    add(again, [room.application(subject_ref="ben")])


def test_whoever_may_not_set_up_a_vault_may_not_migrate_it(old, monkeypatch):
    """An account without a role is denied, in writing, and the vault stays as it is."""
    with monkeypatch.context() as patch:
        patch.setattr(context, "os_account", lambda: "stranger")
        with pytest.raises(AccessDenied):
            upgrade(old.place, load([]).settings, clock=old.clock)
    old.clock.forward(seconds=1)
    with pytest.raises(NoVault):
        old.open()
    assert upgrade(old.place, load([]).settings, clock=old.clock)
    again = old.open()
    assert [one.outcome.value for one in old.decisions(again) if one.action == "init"] == ["allow"]
    assert old.facts(again, "access.denied")["action"] == "init"


def test_a_migration_that_is_cut_off_is_finished_by_another(old, monkeypatch):
    """What was begun is in the log; a second run does the rest."""

    def cut(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "alembic_upgrade", cut)
    with pytest.raises(KeyboardInterrupt):
        upgrade(old.place, load([]).settings, clock=old.clock)
    monkeypatch.setattr(schema, "alembic_upgrade", alembic_upgrade)
    assert upgrade(old.place, load([]).settings, clock=old.clock)
    assert not upgrade(old.place, load([]).settings, clock=old.clock)
    acts = old.acts(old.open())
    assert acts.count("vault.migration_begun") == 2
    assert acts.count("vault.migrated") == 1


def test_an_empty_database_in_an_old_vaults_place_is_no_vault(old):
    """Only a known older schema is migrated: an empty file is not filled in silence."""
    path = old.place.root / "vault.db"
    path.unlink()
    sa.create_engine(f"sqlite:///{path}").connect().close()
    path.touch()
    with pytest.raises(NoVault):
        upgrade(old.place, load([]).settings, clock=old.clock)


def refused(room):
    """Return the code with which the vault is not migrated."""
    with pytest.raises(IntegrityFailure) as caught:
        upgrade(room.place, load([]).settings, clock=room.clock)
    return caught.value.code


SET_BACK = "UPDATE alembic_version SET version_num = 'vault_0002'"


def test_a_version_that_was_set_back_blesses_nothing(room, site, change):
    """Edited consents stay unproven whatever version the database states; put right, it is as it was."""
    consent = room.consent(site)
    change("UPDATE consent SET body = body || ' '")
    change(SET_BACK)
    assert refused(room) == "VAULT_SET_BACK"
    change("UPDATE alembic_version SET version_num = 'vault_0005'")
    with site.reading() as connection:
        assert promises.unproven(site, connection) == {consent}
    assert "vault.migration_begun" not in room.acts(site)


def test_neither_tables_nor_proofs_taken_away_make_it_older(room, site, change, monkeypatch):
    """Without the newer tables its proofs tell, and without those its log does."""
    room.consent(site)
    downgrade(room)
    assert refused(room) == "VAULT_SET_BACK"
    change(UNPROVEN)
    monkeypatch.setattr(upgrade_journey, "entries_of", entries_of)
    assert refused(room) == "VAULT_SET_BACK"


def test_a_log_that_does_not_hold_makes_it_no_older(room, site, change, monkeypatch):
    """The entry that names its version cannot be taken out."""
    room.consent(site)
    downgrade(room)
    change(UNPROVEN, "UPDATE log_entry SET body = replace(body, 'vault.created', 'vault.erected')")
    monkeypatch.setattr(upgrade_journey, "entries_of", lambda *_: [])
    assert refused(room) in {"LOG_BROKEN", "CHECKPOINT_BROKEN"}


def test_cut_off_before_its_end_it_proves_what_is_there_with_the_next(room, site, monkeypatch, request):
    """Migrated, and killed before the last entry: the next run counts and proves, once."""
    consent = room.consent(site)
    request.getfixturevalue("old")

    def cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upgrade_journey, "_adopt", cut)
        with pytest.raises(KeyboardInterrupt):
            upgrade(room.place, load([]).settings, clock=room.clock)
    again = room.open()
    with again.reading() as connection:
        assert promises.unproven(again, connection) == {consent}
    assert upgrade(room.place, load([]).settings, clock=room.clock)
    with again.reading() as connection:
        assert promises.unproven(again, connection) == frozenset()
    assert not upgrade(room.place, load([]).settings, clock=room.clock)
