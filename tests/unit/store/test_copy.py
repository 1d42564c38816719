"""Bulk reading gives the same values on both databases."""

import pytest
import sqlalchemy as sa

from fabnet_secure.errors import FabnetError
from fabnet_secure.store.copy import fetch, mapped
from fabnet_secure.store.database import read_only
from fabnet_secure.store.log_storage import SqlLogStorage
from fabnet_secure.store.meta import set_meta
from fabnet_secure.store.tables import log_entry, meta


def test_values_are_as_stored(site):
    """Numbers, text beyond ASCII, quotes and percent signs, bytes: plain tuples in the order asked for."""
    texts = {"a": "顔'\"%s%", "b": "", "c": "\\x00"}
    with site.logged() as work:
        for key, value in texts.items():
            set_meta(work.connection, key, value)
    with read_only(site.engine) as connection:
        wanted = sa.select(meta.c.key, meta.c.value).where(meta.c.key.in_(list(texts))).order_by(meta.c.key)
        assert list(fetch(connection, wanted, "text text")) == sorted(texts.items())
        one = wanted.where(meta.c.value == texts["a"])
        assert list(fetch(connection, one, "text text")) == [("a", texts["a"])]
        (entry,) = fetch(connection, sa.select(log_entry.c.leaf_index, log_entry.c.body), "int8 bytea")
        assert entry == (0, SqlLogStorage(connection).read_entries(0, 1)[0])
        assert connection.execute(sa.select(sa.func.count()).select_from(meta)).scalar_one() >= 3  # goes on


def test_a_snapshot_is_one_moment(site):
    """What another process commits meanwhile is not read."""
    wanted = sa.select(meta.c.key)
    with read_only(site.engine) as connection:
        before = list(fetch(connection, wanted, "text"))
        with site.logged() as work:
            set_meta(work.connection, "later", "x")
        assert list(fetch(connection, wanted, "text")) == before


def test_a_refusal_is_one_of_ours(site):
    """A driver's error says nothing of the statement."""
    missing = sa.select(sa.column("x")).select_from(sa.table("nowhere"))
    with read_only(site.engine) as connection, pytest.raises(FabnetError) as caught:
        list(fetch(connection, missing, "text"))
    assert "nowhere" not in str(caught.value)


def test_settings_are_as_before(site):
    """Reading large rows leaves the connection's settings alone, an error in it too."""

    def told(connection):
        if connection.dialect.name != "sqlite":
            return None
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("cache_size", "mmap_size")]

    with read_only(site.engine) as connection:
        before = told(connection)
        with mapped(connection):
            assert connection.execute(sa.select(meta.c.key)).all() == []
        with pytest.raises(ZeroDivisionError), mapped(connection):
            raise ZeroDivisionError
        assert told(connection) == before
