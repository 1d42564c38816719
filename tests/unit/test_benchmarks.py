"""The benchmarks' names, lines and helpers; no time is asserted, since a test machine's speed says nothing."""

import json
import struct
import sys
import time

import pytest

from benchmarks import against_deface, clips, harness, log, memory_child, metrics, speed, stages
from benchmarks.__main__ import main, measure
from benchmarks.harness import Goal, Result, SkippedError

NAMES = [
    "synth_frames",
    "dp_step_vs_plain",
    "page_seal",
    "ingest_vs_decode",
    "ingest_vs_decode_portrait",
    "ingest_vs_decode_every_frame",
    "ingest_vs_decode_every_frame_portrait",
    "ingest_vs_deface",
    "ingest_scaling",
    "ingest_growth",
    "ingest_memory",
    "ingest_memory_hour",
    "log_batch_per_s",
    "log_commit_vs_fsync",
    "log_check_million_s",
    "log_proof_ms",
    "unlock_vs_plain_sqlite",
    "query_warm_vs_faiss_flat",
    "query_cold_vs_faiss_sqfp16",
    "batch64_vs_faiss_flat",
    "withdraw_ms",
    "search_growth",
]


@pytest.fixture
def shelf(tmp_path):
    """A run's folder of clips, empty."""
    return clips.Shelf(tmp_path)


def result(**changes):
    """A result like any other."""
    return Result(**{"value": 1.23456, "unit": "frames/s", "ratio": 0.512345, "baseline": "decoding"} | changes)


def test_metrics_are_these():
    """Every metric is run by its name; the one that takes minutes only when it is named."""
    assert list(metrics.ALL) == NAMES
    assert sorted(metrics.ONLY_WHEN_NAMED) == ["ingest_memory_hour"]
    assert all(metric.__doc__ for metric in metrics.ALL.values())


def test_a_line_holds_what_makefile_promises(capsys, monkeypatch, shelf):
    """A metric prints one JSON line: its figures, its baseline, its goal and whether that is met."""
    made = result(goals=(Goal(least=0.6),), fields={"interval": 5})
    monkeypatch.setitem(metrics.ALL, "page_seal", lambda _: made)
    measure("page_seal", shelf)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "metric": "page_seal",
        "value": 1.235,
        "unit": "frames/s",
        "ratio": 0.5123,
        "baseline": "decoding",
        "goal": "ratio ≥ 0.6",
        "interval": 5,
        "met": False,
    }


def test_without_a_goal_none_is_met_or_missed():
    """Where no goal is set the line says so."""
    body = result().to_json("page_seal")
    assert (body["goal"], body["met"]) == (harness.NO_GOAL, None)


def test_every_goal_counts():
    """A result with two goals meets them only together; a bound itself is within the bound."""
    goals = (Goal(figure="value", most=400), Goal(figure="growth_mb", most=16))
    flat, growing = (result(value=400.0, goals=goals, fields={"growth_mb": one}) for one in (16.0, 16.1))
    assert flat.to_json("m")["goal"] == "value ≤ 400 and growth_mb ≤ 16"
    assert (flat.to_json("m")["met"], growing.to_json("m")["met"]) == (True, False)


def test_sides_take_turns_and_the_warm_up_does_not_count():
    """The two sides run in turn, a warm-up each goes before, and the median of the rounds is told."""
    seen = []

    def side(name, seconds):
        return lambda turn: seen.append((turn, name)) or seconds[turn]

    medians = harness.interleaved(side("a", [99, 1, 5, 3]), side("b", [0, 2, 2, 8]), rounds=3)
    assert medians == (3, 2)
    assert seen == [(turn, name) for turn in range(4) for name in "ab"]


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(capsys, monkeypatch):
    """A metric that this machine cannot measure says why on both outputs, and the next one is run."""

    def no_network(shelf):
        raise SkippedError("no network")

    monkeypatch.setattr(metrics, "ALL", {"first": no_network, "second": lambda _: result()})
    assert main([]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["metric"] for line in said.out.splitlines()] == ["first", "second"]
    assert json.loads(said.out.splitlines()[0])["skipped"] == "no network"
    assert said.err == "SKIPPED first: no network\n"


def test_an_unknown_name_is_refused(capsys):
    """A name that is no metric ends with status 2 and the list of names."""
    assert main(["nonsense"]) == 2
    assert "ingest_vs_decode" in capsys.readouterr().err


