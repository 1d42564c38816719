"""After a deletion: get the deleted bytes out of the database's own files.

Guarantees, on SQLite, that after :func:`checkpoint_wal` returns the write-ahead log is empty and the pages it held
stand in the main file, where ``secure_delete`` has zeroed what was deleted. On PostgreSQL dead rows are vacuumed out
of the tables; its WAL, its archives, and every backup, snapshot and flash cell keep the rest. Only the destruction
of a key reaches those.
"""

from sqlalchemy import Engine, inspect
from sqlalchemy.sql import quoted_name

from fabnet_secure.errors import VaultLocked
from fabnet_secure.store.engine import upkeep
from fabnet_secure.store.tables import KEYSTORE, VAULT


def checkpoint_wal(engine: Engine) -> None:
    """Empty SQLite's write-ahead log into the main file, or vacuum PostgreSQL's tables.

    Raises:
        VaultLocked: code ``WAL_BUSY``: a reader or writer kept the log from being emptied within the lock timeout;
            deleted bytes may still be in it.
    """
    with upkeep(engine) as connection:
        if engine.dialect.name == "sqlite":
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
            if busy:
                raise VaultLocked(
                    "deleted bytes may still be in the write-ahead log: another process is reading",
                    hint="end it, then run the command again",
                    code="WAL_BUSY",
                )
            return
        ours = VAULT.tables.keys() | KEYSTORE.tables.keys()
        quote = connection.dialect.identifier_preparer.quote
        for table in sorted(ours & set(inspect(connection).get_table_names())):
            connection.exec_driver_sql(f"VACUUM {quote(quoted_name(table, quote=None))}")
