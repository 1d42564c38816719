"""Column types refuse on the way in and out what does not belong."""

import pytest
import sqlalchemy as sa

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store import tracks, videos
from fabnet_secure.store.columns import Choice, in_chunks
from fabnet_secure.store.database import read_only
from fabnet_secure.types import Domain


def damage(site, statement):
    raw = sa.create_engine(site.url)
    with raw.begin() as connection:
        connection.exec_driver_sql(statement)
    raw.dispose()


def test_damaged_ciphertext_is_found_on_reading(lite):
    """A sealed cell that is no envelope any more is IntegrityFailure when it is read, not bytes."""
    with lite.logged() as work:
        lite.track(work.connection, *lite.enrol(work.connection))
    damage(lite, "UPDATE tracklet SET sealed = x'00'")
    with read_only(lite.engine) as connection, pytest.raises(IntegrityFailure):
        tracks.list_tracklets(connection)


def test_damaged_document_is_found_on_reading(lite):
    """A JSON cell that does not parse is IntegrityFailure."""
    with lite.logged() as work:
        lite.video(work.connection)
    damage(lite, "UPDATE video SET drop_reasons = '{'")
    with read_only(lite.engine) as connection, pytest.raises(IntegrityFailure):
        videos.list_videos(connection)


def test_stored_word_outside_the_list_is_found_on_reading():
    """A state that does not exist is IntegrityFailure on its way out."""
    with pytest.raises(IntegrityFailure):
        Choice(Domain).process_result_value("everything", None)


def test_times_sort_as_text(site, make):
    """Times are stored as RFC 3339 text of one width, so text order is time order on both databases."""
    with site.logged() as work:
        site.video(work.connection)
        text = work.connection.exec_driver_sql("SELECT ingested_at FROM video").scalar_one()
    assert text == "2026-05-04T03:02:01.000007Z"


def test_chunks_lose_nothing():
    """Runs of an IN list give every value once, in order."""
    values = list(range(11))
    assert [value for chunk in in_chunks(values, 4) for value in chunk] == values
    assert list(in_chunks([])) == []