def test_a_relabelled_clip_shows_the_same_under_other_bytes(tmp_path, shelf):
    """A copy is the clip and one more MP4 box, which says how long it is; no two copies are equal."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a video")
    copies = [shelf.relabelled(clip).read_bytes() for _ in range(3)]
    assert len(set(copies)) == 3
    for copy in copies:
        assert copy.startswith(b"a video")
        box = copy.removeprefix(b"a video")
        assert struct.unpack(">I4s", box[:8]) == (len(box), b"free")


def test_a_round_has_one_copy_for_both_sides(tmp_path, shelf, monkeypatch):
    """Both sides of a round get the same file, the next round another; the old one is gone."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a video")
    monkeypatch.setattr(clips.Shelf, "clip", lambda *_: clip)
    copies = speed.Copies(shelf)
    first = copies.of(0)
    assert copies.of(0) == first
    assert copies.of(1) != first
    assert not first.exists()


def test_every_stage_names_functions_that_exist():
    """The profile clocks functions by their names: each must still be there."""
    for targets in stages.STAGES.values():
        for target in targets:
            owner, name = stages.find(target)
            assert callable(getattr(owner, name)), target


def test_clocked_functions_are_put_back():
    """After the profile every function is its old self."""
    before = [getattr(*stages.find(target)) for targets in stages.STAGES.values() for target in targets]
    with stages.clocked():
        pass
    assert before == [getattr(*stages.find(target)) for targets in stages.STAGES.values() for target in targets]


def test_time_counts_for_the_innermost_stage_alone(monkeypatch):
    """What a stage calls of another stage counts for that one; together they are the time that went by."""
    ticks = iter([0.0, 1.0, 11.0, 13.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    clock = stages.Clock()
    with clock.stage("rest"):
        clock.wrap("detector", lambda: None)()
    assert clock.seconds == {"rest": 3.0, "detector": 10.0}


def test_the_table_is_markdown():
    """A row a stage, a column a policy, shares that add up."""
    rows = stages.table({"default": {"decode": 1.0, "rest": 3.0}}).splitlines()
    assert rows == [
        "| stage, ms a frame (share) | default |",
        "|---|---|",
        "| decode | 1.000 (25.0%) |",
        "| rest | 3.000 (75.0%) |",
        "| **all** | **4.000** |",
    ]


def test_deface_is_pinned_and_never_beside_opencv_python():
    """Everything deface needs is pinned exactly, and its OpenCV is the headless build alone."""
    pins = [line for line in against_deface._PINS.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all(pin.count("==") == 1 for pin in pins)
    assert [pin.split("==")[0] for pin in pins if "opencv" in pin] == ["opencv-python-headless"]


def test_without_an_environment_of_its_own_deface_is_skipped(monkeypatch):
    """Outside a virtual environment nothing is installed."""
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(SkippedError, match="virtual environment"):
        against_deface.deface_python()


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_is_read_at_a_tenth_and_at_the_end(monkeypatch):
    """The gauge samples the resident memory when a tenth of the frames is read, and near the end."""
    levels = iter([10.0, 20.0, 30.0])
    assert memory_child.peak_mb() >= 0.9 * memory_child.resident_mb() > 1
    monkeypatch.setattr(memory_child, "resident_mb", lambda: next(levels))
    gauge = memory_child.Gauge()
    for done in (1, 99, 100, 500, 995, 1000):
        gauge.advance("detect", done, 1000)
    gauge.advance("videos", 1, 1)
    assert (gauge.at_10, gauge.at_100) == (10.0, 30.0)


def test_the_log_s_metrics_measure_a_log(shelf, monkeypatch):
    """Each appends to, or checks, a log of its own; with few entries they end at once."""
    monkeypatch.setattr(log, "BATCH", 3)
    monkeypatch.setattr(log, "MILLION", 300)
    monkeypatch.setattr(log, "PROOF_ENTRIES", 600)
    monkeypatch.setattr(log, "interleaved", lambda *sides, **_: tuple(side(0) for side in sides))
    made = {
        metric.__name__: metric(shelf).to_json(metric.__name__)
        for metric in (log.log_batch_per_s, log.log_commit_vs_fsync, log.log_check_million_s, log.log_proof_ms)
    }
    assert all(one["value"] > 0 and one["ratio"] > 0 for one in made.values())
    assert (made["log_batch_per_s"]["batch"], made["log_check_million_s"]["entries"]) == (3, 300)
