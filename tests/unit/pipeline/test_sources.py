"""What words on the command line are expanded to."""

import os
import subprocess
from pathlib import Path

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.sources import expand, parse_seats, parse_seconds

VIDEO = b"\x00\x00\x00\x18ftypisom" + bytes(64)
ONE = {"consent_ids": ("c1",)}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A folder with videos at three depths, and everything that is to be left out."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.mp4", "a.avi", "in/c.mp4", "in/deep/d.mp4", ".hidden.mp4", ".cellar/e.mp4", "other/f.mp4"):
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(VIDEO)
    (tmp_path / "films" / "notes.mp4").write_text("a letter, whatever its name says\n", "utf-8")
    (tmp_path / "films" / "tune.mp3").write_bytes(b"ID3" + bytes(64))
    (tmp_path / "films" / "in" / "loop").symlink_to(tmp_path / "films")
    (tmp_path / "films" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "films" / "pipe.mp4")
    return tmp_path


def _names(found):
    return [str(one.path) for one in found.found]


def test_a_folder_is_searched_in_order_by_content(tree):
    """Videos at any depth in the order of names; no hidden ones, no links to folders, nothing else; others counted."""
    found = expand(["films"], **ONE)
    wanted = ["a.avi", "b.mp4", "in/c.mp4", "in/deep/d.mp4", "other/f.mp4"]
    assert [name for name in _names(found) if name != "films/self"] == [f"films/{name}" for name in wanted]
    assert found.ignored == 3  # the letter, the tune, the pipe
    assert found.refused == ()


def test_a_loop_of_links_ends(tree):
    """A link to itself is handed on, for the reader to refuse; two links to the same folder above are not followed."""
    (tree / "films" / "in" / "loop2").symlink_to(tree / "films")
    assert "films/self" in _names(expand(["films"], **ONE))
    assert len(_names(expand(["films/**"], **ONE))) == 6


def test_what_is_named_itself_is_handed_on(tree):
    """A named file, video or not, there or not, is left to the reader's precise refusal; so is a pipe."""
    named = ["films/notes.mp4", "films/pipe.mp4", "nowhere.mp4", "films/.hidden.mp4"]
    found = expand(named, **ONE)
    assert _names(found) == named
    assert (found.refused, found.ignored) == ((), 0)


def test_a_file_is_taken_once(tree):
    """By name, by another spelling, by a link, by a hard link, by its folder: one source."""
    (tree / "link.mp4").symlink_to("films/b.mp4")
    (tree / "hard.mp4").hardlink_to("films/b.mp4")
    found = expand(["films/b.mp4", "./films/../films/b.mp4", "link.mp4", "hard.mp4", "films"], **ONE)
    assert _names(found)[0] == "films/b.mp4"
    assert sum("b.mp4" in name or "link" in name or "hard" in name for name in _names(found)) == 1
    assert len(_names(expand(["gone.mp4", "./gone.mp4"], **ONE))) == 1


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("films/*.mp4", ["b.mp4"]),
        ("films/*/*.mp4", ["in/c.mp4", "other/f.mp4"]),
        ("films/**/*.mp4", ["b.mp4", "in/c.mp4", "in/deep/d.mp4", "other/f.mp4"]),
        ("films/**/**/d.mp4", ["in/deep/d.mp4"]),
        ("films/[ab].*", ["a.avi", "b.mp4"]),
        ("films/i?", ["in/c.mp4", "in/deep/d.mp4"]),
        ("*ms/in/c.mp4", ["in/c.mp4"]),
    ],
)
def test_a_pattern_finds_what_the_shell_would(tree, pattern, wanted):
    """Stars, questions, sets and double stars; a matched folder is searched; no hidden names."""
    found = expand([pattern], **ONE)
    assert _names(found) == [f"films/{name}" for name in wanted]
    assert expand([str(tree / pattern)], **ONE).found == tuple(
        type(one)(path=tree / one.path, consent_ids=one.consent_ids) for one in found.found
    )


def test_a_file_whose_very_name_is_a_pattern_is_that_file(tree):
    """clip[1].mp4 is a file, not a set of one."""
    (tree / "clip[1].mp4").write_bytes(VIDEO)
    (tree / "clip1.mp4").write_bytes(VIDEO)
    assert _names(expand(["clip[1].mp4"], **ONE)) == ["clip[1].mp4"]


