"""What a database's refusal means: driver errors become the package's own, at the moment they happen.

Guarantees that no driver error, statement or bound value reaches a message, and that "locked", "full", "damaged" and
"breaks a rule" are told apart on both databases. Does not retry anything.
"""

import sqlite3

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext

from fabnet_secure.errors import FabnetError, IntegrityFailure, NoVault, StorageFailed, VaultLocked

_PRIMARY = 0xFF  # SQLite's extended result codes carry the primary code in the low byte


def translate_errors(engine: Engine) -> None:
    """Make every driver error on ``engine`` a :class:`FabnetError`, connecting and committing included."""

    @event.listens_for(engine, "handle_error")
    def _(context: ExceptionContext) -> None:
        failure = explain(context.original_exception)
        if failure is not None:
            raise failure from context.original_exception


def explain(error: BaseException) -> FabnetError | None:
    """Return what a driver error means, or None when it is none of a driver's."""
    if isinstance(error, sqlite3.Error):
        return _from_sqlite(error)
    state = getattr(error, "sqlstate", None)
    if type(error).__module__.partition(".")[0] == "psycopg":
        return _from_postgres(state or "")
    return None


def locked() -> VaultLocked:
    """Return the failure for a write lock that was not had in time."""
    return VaultLocked(
        "another process is writing to the vault",
        hint="wait for it to finish, then run the command again",
    )


def full() -> StorageFailed:
    """Return the failure for a disk without room."""
    return StorageFailed(
        "the disk is full: nothing of this act was kept", hint="free some space, then try again", code="STORAGE_FULL"
    )


def given_up() -> StorageFailed:
    """Return the failure for a transaction that the database rolled back by itself."""
    return StorageFailed("the database gave the transaction up: nothing of this act was kept", hint="try again")


def _from_sqlite(error: sqlite3.Error) -> FabnetError:
    known = {
        sqlite3.SQLITE_BUSY: locked(),
        sqlite3.SQLITE_LOCKED: locked(),
        sqlite3.SQLITE_FULL: full(),
        sqlite3.SQLITE_IOERR: _unwritten("STORAGE_IO", "the disk refused a read or a write"),
        sqlite3.SQLITE_READONLY: _unwritten("STORAGE_READONLY", "the database may only be read here"),
        sqlite3.SQLITE_PERM: _unwritten("STORAGE_READONLY", "the database may only be read here"),
        sqlite3.SQLITE_CANTOPEN: NoVault(
            "the database file cannot be opened", hint="check the path and its permissions", code="NO_VAULT"
        ),
        sqlite3.SQLITE_NOTADB: NoVault(
            "the file is not a database", hint="check the path of the vault", code="NOT_A_VAULT"
        ),
        sqlite3.SQLITE_CORRUPT: _damaged(),
        sqlite3.SQLITE_CONSTRAINT: _refused(),
    }
    code = getattr(error, "sqlite_errorcode", None)
    if code is None and "decode to UTF-8" in str(error):  # Python's own: bytes where a row holds text
        return _damaged()
    return known.get(-1 if code is None else code & _PRIMARY) or _failed()


def _from_postgres(state: str) -> FabnetError:
    known = {
        "55P03": locked(),  # lock_not_available
        "40P01": locked(),  # deadlock_detected
        "40001": locked(),  # serialization_failure
        "53100": full(),  # disk_full
        "25006": _unwritten("STORAGE_READONLY", "the database may only be read here"),
        "58030": _unwritten("STORAGE_IO", "the disk refused a read or a write"),
        "3D000": NoVault("the database does not exist", hint="check FABNET_DATABASE_URL", code="NO_VAULT"),
    }
    if state in known:
        return known[state]
    if state.startswith("23"):
        return _refused()
    if state.startswith("XX"):
        return _damaged()
    if state.startswith(("08", "28", "57")) or not state:
        return StorageFailed(
            "the database server cannot be reached", hint="check FABNET_DATABASE_URL", code="STORAGE_UNREACHABLE"
        )
    return _failed()


def _unwritten(code: str, what: str) -> StorageFailed:
    return StorageFailed(f"{what}: nothing of this act was kept", hint="check the disk and permissions", code=code)


def _refused() -> IntegrityFailure:
    return IntegrityFailure("a row breaks a rule of the schema: nothing of this act was kept", code="ROW_REFUSED")


def _damaged() -> IntegrityFailure:
    return IntegrityFailure(
        "the database is damaged",
        hint="restore it from a backup, then run 'fabnet-secure audit verify'",
        code="STORE_CORRUPT",
    )


def _failed() -> StorageFailed:
    return StorageFailed("the database refused a statement: nothing of this act was kept")
