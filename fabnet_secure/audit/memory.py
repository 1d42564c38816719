"""A log storage in memory: the simulator behind the tests, and a scratch log for self-checks.

Guarantees the contract of :class:`fabnet_secure.audit.log.LogStorage` word for word. Keeps nothing after the
process ends and knows no transactions.
"""

from collections.abc import Sequence


class MemoryStorage:
    """Entries, tiles and size in plain containers, open to whoever wants to tamper with them."""

    def __init__(self) -> None:
        self.count = 0
        self.entries: list[bytes] = []
        self.tiles: dict[tuple[int, int], bytes] = {}

    def size(self) -> int:
        """Return the number of entries."""
        return self.count

    def read_entries(self, start: int, stop: int) -> list[bytes]:
        """Return the stored entries ``start <= i < stop``: fewer when fewer are stored."""
        return self.entries[start:stop]

    def write_entries(self, start: int, entries: Sequence[bytes]) -> None:
        """Store entries ``start`` onwards."""
        self.entries[start:] = entries

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return the tile's hashes; ``None`` when not stored."""
        return self.tiles.get((level, index))

    def write_tile(self, level: int, index: int, hashes: bytes) -> None:
        """Store a tile in place of any narrower one."""
        self.tiles[level, index] = hashes

    def set_size(self, size: int) -> None:
        """Store the number of entries."""
        self.count = size
