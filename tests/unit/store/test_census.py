"""The census: a keyed sum that knows which pages there are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.census import CENSUS, Census
from fabnet_secure.store.meta import get_meta, set_meta

KEY = b"\x05" * 32


@pytest.fixture
def counted(site):
    """A unit of work in a vault whose count has begun, and its census."""
    with site.logged() as work:
        yield work.connection, site.counted(work.connection)


def test_what_was_added_and_not_removed_is_there(counted):
    """Order does not count; a page counted twice is not the page once."""
    connection, census = counted
    census.check(connection, [])
    census.change(connection, added=[b"a", b"b"])
    census.change(connection, added=[b"c", b"c"], removed=[b"a"])
    census.check(connection, [b"c", b"b", b"c"])
    assert census.read(connection).pages.count == 3
    for other in ([], [b"c", b"b"], [b"c", b"b", b"b"], [b"a", b"c", b"b"], [b"c", b"c", b"b", b"b"]):
        with pytest.raises(IntegrityFailure) as caught:
            census.check(connection, other)
        assert (caught.value.code, caught.value.exit_code) == ("EMBEDDINGS_CHANGED", 30)


def test_tracks_are_counted_apart(counted):
    """An entry of a track is no page, and lacks or is too many as a page does."""
    connection, census = counted
    census.change(connection, added=[b"a"], tracks_added=[b"t", b"u"])
    census.check(connection, [b"a"])
    census.check_tracks(connection, [b"u", b"t"])
    for other in ([b"t"], [b"t", b"u", b"u"], [b"a", b"t"]):
        with pytest.raises(IntegrityFailure):
            census.check_tracks(connection, other)
    census.change(connection, tracks_removed=[b"t"])
    census.check_tracks(connection, [b"u"])


def test_nothing_changed_writes_nothing(counted):
    """An act about no page leaves the row as it is."""
    connection, census = counted
    before = get_meta(connection, CENSUS)
    census.change(connection)
    assert get_meta(connection, CENSUS) == before


@pytest.mark.parametrize("field", ["counts", "nonce", "sums", "proof"])
def test_a_row_that_was_changed_is_refused(counted, field):
    """Each of the row's fields is bound to the others."""
    connection, census = counted
    census.change(connection, added=[b"a"])
    body = json.loads(get_meta(connection, CENSUS))
    body[field] = [2, 0] if field == "counts" else ("00" if body[field][:2] != "00" else "01") + body[field][2:]
    set_meta(connection, CENSUS, json.dumps(body))
    with pytest.raises(IntegrityFailure):
        census.check(connection, [b"a"])


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"counts":1,"nonce":"zz","sums":"","proof":""}'])
def test_a_row_that_is_none_is_refused(counted, text):
    """Neither an empty row nor a made-up one counts as an empty vault."""
    connection, census = counted
    set_meta(connection, CENSUS, text)
    with pytest.raises(IntegrityFailure):
        census.change(connection, added=[b"a"])


def test_another_vaults_row_is_refused(counted):
    """A row is made with the vault's own index key."""
    connection, census = counted
    set_meta(connection, *Census(b"\x06" * 32).first())
    with pytest.raises(IntegrityFailure):
        census.read(connection)


def test_the_row_tells_nothing_of_its_terms(counted):
    """Adding the same page twice changes the row in two ways: no difference of rows is a page's term."""
    connection, census = counted
    rows = []
    for _ in range(2):
        census.change(connection, added=[b"a"])
        rows.append(json.loads(get_meta(connection, CENSUS))["sums"])
        census.change(connection, removed=[b"a"])
    assert rows[0] != rows[1]


def test_adopting_counts_what_is_there(counted):
    """A vault of an older version begins with what it holds."""
    connection, census = counted
    set_meta(connection, CENSUS, "")
    assert census.adopt(connection, [b"a", b"b"]).count == 2
    census.check(connection, [b"b", b"a"])


@given(pages=st.lists(st.binary(max_size=8)), other=st.lists(st.binary(max_size=8)))
def test_only_the_same_pages_have_the_same_sum(pages, other):
    """Two collections agree exactly when they hold the same pages as often."""
    census = Census(KEY)
    assert (census.tally(pages) == census.tally(other)) == (sorted(pages) == sorted(other))
