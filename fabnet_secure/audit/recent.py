"""The newest entries of a log, proven: without reading the rest of it.

Guarantees that what is returned are the log's own entries, each byte of them: with the hashes left of them they give
the signed root. Costs a hash an entry read, and a few tiles. Says nothing of older entries.
"""

from datetime import datetime, timedelta

from fabnet_secure.audit import merkle
from fabnet_secure.audit.checkpoint import Verify
from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.audit.log import LogReader, frontier_at
from fabnet_secure.audit.tiles import TILE_WIDTH, broken
from fabnet_secure.audit.verify import check_head


def entries_since(
    storage: LogReader, checkpoint_text: str, vkey: str, verify: Verify, *, since: datetime, slack: timedelta
) -> list[bytes]:
    """Return every entry made after ``since``, oldest first, and some from before it, by whole tiles.

    Args:
        storage: entries, tiles and size.
        checkpoint_text: the stored checkpoint.
        vkey: the log's verifier key.
        verify: the signature check.
        since: the moment.
        slack: by how much an entry's time may lie before that of an entry before it.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN`` or ``LOG_BROKEN``: they are not what was signed.
    """
    head = check_head(storage, checkpoint_text, vkey, verify)
    start, found = head.size, list[bytes]()
    while start and not (found and read_leaf(found[0]).at + slack < since):
        stop, start = start, (start - 1) // TILE_WIDTH * TILE_WIDTH
        more = storage.read_entries(start, stop)
        if len(more) != stop - start:
            raise broken(f"of the entries {start} to {stop - 1} only {len(more)} are stored", entry=start)
        found[:0] = more
    frontier = frontier_at(storage, start)
    frontier.extend([merkle.leaf_hash(entry) for entry in found])
    if frontier.root() != head.root:
        raise broken(f"the entries from {start} do not hash to the signed root", entry=start)
    return found
