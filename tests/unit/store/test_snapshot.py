"""A whole database as one file, and back: the same rows, of one moment, from either kind and into either."""

import sqlite3
from contextlib import closing

import pytest

from fabnet_secure.errors import IntegrityFailure, StorageFailed, UsageError
from fabnet_secure.store import meta, snapshot
from fabnet_secure.store.database import open_vault_database, sqlite_url
from fabnet_secure.store.engine import read_only
from fabnet_secure.store.schema import check_revision


def _rows(engine):
    """Return every row of every table, as the database holds them."""
    with read_only(engine) as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()))) for table in snapshot._tables(connection)
        }


def _plain(rows):
    """Leave out what only the two drivers write differently: memory views and booleans."""
    return {name: [row.replace("True", "1").replace("False", "0") for row in found] for name, found in rows.items()}


def _copied(engine, path):
    with read_only(engine) as connection:
        snapshot.pin(connection)
        snapshot.copy_out(connection, path, "vault")
    return path


@pytest.fixture
def filled(site):
    """A vault with a row in most tables."""
    with site.logged() as work:
        subject_id, consent_id = site.enrol(work.connection)
        track_id = site.track(work.connection, subject_id, consent_id)
        site.model(work.connection, [(consent_id, subject_id, track_id)])
        meta.set_meta(work.connection, "name", "葛󠄀城")
    return site


@pytest.fixture
def opened():
    """Open a SQLite file; closed at the end."""
    engines = []

    def run(path):
        engines.append(open_vault_database(sqlite_url(path)))
        return engines[-1]

    yield run
    for engine in engines:
        engine.dispose()


def test_a_copy_has_every_row(filled, tmp_path, opened):
    """Whatever the database is, the copy is a sound SQLite file of the same schema, alone and private."""
    path = _copied(filled.engine, tmp_path / "copy.db")
    copy = opened(path)
    assert [one.name for one in tmp_path.glob("copy.db*")] == ["copy.db"]
    assert path.stat().st_mode & 0o777 == 0o600
    check_revision(copy, "vault")
    snapshot.check_copy(copy)
    before = _rows(filled.engine)
    assert sum(map(len, before.values())) > 10
    assert _plain(_rows(copy)) == _plain(before)


def test_a_copy_is_of_the_pinned_moment(filled, tmp_path, opened):
    """What is committed after the pin is not in it."""
    with read_only(filled.engine) as connection:
        snapshot.pin(connection)
        with filled.logged() as work:
            meta.set_meta(work.connection, "late", "yes")
        snapshot.copy_out(connection, tmp_path / "copy.db", "vault")
    with read_only(opened(tmp_path / "copy.db")) as connection:
        assert meta.get_meta(connection, "late") is None


def test_a_copy_goes_into_an_empty_database(filled, tmp_path, database):
    """And every row is the same again."""
    path = _copied(filled.engine, tmp_path / "copy.db")
    (tmp_path / "second").mkdir()
    url = database("vault", empty=True)
    target = open_vault_database(url if url.startswith("postgresql") else sqlite_url(tmp_path / "second" / "vault.db"))
    if url.startswith("sqlite"):
        (tmp_path / "second" / "vault.db").touch()
    snapshot.copy_in(path, target, "vault")
    assert _plain(_rows(target)) == _plain(_rows(filled.engine))
    with pytest.raises(UsageError) as refused:
        snapshot.copy_in(path, target, "vault")
    assert refused.value.code == "DATABASE_IN_USE"
    assert _plain(_rows(target)) == _plain(_rows(filled.engine))
    snapshot.remove(target, "vault")
    assert not any(_rows(target).values())
    target.dispose()


def test_a_copy_that_fails_leaves_an_empty_database(filled, tmp_path, database, monkeypatch):
    """Half the rows are none."""
    path = _copied(filled.engine, tmp_path / "copy.db")
    (tmp_path / "second").mkdir()
    url = database("vault", empty=True)
    target = open_vault_database(url if url.startswith("postgresql") else sqlite_url(tmp_path / "second" / "vault.db"))
    if url.startswith("sqlite"):
        (tmp_path / "second" / "vault.db").touch()

    def fail(connection):
        del connection
        raise StorageFailed("no room")

    monkeypatch.setattr(snapshot, "allow_commit", fail)
    with pytest.raises(StorageFailed):
        snapshot.copy_in(path, target, "vault")
    monkeypatch.undo()
    assert not any(_rows(target).values())
    target.dispose()


def test_a_copy_is_never_written_over_a_file(lite, tmp_path):
    """It is made new or not at all."""
    with read_only(lite.engine) as connection, pytest.raises(FileExistsError):
        snapshot.copy_out(connection, tmp_path / "vault.db", "vault")


def test_damage_is_found(lite, tmp_path, opened):
    """A torn page, and a row that refers to nothing."""
    with lite.logged() as work:
        subject_id, consent_id = lite.enrol(work.connection)
        lite.track(work.connection, subject_id, consent_id)
    path = _copied(lite.engine, tmp_path / "copy.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM subject")
    with pytest.raises(IntegrityFailure) as found:
        snapshot.check_copy(opened(path))
    assert found.value.code == "STORE_CORRUPT"
    blob = bytearray(_copied(lite.engine, tmp_path / "torn.db").read_bytes())
    blob[4096 * 3 : 4096 * 9] = bytes(4096 * 6)
    (tmp_path / "torn.db").write_bytes(blob)
    with pytest.raises(IntegrityFailure):
        snapshot.check_copy(opened(tmp_path / "torn.db"))
