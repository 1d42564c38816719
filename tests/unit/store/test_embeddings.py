"""Sealed pages of embeddings."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.store import embeddings
from fabnet_secure.types import new_id


@pytest.fixture
def bound(site):
    """A unit of work with one bound track and a model trained on it; logged already."""
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        track_id = site.track(work.connection, subject_id, consent_id)
        model_id, _ = site.model(work.connection, [(consent_id, subject_id, track_id)])
        work.log("test.entry", facts={})
        names = {"track_id": track_id, "subject_id": subject_id, "consent_id": consent_id, "model_id": model_id}
        yield work.connection, names


def test_pages_round_trip_in_order(site, bound):
    """Pages come back by track, model and page number, each with its own ciphertext and frames."""
    connection, names = bound
    sealed = [site.sealed(b"page %d" % page) for page in range(2)]
    for page in (1, 0):
        embeddings.add_page(
            connection,
            site.counted(connection),
            **names,
            page=page,
            sealed=sealed[page],
            n=2,
            dim=256,
            frame_indices=(page, 9),
        )
    rows = embeddings.list_pages(connection, names["model_id"])
    assert [(row.page, row.sealed, row.frame_indices) for row in rows] == [
        (0, sealed[0], (0, 9)),
        (1, sealed[1], (1, 9)),
    ]
    assert (
        rows == embeddings.list_pages(connection) == embeddings.list_pages(connection, consent_id=names["consent_id"])
    )
    assert rows == embeddings.list_pages(connection, track_id=names["track_id"])
    assert embeddings.list_pages(connection, new_id()) == []
    assert embeddings.count(connection, names["consent_id"]) == 4
    assert embeddings.count(connection, new_id()) == 0


def test_only_sealed_pages_enter(site, bound):
    """Plain bytes are a TypeError."""
    connection, names = bound
    with pytest.raises(TypeError):
        embeddings.add_page(
            connection, site.counted(connection), **names, page=0, sealed=b"FSE1", n=1, dim=4, frame_indices=(0,)
        )


def test_wrong_count_is_refused(site, bound):
    """A page that says n vectors names n frames."""
    connection, names = bound
    with pytest.raises(UsageError):
        embeddings.add_page(
            connection, site.counted(connection), **names, page=0, sealed=site.sealed(), n=3, dim=4, frame_indices=(0,)
        )


def test_same_page_twice_is_refused(site):
    """A page is written once."""
    with site.refused() as work:
        subject_id, consent_id = site.enrol(work.connection)
        track_id = site.track(work.connection, subject_id, consent_id)
        model_id, _ = site.model(work.connection, [(consent_id, subject_id, track_id)])
        for _ in range(2):
            embeddings.add_page(
                work.connection,
                site.counted(work.connection),
                track_id=track_id,
                subject_id=subject_id,
                consent_id=consent_id,
                model_id=model_id,
                page=0,
                sealed=site.sealed(),
                n=1,
                dim=4,
                frame_indices=(0,),
            )


def test_what_waits_is_known_without_its_ciphertext(site, bound):
    """The list of waiting pages has all but the ciphertext, and says the same to the census as the page did."""
    connection, names = bound
    embeddings.add_page(
        connection, site.counted(connection), **names, page=0, sealed=site.sealed(), n=2, dim=4, frame_indices=(7, 9)
    )
    (page,) = embeddings.list_pages(connection)
    (known,) = embeddings.list_waiting(connection)
    assert known == page.waiting
    assert (known.frame_indices, known.context) == ((7, 9), page.waiting.context)
    assert list(embeddings.read_waiting(connection, names["model_id"])) == [(names["track_id"], 0, page.sealed.blob)]
    assert embeddings.waiting_by_consent(connection) == [(names["model_id"], names["consent_id"], 1)]
    assert embeddings.plain_bytes(connection, names["model_id"]) == 16
    assert embeddings.models_of_track(connection, names["track_id"]) == [names["model_id"]]
    embeddings.check(connection, site.census)


def test_a_page_sealed_anew_takes_its_place(site, bound):
    """The older ciphertext is gone, and the census knows of the new one; a page that is gone cannot be replaced."""
    connection, names = bound
    census = site.counted(connection)
    embeddings.add_page(connection, census, **names, page=0, sealed=site.sealed(), n=1, dim=4, frame_indices=(7,))
    (page,) = embeddings.pages_of_consent(connection, names["consent_id"])
    fresh = site.sealed(b"anew")
    embeddings.replace_page(connection, census, page, fresh)
    assert [one.sealed for one in embeddings.list_pages(connection)] == [fresh]
    embeddings.check(connection, census)
    embeddings.delete_consent(connection, census, names["consent_id"])
    with pytest.raises(UsageError):
        embeddings.replace_page(connection, census, page, fresh)
