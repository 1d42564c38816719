"""The log over a storage: what it writes, what it reads, and what its proofs are worth."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage
from fabnet_secure.audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    subtree_of,
    tree_root,
    verify_inclusion,
)
from fabnet_secure.audit.tiles import tile_spans
from fabnet_secure.errors import IntegrityFailure, UsageError


class CountingStorage(MemoryStorage):
    """Notes every tile read and refuses to read entries."""

    def __init__(self):
        super().__init__()
        self.tiles_read = []
        self.tiles_written = []

    def read_entries(self, start, stop):
        raise AssertionError((start, stop))

    def read_tile(self, level, index):
        self.tiles_read.append((level, index))
        return super().read_tile(level, index)

    def write_tile(self, level, index, hashes):
        self.tiles_written.append((level, index))
        super().write_tile(level, index, hashes)


def entries(start, stop):
    return [f"entry {i}".encode() for i in range(start, stop)]


def test_an_empty_log_has_the_empty_root():
    """Size 0 is a log too, with SHA-256 of nothing as its root."""
    log = Log(MemoryStorage())
    assert (log.size, log.root()) == (0, EMPTY_ROOT)
    assert log.consistency(0) == []


def test_append_returns_the_first_index_and_nothing_appends_nothing():
    """Indices count from 0; an empty append writes nothing."""
    storage = CountingStorage()
    log = Log(storage)
    assert log.append([b"a", b"b"]) == 0
    assert log.append([b"c"]) == 2
    written = list(storage.tiles_written)
    assert log.append([]) == 3
    assert log.size == 3
    assert storage.tiles_written == written


def test_append_reads_only_the_right_edge():
    """On a log of 70,000 entries an append reads three tiles and no entry, and rewrites one."""
    storage = CountingStorage()
    log = Log(storage)
    log.append(entries(0, 70_000))
    storage.tiles_read.clear()
    storage.tiles_written.clear()
    log.append([b"one more"])
    assert storage.tiles_read == [(0, 273), (1, 1), (2, 0)]
    assert storage.tiles_written == [(0, 273)]


def test_reading_the_root_reads_only_the_right_edge():
    """The root of 70,000 entries comes from three tiles."""
    storage = CountingStorage()
    log = Log(storage)
    log.append(entries(0, 70_000))
    storage.tiles_read.clear()
    assert log.root() == tree_root([leaf_hash(entry) for entry in storage.entries])
    assert len(storage.tiles_read) == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6))
def test_batches_do_not_matter(batches):
    """However entries are batched, entries, tiles and root are those of one append."""
    storage, whole = MemoryStorage(), MemoryStorage()
    at = 0
    for batch in batches:
        assert Log(storage).append(entries(at, at + batch)) == at
        at += batch
    Log(whole).append(entries(0, at))
    assert (storage.entries, storage.tiles, storage.count) == (whole.entries, whole.tiles, whole.count)
    widths = {(level, index): 32 * width for level, index, width in tile_spans(at)}
    assert {place: len(hashes) for place, hashes in storage.tiles.items()} == widths


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70_000), st.data())
def test_proofs_from_tiles_are_the_proofs_from_leaves(size, data):
    """Inclusion, consistency and every earlier root, read from tiles, equal those computed in memory."""
    storage, leaves = _big()
    log = Log(storage)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    assert log.root(size) == tree_root(leaves[:size])
    assert log.inclusion(index, size) == inclusion_proof(index, size, subtree_of(leaves))
    assert log.consistency(old, size) == consistency_proof(old, size, subtree_of(leaves))


_MADE = []


def _big():
    """A log of 70,000 entries, made once: it has full and partial tiles at three levels."""
    if not _MADE:
        storage = MemoryStorage()
        Log(storage).append(entries(0, 70_000))
        _MADE.append((storage, [leaf_hash(entry) for entry in storage.entries]))
    return _MADE[0]


def test_a_proof_defaults_to_the_present_size(site):
    """Without a size, proofs are made for the log as it stands."""
    log = site(300).log
    leaf = leaf_hash(b"entry 7")
    assert verify_inclusion(index=7, size=300, leaf=leaf, proof=log.inclusion(7), root=log.root())


def test_an_entry_too_large_leaves_the_log_as_it_was(site):
    """One oversized entry in a batch refuses the whole batch before anything is written."""
    made = site(3)
    before = dict(made.storage.tiles)
    with pytest.raises(UsageError):
        made.log.append([b"fits", b"x" * 65_536])
    assert (made.storage.count, len(made.storage.entries), made.storage.tiles) == (3, 3, before)


@pytest.mark.parametrize("damage", [None, b"", b"short", b"\0" * 32 * 5])
def test_a_damaged_edge_stops_the_append(site, damage):
    """A missing, cut or lengthened edge tile is never built upon."""
    made = site(3)
    made.storage.tiles.pop((0, 0))
    if damage is not None:
        made.storage.tiles[0, 0] = damage
    with pytest.raises(IntegrityFailure) as caught:
        made.log.append([b"next"])
    assert caught.value.code == "LOG_BROKEN"
    assert made.storage.count == 3


@pytest.mark.parametrize("size", [-1, 4])
def test_sizes_the_log_never_had_are_refused(site, size):
    """Roots and proofs exist for past sizes only."""
    log = site(3).log
    for ask in (log.root, lambda n: log.inclusion(0, n), lambda n: log.consistency(0, n)):
        with pytest.raises(UsageError) as caught:
            ask(size)
        assert caught.value.code == "LOG_RANGE"
