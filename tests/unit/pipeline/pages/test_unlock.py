"""Unlock: permitted rows in locked memory, whole or in blocks, and the same answers either way."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.errors import IntegrityFailure, KeyProblem, UsageError
from fabnet_secure.pipeline.pack import pack
from fabnet_secure.pipeline.unlock import blocks, fits, hits, nearest_many, stream
from fabnet_secure.store import embeddings, keystore, matrix, search
from fabnet_secure.store.database import keystore_work
from fabnet_secure.types import Domain, new_id


@pytest.fixture
def people(shelf):
    """Three people: one packed, one packed and waiting, one waiting."""
    ada, ben = shelf.person("ada", 3, 4), shelf.person("ben", 5)
    pack(shelf.site)
    shelf.page(ben, 2)
    return shelf, (ada, ben, shelf.person("cy", 3))


def streamed(shelf, queries, top, **options):
    permitted = frozenset(consent_id for consent_id, *_ in shelf.kept)
    with shelf.site.reading() as connection:
        return stream(shelf.site, connection, shelf.model_id, permitted, queries, top, **options)


def test_only_permitted_rows_are_opened(people):
    """Of the others neither vector nor name is in the matrix, and no key is asked for."""
    shelf, (ada, ben, cy) = people
    assert shelf.rows(shelf.unlock()) == shelf.of()
    assert shelf.rows(shelf.unlock(ada, cy)) == shelf.of(ada, cy)
    assert shelf.rows(shelf.unlock(ben)) == shelf.of(ben)
    assert shelf.unlock(new_id()).rows == 0


def test_only_chosen_tracks_are_answers(people):
    """A filter keeps pages without the track shut, and rows of the same page's other tracks out of the answers."""
    shelf, (ada, *_) = people
    track_id = shelf.kept[0][1]
    found = shelf.unlock(where=frozenset({track_id}))
    assert {found.locate(row).consent_id for row in range(found.rows)} == {ada}
    allowed = np.flatnonzero(found.bitmap()).tolist()
    assert [found.locate(row).track_id for row in allowed] == [track_id] * 3
    assert shelf.unlock(where=frozenset()).rows == 0


def test_the_slice_table_says_where_a_track_is(people):
    """Every row lies in exactly one slice, with its track's names."""
    shelf, _ = people
    found = shelf.unlock()
    covered = [row for entry in found.slices() for row in range(entry.start, entry.stop)]
    assert covered == list(range(found.rows))
    for entry in found.slices():
        assert {found.locate(row).track_id for row in range(entry.start, entry.stop)} == {entry.track_id}
        assert entry.model_id == shelf.model_id


def test_a_destroyed_key_leaves_its_pages_out(people):
    """A withdrawal between the decision and the unlock is no failure; a key that nobody destroyed is one."""
    shelf, (ada, ben, cy) = people
    with keystore_work(shelf.site.keystore) as connection:
        keys = keystore.keys_of_consent(connection, ben)
        keystore.destroy_keys(connection, [key.key_id for key in keys], shelf.room.clock())
    assert shelf.rows(shelf.unlock()) == shelf.of(ada, cy)
    found, searched = streamed(shelf, np.ones((1, 16), np.float32), 50, block_bytes=100)
    assert searched == len(found[0]) == 10


def test_a_lost_key_is_a_failure(lite):
    """A key that is gone and was never destroyed is lost, and nothing is answered."""
    ada = lite.person("ada", 3)
    with keystore_work(lite.site.keystore) as connection:
        connection.exec_driver_sql("DELETE FROM data_key WHERE domain = 'embeddings'")
    with pytest.raises(IntegrityFailure) as caught:
        lite.unlock(ada)
    assert caught.value.code == "KEY_LOST"


def test_pages_under_the_next_key_open_too(lite):
    """While data keys are being exchanged, a page may stand under the one that waits."""
    ada = lite.person("ada", 3)
    pack(lite.site)
    with lite.site.reading() as connection:
        (page,) = embeddings.pages_of_consent(connection, ada)
    fresh = lite.site.keyring.mint(domain=Domain.EMBEDDINGS, subject_id=page.context.subject, consent_id=ada)
    with keystore_work(lite.site.keystore) as connection:
        old = lite.site.keyring.unwrap(keystore.find_key(connection, page.context.subject, ada, Domain.EMBEDDINGS))
        keystore.add_keys(connection, [fresh], pending=True)
    from fabnet_secure.crypto.envelope import unseal
    from fabnet_secure.pipeline.pages import census_of

    sealed = page.seal_with(lite.site.keyring.unwrap(fresh), page.next_context, unseal(old, page.context, page.sealed))
    with lite.site.work() as work:
        embeddings.replace_page(work.connection, census_of(lite.site), page, sealed)
        work.log("test.reencrypt", facts={})
    assert lite.rows(lite.unlock()) == lite.of()


def test_who_opens_no_embeddings_unlocks_none(lite, monkeypatch):
    """A keyring without the domain is refused before a page is read."""
    lite.person("ada", 3)

    def shut(*_):
        raise KeyProblem("no", code="KEY_DOMAIN")

    monkeypatch.setattr(type(lite.site.keyring), "unwrap_many", shut)
    with pytest.raises(KeyProblem):
        lite.unlock()


