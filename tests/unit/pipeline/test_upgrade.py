"""A vault of an older version: it says what to do, and doing that keeps everything."""

import json

import pytest
import sqlalchemy as sa
from alembic.command import downgrade as alembic_downgrade
from alembic.command import upgrade as alembic_upgrade

from fabnet_secure.commands.init import init
from fabnet_secure.config import load
from fabnet_secure.errors import AccessDenied, NoVault
from fabnet_secure.pipeline import context
from fabnet_secure.pipeline.consents import add
from fabnet_secure.pipeline.registers import list_tracks
from fabnet_secure.pipeline.upgrade import upgrade
from fabnet_secure.store import schema
from fabnet_secure.store.database import open_vault_database, sqlite_url


@pytest.fixture
def old(room):
    """Turn the room's vault back into one of the first version, with its log, keys and consents."""
    engine = open_vault_database(sqlite_url(room.place.root / "vault.db"))
    with schema.write_locked(engine) as connection:
        config = schema._config(connection, "vault")
        alembic_downgrade(config, "vault_0001")
        schema.allow_commit(connection)
    engine.dispose()
    return room


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
    again = room.open()
    assert [row["track_id"] for row in list_tracks(again)] == [track]
    assert room.acts(again)[-3:] == ["vault.migration_begun", "access.allowed", "vault.migrated"]
    assert room.facts(again, "vault.migrated") == {"keystore": "keystore_0001", "vault": "vault_0002"}
    add(again, [room.application(subject_ref="ben")])


def test_whoever_may_not_set_up_a_vault_may_not_migrate_it(old, monkeypatch):
    """An account without a role is denied, in writing, and the vault stays as it is."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    with pytest.raises(AccessDenied):
        upgrade(old.place, load([]).settings, clock=old.clock)
    monkeypatch.undo()
    old.clock.forward(seconds=1)
    with pytest.raises(NoVault):
        old.open()
    assert upgrade(old.place, load([]).settings, clock=old.clock)
    assert [one.outcome.value for one in old.decisions(old.open()) if one.action == "init"] == ["deny", "allow"]


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
