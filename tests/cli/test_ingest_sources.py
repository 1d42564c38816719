"""What ``ingest`` takes (files, folders, patterns, manifests, live sources, several at once) and how it tells of it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from fabnet_secure.commands import ingest as command
from fabnet_secure.errors import ExitCode, UnreadableSource
from fabnet_secure.pipeline.source import Outcome, Source


@pytest.fixture
def consent(shell):
    return shell.named["consents"][0]


@pytest.fixture
def films(shell):
    """A folder with a known clip, a new one, a letter, and a name that is not UTF-8."""
    folder = shell.folder / "films"
    folder.mkdir()
    shutil.copy(shell.clip("person-1"), folder / "a.avi")
    shutil.copy(shell.clip("spare"), folder / os.fsdecode(b"\xff\n.avi"))
    (folder / "notes.txt").write_text("a letter\n", "utf-8")
    return folder


def test_a_folder_is_ingested(shell, films, consent):
    """Its videos in the order of names, others left out and counted; every line is JSON, whatever the names."""
    result = shell.process("ingest", "films", "--consent", consent, "--json")
    assert result.status == 0, result.err
    assert [(one["video"], one["status"]) for one in result.objects[:-1]] == [
        ("a.avi", "skipped"),
        ("\udcff\n.avi", "ingested"),
    ]
    assert "files left out, since they are no video: 1" in result.err


def test_people_read_each_name_on_one_line(shell, films, consent):
    """A line break or an odd byte in a name is written as an escape; the tracks kept are named."""
    result = shell.process("ingest", "films", "--consent", consent)
    assert "\\udcff\\n.avi: ingested (1 bound, 0 dropped, 0 quarantined)" in result.err
    (track_id,) = [line.split()[1] for line in result.err.splitlines() if line.startswith("  track ")]
    assert shell.json("track", "list")["tracks"] >= 1
    assert track_id in shell.run("track", "list", "-q").out.split()


def test_a_pattern_is_expanded_where_no_shell_did(shell, films, consent):
    """films/*.avi in quotes."""
    assert shell.json("ingest", "films/*.avi", "--consent", consent)["videos"]["ingested"] == 1


def test_a_search_without_result_is_refused_beside_the_others(shell, films, consent):
    """Status 3 beside others, status 1 alone; the reason is told."""
    result = shell.run("ingest", "*.mov", "films", "--consent", consent, "--json")
    assert (result.status, result.last["refusals"][0]["code"]) == (3, "SOURCE_MISSING")
    shell.refused("ingest", "*.mov", "--consent", consent, status=1, code="SOURCE_MISSING")


def test_a_dry_run_says_what_would_be(shell, films, consent):
    """«would be ingested», not «ingested»."""
    result = shell.run("ingest", "films", "--consent", consent, "--dry-run")
    assert "would be ingested" in result.err
    assert "would be skipped" in result.err


def test_a_bad_manifest_names_every_bad_line(shell, consent):
    """All or nothing: the good rows are not used either."""
    (shell.folder / "m.csv").write_text(
        f"video,consent_id,camera\nspare.avi,{consent},a\nspare.avi,{consent},b\nx.avi,{consent},\nx.avi,,\n", "utf-8"
    )
    said = shell.refused("ingest", "--manifest", "m.csv", status=2, code="TABLE_INVALID")
    assert [row["line"] for row in said["rows"]] == [2, 3, 5]


def test_a_manifest_with_duplicates_is_one_video_a_file(shell, consent):
    """The same row twice, under two spellings."""
    (shell.folder / "m.csv").write_text(f"video,consent_id\nspare.avi,{consent}\n./spare.avi,{consent}\n", "utf-8")
    assert shell.json("ingest", "--manifest", "m.csv")["videos"]["ingested"] == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("spare.avi", "--duration", "PT3S"), "DURATION_UNUSED"),
        (("rtsp://host/1",), "DURATION_MISSING"),
        (("rtsp://host/1", "--duration", "P1D"), "DURATION_INVALID"),
        (("rtsp://host/1", "--duration", "soon"), "DURATION_INVALID"),
        (("spare.avi", "--jobs", "0"), "JOBS_INVALID"),
        (("spare.avi", "--jobs", "10000"), "JOBS_INVALID"),
        (("spare.avi", "--seat", "left"), "SEAT_INVALID"),
        (("--manifest", "m.csv", "--camera", "door"), "USAGE"),
    ],
)
def test_options_that_do_not_fit(shell, consent, options, code):
    """Status 2, before anything is done."""
    given = () if "--manifest" in options else ("--consent", consent)
    shell.refused("ingest", *options, *given, status=2, code=code)


def test_a_file_may_be_called_watch(shell, consent):
    """./watch is a file; watch alone is the command."""
    shutil.copy(shell.clip("spare"), shell.folder / "watch")
    assert shell.json("ingest", "./watch", "--consent", consent)["videos"]["ingested"] == 1
    assert shell.refused("ingest", "watch", status=2, code="USAGE")
    shell.refused("ingest", "watch", "watch", "--consent", consent, status=2, code="NOT_A_DIRECTORY")


def test_several_at_once(shell, films, consent):
    """--jobs 2: the same summary; with -q only the ids."""
    result = shell.run("ingest", "films", "--consent", consent, "--jobs", "2", "-q")
    (track_id,) = result.out.split()
    assert track_id in json.dumps(shell.rows()["track"])
    assert result.err == ""


def _outcome(**fields):
    return Outcome(source=Source(path=Path("a.mp4"), consent_ids=("c",)), **{"status": "ingested"} | fields)


def test_what_is_left_to_do_is_said(capsys):
    """A quarantined video says how to go on; a file that could not be deleted, too; a refused one has its hint."""
    out = command.Output()
    command.print_one(out, _outcome(status="quarantined", drop_reasons={"several_faces": 2}))
    command.print_one(out, _outcome(disposition="delete_failed", bound=1, track_ids=("t1",)))
    command.print_one(out, _outcome(disposition="deleted"))
    command.print_one(out, _outcome(status="refused", error=UnreadableSource("it is cut", hint="copy it again")))
    said = capsys.readouterr().err
    for words in (
        "quarantine release",
        "2 several faces",
        "track t1",
        "could not be deleted",
        "was deleted",
    ):
        assert words in said
    assert "hint: copy it again" in said


def test_statuses():
    """0 all well; 3 a finding beside others; all refused: the first one's own status."""
    out, refused = command.Output(), _outcome(status="refused", error=UnreadableSource("it is cut"))
    assert command.status_of(out, [_outcome(), _outcome(status="skipped")]) == ExitCode.OK
    for finding in (refused, _outcome(status="quarantined"), _outcome(disposition="delete_failed")):
        assert command.status_of(out, [_outcome(), finding]) == ExitCode.PARTIAL
    assert command.status_of(out, [refused, refused]) == ExitCode.FAILED
