"""Bad videos: a clear error, status 1, and nothing changed but a log entry that something was refused."""

import os
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest


def _missing(path: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("this is a letter, not a video\n" * 40, "utf-8")


def _sound(path: Path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))


def _grey(path: Path, frames: int = 8) -> None:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 25, (240, 180))
    for number in range(frames):
        writer.write(np.full((180, 240, 3), 60 + number, np.uint8))
    writer.release()


def _no_frames(path: Path) -> None:
    _grey(path, frames=1)
    data = path.read_bytes()
    movie = data.index(b"movi")  # keep every header, and take the one picture out
    body = data[: movie + 4]
    size = len(body) - 8
    at = data.index(b"LIST", movie - 8)
    path.write_bytes(body[:4] + size.to_bytes(4, "little") + body[8 : at + 4] + (4).to_bytes(4, "little") + b"movi")


def _cut(path: Path) -> None:
    _grey(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


REFUSED = "ingest.refused"


@pytest.mark.parametrize(
    ("make", "code", "logs"),
    [
        (_missing, "SOURCE_MISSING", (REFUSED,)),
        (_empty, "SOURCE_EMPTY", (REFUSED,)),
        (_text, "SOURCE_NOT_VIDEO", (REFUSED,)),
        (_sound, "SOURCE_AUDIO_ONLY", (REFUSED,)),
        (_no_frames, "SOURCE_NO_FRAMES", (REFUSED,)),
        (_cut, "SOURCE_TRUNCATED", (REFUSED,)),
        (_folder, "SOURCE_MISSING", ()),
        (_pipe, "SOURCE_NOT_FILE", (REFUSED,)),
        (_grey, "NO_FACE", ("ingest.started", REFUSED)),
    ],
)
def test_a_bad_video_is_refused(shell, make, code, logs):
    """Each kind of bad file is told apart, ends with status 1, and leaves a refusal in the log and nothing else."""
    path = shell.folder / "hostile 'clip'\n😀.avi"
    make(path)
    said = shell.refused("ingest", str(path), "--consent", shell.named["consents"][0], status=1, code=code, logs=logs)
    assert said["hint"]


def test_a_bad_video_in_a_dry_run_leaves_no_trace_at_all(shell):
    """A dry run says what is wrong with the same status and writes no entry."""
    missing = str(shell.folder / "nowhere.mp4")
    shell.refused(
        "ingest", missing, "--consent", shell.named["consents"][0], "--dry-run", status=1, code="SOURCE_MISSING"
    )


def test_one_bad_video_does_not_stop_the_others(shell):
    """A good and a missing video together: the good one is done, the other told, status 3."""
    good, bad = shell.clip("spare"), str(shell.folder / "nowhere.mp4")
    result = shell.run("ingest", good, bad, "--consent", shell.named["consents"][0], "--json")
    assert result.status == 3
    assert [one["message_type"] for one in result.objects] == ["video", "video", "summary"]
    assert result.last["videos"] == {"ingested": 1, "skipped": 0, "refused": 1, "quarantined": 0}
    assert result.last["refusals"] == [
        {"video": "nowhere.mp4", "code": "SOURCE_MISSING", "message": "no file is at the path given"}
    ]


def test_two_people_in_one_video_are_quarantined(shell):
    """Two faces under one consent: status 3, both tracks quarantined, no crop kept; a second try is skipped."""
    before = len(shell.rows()["tracklet"])
    command = ("ingest", shell.clip("two-people"), "--consent", shell.named["consents"][0], "--json")
    result = shell.run(*command)
    assert result.status == 3
    assert result.last["tracks"] == {"detected": 2, "bound": 0, "dropped": 0, "quarantined": 2}
    assert result.last["frames"]["persisted"] == 0
    assert len(shell.rows()["tracklet"]) == before
    assert shell.json(*command[:-1])["videos"]["skipped"] == 1


def test_a_video_ingested_before_is_skipped(shell):
    """The same file under the same consent changes no row; status 0."""
    before = shell.rows()
    summary = shell.json("ingest", shell.clip("person-1"), "--consent", shell.named["consents"][0])
    assert summary["videos"]["skipped"] == 1
    assert shell.rows() == before


def test_the_largest_track_is_bound_only_where_the_site_says_so(shell):
    """ingest.primary_track = "largest" binds one of two faces and drops the other; the vault says which policy."""
    settings = shell.folder / "fabnet.toml"
    settings.write_text(settings.read_text("utf-8") + '[ingest]\nprimary_track = "largest"\n', "utf-8")
    summary = shell.json("ingest", shell.clip("two-people"), "--consent", shell.named["consents"][0])
    assert summary["tracks"]["bound"] == 1
    assert summary["tracks"]["quarantined"] == 0


def test_budgets_that_hold_no_crop_are_refused_before_any_video(shell):
    """One error for the whole run, with the policy's name; nothing is logged as a refused video."""
    settings = shell.folder / "fabnet.toml"
    settings.write_text(settings.read_text("utf-8") + "[ingest]\ntracklet_budget_kib = 16\n", "utf-8")
    command = ("ingest", shell.clip("spare"), "--consent", shell.named["consents"][0])
    shell.refused(*command, status=2, code="POLICY_INVALID")
