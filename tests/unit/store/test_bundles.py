"""Bundles: sealed pages side by side in one row, each found, exchanged and erased on its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store import bundles, embeddings
from fabnet_secure.store.bundles import PackedPage, Segment
from fabnet_secure.types import new_id


@pytest.fixture
def made(site):
    """A unit of work with two people's packed pages in one bundle: (connection, census, model, segments)."""
    with site.logged() as work:
        connection, census = work.connection, site.counted(work.connection)
        people = [site.enrol(connection, ref=ref) for ref in ("anna", "ben")]
        tracks = [site.track(connection, *person) for person in people]
        members = [
            (consent_id, subject_id, track_id)
            for (subject_id, consent_id), track_id in zip(people, tracks, strict=True)
        ]
        model_id, _ = site.model(connection, members)
        pages = [page_of(site, model_id, *person, track) for person, track in zip(people, tracks, strict=True)]
        assert bundles.add_bundles(connection, census, model_id, pages) == 1
        yield connection, census, model_id, bundles.list_segments(connection)


def page_of(site, model_id, subject_id, consent_id, track_id, size=50):
    segment = Segment(bundles.fresh_page_id(), 0, 0, 1, consent_id, subject_id, model_id, 2, 8)
    return PackedPage(context=segment.context, sealed=site.sealed(bytes(size)), tracks=(track_id,))


def test_pages_lie_side_by_side(site, made):
    """Each segment cuts its own page out of the bundle; a consent's pages come with their ciphertext."""
    connection, census, model_id, segments = made
    ((number, blob),) = bundles.read_bundles(connection, model_id, [1])
    assert number == 1
    assert [segment.start for segment in segments] == [0, segments[0].length]
    assert sum(segment.length for segment in segments) == len(blob)
    for segment in segments:
        ((found, sealed),) = bundles.sealed_of_consent(connection, segment.consent_id)
        assert found == segment
        assert sealed.blob == bytes(bundles.cut(segment, memoryview(blob)))
    embeddings.check(connection, census)


def test_only_sealed_pages_enter(site, made):
    """Plain bytes are a TypeError."""
    connection, census, model_id, (segment, _) = made
    page = PackedPage(context=segment._replace(page_id=1).context, sealed=b"FSE1", tracks=())
    with pytest.raises(TypeError):
        bundles.add_bundles(connection, census, model_id, [page])


def test_counts_see_packed_pages(made):
    """Vectors and pages in bundles count as waiting ones do."""
    connection, _, model_id, (segment, _) = made
    assert embeddings.count(connection, segment.consent_id) == 2
    assert embeddings.remaining(connection, segment.consent_id) == {"embedding_pages": 1, "embeddings": 2}
    assert embeddings.plain_bytes(connection, model_id) == 2 * 2 * 2 * 8
    tracks = {track_id for track_id, _, _ in bundles.list_tracks(connection)}
    assert embeddings.embedded_tracks(connection, model_id) == tracks
    assert [embeddings.models_of_track(connection, one) for one in tracks] == [[model_id]] * 2


@pytest.mark.parametrize("size", [50, 80], ids=["in place", "elsewhere"])
def test_a_page_sealed_anew_has_a_new_number(site, made, size):
    """Its older bytes are overwritten, its tracks follow, the neighbour stays, and the census knows."""
    connection, census, model_id, (segment, other) = made
    (page,) = embeddings.pages_of_consent(connection, segment.consent_id)
    fresh = site.sealed(bytes(size))
    embeddings.replace_page(connection, census, page, fresh)
    ((found, sealed),) = bundles.sealed_of_consent(connection, segment.consent_id)
    assert (found.page_id, sealed) == (page.next_context.page, fresh)
    assert found.page_id != segment.page_id
    assert other in bundles.list_segments(connection)
    assert page.sealed.blob[20:] not in b"".join(blob for _, blob in bundles.read_bundles(connection, model_id, [1, 2]))
    assert {page_id for _, _, page_id in bundles.list_tracks(connection)} == {found.page_id, other.page_id}
    embeddings.check(connection, census)
    with pytest.raises(UsageError):
        embeddings.replace_page(connection, census, page, fresh)


