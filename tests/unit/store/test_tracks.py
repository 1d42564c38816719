"""Tracks and sealed tracklets."""

from datetime import timedelta

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.store import tracks
from fabnet_secure.types import TrackStatus, new_id


def test_track_and_tracklet_round_trip(site, make):
    """A track's row and its ciphertext come back equal, with the frame indices in order."""
    sealed = site.sealed(b"crops")
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        row = make.track(site.video(work.connection), subject_id, consent_id)
        tracks.add_track(work.connection, row)
        tracks.add_tracklet(work.connection, row.track_id, sealed, n=2, size=64, frame_indices=(7, 3))
        work.log("ingest.completed", facts={})
        assert tracks.get_track(work.connection, row.track_id) == row
        held = tracks.get_tracklet(work.connection, row.track_id)
    assert (held.sealed, held.n, held.size, held.frame_indices) == (sealed, 2, 64, (7, 3))


def test_listing_filters(site, make):
    """Tracks are listed by status, consent and video, alone and together."""
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        video_id = site.video(work.connection)
        bound = site.track(work.connection, subject_id, consent_id, video_id=video_id)
        lost = make.track(video_id, None, None, status=TrackStatus.DROPPED, reason="too_short", expires_at=None)
        tracks.add_track(work.connection, lost)
        other = site.track(work.connection, subject_id, consent_id)
        work.log("ingest.completed", facts={})

        def ids(**filters):
            return {row.track_id for row in tracks.list_tracks(work.connection, **filters)}

        assert ids() == {bound, other, lost.track_id}
        assert ids(status=TrackStatus.DROPPED) == {lost.track_id}
        assert ids(consent_id=consent_id) == {bound, other}
        assert ids(video_id=video_id, status=TrackStatus.BOUND) == {bound}
        assert tracks.get_track(work.connection, new_id()) is None


def test_tracklets_are_listed_for_many_ids(site):
    """More ids than fit one statement are read in runs; unknown ids are passed over."""
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        video_id = site.video(work.connection)
        known = {site.track(work.connection, subject_id, consent_id, video_id=video_id) for _ in range(3)}
        work.log("ingest.completed", facts={})
        found = tracks.list_tracklets(work.connection, [*known, *(new_id() for _ in range(1200))])
        assert [row.track_id for row in found] == sorted(known)
        assert {row.track_id for row in tracks.list_tracklets(work.connection)} == known
        assert tracks.list_tracklets(work.connection, []) == []


@pytest.mark.parametrize("plain", [b"FSE1\x01" + bytes(100), "text", None])
def test_tracklet_takes_only_sealed(site, plain):
    """Bytes, even with the right header, are a TypeError: only crypto mints what may be stored."""
    with site.work() as work:
        with pytest.raises(TypeError):
            tracks.add_tracklet(work.connection, new_id(), plain, n=1, size=64, frame_indices=(0,))
        work.log("test.entry", facts={})


def test_tracklet_count_must_match_its_indices(site):
    """A tracklet that says n crops names n frames."""
    with site.work() as work:
        with pytest.raises(UsageError) as caught:
            tracks.add_tracklet(work.connection, new_id(), site.sealed(), n=2, size=64, frame_indices=(0,))
        work.log("test.entry", facts={})
    assert caught.value.code == "SHAPE"


@pytest.mark.parametrize("half", ["subject", "consent", "neither"])
def test_bound_track_names_subject_and_consent(site, make, half):
    """A bound track without its subject or consent is refused by the database."""
    with site.refused() as work:
        subject_id, consent_id = site.enrol(work.connection)
        named = {"subject": (subject_id, None), "consent": (None, consent_id), "neither": (None, None)}[half]
        tracks.add_track(work.connection, make.track(site.video(work.connection), *named))


def test_track_of_unknown_video_is_refused(site, make):
    """Foreign keys are on: a track needs its video."""
    with site.refused() as work:
        tracks.add_track(work.connection, make.track(new_id(), *site.enrol(work.connection)))


def test_status_changes_and_unknown_tracks_are_not_found(site):
    """Setting a status changes it, keeps the reason unless one is given, and needs a track."""
    with site.work() as work:
        track_id = site.track(work.connection, *site.enrol(work.connection), reason="first")
        tracks.set_status(work.connection, track_id, TrackStatus.QUARANTINED)
        assert tracks.get_track(work.connection, track_id).reason == "first"
        tracks.set_status(work.connection, track_id, TrackStatus.EXPIRED, "retention")
        row = tracks.get_track(work.connection, track_id)
        with pytest.raises(UsageError):
            tracks.set_status(work.connection, new_id(), TrackStatus.EXPIRED)
        work.log("test.entry", facts={})
    assert (row.status, row.reason) == (TrackStatus.EXPIRED, "retention")


def test_expired_tracks_are_those_with_a_tracklet_past_its_time(site, make):
    """At the very moment of expiry a track is due; once its tracklet is deleted it is not listed again."""
    due = make.at + timedelta(days=30)
    with site.work() as work:
        track_id = site.track(work.connection, *site.enrol(work.connection), expires_at=due)
        work.log("test.entry", facts={})
        assert tracks.list_expired(work.connection, due - timedelta(microseconds=1)) == []
        assert [row.track_id for row in tracks.list_expired(work.connection, due)] == [track_id]
        assert tracks.delete_tracklet(work.connection, track_id) == 1
        assert tracks.delete_tracklet(work.connection, track_id) == 0
        assert tracks.list_expired(work.connection, due) == []