@pytest.mark.parametrize("word", ["films/*.mov", "films/**/nothing*", "", "empty", "films/*.mp3"])
def test_a_search_that_finds_nothing_is_refused(tree, word):
    """An empty folder, a pattern without a match, an empty name: a refusal beside the others."""
    (tree / "empty").mkdir()
    found = expand([word, "films/b.mp4"], **ONE)
    assert _names(found) == ["films/b.mp4"]
    assert [one.error.code for one in found.refused] == ["SOURCE_MISSING"]
    assert found.refused[0].status == "refused"


def test_a_folder_that_may_not_be_read_is_a_refusal_beside_the_others(tree, monkeypatch):
    """The search goes on; the folder is told."""
    real = os.scandir

    def guarded(path):
        if os.fspath(path).endswith("in"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = expand(["films/in", "films"], **ONE)
    assert [name for name in _names(found) if name != "films/self"] == [
        "films/a.avi", "films/b.mp4", "films/other/f.mp4",
    ]  # fmt: skip
    assert [(one.source.label, one.error.code) for one in found.refused] == [("in", "FOLDER_UNREADABLE")] * 2


def test_a_name_of_any_bytes_is_carried_through(tree):
    """A name that is not UTF-8 is found, kept as it is, and survives JSON."""
    raw = os.fsencode(tree) + b"/films/\xff\xfe.mp4"
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    (tree / os.fsdecode(raw)).write_bytes(VIDEO)
    (source,) = [one for one in expand(["films"], **ONE).found if "\udcff" in str(one.path)]
    assert os.fsencode(type(source).from_json(source.to_json()).path) == b"films/\xff\xfe.mp4"


def test_a_folder_deeper_than_python_recurses(tree):
    """Folders within folders, as deep as paths go; cleared away here, since what clears up after tests recurses."""
    here, depth = Path.cwd(), 1200
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("v.mp4").write_bytes(VIDEO)
        os.chdir(here)
        assert len(expand(["d"], **ONE).found) == 1
    finally:
        subprocess.run(["rm", "-rf", tree / "d"], check=True)


def test_a_live_source_needs_a_duration_and_a_file_none(tree):
    """rtsp:// with --duration is a source with seconds; without it, or with files alone, the command is refused."""
    (live, film) = expand(["rtsp://u:secret@host/1", "films/b.mp4"], consent_ids=("c1",), seconds=3.0).found
    assert (live.path, live.url, live.seconds) == (None, "rtsp://u:secret@host/1", 3.0)
    assert "secret" not in live.label
    assert (film.url, film.seconds) == ("", None)
    for words, seconds, code in ((["rtsp://h/1"], None, "DURATION_MISSING"), (["films"], 3.0, "DURATION_UNUSED")):
        with pytest.raises(UsageError) as refused:
            expand(words, consent_ids=("c1",), seconds=seconds)
        assert refused.value.code == code


def test_what_is_told_of_all_reaches_each(tree):
    """Consents (each once), camera and seats."""
    (one,) = expand(["films/b.mp4"], consent_ids=("c1", "c2", "c1"), camera="door", seats={"left": "c1"}).found
    assert (one.consent_ids, one.camera, dict(one.seats)) == (("c1", "c2"), "door", {"left": "c1"})


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("0.5", 0.5), ("PT30S", 30), ("PT1H", 3600)])
def test_seconds_are_read(text, seconds):
    """ISO 8601 and plain numbers."""
    assert parse_seconds(text, most=3600) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "PT0S", "P1M", "soon", "", "3601", "PT2H"])
def test_no_seconds(text):
    """Nothing, less than nothing, no number, a calendar month, more than the most."""
    with pytest.raises(UsageError) as refused:
        parse_seconds(text, most=3600)
    assert refused.value.code == "DURATION_INVALID"


def test_seats_are_read():
    """REGION=CONSENT; a region may have '=' in its name, and be named twice alike."""
    assert parse_seats(["left=c1", "a=b=c2", "left=c1"]) == {"left": "c1", "a=b": "c2"}


@pytest.mark.parametrize("texts", [["left"], ["=c1"], ["left="], ["left=c1", "left=c2"]])
def test_no_seats(texts):
    """Half a seat, or one for two people."""
    with pytest.raises(UsageError) as refused:
        parse_seats(texts)
    assert refused.value.code == "SEAT_INVALID"
