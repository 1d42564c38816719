"""The ingest report: what is a finding, and what the worst of them makes of the report."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fabnet_secure.compliance.ingest import BREAKS, RULES, Discard, IngestFacts, build_ingest
from fabnet_secure.compliance.words import WORDS, tone


@pytest.fixture
def build(facts):
    """Build the content over these videos, as of a day after they were ingested."""

    def make(*videos, **changes):
        return build_ingest(replace(facts["ingest"](), videos=videos, **changes))

    return make


def codes(content):
    return [one["finding"] for one in content["findings"]]


def test_a_video_read_as_it_should_be_has_no_finding(build, facts):
    """Counts that add up, evidence of everything and a deleted source: the outcome is that discard is shown."""
    content = build(facts["video"]())
    assert (codes(content), content["outcome"]) == ([], "discard_shown")


def test_a_site_without_videos_shows_nothing(facts):
    """No video is no evidence of anything, and no finding either."""
    empty = build_ingest(IngestFacts(as_of=facts["ingest"]().as_of, videos=(), refusals=()))
    assert (empty["outcome"], empty["findings"]) == ("nothing_ingested", [])


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"frames_persisted": 1}, "frames_persisted"),
        ({"bound": 2}, "counts_broken"),
        ({"track_rows": 5}, "counts_broken"),
        ({"discard": None}, "discard_unrecorded"),
        ({"discard": Discard()}, "discard_unrecorded"),
    ],
    ids=["frame", "sum", "row-gone", "old-version", "empty"],
)
def test_what_a_row_says_against_the_promise_is_a_finding(build, facts, changes, finding):
    """Each contradiction or gap of one video is named once, with its video and its rule."""
    content = build(facts["video"](**changes))
    assert content["findings"] == [{"video_id": facts["video"]().video_id, "finding": finding, "rule": RULES[finding]}]
    assert content["outcome"] == ("discard_broken" if finding in BREAKS else "discard_gaps")


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"writes_seen": 1}, "files_written"),
        ({"buffers_locked": False}, "buffers_unlocked"),
        ({"core_dumps": "on"}, "core_dumps_on"),
        ({"swap": "unencrypted"}, "clear_swap"),
        ({"swap": "unknown"}, "unknown_swap"),
        ({"swap": None}, "discard_unrecorded"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_a_weak_place_of_the_machine_is_a_finding(build, facts, changes, finding):
    """Memory that could reach a disk, a file written meanwhile, or a thing not recorded: never taken for fine."""
    assert codes(build(facts["video"](discard=replace(facts["video"]().discard, **changes)))) == [finding]


def test_a_record_held_past_its_deadline_breaks_the_promise(build, facts):
    """A quarantined video is no finding until its deadline has passed while it is still held."""
    waiting = facts["waiting"]()
    assert codes(build(waiting)) == []
    late = replace(waiting, quarantine=replace(waiting.quarantine, deadline=waiting.ingested_at))
    assert codes(build(late)) == ["quarantine_overdue"]
    assert build(late)["outcome"] == "discard_broken"
    gone = replace(late.quarantine, state="expired", resolved_at=waiting.ingested_at + timedelta(hours=1))
    assert codes(build(replace(late, quarantine=gone))) == []


@pytest.mark.parametrize(
    ("disposition", "found"),
    [("keep", []), ("deleted", []), ("delete_due", ["source_due"]), ("delete_failed", ["source_left"])],
)
def test_a_source_that_should_be_gone_and_is_not_is_a_finding(build, facts, disposition, found):
    """A file that the policy keeps is none."""
    video = facts["video"]()
    assert codes(build(replace(video, source=replace(video.source, disposition=disposition)))) == found


def test_totals_are_over_all_videos(build, facts):
    """Counts, reasons and refusals add up over the report, videos in the order of their times."""
    content = build(facts["waiting"](31), facts["video"](30))
    assert [one["video_id"] for one in content["facts"]["videos"]] == [facts["video"](n).video_id for n in (30, 31)]
    assert content["summary"] == {
        "videos": 2, "frames_read": 3680, "frames_persisted": 0, "detected": 12, "bound": 3, "dropped": 4,
        "quarantined": 5, "waiting": 1, "refused": 4, "findings": 0,
    }  # fmt: skip
    assert content["reasons"] == [
        {"reason": "outside_regions", "tracks": 1},
        {"reason": "several_subjects", "tracks": 5},
        {"reason": "too_short", "tracks": 1},
        {"reason": "too_small", "tracks": 2},
    ]


def test_every_finding_has_words_and_a_colour():
    """What breaks the promise is shown as bad, what weakens the evidence as needing attention."""
    for code in RULES:
        assert code in WORDS
        assert tone(code) == ("bad" if code in BREAKS else "attention")
