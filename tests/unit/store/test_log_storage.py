"""The log's rows behind the protocol."""

import pytest
import sqlalchemy as sa

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.database import read_only
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.store.tables import log_head


def test_entries_and_tiles_round_trip(site):
    """Entries are read by range in order, fewer when fewer are stored; a tile replaces the one before."""
    with site.logged() as work:
        storage = SqlLogStorage(work.connection)
        storage.write_entries(5, [b"five", b"six", b""])
        assert storage.read_entries(6, 99) == [b"six", b""]
        assert storage.read_entries(5, 6) == [b"five"]
        assert storage.read_entries(8, 1 << 62) == []
        storage.write_entries(8, [])
        assert storage.read_tile(3, 1) is None
        for width in (1, 2):
            storage.write_tile(3, 1, b"h" * 32 * width)
        assert storage.read_tile(3, 1) == b"h" * 64
        work.connection.exec_driver_sql("DELETE FROM log_entry")
        work.connection.exec_driver_sql("DELETE FROM log_tile")


@pytest.mark.parametrize("hashes", [b"h" * 31, b"h" * 32 * 257])
def test_impossible_tile_is_refused(site, hashes):
    """A tile that is not 1 to 256 whole hashes cannot be stored."""
    with site.refused() as work:
        SqlLogStorage(work.connection).write_tile(0, 0, hashes)


def test_entry_is_never_overwritten(site):
    """An index that holds an entry takes no second one."""
    with site.refused() as work:
        SqlLogStorage(work.connection).write_entries(0, [b"a"])
        SqlLogStorage(work.connection).write_entries(0, [b"b"])


def test_missing_head_is_a_broken_log(lite):
    """Without its head the log is broken, not empty."""
    raw = sa.create_engine(lite.url)
    with raw.begin() as connection:
        connection.execute(sa.delete(log_head))
    with read_only(lite.engine) as connection:
        with pytest.raises(IntegrityFailure):
            SqlLogStorage(connection).size()
        with pytest.raises(IntegrityFailure):
            latest_checkpoint(connection)


def test_cell_overwritten_with_text_is_a_broken_log(lite):
    """SQLite lets a stranger put text where bytes belong; reading it is LOG_BROKEN."""
    with lite.work() as work:
        work.log("test.entry", facts={})
    raw = sa.create_engine(lite.url)
    with raw.begin() as connection:
        connection.exec_driver_sql("UPDATE log_entry SET body = 'text'")
    with read_only(lite.engine) as connection, pytest.raises(IntegrityFailure) as caught:
        SqlLogStorage(connection).read_entries(0, 1)
    assert caught.value.code == "LOG_BROKEN"
