"""vault_0005 on a vault that has spent budget: every entry stays, tied to its people and its run, up and down."""

import sqlite3

import pytest
from alembic.command import downgrade, upgrade

from fabnet_secure.store import schema
from fabnet_secure.store.database import check_revision, migrate, open_vault_database

MEMBERS = "SELECT entry_id, subject_id FROM ledger_member"


def step(engine, act, revision):
    """Run one alembic command on the vault."""
    with schema.write_locked(engine, schema._lock_migration) as connection:
        act(schema._config(connection, "vault"), revision)
        schema.allow_commit(connection)


@pytest.fixture
def spent(tmp_path):
    """A vault of vault_0004: a run that one person paid for, and a question answered; (engine, statement → rows)."""
    engine = open_vault_database(f"sqlite:///{tmp_path}/vault.db")
    migrate(engine, "vault")
    step(engine, downgrade, "vault_0004")

    def rows(statement):
        plain = sqlite3.connect(tmp_path / "vault.db")
        plain.execute("PRAGMA foreign_keys = ON")
        with plain:
            found = plain.execute(statement).fetchall()
        plain.close()
        return found

    for statement in (
        "INSERT INTO subject (subject_id, category, created_at) VALUES ('s', 'adult', 't')",
        "INSERT INTO dataset VALUES ('d', '{}', 't')",
        "INSERT INTO plan VALUES ('p', 'd', '{}', 't')",
        "INSERT INTO run VALUES ('r', 'p', 'complete', 3, 't', 't')",
        "INSERT INTO ledger_entry VALUES ('e', 'r', '{}', 1.5, 1e-6, 'committed', 't')",
        "INSERT INTO ledger_member VALUES ('e', 's')",
        "INSERT INTO decision VALUES ('1', 'a', 'query_similar', 'q', 'allow', 'p', 'h', 7, 't')",
        "INSERT INTO decision VALUES ('2', 'a', 'query_similar', 'q', 'deny', 'p', 'h', 0, 't')",
        "INSERT INTO decision VALUES ('3', 'a', 'embed', 'q', 'allow', 'p', 'h', 9, 't')",
    ):
        rows(statement)
    return engine, rows


def test_what_was_spent_stays(spent):
    """The entry, its run and its member are there after the table was rebuilt; training spent it."""
    engine, rows = spent
    migrate(engine, "vault")
    assert rows("SELECT entry_id, run_id, epsilon, source FROM ledger_entry") == [("e", "r", 1.5, "train")]
    assert rows(MEMBERS) == [("e", "s")]
    assert rows("PRAGMA foreign_key_check") == []
    assert rows("SELECT decision_id, answers FROM decision ORDER BY 1") == [("1", 1), ("2", 0), ("3", 0)]


def test_members_still_refer_to_their_entry(spent):
    """A member of no entry, and an entry without a run that says it trained, are refused by the database."""
    engine, rows = spent
    migrate(engine, "vault")
    for wrong in (
        "INSERT INTO ledger_member VALUES ('nowhere', 's')",
        "INSERT INTO ledger_entry VALUES ('x', NULL, '{}', 1, 0, 'committed', 't', 'train')",
        "INSERT INTO ledger_entry VALUES ('x', 'r', '{}', 1, 0, 'committed', 't', 'query')",
        "INSERT INTO ledger_entry VALUES ('x', NULL, '{}', 1, 0, 'committed', 't', 'gift')",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            rows(wrong)
    rows("INSERT INTO ledger_entry VALUES ('x', NULL, '{}', 1, 0, 'committed', 't', 'query')")


def test_down_again_loses_only_what_no_run_caused(spent):
    """Back at vault_0004 the training's entry is there; forward once more it is the same."""
    engine, rows = spent
    migrate(engine, "vault")
    rows("INSERT INTO ledger_entry VALUES ('x', NULL, '{}', 1, 0, 'committed', 't', 'query')")
    rows("INSERT INTO ledger_member VALUES ('x', 's')")
    step(engine, downgrade, "vault_0004")
    assert check_revision(engine, "vault", older=True) == "vault_0004"
    assert rows(MEMBERS) == [("e", "s")]
    step(engine, upgrade, "head")
    assert rows("SELECT entry_id, source FROM ledger_entry") == [("e", "train")]