def test_erased_pages_leave_zeros_and_then_nothing(made):
    """One person's bytes become zeros; with the last person the bundle goes. Twice changes nothing."""
    connection, census, model_id, (one, other) = made
    embeddings.delete_consent(connection, census, one.consent_id)
    embeddings.delete_consent(connection, census, one.consent_id)
    ((_, blob),) = bundles.read_bundles(connection, model_id, [1])
    assert blob[: one.length] == bytes(one.length)
    assert blob[one.length :].startswith(b"FSE1")
    embeddings.check(connection, census)
    embeddings.delete_consent(connection, census, other.consent_id)
    assert list(bundles.read_bundles(connection, model_id, [1])) == []
    assert bundles.list_tracks(connection) == []
    embeddings.check(connection, census)


def test_sparse_bundles_are_joined(site, made):
    """What is left of two bundles that are mostly erased moves into one, byte for byte."""
    connection, census, model_id, (small, gone) = made
    large = page_of(site, model_id, gone.subject_id, gone.consent_id, bundles.list_tracks(connection)[0][0], size=900)
    stays = page_of(site, model_id, small.subject_id, small.consent_id, bundles.list_tracks(connection)[1][0])
    bundles.erase_segments(connection, census, [gone])
    bundles.add_bundles(connection, census, model_id, [large, stays])
    bundles.erase_segments(connection, census, bundles.segments_of_consent(connection, gone.consent_id))
    before = bundles.sealed_of_consent(connection, small.consent_id)
    connection.exec_driver_sql("UPDATE embedding_bundle SET sealed = " + padded(connection) + " WHERE bundle_id = 1")
    assert bundles.compact(connection) == 2
    after = bundles.sealed_of_consent(connection, small.consent_id)
    assert [sealed for _, sealed in after] == [sealed for _, sealed in before]
    assert [segment.page_id for segment, _ in after] == [segment.page_id for segment, _ in before]
    assert len({segment.bundle_id for segment, _ in after}) == 1
    embeddings.check(connection, census)
    assert bundles.compact(connection) == 0


def padded(connection):
    """Return the SQL for a bundle with a kilobyte of zeros behind it."""
    if connection.dialect.name == "sqlite":
        return "CAST(sealed || zeroblob(1000) AS BLOB)"
    return "sealed || decode(repeat('00', 1000), 'hex')"


def test_sparse_reads_take_only_what_is_wanted(site, made):
    """A few bundles of many are fetched by number, most of them by reading past the others."""
    connection, census, model_id, (segment, _) = made
    for _ in range(4):
        page = page_of(site, model_id, segment.subject_id, segment.consent_id, new_id())
        page = PackedPage(context=page.context, sealed=page.sealed, tracks=(bundles.list_tracks(connection)[0][0],))
        bundles.add_bundles(connection, census, model_id, [page])
    for wanted in ([2], [1, 5], [1, 2, 4, 5], []):
        assert [number for number, _ in bundles.read_bundles(connection, model_id, wanted)] == wanted
    assert list(bundles.read_bundles(connection, new_id(), [1, 2, 3, 4, 5])) == []


def test_a_bundle_cut_short_is_refused(made):
    """A segment that reaches over the bundle's end."""
    _, _, _, (segment, _) = made
    with pytest.raises(IntegrityFailure):
        bundles.cut(segment, memoryview(bytes(segment.length - 1)))


@given(
    names=st.lists(st.uuids().map(str), min_size=3, max_size=3),
    counts=st.lists(st.integers(0, 2**48 - 1), min_size=3, max_size=3),
)
def test_what_a_page_is_bound_to_is_its_context(names, counts):
    """The quick encoding is the context's own."""
    page_id, n, dim = counts
    segment = Segment(page_id, 1, 0, 1, *names, n, dim)
    assert segment.bound == segment.context.encode()


def test_a_name_that_is_no_id_binds_to_another_context():
    """Quotes in a name cannot make one page's context look like another's."""
    segment = Segment(1, 1, 0, 1, 'a","dim":8,"x":"', new_id(), new_id(), 2, 8)
    assert segment.bound != segment.context.encode()
