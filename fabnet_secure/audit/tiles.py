"""Tiles: the Merkle tree cut into rows of 256 hashes, as C2SP ``tlog-tiles`` lays them out in files.

Guarantees one path and one width for each tile at each log size, and strict reading: a bundle or a tile of the
wrong length is refused. Does not read or write files.

A tile at level ``l`` holds up to 256 hashes, each over ``256**l`` entries; the rightmost tile of a level may be
partial (``.p/<width>``). Entries travel in bundles of 256, each entry behind its length (uint16, big-endian).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fabnet_secure.audit.merkle import EMPTY_ROOT, HASH_SIZE, tree_root
from fabnet_secure.errors import IntegrityFailure, UsageError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_ENTRY = 0xFFFF
_LENGTH_BYTES = 2
_MAX_LEVELS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Hashes ``256 * index`` onwards of one level, concatenated: 32 bytes each, 1 to 256 of them."""

    level: int
    index: int
    hashes: bytes

    @property
    def width(self) -> int:
        """How many hashes it holds."""
        return len(self.hashes) // HASH_SIZE


def broken(message: str, **fields: int | str) -> IntegrityFailure:
    """Return the failure, code ``LOG_BROKEN``, that says where the log does not hold."""
    hint = "keep this copy as it is; compare it with an earlier export or a witnessed checkpoint"
    return IntegrityFailure(message, hint=hint, code="LOG_BROKEN", **fields)


def tile_width(size: int, level: int, index: int) -> int:
    """Return how many hashes the tile has in a log of ``size`` entries; 0 when there is no such tile."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


def tile_spans(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(level, index, width)`` of every tile of a log of ``size`` entries."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        hashes = size >> (TILE_HEIGHT * level)
        for index in range(-(-hashes // TILE_WIDTH)):
            yield level, index, tile_width(size, level, index)
        level += 1


def tile_count(size: int) -> int:
    """Return the number of tiles of a log of ``size`` entries, without listing them."""
    count = 0
    while size:
        count += -(-size // TILE_WIDTH)
        size >>= TILE_HEIGHT
    return count


def _numbered(folder: str, index: int, width: int) -> str:
    """Write ``index`` in threes (``x001/x234/067``) under ``folder``, with ``.p/<width>`` when partial."""
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise UsageError(f"no tile has index {index} and width {width}", code="LOG_RANGE")
    digits = f"{index:d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    *parents, last = (digits[i : i + 3] for i in range(0, len(digits), 3))
    path = "/".join([folder, *(f"x{part}" for part in parents), last])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return a tile's path, such as ``tile/0/x001/x234/067`` or ``tile/1/000.p/17``.

    Raises:
        UsageError: code ``LOG_RANGE``: no such tile can exist.
    """
    if not 0 <= level < _MAX_LEVELS:
        raise UsageError(f"no tile has level {level}", code="LOG_RANGE")
    return _numbered(f"tile/{level}", index, width)


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return an entry bundle's path, such as ``tile/entries/000.p/5``.

    Raises:
        UsageError: code ``LOG_RANGE``: no such bundle can exist.
    """
    return _numbered("tile/entries", index, width)


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Return the bundle of ``entries``: each behind its length as two big-endian bytes.

    Raises:
        UsageError: code ``LEAF_TOO_LARGE``: an entry is longer than 65,535 bytes.
    """
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in map(check_length, entries))


def check_length(entry: bytes) -> bytes:
    """Return ``entry`` when it fits a bundle.

    Raises:
        UsageError: code ``LEAF_TOO_LARGE``: it is longer than 65,535 bytes.
    """
    if len(entry) > MAX_ENTRY:
        raise UsageError(
            f"a log entry of {len(entry)} bytes is larger than {MAX_ENTRY}",
            hint="log counts and hashes, not contents",
            code="LEAF_TOO_LARGE",
        )
    return entry


def unpack_entries(bundle: bytes, count: int) -> list[bytes]:
    """Return the ``count`` entries of a bundle, which must end with the last of them.

    Raises:
        IntegrityFailure: code ``LOG_BROKEN``: the bundle is cut short or too long.
    """
    entries: list[bytes] = []
    at = 0
    while len(entries) < count:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start], "big")
        if max(start, at) > len(bundle):
            raise broken(f"an entry bundle is cut short: {len(entries)} of {count} entries are whole")
        entries.append(bundle[start:at])
    if at != len(bundle):
        raise broken(f"an entry bundle has {len(bundle) - at} bytes after its last entry")
    return entries


def split_hashes(hashes: bytes) -> list[bytes]:
    """Return the 32-byte hashes of a tile."""
    return [hashes[i : i + HASH_SIZE] for i in range(0, len(hashes), HASH_SIZE)]


class Frontier:
    """The right edge of a growing tree: each level's unfinished tile, enough to append and to know the root.

    Invariant: ``len(edges[l]) == (size >> 8 * l) % 256`` for every level, so no entry is ever needed again.

    Args:
        size: entries so far.
        edges: level by level the hashes of the unfinished tile (may be empty).
    """

    def __init__(self, size: int = 0, edges: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self._edges = [list(edge) for edge in edges]

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Append leaf hashes and return every tile that this filled, children before parents."""
        filled: list[Tile] = []
        at = 0
        while at < len(leaves):
            room = TILE_WIDTH - self.size % TILE_WIDTH
            chunk = leaves[at : at + room]
            at += len(chunk)
            self.size += len(chunk)
            filled += self._push(chunk)
        return filled

    def _push(self, hashes: Sequence[bytes]) -> list[Tile]:
        """Add hashes that at most fill the lowest tile; carry what fills into the levels above."""
        filled: list[Tile] = []
        level = 0
        while True:
            if level == len(self._edges):
                self._edges.append([])
            edge = self._edges[level]
            edge += hashes
            if len(edge) < TILE_WIDTH:
                return filled
            index = (self.size >> (TILE_HEIGHT * (level + 1))) - 1
            filled.append(Tile(level=level, index=index, hashes=b"".join(edge)))
            hashes = [tree_root(edge)]
            edge.clear()
            level += 1

    def partial(self) -> list[Tile]:
        """Return the unfinished tiles, lowest level first."""
        return [
            Tile(level=level, index=self.size >> (TILE_HEIGHT * (level + 1)), hashes=b"".join(edge))
            for level, edge in enumerate(self._edges)
            if edge
        ]

    def root(self) -> bytes:
        """Return the root hash, 32 bytes: the edges folded from the lowest level up."""
        remainder: list[bytes] = []
        for edge in self._edges:
            hashes = edge + remainder
            remainder = [tree_root(hashes)] if hashes else []
        return remainder[0] if remainder else EMPTY_ROOT
