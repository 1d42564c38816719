"""Connections read snapshots unless they are the one writer, and a database that fails keeps nothing of an act."""

import shutil
import subprocess
import sys
import textwrap

import pytest
import sqlalchemy as sa

from fabnet_secure.errors import NoVault, StorageFailed, UsageError
from fabnet_secure.store.database import (
    open_vault_database,
    read_only,
    sqlite_url,
)
from fabnet_secure.store.engine import kept_open, sqlite_file
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.store.meta import list_meta, set_meta
from fabnet_secure.store.tables import meta
from fabnet_secure.store.wipe import checkpoint_wal


def test_plain_connection_cannot_write(site):
    """Outside a unit of work the database is read-only, through read_only() and through the engine itself."""
    with pytest.raises(StorageFailed) as caught, read_only(site.engine) as connection:
        set_meta(connection, "a", "1")
    assert caught.value.code == "STORAGE_READONLY"
    with pytest.raises(StorageFailed), site.engine.begin() as connection:
        connection.execute(sa.insert(meta).values(key="a", value="1"))
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}


def test_write_mode_does_not_leak_into_the_next_connection(site):
    """A plain connection taken after a unit of work still cannot write (pooled connections included)."""
    with site.work() as work:
        work.log("vault.created", facts={})
    with pytest.raises(StorageFailed), site.engine.begin() as connection:
        connection.execute(sa.insert(meta).values(key="a", value="1"))


def test_read_only_sees_one_snapshot(site):
    """What is committed while a snapshot is open is not seen in it."""
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {}
        with site.work() as work:
            set_meta(work.connection, "a", "1")
            work.log("vault.created", facts={})
        assert list_meta(connection) == {}
    with read_only(site.engine) as connection:
        assert list_meta(connection) == {"a": "1"}


def test_readers_are_not_held_up_by_a_writer(site):
    """A snapshot opens and reads while a unit of work holds the write lock."""
    with site.work() as work:
        set_meta(work.connection, "a", "1")
        with read_only(site.engine) as connection:
            assert list_meta(connection) == {}
        work.log("vault.created", facts={})


def fill(site, *, swallow=False):
    """Write until SQLite has no page left."""
    with site.work() as work:
        work.connection.exec_driver_sql("PRAGMA max_page_count = 200").close()
        set_meta(work.connection, "before", "1")
        try:
            for number in range(100):
                set_meta(work.connection, f"big-{number}", "x" * 100_000)
        except StorageFailed:
            if not swallow:
                raise
        set_meta(work.connection, "after", "1")
        work.log("test.entry", facts={})


@pytest.mark.parametrize("swallow", [False, True])
def test_full_disk_is_storage_failed_and_keeps_nothing(lite, swallow):
    """A full database is StorageFailed and rolls back everything, also when the block swallows the error."""
    with pytest.raises(StorageFailed) as caught:
        fill(lite, swallow=swallow)
    assert swallow or caught.value.code == "STORAGE_FULL"
    with read_only(lite.engine) as connection:
        assert list_meta(connection) == {}
        assert SqlLogStorage(connection).size() == 0


LIMITED = """
    import resource, sys
    from fabnet_secure.crypto.signing import Signer
    from fabnet_secure.errors import StorageFailed
    from fabnet_secure.store.database import Scribe, open_vault_database, unit_of_work
    from fabnet_secure.store.meta import set_meta
    from fabnet_secure.types import utc_now

    signer = Signer.from_seed(bytes([7]) * 32)
    scribe = Scribe(origin="example.org/log", signer=signer, actor="operator", clock=utc_now)
    engine = open_vault_database(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    try:
        with unit_of_work(engine, scribe) as work:
            set_meta(work.connection, "half", "x" * 3_000_000)
            work.log("test.entry", facts={})
    except StorageFailed as error:
        print(error.code)
"""


def test_file_size_limit_is_storage_failed(lite):
    """When the system refuses to grow the files the act is StorageFailed, and the vault is whole afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), lite.url],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() in {"STORAGE_FULL", "STORAGE_IO"}
    with read_only(lite.engine) as connection:
        assert list_meta(connection) == {}
    with lite.work() as work:
        assert work.log("vault.created", facts={}) == 0


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://h/d", "no url", "sqlite:///file:x?uri=1"])
def test_unusable_url_is_a_usage_error(url):
    """A database that cannot hold a vault is refused with a hint, before anything is opened."""
    with pytest.raises(UsageError) as caught:
        open_vault_database(url)
    assert caught.value.code == "DATABASE_URL"


def test_reading_creates_no_file(tmp_path):
    """Looking for a vault that is not there says so and leaves no file behind."""
    engine = open_vault_database(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(NoVault), read_only(engine):
        pytest.fail("there is nothing to read")
    assert list(tmp_path.iterdir()) == []


def test_odd_characters_in_the_path_name_the_same_file(tmp_path, template, make):
    """A path with spaces, percent signs, hashes and Japanese is opened as it is written."""
    path = tmp_path / "顔 100% #1?.db"
    path.write_bytes((template / "vault.db").read_bytes())
    engine = open_vault_database(sqlite_url(path))
    with read_only(engine) as connection:
        assert SqlLogStorage(connection).size() == 0


def test_sqlite_runs_with_the_promised_settings(lite):
    """WAL, full sync, secure delete, temporary tables in memory and foreign keys are on, in reads and writes alike."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "temp_store": 2, "foreign_keys": 1}
    with read_only(lite.engine) as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted} == wanted
    with lite.work() as work:
        assert {name: work.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted} == wanted
        work.log("vault.created", facts={})


def test_kept_open_writes_use_one_connection(lite):
    """Within the block the write-ahead log stays and writes do not connect anew; after it nothing is left open."""
    path = sqlite_file(lite.engine)
    wal = path.with_name(f"{path.name}-wal")
    with kept_open(lite.engine):
        drivers = set()
        for number in range(3):
            with lite.logged() as work:
                set_meta(work.connection, f"key{number}", "x")
                drivers.add(id(work.connection.connection.driver_connection))
            assert wal.stat().st_size > 0
        assert len(drivers) == 1
        checkpoint_wal(lite.engine)  # an idle connection holds no lock
        assert wal.stat().st_size == 0
    assert not wal.exists()


def test_a_file_put_in_its_place_is_written_by_a_new_connection(lite):
    """A kept connection is not used on for a database that another file has replaced."""
    path = sqlite_file(lite.engine)
    with kept_open(lite.engine):
        with lite.logged() as work:
            set_meta(work.connection, "key", "old")
        checkpoint_wal(lite.engine)
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink()
        with lite.logged() as work:
            set_meta(work.connection, "key2", "new")
    with read_only(lite.engine) as connection:
        assert list_meta(connection)["key2"] == "new"
