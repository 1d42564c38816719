"""Both schemas go up and down on SQLite and PostgreSQL, and are exactly what the store's tables say."""

import os
import sqlite3
import stat
import uuid

import pytest
import sqlalchemy as sa
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.script import ScriptDirectory

from fabnet_secure.errors import FabnetError, NoVault, StorageFailed, VaultLocked
from fabnet_secure.store import schema
from fabnet_secure.store.database import check_revision, migrate, open_vault_database, read_only, unit_of_work
from fabnet_secure.store.tables import KEYSTORE, VAULT

TABLES = {"vault": VAULT, "keystore": KEYSTORE}
both = pytest.mark.parametrize("which", ["vault", "keystore"])


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request, tmp_path):
    """An engine on a database that holds nothing yet."""
    if request.param == "sqlite":
        yield open_vault_database(f"sqlite:///{tmp_path}/new.db", lock_timeout_s=0.3)
        return
    server = os.environ.get("FABNET_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("FABNET_TEST_POSTGRES_URL is not set")
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"m_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    url = sa.make_url(server).update_query_dict({"options": f"-csearch_path={name}"})
    fresh = open_vault_database(url.render_as_string(hide_password=False), lock_timeout_s=0.3)
    yield fresh
    fresh.dispose()
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
    admin.dispose()


def raw(engine):
    """An engine without the store's rules, to make what the store would refuse."""
    url = f"sqlite:///{engine.url.database}" if engine.dialect.name == "sqlite" else engine.url
    return sa.create_engine(url)


def code_of(call, *arguments, error=NoVault):
    with pytest.raises(error) as caught:
        call(*arguments)
    return caught.value.code


def shape(connection):
    """Return columns, keys, uniques, checks and indexes of every table, in a comparable form."""
    look = sa.inspect(connection)
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in look.get_columns(table)
            ],
            "primary": look.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (key["name"], key["referred_table"], key["constrained_columns"], sorted(key["options"].items()))
                for key in look.get_foreign_keys(table)
            ),
            "unique": sorted((key["name"], key["column_names"]) for key in look.get_unique_constraints(table)),
            "checks": sorted(
                (check["name"], " ".join(check["sqltext"].split())) for check in look.get_check_constraints(table)
            ),
        }
        for table in sorted(look.get_table_names())
        if table != "alembic_version"
    }


def indexes(connection):
    """Return the text of every index as the database itself keeps it."""
    if connection.dialect.name == "sqlite":
        wanted = (
            "SELECT name, sql FROM sqlite_master "
            "WHERE type = 'index' AND sql IS NOT NULL AND tbl_name <> 'alembic_version'"
        )
    else:
        wanted = (
            "SELECT indexname, replace(indexdef, current_schema(), '') FROM pg_indexes "
            "WHERE schemaname = current_schema() AND tablename <> 'alembic_version'"
        )
    return {name: " ".join(text.split()) for name, text in connection.execute(sa.text(wanted))}


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")  # indexes() compares those as text
@both
def test_migrations_make_exactly_the_declared_tables(engine, which):
    """What the revisions create equals what the tables declare: columns, keys, uniques, checks, indexes."""
    migrate(engine, which)
    with read_only(engine) as connection:
        migrated = shape(connection), indexes(connection)
    schema.downgrade(engine, which)
    plain = raw(engine)
    with plain.begin() as connection:
        TABLES[which].create_all(connection)
        declared = shape(connection), indexes(connection)
    plain.dispose()
    assert migrated == declared
    assert set(migrated[0]) == set(TABLES[which].tables)


@both
def test_up_and_down_and_up(engine, which):
    """Down leaves no table behind, and up works again after it; up twice changes nothing."""
    migrate(engine, which)
    migrate(engine, which)
    check_revision(engine, which)
    schema.downgrade(engine, which)
    with read_only(engine) as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}
    assert code_of(check_revision, engine, which) == "VAULT_NOT_MIGRATED"
    migrate(engine, which)
    check_revision(engine, which)


