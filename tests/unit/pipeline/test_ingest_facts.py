"""The facts of the ingest report are what the rows and the log say, now."""

from datetime import timedelta

from fabnet_secure.compliance.ingest import Discard, build_ingest
from fabnet_secure.pipeline.ingest_facts import ingest
from fabnet_secure.pipeline.quarantine import destroy
from fabnet_secure.pipeline.report import NAMES, verify_file, write_all, write_report
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import videos

EVIDENCE = {
    "passes": 1,
    "core_dumps": "off",
    "traceable": False,
    "buffers_locked": True,
    "swap": "none",
    "sqlite_temp": "memory",
    "writes_seen": 0,
    "frames_detected": 4,
    "detector": {"name": "yunet", "interval": 5, "factor": 2, "smallest_face_px": 48},
}


def tell(site, track_id, evidence):
    """Put evidence into the video of a track."""
    from fabnet_secure.store.tables import video
    from fabnet_secure.store.tracks import get_track

    with site.work() as work:
        row = get_track(work.connection, track_id)
        work.connection.execute(video.update().where(video.c.video_id == row.video_id).values(evidence=evidence))
        work.log("test.evidence", facts={})
    return row.video_id


def test_a_video_is_told_with_its_consent_and_its_evidence(room, site):
    """Counts, the consent of each bound track, and how it was read, as recorded."""
    consent = room.consent(site)
    tell(site, room.track(site, consent), EVIDENCE)
    (video,) = ingest(site).videos
    assert (video.detected, video.bound, video.track_rows, video.source.disposition) == (1, 1, 1, "keep")
    assert [(one.consent_id, one.tracks, one.gone) for one in video.consents] == [(consent, 1, 0)]
    assert video.discard == Discard(
        core_dumps="off",
        buffers_locked=True,
        swap="none",
        sqlite_temp="memory",
        writes_seen=0,
        frames_detected=4,
        passes=1,
        detector="yunet",
        interval=5,
        smallest_face_px=48,
    )
    assert build_ingest(ingest(site))["outcome"] == "discard_shown"


def test_a_video_of_an_older_version_has_no_evidence(room, site):
    """An empty record is not recorded; damaged values are not recorded either, and never taken for good ones."""
    track = room.track(site, room.consent(site))
    assert ingest(site).videos[0].discard is None
    tell(site, track, {"writes_seen": True, "buffers_locked": "yes", "core_dumps": 0, "detector": []})
    assert ingest(site).videos[0].discard == Discard()
    assert build_ingest(ingest(site))["outcome"] == "discard_gaps"


def test_tracks_that_are_gone_are_counted_as_gone(room, site):
    """Expiry is computed on read; a withdrawal leaves the row as evidence."""
    brief, withdrawn = room.consent(site), room.consent(site, subject_ref="ben")
    room.track(site, brief, lives=timedelta(days=1))
    room.track(site, withdrawn)
    room.clock.forward(days=2)
    withdraw(site, withdrawn, confirm=withdrawn)
    gone = [(one.consent_id, one.tracks, one.gone) for video in ingest(site).videos for one in video.consents]
    assert sorted(gone) == sorted([(brief, 1, 1), (withdrawn, 1, 1)])


def test_a_quarantine_and_a_files_fate_are_told(room, policy, film, quarantined):
    """The wait with its dates and end; the file with its size, or why it is still there."""
    site = policy(source_disposition="delete")
    video_id = quarantined(site, [room.consent(site)], film)
    (video,) = ingest(site).videos
    assert (video.quarantine.state, video.quarantine.deadline) == ("held", room.clock() + timedelta(days=14))
    assert (video.discard, video.consents) == (None, ())
    destroy(site, video_id, video_id)
    (video,) = ingest(site).videos
    assert (video.quarantine.state, video.quarantine.resolved_at) == ("destroyed", room.clock())
    assert (video.source.disposition, video.source.bytes, video.source.at) == ("deleted", 1500, room.clock())
    assert video.discard is None
    with site.work() as work:
        videos.set_disposition(work.connection, video_id, videos.Disposition.DELETE_FAILED, {"code": "denied"})
        work.log("test.failed", facts={})
    assert ingest(site).videos[0].source.code == "denied"


def test_a_track_row_taken_out_behind_our_back_is_a_finding(room, site):
    """Every track leaves a row, whatever becomes of it: one that is missing breaks the count."""
    track = room.track(site, room.consent(site))
    tell(site, track, EVIDENCE)
    with site.work() as work:
        for table in ("tracklet", "track"):
            work.connection.exec_driver_sql(f"DELETE FROM {table}")
        work.log("test.loss", facts={})
    assert [one["finding"] for one in build_ingest(ingest(site))["findings"]] == ["counts_broken"]


def test_refusals_are_counted_from_the_log(room, site):
    """Each refused source left an entry with its code, and nothing else."""
    with site.work() as work:
        for code in ("NO_FACE", "CONSENT_WITHDRAWN", "NO_FACE"):
            work.log("ingest.refused", facts={"code": code})
    assert [(one.code, one.count) for one in ingest(site).refusals] == [("CONSENT_WITHDRAWN", 1), ("NO_FACE", 2)]


def test_the_report_is_written_and_verified_like_the_others(room, site, tmp_path):
    """By its name in both languages and forms, and among all of them."""
    room.track(site, room.consent(site))
    assert "ingest" in NAMES
    for form, lang in (("json", "en"), ("html", "en"), ("html", "ja")):
        out = write_report(site, "ingest", form=form, lang=lang, out=tmp_path / f"r.{lang}.{form}")
        assert verify_file(out, site.report_signer.public.hex()).kind == "ingest"
    written = {path.name for path in write_all(site, tmp_path / "all")}
    assert {"ingest.json", "ingest.en.html", "ingest.ja.html"} <= written
