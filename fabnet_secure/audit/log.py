"""The log over a storage of entries and tiles: append, root and proofs, reading only the tiles that are needed.

Guarantees that an append reads no entry and only the right-edge tiles (one a level, eight levels reach beyond
any size), and that entries, tiles and size move together when the storage runs in one transaction. Does not
check that stored tiles are true: :func:`fabnet_secure.audit.verify.check_head` does so for the edge, against
the signed checkpoint, and :func:`fabnet_secure.audit.verify.check_log` for everything.
"""

from collections.abc import Sequence
from typing import Protocol

from fabnet_secure.audit import merkle
from fabnet_secure.audit.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Frontier,
    Tile,
    broken,
    check_length,
    split_hashes,
    tile_path,
    tile_width,
)
from fabnet_secure.errors import UsageError


class LogReader(Protocol):
    """What a log is read from: rows of a database, or the files of an export."""

    def size(self) -> int:
        """Return the number of entries."""

    def read_entries(self, start: int, stop: int) -> list[bytes]:
        """Return the stored entries ``start <= i < stop`` in order: fewer when fewer are stored."""

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return the tile's concatenated 32-byte hashes, whole or partial; ``None`` when not stored."""


class LogStorage(LogReader, Protocol):
    """Where a log is kept; every call runs inside the caller's transaction."""

    def write_entries(self, start: int, entries: Sequence[bytes]) -> None:
        """Store entries ``start`` onwards, which are new."""

    def write_tile(self, level: int, index: int, hashes: bytes) -> None:
        """Store a tile in place of any narrower one."""

    def set_size(self, size: int) -> None:
        """Store the number of entries."""


class _TileReader:
    """Reads each tile once, for one question about a log of one size."""

    def __init__(self, storage: LogReader, size: int) -> None:
        self._storage = storage
        self._size = size
        self._seen: dict[tuple[int, int], bytes] = {}

    def hashes(self, level: int, start: int, count: int) -> list[bytes]:
        """Return hashes ``start`` onwards of a level; all lie in one tile."""
        index, offset = divmod(start, TILE_WIDTH)
        held = self._tile(level, index)[merkle.HASH_SIZE * offset : merkle.HASH_SIZE * (offset + count)]
        return split_hashes(held)

    def _tile(self, level: int, index: int) -> bytes:
        """Return the tile, which must be exactly as wide as the size demands."""
        if (level, index) not in self._seen:
            width = tile_width(self._size, level, index)
            held = self._storage.read_tile(level, index) or b""
            if len(held) != width * merkle.HASH_SIZE:
                path = tile_path(level, index, max(1, width))
                raise broken(f"the tile {path} is missing or has the wrong length", tile=path)
            self._seen[level, index] = held
        return self._seen[level, index]

    def subtree(self, start: int, stop: int) -> bytes:
        """Return the Merkle Tree Hash of the leaves from ``start``, aligned, up to ``stop``."""
        count = stop - start
        if count & (count - 1):
            middle = start + merkle.split_point(count)
            return merkle.node_hash(self.subtree(start, middle), self.subtree(middle, stop))
        level, height = divmod(count.bit_length() - 1, TILE_HEIGHT)
        return merkle.tree_root(self.hashes(level, start >> (TILE_HEIGHT * level), 1 << height))

    def frontier(self, size: int) -> Frontier:
        """Return the right edge of the tree's first ``size`` leaves."""
        edges: list[list[bytes]] = []
        level = 0
        while count := size >> (TILE_HEIGHT * level):
            width = count % TILE_WIDTH
            edges.append(self.hashes(level, count - width, width) if width else [])
            level += 1
        return Frontier(size, edges)


class Log:
    """An append-only log; a thin view that keeps no state of its own besides the storage.

    Args:
        storage: entries and tiles, inside the caller's transaction.
    """

    def __init__(self, storage: LogStorage) -> None:
        self._storage = storage

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._storage.size()

    def append(self, entries: Sequence[bytes]) -> int:
        """Append entries and return the index of the first (the size before, when there are none).

        Raises:
            UsageError: code ``LEAF_TOO_LARGE``: an entry is longer than 65,535 bytes; nothing was written.
            IntegrityFailure: code ``LOG_BROKEN``: a right-edge tile does not fit the size; nothing was written.
        """
        first = self._storage.size()
        leaves = [merkle.leaf_hash(check_length(entry)) for entry in entries]
        if not leaves:
            return first
        frontier = _TileReader(self._storage, first).frontier(first)
        filled = frontier.extend(leaves)
        self._storage.write_entries(first, entries)
        for tile in filled + _grown(frontier, filled):
            self._storage.write_tile(tile.level, tile.index, tile.hashes)
        self._storage.set_size(frontier.size)
        return first

    def root(self, size: int | None = None) -> bytes:
        """Return the root hash, 32 bytes, now or when the log had ``size`` entries.

        Raises:
            UsageError: code ``LOG_RANGE``: the log never had that size yet.
            IntegrityFailure: code ``LOG_BROKEN``: a tile is missing or has the wrong length.
        """
        return root_at(self._storage, size)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the proof that entry ``index`` is in the log of ``size`` entries (default: now).

        Raises:
            UsageError: code ``LOG_RANGE``: there is no such entry or size.
            IntegrityFailure: code ``LOG_BROKEN``: a tile is missing or has the wrong length.
        """
        return inclusion_at(self._storage, index, size)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Return the proof that the log of ``new`` entries (default: now) begins with that of ``old``.

        Raises:
            UsageError: code ``LOG_RANGE``: the sizes are not in order.
            IntegrityFailure: code ``LOG_BROKEN``: a tile is missing or has the wrong length.
        """
        return consistency_at(self._storage, old, new)


def root_at(storage: LogReader, size: int | None = None) -> bytes:
    """Return :meth:`Log.root` of anything that can be read."""
    tiles, at = _at(storage, size)
    return tiles.frontier(at).root()


def frontier_at(storage: LogReader, size: int) -> Frontier:
    """Return the right edge of the log's first ``size`` entries, to grow a copy of it from there.

    Raises:
        UsageError, IntegrityFailure: as :meth:`Log.root`.
    """
    tiles, at = _at(storage, size)
    return tiles.frontier(at)


def inclusion_at(storage: LogReader, index: int, size: int | None = None) -> list[bytes]:
    """Return :meth:`Log.inclusion` of anything that can be read."""
    tiles, at = _at(storage, size)
    return merkle.inclusion_proof(index, at, tiles.subtree)


def consistency_at(storage: LogReader, old: int, new: int | None = None) -> list[bytes]:
    """Return :meth:`Log.consistency` of anything that can be read."""
    tiles, size = _at(storage, new)
    return merkle.consistency_proof(old, size, tiles.subtree)


def _at(storage: LogReader, size: int | None) -> tuple[_TileReader, int]:
    """Return a tile reader over the log as it stands, and the size asked for, within it."""
    now = storage.size()
    asked = now if size is None else size
    if not 0 <= asked <= now:
        raise UsageError(f"the log has {now} entries, not yet {asked}", code="LOG_RANGE")
    return _TileReader(storage, now), asked


def _grown(frontier: Frontier, filled: Sequence[Tile]) -> list[Tile]:
    """Return the unfinished tiles that the append touched: level 0, and each level above a filled tile."""
    touched = {0} | {tile.level + 1 for tile in filled}
    return [tile for tile in frontier.partial() if tile.level in touched]
