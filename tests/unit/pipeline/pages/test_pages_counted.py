"""A vault that is older than the census: what it holds when it is migrated is what there should be."""

import pytest
from alembic.command import downgrade

from fabnet_secure.config import load
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline import upgrade as upgrade_journey
from fabnet_secure.pipeline.pack import pack
from fabnet_secure.pipeline.upgrade import upgrade
from fabnet_secure.store import schema
from fabnet_secure.store.database import open_vault_database, sqlite_url


@pytest.fixture
def old(lite, monkeypatch):
    """Turn the vault, with two people's waiting pages, back into one of the second version."""
    lite.person("ada", 3)
    lite.person("ben", 2)
    lite.change("DELETE FROM meta WHERE key = 'embeddings' OR key LIKE 'consent/%'")
    monkeypatch.setattr(upgrade_journey, "_begun", lambda *_: "")  # the log of an older program names no version
    engine = open_vault_database(sqlite_url(lite.room.place.root / "vault.db"))
    with schema.write_locked(engine) as connection:
        downgrade(schema._config(connection, "vault"), "vault_0002")
        schema.allow_commit(connection)
    engine.dispose()
    return lite


def test_pages_of_an_older_vault_are_counted_once(old):
    """After the migration everything opens and packs; a second 'init' counts nothing anew."""
    assert upgrade(old.room.place, load([]).settings, clock=old.room.clock)
    assert old.rows(old.unlock()) == old.of()
    assert pack(old.site).waiting == 2
    assert old.rows(old.unlock()) == old.of()
    old.change("DELETE FROM embedding_segment WHERE n = 2")
    assert not upgrade(old.room.place, load([]).settings, clock=old.room.clock)
    with pytest.raises(IntegrityFailure):
        old.unlock()