def test_whole_and_streamed_answers_agree(people):
    """Blocks of any size give the hits of the whole matrix, in its order, with exact cosines."""
    shelf, _ = people
    queries = np.random.default_rng(5).standard_normal((3, 16)).astype(np.float32)
    whole = shelf.unlock()
    expected = [hits(whole, query, whole.nearest(query, 6)) for query in queries]
    for size in (1, 200, 400, 1 << 20):
        found, searched = streamed(shelf, queries, 6, block_bytes=size)
        assert found == expected
        assert searched == whole.rows
    own = shelf.kept[0][1]
    without, searched = streamed(shelf, queries, 50, without=own, block_bytes=200)
    assert searched == whole.rows - 3
    assert own not in {hit.located.track_id for found in without for hit in found}
    chosen, _ = streamed(shelf, queries, 50, where=frozenset({own}), block_bytes=200)
    assert {hit.located.track_id for found in chosen for hit in found} == {own}


def test_equal_rows_are_merged_in_row_order(lite):
    """Rows of one value, over several blocks, come in the order in which they stand."""
    lite.rng = type("Fixed", (), {"standard_normal": staticmethod(np.ones)})()
    for ref in "abcd":
        lite.person(ref, 3)
    pack(lite.site)
    whole = lite.unlock()
    order = [whole.locate(row) for row in range(7)]
    found, _ = streamed(lite, np.ones((2, 16), np.float32), 7, block_bytes=64)
    assert [[hit.located for hit in one] for one in found] == [order, order]


def test_every_block_is_zeroed_before_the_next(lite):
    """A block that was left behind holds nothing any more, and the room is never more than one block's."""
    for ref in "abcd":
        lite.person(ref, 3)
    pack(lite.site)
    permitted = frozenset(consent_id for consent_id, *_ in lite.kept)
    with lite.site.reading() as connection:
        seen = []
        for block in blocks(lite.site, connection, lite.model_id, permitted, block_bytes=96):
            assert all(not one.vectors.any() for one in seen if one.vectors.base is not block.vectors.base)
            assert block.vectors.any()
            assert block.rows == 3
            seen.append(block)
        assert not any(one.vectors.any() for one in seen)


def test_a_failure_leaves_nothing_open(lite, monkeypatch):
    """When a later page does not open, what the earlier ones held is zeroed."""
    from fabnet_secure.pipeline import unlock as module

    rooms = []
    made = module.unlocked_zeros
    monkeypatch.setattr(module, "unlocked_zeros", lambda *shape: rooms.append(made(*shape)) or rooms[-1])
    lite.person("ada", 3)
    lite.person("ben", 3)
    pack(lite.site)
    lite.unlock()
    assert rooms[0].any()
    last = max(lite.change("SELECT length(sealed) AS n FROM embedding_bundle"))[0]
    lite.change(f"UPDATE embedding_bundle SET sealed = substr(sealed, 1, {last - 1}) || x'00'")
    with pytest.raises(IntegrityFailure):
        lite.unlock()
    assert not rooms[1].any()


def test_the_limit_is_the_settings(lite):
    """A model's embeddings may be resident up to the limit."""
    lite.person("ada", 3)
    with lite.site.reading() as connection:
        assert fits(lite.site, connection, lite.model_id)
        assert embeddings.plain_bytes(connection, lite.model_id) == 96


def test_no_file_is_written(lite):
    """Packing, unlocking and searching leave the same files behind: no index, plain or sealed."""
    lite.person("ada", 3)
    before = {path for path in lite.room.folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))}
    pack(lite.site)
    with lite.unlock() as found:
        nearest_many(found, np.ones((2, 16), np.float32), 2)
    assert {path for path in lite.room.folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))} == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_many_at_once_answer_as_one_by_one(data):
    """Batches, with and without a bitmap, give what single queries give and what the definition says."""
    count = data.draw(st.integers(1, 60))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    values = rng.integers(-1, 2, (count, 4)) if data.draw(st.booleans()) else rng.standard_normal((count, 4))
    vectors = values.astype(np.float16)
    from fabnet_secure.store.margins import Margin, pack_margin

    margin = Margin(pack_margin([(new_id(), range(count))], search.inverse_lengths(vectors)), count)
    found = matrix.Matrix(vectors, [matrix.PageRows("c", "s", 0, count, margin)], "m", locked=False)
    queries = rng.standard_normal((3, 4)).astype(np.float32)
    top = data.draw(st.integers(1, 70))
    bitmap = rng.random(count) < 0.7
    places = np.flatnonzero(bitmap)
    for chosen, expected in (
        (None, [search.rank(query, vectors, top) for query in queries]),
        (bitmap, [places[search.rank(query, vectors[places], top)] for query in queries]),
    ):
        batch = nearest_many(found, queries, top, chosen)
        assert [rows.tolist() for rows in batch] == [rows.tolist() for rows in expected]
        assert [found.nearest(query, top, chosen).tolist() for query in queries] == [rows.tolist() for rows in expected]


def test_unusable_questions_are_refused(lite):
    """No result asked for, another dimension, another bitmap, no query."""
    lite.person("ada", 3)
    found = lite.unlock()
    for queries, top, bitmap in (
        (np.ones((2, 16)), 0, None),
        (np.ones((2, 15)), 1, None),
        (np.ones((2, 16)), 1, np.ones(2, np.bool_)),
        (np.zeros((2, 16)), 1, None),
    ):
        with pytest.raises(UsageError):
            nearest_many(found, queries, top, bitmap)
    assert nearest_many(found, np.ones((0, 16)), 1) == []
    with pytest.raises(UsageError):
        found.locate(3)
