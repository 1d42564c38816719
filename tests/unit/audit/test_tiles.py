"""Tile paths, widths and bundles as C2SP tlog-tiles writes them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.audit.merkle import leaf_hash, tree_root
from fabnet_secure.audit.tiles import (
    MAX_ENTRY,
    Frontier,
    entries_path,
    pack_entries,
    split_hashes,
    tile_count,
    tile_path,
    tile_spans,
    tile_width,
    unpack_entries,
)
from fabnet_secure.errors import IntegrityFailure, UsageError


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (0, 0, 256, "tile/0/000"),
        (1, 0, 17, "tile/1/000.p/17"),
        (2, 999, 1, "tile/2/999.p/1"),
        (63, 1000, 255, "tile/63/x001/000.p/255"),
    ],
)
def test_paths_are_the_specification_s(level, index, width, path):
    """Indices are cut in threes, all but the last behind an x; partial tiles name their width."""
    assert tile_path(level, index, width) == path


def test_bundle_paths_number_like_tiles():
    """Entry bundles stand under tile/entries."""
    assert entries_path(1234067) == "tile/entries/x001/x234/067"
    assert entries_path(0, 5) == "tile/entries/000.p/5"


@pytest.mark.parametrize("wrong", [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_impossible_tiles_have_no_path(wrong):
    """A level, index or width that no tile can have is refused."""
    with pytest.raises(UsageError):
        tile_path(*wrong)


def test_the_specification_s_example_size():
    """A tree of 70,000 has 273 full and one 112-wide tile, one full and one 17-wide above, one of width 1."""
    spans = list(tile_spans(70_000))
    assert sum(span[0] == 0 and span[2] == 256 for span in spans) == 273
    assert [span for span in spans if span[2] != 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert (1, 0, 256) in spans
    assert len(spans) == tile_count(70_000) == 277
    assert list(tile_spans(256)) == [(0, 0, 256), (1, 0, 1)]
    assert list(tile_spans(0)) == []
    assert tile_width(256, 0, 1) == 0


@settings(deadline=None)
@given(st.integers(0, 200_000))
def test_counting_tiles_agrees_with_listing_them(size):
    """The count that guards against absurd sizes is the length of the listing."""
    assert tile_count(size) == sum(1 for _ in tile_spans(size))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=30))
def test_a_bundle_gives_its_entries_back(entries):
    """Packing and unpacking is the identity, empty entries included."""
    assert unpack_entries(pack_entries(entries), len(entries)) == entries


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9), min_size=1, max_size=5), st.data())
def test_a_bundle_cut_or_lengthened_is_refused(entries, data):
    """No prefix and no extension of a bundle reads as the same number of entries."""
    bundle = pack_entries(entries)
    cut = data.draw(st.integers(0, len(bundle) - 1))
    for wrong, said in ((bundle[:cut], "cut short"), (bundle + b"\0", "after its last")):
        with pytest.raises(IntegrityFailure, match=said):
            unpack_entries(wrong, len(entries))


def test_an_entry_of_65535_bytes_fits_and_one_more_does_not():
    """The bound is the two length bytes' own."""
    assert unpack_entries(pack_entries([b"x" * MAX_ENTRY]), 1) == [b"x" * MAX_ENTRY]
    with pytest.raises(UsageError) as caught:
        pack_entries([b"x" * (MAX_ENTRY + 1)])
    assert caught.value.code == "LEAF_TOO_LARGE"


@settings(deadline=None)
@given(st.lists(st.integers(0, 700), max_size=4))
def test_the_frontier_knows_the_root_without_the_entries(batches):
    """Extending in any batches gives the root over all leaves, and each filled tile its children's hashes."""
    leaves = [leaf_hash(i.to_bytes(4, "big")) for i in range(sum(batches))]
    frontier, filled, at = Frontier(), [], 0
    for batch in batches:
        filled += frontier.extend(leaves[at : at + batch])
        at += batch
        assert frontier.root() == tree_root(leaves[:at])
    spans = {(tile.level, tile.index): tile.width for tile in filled + frontier.partial()}
    assert spans == {(level, index): width for level, index, width in tile_spans(at)}
    for tile in filled:
        if tile.level == 0:
            assert split_hashes(tile.hashes) == leaves[256 * tile.index : 256 * (tile.index + 1)]
