"""The audit log's rows: entries, tiles and head, behind the protocol of :mod:`fabnet_secure.audit.log`.

Guarantees that everything happens on the caller's connection, hence in the caller's transaction. Does not check
anything it stores: :mod:`fabnet_secure.audit.verify` recomputes all of it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.tables import log_entry, log_head, log_tile


class SqlLogStorage:
    """``audit.log.LogStorage`` over one connection.

    Args:
        connection: a snapshot to read from, or a unit of work's to write to.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def size(self) -> int:
        """Return the number of entries.

        Raises:
            IntegrityFailure: code ``LOG_BROKEN``: the head's row is gone.
        """
        return int(_head(self._connection)[0])

    def read_entries(self, start: int, stop: int) -> list[bytes]:
        """Return the stored entries ``start <= i < stop`` in order: fewer when fewer are stored."""
        wanted = (
            select(log_entry.c.body)
            .where(log_entry.c.leaf_index >= start, log_entry.c.leaf_index < stop)
            .order_by(log_entry.c.leaf_index)
        )
        return [_plain(body) for body in self._connection.execute(wanted).scalars()]

    def write_entries(self, start: int, entries: Sequence[bytes]) -> None:
        """Store entries ``start`` onwards, which are new."""
        rows = [{"leaf_index": index, "body": body} for index, body in enumerate(entries, start)]
        if rows:
            self._connection.execute(insert(log_entry), rows)

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return the tile's concatenated 32-byte hashes, or None when it is not stored."""
        wanted = select(log_tile.c.hashes).where(log_tile.c.level == level, log_tile.c.tile_index == index)
        held = self._connection.execute(wanted).scalar_one_or_none()
        return None if held is None else _plain(held)

    def write_tile(self, level: int, index: int, hashes: bytes) -> None:
        """Store a tile in place of any narrower one."""
        place = (log_tile.c.level == level) & (log_tile.c.tile_index == index)
        changed = self._connection.execute(update(log_tile).where(place).values(hashes=hashes))
        if not changed.rowcount:
            row = {"level": level, "tile_index": index, "hashes": hashes}
            self._connection.execute(insert(log_tile).values(row))

    def set_size(self, size: int) -> None:
        """Store the number of entries."""
        self._connection.execute(update(log_head).values(size=size))


def latest_checkpoint(connection: Connection) -> str:
    """Return the newest signed checkpoint, a C2SP note; "" before the first act.

    Raises:
        IntegrityFailure: code ``LOG_BROKEN``: the head's row is gone.
    """
    return str(_head(connection)[1])


def store_checkpoint(connection: Connection, text: str) -> None:
    """Store the newest signed checkpoint in place of the one before."""
    connection.execute(update(log_head).values(checkpoint=text))


def lock_head(connection: Connection) -> None:
    """Take the vault's write lock on PostgreSQL: the head's row, until the transaction ends."""
    connection.execute(select(log_head.c.size).with_for_update())


def _head(connection: Connection) -> tuple[int, str]:
    row = connection.execute(select(log_head.c.size, log_head.c.checkpoint)).one_or_none()
    if row is None:
        raise IntegrityFailure("the log's head is gone", code="LOG_BROKEN")
    return row.size, row.checkpoint


def _plain(held: object) -> bytes:
    """Return a cell's bytes; a cell overwritten with text or a number is no entry and no tile."""
    if isinstance(held, bytes | bytearray | memoryview):
        return bytes(held)
    raise IntegrityFailure("a row of the log does not hold bytes", code="LOG_BROKEN")
