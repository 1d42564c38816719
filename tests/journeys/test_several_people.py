"""Two people in one video: each keeps what their own consent covers, and nobody's loss is another's."""

import json

import pytest

from fabnet_secure.pipeline import ingest, keep

SEATS = """
[[camera]]
name = "desk"
sources = ["*/two.mp4"]
[[camera.region]]
name = "left"
box = [0.0, 0.0, 0.5, 1.0]
[[camera.region]]
name = "right"
box = [0.5, 0.0, 0.5, 1.0]
"""
EVIDENCE = {
    "passes", "core_dumps", "traceable", "buffers_locked", "swap", "sqlite_temp", "writes_seen", "frames_detected",
    "detector", "camera", "site",
}  # fmt: skip


@pytest.fixture
def desk(home, ok, consent_of):
    """A site with a camera before two seats; the consents of the people on them."""
    ok("init")
    with (home.folder / "fabnet.toml").open("a", encoding="utf-8") as settings:
        settings.write(SEATS)
    return [ok(*consent_of(f"{name}@example.org"))["consent_id"] for name in ("left", "right")]


def seated(clips, desk):
    """Return the command that ingests the two of them on their seats."""
    left, right = desk
    return ("ingest", str(clips / "two.mp4"), "--seat", f"left={left}", "--seat", f"right={right}")


def tracks_of(home):
    """Return what is stored of every track, by consent."""
    return dict(home.rows("SELECT consent_id, reason FROM track ORDER BY consent_id"))


def test_seats_tell_people_apart(home, desk, clips, ok, program):
    """Each face is sealed to the consent of whoever sits where it is; the same command again does nothing."""
    left, right = desk
    done = ok(*seated(clips, desk))
    assert done["tracks"] == {"detected": 2, "bound": 2, "dropped": 0, "quarantined": 0}
    assert tracks_of(home) == {left: "", right: ""}
    assert program(*seated(clips, desk)).last["videos"]["skipped"] == 1
    gone = ok("subject", "withdraw", left, "--confirm", left)
    assert (gone["outcome"], gone["tracklets_removed"]) == ("complete", 1)
    assert home.rows("SELECT count(*) FROM tracklet") == [(1,)]


def test_only_one_seats_person_is_known(home, desk, clips, ok):
    """The other face is dropped: one row says that it was there, for how long and why, and nothing else is kept."""
    left, _ = desk
    done = ok("ingest", str(clips / "two.mp4"), "--seat", f"left={left}")
    assert done["tracks"] == {"detected": 2, "bound": 1, "dropped": 1, "quarantined": 0}
    (row,) = home.rows("SELECT * FROM track WHERE status = 'dropped'")
    track_id, video_id, subject, consent, status, reason, frames, crop_version, expires_at, created_at = row
    assert (subject, consent, status, crop_version, expires_at) == (None, None, "dropped", "", None)
    assert (reason, frames) == ("unbound", 24)
    assert track_id
    assert video_id
    assert created_at
    assert home.rows("SELECT count(*) FROM tracklet") == [(1,)]


@pytest.mark.parametrize("landing", ["before", "meanwhile"])
def test_one_of_two_people_leaves(landing, home, desk, clips, ok, leave, meanwhile):
    """A withdrawal takes that person's track out of the video, whenever it lands; the other's is kept."""
    left, right = desk
    if landing == "before":
        leave(left)
    else:
        meanwhile(keep, "_authorized", lambda: leave(left), after=True)
    done = ok(*seated(clips, desk))
    assert done["tracks"] == {"detected": 2, "bound": 1, "dropped": 1, "quarantined": 0}
    assert done["drop_reasons"] == {"consent_withdrawn": 1}
    assert tracks_of(home) == {None: "consent_withdrawn", right: ""}
    ok("audit", "verify")


def test_both_people_leave(home, desk, clips, program, leave, meanwhile):
    """With nobody's consent left nothing of the video is kept."""
    left, right = desk
    meanwhile(keep, "_authorized", lambda: (leave(left), leave(right)), after=True)
    said = program(*seated(clips, desk))
    assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")
    assert home.rows("SELECT count(*) FROM video") == [(0,)]


def test_a_person_who_may_only_be_embedded_waits_for_a_model(home, desk, clips, ok, consent_of):
    """Beside somebody who trains, a face that could only be encoded is dropped while there is no encoder."""
    left, _ = desk
    only = ok(*consent_of("only@example.org", "--purpose", "embed"))["consent_id"]
    done = ok(*seated(clips, (left, only)))
    assert done["drop_reasons"] == {"no_encoder": 1}
    assert tracks_of(home) == {left: "", None: "no_encoder"}


def test_the_evidence_of_discard_stands_beside_each_video(home, desk, clips, ok):
    """How the video was read is in its row and, with the counts, in the log."""
    ok(*seated(clips, desk))
    ((stored, persisted),) = home.rows("SELECT evidence, frames_persisted FROM video")
    told = json.loads(stored)
    assert set(told) == EVIDENCE
    assert (told["passes"], told["writes_seen"], persisted) == (1, 0, 0)
    assert (told["core_dumps"], told["traceable"], told["sqlite_temp"]) == ("off", False, "memory")
    assert told["detector"] == {"name": "yunet-2023mar-int8bq", "interval": 1, "factor": 2, "smallest_face_px": 48}
    assert told["frames_detected"] == 24
    assert (told["camera"], told["site"]) == ("desk", "")


def test_candidates_are_zeroed_when_the_file_vanishes(home, desk, clips, program, meanwhile, monkeypatch):
    """Whatever refuses a video after it was read: what was held of its faces is wiped."""
    film = home.folder / "two.mp4"
    film.write_bytes((clips / "two.mp4").read_bytes())
    seen = []
    real = ingest.observe

    def watched(*arguments, **options):
        seen.append(real(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(ingest, "observe", watched)
    meanwhile(ingest, "_unchanged", film.unlink)
    said = program("ingest", str(film), "--consent", desk[0])
    assert said.last["code"] == "SOURCE_GONE"
    (observation,) = seen
    assert len(observation.tracks) == 2
    assert all(not observation.candidates(track.number) for track in observation.tracks)


def test_a_further_copy_is_deleted_where_the_policy_says_so(home, desk, clips, ok):
    """A file kept under an older policy goes when it comes again; a dry run leaves it."""
    left, right = desk
    film = home.folder / "two.mp4"
    film.write_bytes((clips / "two.mp4").read_bytes())
    command = ("ingest", str(film), "--camera", "desk", "--seat", f"left={left}", "--seat", f"right={right}")
    ok(*command)
    text = (home.folder / "fabnet.toml").read_text("utf-8")
    changed = text.replace("[ingest]", '[ingest]\nsource_disposition = "delete"')
    (home.folder / "fabnet.toml").write_text(changed, "utf-8")
    rehearsed = ok(*command, "--dry-run")
    assert (rehearsed["videos"]["skipped"], film.exists()) == (1, True)
    assert ok(*command)["videos"]["skipped"] == 1
    assert not film.exists()
