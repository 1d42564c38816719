"""Migrations: which schema a database has, and bringing it to this program's.

Guarantees that a migration happens wholly or not at all, that two processes cannot migrate at once, that a SQLite
file is created readable by its owner alone, and that nothing is written into a database that is not ours or is newer
than this program; a database that says it is older than its tables is refused. Does not go backwards: ``downgrade`` is
for tests.
"""

import os
from pathlib import Path
from typing import Final, Literal, TypeAlias

from alembic.command import downgrade as alembic_downgrade
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, text

from fabnet_secure.errors import IntegrityFailure, NoVault, StorageFailed
from fabnet_secure.store.engine import allow_commit, check_file, read_only, sqlite_file, write_locked

Which: TypeAlias = Literal["vault", "keystore"]

REVISIONS: Final[dict[Which, tuple[str, ...]]] = {
    "vault": ("vault_0001", "vault_0002", "vault_0003", "vault_0004", "vault_0005"),
    "keystore": ("keystore_0001", "keystore_0002"),
}
_MADE_BY: Final[dict[str, frozenset[str]]] = {
    "vault_0002": frozenset({"quarantine"}),
    "vault_0003": frozenset({"embedding_bundle", "embedding_segment", "embedding_track"}),
    "vault_0004": frozenset({"approver", "approval_used", "legal_hold", "cap_raise"}),
    "keystore_0002": frozenset({"epoch_key", "holder", "holder_key"}),
}
"""The tables that came with a revision: an older database has none of them."""
_LOCK_NUMBER: Final = 0x46534543  # "FSEC": any constant serves, as long as every migrating process takes the same


def migrations_dir() -> Path:
    """Find the migrations: inside a wheel (``fabnet_secure/_migrations``), or at the root of a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def migrate(engine: Engine, which: Which) -> None:
    """Bring a database to this program's schema; creates the SQLite file (mode 0600) when there is none.

    Raises:
        NoVault: code ``NOT_A_VAULT`` or ``VAULT_NEWER``; nothing was written.
        IntegrityFailure: code ``VAULT_SET_BACK``: it has tables that are newer than the version it states.
        VaultLocked: another process is writing.
        StorageFailed: the file cannot be created, or the disk is full.
    """
    _create_file(engine)
    with write_locked(engine, _lock_migration) as connection:
        if _revision(connection, which) != REVISIONS[which][-1]:
            alembic_upgrade(_config(connection, which), "head")
        allow_commit(connection)


def downgrade(engine: Engine, which: Which) -> None:
    """Remove every table of a schema again, and what they hold.

    Raises:
        NoVault, VaultLocked, StorageFailed: as :func:`migrate`.
    """
    with write_locked(engine, _lock_migration) as connection:
        _revision(connection, which)
        alembic_downgrade(_config(connection, which), "base")
        allow_commit(connection)


def check_revision(engine: Engine, which: Which, *, older: bool = False) -> str:
    """Refuse a database that does not have exactly this program's schema, and return its revision.

    Args:
        engine: the database.
        which: what it should be.
        older: accept an older schema of this program too (to migrate it).

    Raises:
        NoVault: code ``NO_VAULT`` (no file), ``NOT_A_VAULT`` (no database, another program's, or the other of the two),
            ``VAULT_NOT_MIGRATED`` (empty or older), ``VAULT_NEWER``.
        IntegrityFailure: code ``VAULT_SET_BACK``: it has tables that are newer than the version it states.
    """
    check_file(engine)
    with read_only(engine) as connection:
        revision = _revision(connection, which)
    if revision is None or not (older or revision == REVISIONS[which][-1]):
        raise NoVault(
            f"the {which} has not been brought to this version's schema",
            hint="run 'fabnet-secure init': it migrates and keeps everything",
            code="VAULT_NOT_MIGRATED",
        )
    return revision


def _revision(connection: Connection, which: Which) -> str | None:
    """Return the known revision a database is at, None for an empty one; NoVault for any other."""
    tables = set(inspect(connection).get_table_names())
    if not tables - {"alembic_version"}:
        return None
    if "alembic_version" not in tables:
        raise _not_ours(which)
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if revision in REVISIONS[which]:
        _refuse_newer_tables(which, str(revision), tables)
        return str(revision)
    if not str(revision).startswith(f"{which}_"):
        raise _not_ours(which)
    raise NoVault(
        f"the {which} was made by a newer version of this program",
        hint="use that version, or a newer one",
        code="VAULT_NEWER",
    )


def _refuse_newer_tables(which: Which, revision: str, tables: set[str]) -> None:
    later = REVISIONS[which][REVISIONS[which].index(revision) + 1 :]
    if any(_MADE_BY.get(one, frozenset()) & tables for one in later):
        raise set_back(which)


def set_back(which: str) -> IntegrityFailure:
    """Return the failure for a database that says that it is older than it is."""
    return IntegrityFailure(
        f"the {which} says that it is of an older version than it is: its version was set back behind our back",
        hint="nothing was changed; run 'fabnet-secure audit verify' on a copy, then restore a backup",
        code="VAULT_SET_BACK",
    )


def _not_ours(which: Which) -> NoVault:
    return NoVault(f"the database is not a {which}", hint="check the vault's path or URL", code="NOT_A_VAULT")


def _config(connection: Connection, which: Which) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.set_main_option("version_locations", str(migrations_dir() / which).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


def _create_file(engine: Engine) -> None:
    path = sqlite_file(engine)
    if path is None or path.exists():
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageFailed(
            f"the database {path} cannot be created", hint=str(error.strerror), code="STORAGE_IO"
        ) from error


def _lock_migration(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