@both
def test_known_revisions_are_those_of_the_scripts(which):
    """The list that start-up compares with names every revision script, in order, with one head."""
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_dir()))
    config.set_main_option("version_locations", str(schema.migrations_dir() / which))
    config.set_main_option("path_separator", "newline")
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == schema.REVISIONS[which]


def test_the_other_database_is_not_taken_for_this_one(engine):
    """A keystore where the vault should be is refused, by the check and by the migration."""
    migrate(engine, "keystore")
    assert code_of(check_revision, engine, "vault") == "NOT_A_VAULT"
    assert code_of(migrate, engine, "vault") == "NOT_A_VAULT"
    check_revision(engine, "keystore")


def test_newer_schema_is_refused_and_left_alone(engine):
    """A revision this program does not know is VAULT_NEWER; migrating does not touch it."""
    migrate(engine, "vault")
    plain = raw(engine)
    with plain.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'vault_9999'"))
    plain.dispose()
    assert code_of(check_revision, engine, "vault") == "VAULT_NEWER"
    assert code_of(migrate, engine, "vault") == "VAULT_NEWER"


def test_foreign_tables_are_never_migrated_over(engine):
    """A database of another program is refused and gets no table of ours."""
    if (path := engine.url.database) and engine.dialect.name == "sqlite":
        sqlite3.connect(path).close()
        open(path, "a").close()  # noqa: PTH123 - an empty file, as touch would make
    plain = raw(engine)
    with plain.begin() as connection:
        connection.execute(sa.text("CREATE TABLE recipes (id INTEGER)"))
    plain.dispose()
    assert code_of(check_revision, engine, "vault") == "NOT_A_VAULT"
    assert code_of(migrate, engine, "vault") == "NOT_A_VAULT"
    with read_only(engine) as connection:
        assert sa.inspect(connection).get_table_names() == ["recipes"]


def test_half_a_migration_leaves_nothing(engine, monkeypatch):
    """When a migration fails in the middle no table of it stays, on either database."""

    def fail_after_upgrade(config, revision):
        real(config, revision)
        raise KeyError("in the middle")

    real = schema.alembic_upgrade
    monkeypatch.setattr(schema, "alembic_upgrade", fail_after_upgrade)
    with pytest.raises(KeyError):
        migrate(engine, "vault")
    with read_only(engine) as connection:
        assert sa.inspect(connection).get_table_names() == []


def test_file_that_is_no_database_is_not_a_vault(tmp_path):
    """A text file in the vault's place is refused with NOT_A_VAULT, and not a byte of it changes."""
    path = tmp_path / "notes.db"
    path.write_bytes(b"these are my notes\n" * 500)
    engine = open_vault_database(f"sqlite:///{path}")
    assert code_of(check_revision, engine, "vault") == "NOT_A_VAULT"
    assert code_of(migrate, engine, "vault") == "NOT_A_VAULT"
    assert path.read_bytes() == b"these are my notes\n" * 500


def test_missing_file_directory_and_empty_file_are_told_apart(tmp_path):
    """No file is NO_VAULT, an empty one VAULT_NOT_MIGRATED, a directory no vault either."""
    assert code_of(check_revision, open_vault_database(f"sqlite:///{tmp_path}/none.db"), "vault") == "NO_VAULT"
    assert code_of(check_revision, open_vault_database(f"sqlite:///{tmp_path}"), "vault") == "NO_VAULT"
    (tmp_path / "empty.db").touch()
    empty = open_vault_database(f"sqlite:///{tmp_path}/empty.db")
    assert code_of(check_revision, empty, "vault") == "VAULT_NOT_MIGRATED"


