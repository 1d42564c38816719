"""Videos are counts and reasons; the database keeps them consistent."""

import pytest
import sqlalchemy as sa

from fabnet_secure.errors import UsageError
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


def test_evidence_round_trips(site, make):
    """What is told of how a video was read comes back equal; without any it is empty."""
    told = {"core_dumps": "off", "buffers_locked": True, "detector": {"interval": 5}}
    with site.logged() as work:
        row = make.video("e" * 64, evidence=told)
        videos.add_video(work.connection, row)
        assert videos.get_video(work.connection, row.video_id) == row
        assert videos.get_video(work.connection, site.video(work.connection)).evidence == {}


def test_a_disposition_is_recorded_beside_the_evidence(site, make):
    """The file's fate and what was found of it are added; what was told of the reading stays."""
    with site.logged() as work:
        row = make.video("e" * 64, evidence={"passes": 1}, disposition="delete_due")
        videos.add_video(work.connection, row)
        videos.set_disposition(work.connection, row.video_id, videos.Disposition.DELETE_FAILED, {"code": "denied"})
        videos.set_disposition(work.connection, row.video_id, videos.Disposition.DELETED, {"bytes": 9})
        after = videos.get_video(work.connection, row.video_id)
        assert (after.disposition, after.evidence) == ("deleted", {"passes": 1, "source": {"bytes": 9}})
        videos.set_disposition(work.connection, row.video_id, videos.Disposition.KEEP)
        assert videos.get_video(work.connection, row.video_id).evidence == after.evidence


def test_an_unknown_video_has_no_disposition(site):
    """Nothing is recorded of a video that is not there."""
    with site.refused(UsageError, "NOT_FOUND") as work:
        videos.set_disposition(work.connection, new_id(), videos.Disposition.DELETED)


def test_an_unknown_disposition_is_refused_by_the_database(site):
    """Even behind the store's back a file's fate is one of the closed list."""
    with site.refused() as work:
        site.video(work.connection)
        work.connection.execute(sa.text("UPDATE video SET disposition = 'burnt'"))
