"""Videos are counts and reasons; the database keeps them consistent."""

import pytest

from fabnet_secure.store import videos
from fabnet_secure.types import new_id


def test_video_round_trips(site, make):
    """A video's row is found by fingerprint and by id, equal in every field."""
    row = make.video("f" * 64)
    with site.work() as work:
        videos.add_video(work.connection, row)
        work.log("ingest.completed", facts={})
        assert videos.find_by_fingerprint(work.connection, "f" * 64) == row
        assert videos.get_video(work.connection, row.video_id) == row
        assert videos.list_videos(work.connection) == [row]
        assert videos.find_by_fingerprint(work.connection, "0" * 64) is None
        assert videos.get_video(work.connection, new_id()) is None


def test_fingerprint_is_unique(site, make):
    """The same fingerprint twice is refused by the database."""
    with site.refused() as work:
        videos.add_video(work.connection, make.video("f" * 64))
        videos.add_video(work.connection, make.video("f" * 64))


@pytest.mark.parametrize(
    "wrong", [{"frames_persisted": 1}, {"bound": 2}, {"bound": -1, "dropped": 4}, {"frames_read": -1}]
)
def test_impossible_counts_are_refused(site, make, wrong):
    """A persisted frame, tracks that do not add up, or a negative count cannot be stored."""
    with site.refused() as work:
        videos.add_video(work.connection, make.video("f" * 64, **wrong))


def test_unknown_status_is_refused(site, make):
    """A status outside the list does not reach the database."""
    with pytest.raises(Exception, match="lost"), site.work() as work:
        videos.add_video(work.connection, make.video("f" * 64, status="lost"))