def test_database_file_is_for_its_owner_alone(tmp_path):
    """The file and its WAL are created with mode 0600 whatever the umask says."""
    path = tmp_path / "vault.db"
    before = os.umask(0)
    try:
        engine = open_vault_database(f"sqlite:///{path}")
        migrate(engine, "vault")
        with read_only(engine):
            modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}


def test_file_in_a_missing_directory_is_storage_failed(tmp_path):
    """A vault cannot be created where there is no directory, and the error says so."""
    engine = open_vault_database(f"sqlite:///{tmp_path}/none/vault.db")
    assert code_of(migrate, engine, "vault", error=StorageFailed) == "STORAGE_IO"


def test_migration_waits_for_the_write_lock(tmp_path):
    """A migration beside a writer is VaultLocked, not half done."""
    url = f"sqlite:///{tmp_path}/vault.db"
    engine = open_vault_database(url, lock_timeout_s=0.2)
    migrate(engine, "vault")
    holder = sqlite3.connect(tmp_path / "vault.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert code_of(migrate, engine, "vault", error=VaultLocked) == "VAULT_LOCKED"
    with pytest.raises(VaultLocked), unit_of_work(engine, None):
        pytest.fail("the lock was had twice")
    holder.execute("ROLLBACK")
    holder.close()


def older(engine, revision):
    """Bring an empty database to an older revision of the vault."""
    migrate(engine, "vault")
    schema.downgrade(engine, "vault")
    with schema.write_locked(engine, schema._lock_migration) as connection:
        alembic_upgrade(schema._config(connection, "vault"), revision)
        schema.allow_commit(connection)


def fill(engine):
    """Put a video with a track into a vault of the first revision."""
    video = (
        "video_id, fingerprint, content, status, frames_read, frames_persisted, detected, bound, dropped, quarantined"
    )
    rest = "drop_reasons, policy_sha256, disposition, ingested_at"
    plain = raw(engine)
    with plain.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO video ({video}, {rest}) "
                "VALUES ('v', 'f', 'c', 'quarantined', 9, 0, 1, 0, 0, 1, '{}', 'p', 'keep', 't')"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO track (track_id, video_id, status, reason, frames, crop_version, created_at) "
                "VALUES ('t', 'v', 'quarantined', 'crowd', 9, '', 't')"
            )
        )
    plain.dispose()


def test_a_vault_of_the_first_version_keeps_its_rows(engine):
    """Migrating adds what is new; videos and tracks stay, still tied to each other, with empty evidence."""
    older(engine, "vault_0001")
    fill(engine)
    assert code_of(check_revision, engine, "vault") == "VAULT_NOT_MIGRATED"
    assert check_revision(engine, "vault", older=True) == "vault_0001"
    migrate(engine, "vault")
    assert check_revision(engine, "vault") == schema.REVISIONS["vault"][-1]
    with read_only(engine) as connection:
        rows = connection.execute(sa.text("SELECT video_id, disposition, evidence FROM video")).all()
        assert rows == [("v", "keep", "{}")]
        assert connection.execute(sa.text("SELECT video_id FROM track")).scalars().all() == ["v"]
        assert connection.execute(sa.text("SELECT count(*) FROM quarantine")).scalar_one() == 0


def test_a_row_that_the_new_schema_forbids_stops_the_migration(engine):
    """A disposition outside the closed list is found by the migration, which then leaves everything as it was."""
    older(engine, "vault_0001")
    fill(engine)
    plain = raw(engine)
    with plain.begin() as connection:
        connection.execute(sa.text("UPDATE video SET disposition = 'burnt'"))
    plain.dispose()
    assert code_of(migrate, engine, "vault", error=FabnetError) in {"ROW_REFUSED", "STORAGE_FAILED"}
    assert check_revision(engine, "vault", older=True) == "vault_0001"


def test_migrations_are_found_in_a_checkout():
    """The scripts of both databases are where the program looks."""
    names = {path.name for path in schema.migrations_dir().iterdir()}
    assert {"env.py", "vault", "keystore"} <= names
