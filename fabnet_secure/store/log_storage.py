"""The audit log's rows: entries, tiles and head, behind the protocol of :mod:`fabnet_secure.audit.log`.

Guarantees that everything happens on the caller's connection, hence in the caller's transaction. Does not check
anything it stores: :mod:`fabnet_secure.audit.verify` recomputes all of it. Its statements are made once: the entry of
one act takes a dozen of them, and a batch of a thousand entries hardly more.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, update

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.tables import log_entry, log_head, log_tile

_START: Final[BindParameter[int]] = bindparam("start")
_STOP: Final[BindParameter[int]] = bindparam("stop")
_LEVEL: Final[BindParameter[int]] = bindparam("of_level")
_INDEX: Final[BindParameter[int]] = bindparam("of_index")
_PLACE = (log_tile.c.level == _LEVEL) & (log_tile.c.tile_index == _INDEX)
_READ_HEAD: Final = select(log_head.c.size, log_head.c.checkpoint)
_READ_ENTRIES: Final = (
    select(log_entry.c.body)
    .where(log_entry.c.leaf_index >= _START, log_entry.c.leaf_index < _STOP)
    .order_by(log_entry.c.leaf_index)
)
_READ_TILE: Final = select(log_tile.c.hashes).where(_PLACE)
_ADD_ENTRIES: Final = insert(log_entry)
_CHANGE_TILE: Final = update(log_tile).where(_PLACE).values(hashes=bindparam("with_hashes"))
_ADD_TILES: Final = insert(log_tile)
_SET_SIZE: Final = update(log_head).values(size=bindparam("to_size"))
_SET_CHECKPOINT: Final = update(log_head).values(checkpoint=bindparam("to_note"))
_LOCK: Final = select(log_head.c.size).with_for_update()


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
        found = self._connection.execute(_READ_ENTRIES, {"start": start, "stop": stop}).scalars().all()
        return list(found) if all(type(body) is bytes for body in found) else [_plain(body) for body in found]

    def write_entries(self, start: int, entries: Sequence[bytes]) -> None:
        """Store entries ``start`` onwards, which are new."""
        if not entries:
            return
        if self._connection.dialect.name == "sqlite":  # the driver's own loop: nothing is adapted a row
            text = "INSERT INTO log_entry (leaf_index, body) VALUES (?, ?)"
            self._connection.exec_driver_sql(text, list(enumerate(entries, start)))
        else:
            rows = [{"leaf_index": index, "body": body} for index, body in enumerate(entries, start)]
            self._connection.execute(_ADD_ENTRIES, rows)

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return the tile's concatenated 32-byte hashes, or None when it is not stored."""
        wanted = {"of_level": level, "of_index": index}
        held = self._connection.execute(_READ_TILE, wanted).scalar_one_or_none()
        return None if held is None else _plain(held)

    def write_tile(self, level: int, index: int, hashes: bytes) -> None:
        """Store a tile in place of any narrower one."""
        place = {"of_level": level, "of_index": index}
        if not self._connection.execute(_CHANGE_TILE, {**place, "with_hashes": hashes}).rowcount:
            self._connection.execute(_ADD_TILES, {"level": level, "tile_index": index, "hashes": hashes})

    def set_size(self, size: int) -> None:
        """Store the number of entries."""
        self._connection.execute(_SET_SIZE, {"to_size": size})


class LockedLogStorage(SqlLogStorage):
    """The log under the vault's write lock, where nobody else changes a row: head and tiles are read once.

    Args:
        connection: a unit of work's.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._size, self.checkpoint = _head(connection)
        self._tiles: dict[tuple[int, int], bytes | None] = {}

    def size(self) -> int:
        """Return the number of entries."""
        return self._size

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return the tile's hashes as they are in this transaction."""
        if (level, index) not in self._tiles:
            self._tiles[level, index] = super().read_tile(level, index)
        return self._tiles[level, index]

    def write_tile(self, level: int, index: int, hashes: bytes) -> None:
        """Store a tile in place of any narrower one."""
        super().write_tile(level, index, hashes)
        self._tiles[level, index] = hashes

    def set_size(self, size: int) -> None:
        """Store the number of entries."""
        super().set_size(size)
        self._size = size


def latest_checkpoint(connection: Connection) -> str:
    """Return the newest signed checkpoint, a C2SP note; "" before the first act.

    Raises:
        IntegrityFailure: code ``LOG_BROKEN``: the head's row is gone.
    """
    return str(_head(connection)[1])


def store_checkpoint(connection: Connection, text: str) -> None:
    """Store the newest signed checkpoint in place of the one before."""
    connection.execute(_SET_CHECKPOINT, {"to_note": text})


def lock_head(connection: Connection) -> None:
    """Take the vault's write lock on PostgreSQL: the head's row, until the transaction ends."""
    connection.execute(_LOCK)


def _head(connection: Connection) -> tuple[int, str]:
    row = connection.execute(_READ_HEAD).one_or_none()
    if row is None:
        raise IntegrityFailure("the log's head is gone", code="LOG_BROKEN")
    return row.size, row.checkpoint


def _plain(held: object) -> bytes:
    """Return a cell's bytes; a cell overwritten with text or a number is no entry and no tile."""
    if isinstance(held, bytes | bytearray | memoryview):
        return bytes(held)
    raise IntegrityFailure("a row of the log does not hold bytes", code="LOG_BROKEN")
