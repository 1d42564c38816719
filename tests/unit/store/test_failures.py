"""Driver errors mean the same thing on both databases, and nothing of theirs reaches a message."""

import sqlite3

import psycopg
import pytest

from fabnet_secure.errors import IntegrityFailure, NoVault, StorageFailed, VaultLocked
from fabnet_secure.store.database import open_vault_database, read_only
from fabnet_secure.store.failures import explain


def sqlite_error(code):
    error = sqlite3.OperationalError("Anna's row")
    error.sqlite_errorcode = code
    return error


def postgres_error(state):
    error = psycopg.OperationalError("Anna's row")
    error.sqlstate = state
    return error


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (sqlite_error(sqlite3.SQLITE_BUSY), VaultLocked, "VAULT_LOCKED"),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), VaultLocked, "VAULT_LOCKED"),
        (sqlite_error(sqlite3.SQLITE_FULL), StorageFailed, "STORAGE_FULL"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), StorageFailed, "STORAGE_IO"),
        (sqlite_error(sqlite3.SQLITE_READONLY), StorageFailed, "STORAGE_READONLY"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), IntegrityFailure, "STORE_CORRUPT"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), NoVault, "NOT_A_VAULT"),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE), IntegrityFailure, "ROW_REFUSED"),
        (sqlite3.ProgrammingError("Anna's row"), StorageFailed, "STORAGE_FAILED"),
        (postgres_error("55P03"), VaultLocked, "VAULT_LOCKED"),
        (postgres_error("40P01"), VaultLocked, "VAULT_LOCKED"),
        (postgres_error("53100"), StorageFailed, "STORAGE_FULL"),
        (postgres_error("25006"), StorageFailed, "STORAGE_READONLY"),
        (postgres_error("23505"), IntegrityFailure, "ROW_REFUSED"),
        (postgres_error("XX001"), IntegrityFailure, "STORE_CORRUPT"),
        (postgres_error("3D000"), NoVault, "NO_VAULT"),
        (postgres_error("08006"), StorageFailed, "STORAGE_UNREACHABLE"),
        (postgres_error("42601"), StorageFailed, "STORAGE_FAILED"),
        (psycopg.OperationalError("Anna's row"), StorageFailed, "STORAGE_UNREACHABLE"),
    ],
)
def test_each_refusal_has_its_kind_and_code(error, kind, code):
    """The same trouble is the same failure on SQLite and PostgreSQL, without the driver's words."""
    failure = explain(error)
    assert type(failure) is kind
    assert failure.code == code
    assert "Anna" not in f"{failure} {failure.hint}"


def test_errors_of_others_are_left_alone():
    """What no driver raised is not explained away."""
    assert explain(ValueError("x")) is None


def test_unreachable_server_is_storage_failed():
    """A PostgreSQL server that is not there is a failure with a code, not a driver's traceback."""
    engine = open_vault_database("postgresql+psycopg://nobody:secret@127.0.0.1:9/none?connect_timeout=2")
    with pytest.raises(StorageFailed) as caught, read_only(engine):
        pytest.fail("nobody is there")
    assert caught.value.code == "STORAGE_UNREACHABLE"
    assert "secret" not in f"{caught.value} {caught.value.hint}"
