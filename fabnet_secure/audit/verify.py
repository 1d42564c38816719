"""The full check of a log: everything recomputed from the entries and held against tiles, size and checkpoint.

Guarantees that :func:`check_log` returns only when every stored entry hashes into every stored tile, nothing is
missing or left over at the right edge, and the signed checkpoint has exactly this size and root. Does not prove
that no newer head was ever signed: an old copy that was honest then is honest still; :func:`check_extends`
against a checkpoint remembered elsewhere finds such a roll-back. 1,000,000 entries take about a second and a half.
"""

import hashlib
from dataclasses import dataclass

from fabnet_secure.audit.checkpoint import Checkpoint, Verify, open_checkpoint
from fabnet_secure.audit.log import LogReader, root_at
from fabnet_secure.audit.merkle import HASH_SIZE
from fabnet_secure.audit.tiles import (
    MAX_ENTRY,
    TILE_HEIGHT,
    TILE_WIDTH,
    Frontier,
    Tile,
    broken,
    tile_path,
)

_CHUNK = 32 * TILE_WIDTH
_BEYOND = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A log that held in every byte: its entries, its root hash (32 bytes), and the log and key that signed it."""

    size: int
    root: bytes
    origin: str
    vkey: str


def check_log(storage: LogReader, checkpoint_text: str, vkey: str, verify: Verify) -> Verified:
    """Recompute every tile and the root from the entries, and compare with what is stored and signed.

    Args:
        storage: entries, tiles and size.
        checkpoint_text: the stored checkpoint, signed by the log's key alone.
        vkey: the log's verifier key, from a place the log's keeper cannot write.
        verify: the signature check.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN`` or ``LOG_BROKEN``; the message says where, ``fields`` hold
            ``entry`` or ``tile``.
        UsageError: code ``VKEY_INVALID``.
    """
    head = open_checkpoint(checkpoint_text, vkey, verify, alone=True)
    size = storage.size()
    if size != head.size:
        raise broken(f"the log has {size} entries, its checkpoint says {head.size}")
    frontier = Frontier()
    for start in range(0, size, _CHUNK):
        for tile in frontier.extend(_leaves(storage, start, min(size, start + _CHUNK))):
            _check_tile(storage, tile)
    for tile in frontier.partial():
        _check_tile(storage, tile)
    _check_nothing_beyond(storage, size)
    if frontier.root() != head.root:
        raise broken("the entries do not hash to the signed root")
    return Verified(size=size, root=head.root, origin=head.origin, vkey=vkey)


def check_head(storage: LogReader, checkpoint_text: str, vkey: str, verify: Verify) -> Checkpoint:
    """Check that the right-edge tiles give the signed size and root; reads one tile a level and no entry.

    Cheap enough before every append: what is then signed extends what was signed before.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN`` or ``LOG_BROKEN``.
        UsageError: code ``VKEY_INVALID``.
    """
    head = open_checkpoint(checkpoint_text, vkey, verify)
    size = storage.size()
    if size != head.size:
        raise broken(f"the log has {size} entries, its checkpoint says {head.size}")
    if root_at(storage) != head.root:
        raise broken("the log's edge does not hash to the signed root")
    return head


def check_extends(storage: LogReader, witnessed_text: str, vkey: str, verify: Verify) -> Checkpoint:
    """Check that the log begins with the one a witness remembers: not older, not another history.

    Run it after :func:`check_log` or :func:`check_head`: it believes the tiles.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN`` or ``LOG_BROKEN``.
        UsageError: code ``VKEY_INVALID``.
    """
    witnessed = open_checkpoint(witnessed_text, vkey, verify)
    size = storage.size()
    if size < witnessed.size:
        raise broken(f"the log has {size} entries, but {witnessed.size} were witnessed: it was put back")
    if root_at(storage, witnessed.size) != witnessed.root:
        raise broken(f"the log's first {witnessed.size} entries are not the witnessed ones")
    return witnessed


def _leaves(storage: LogReader, start: int, stop: int) -> list[bytes]:
    """Return the hashes of the stored entries, all of which must be there."""
    entries = storage.read_entries(start, stop)
    if len(entries) != stop - start:
        raise broken(f"of the entries {start} to {stop - 1} only {len(entries)} are stored", entry=start)
    for index, entry in enumerate(entries, start):
        # a database cell can have been overwritten with something other than bytes
        if type(entry) is not bytes or len(entry) > MAX_ENTRY:
            raise broken(f"entry {index} is no log entry", entry=index)
    sha256 = hashlib.sha256
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def _check_tile(storage: LogReader, tile: Tile) -> None:
    """Compare a recomputed tile with the stored one."""
    held = storage.read_tile(tile.level, tile.index)
    if held == tile.hashes:
        return
    path = tile_path(tile.level, tile.index, tile.width)
    if held is None or len(held) != len(tile.hashes):
        raise broken(f"the tile {path} is missing or has the wrong length", tile=path)
    at = next(i for i in range(len(held)) if held[i] != tile.hashes[i]) // HASH_SIZE
    span = TILE_WIDTH**tile.level
    first = (tile.index * TILE_WIDTH + at) * span
    named = f"entry {first}" if span == 1 else f"the entries {first} to {first + span - 1}"
    raise broken(f"{named} and the tile {path} disagree", tile=path, entry=first)


def _check_nothing_beyond(storage: LogReader, size: int) -> None:
    """Refuse entries after the last, and tiles right of the edge or above the top."""
    if storage.read_entries(size, _BEYOND):
        raise broken(f"entries are stored beyond the log's size of {size}", entry=size)
    level = 0
    while True:
        count = size >> (TILE_HEIGHT * level)
        index = -(-count // TILE_WIDTH)
        if storage.read_tile(level, index) is not None:
            path = tile_path(level, index)
            raise broken(f"the tile {path} is stored beyond the log's edge", tile=path)
        if not count:
            return
        level += 1
