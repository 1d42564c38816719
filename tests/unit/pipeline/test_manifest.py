"""A manifest is good as a whole, or none of it is used."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.manifest import parse_box, read_manifest


@pytest.fixture
def read(tmp_path):
    """Write a manifest and read it."""

    def _read(text, **options):
        path = tmp_path / "list" / "manifest.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return read_manifest(path, **options)

    return _read


@pytest.fixture
def refused(read):
    """Read a bad manifest; return its bad lines and the error's words."""

    def _refused(text, **options):
        with pytest.raises(UsageError) as error:
            read(text, **options)
        assert error.value.code == "TABLE_INVALID"
        return [row["line"] for row in error.value.fields.get("rows", [])], error.value.message + error.value.hint

    return _refused


def test_rows_of_one_video_are_one_source(read, tmp_path):
    """Several rows a video; the same row twice is one; names are relative to the manifest; order of first rows."""
    two, one = read("video,consent_id\nb.mp4,c1\na.mp4,c9\nb.mp4,c2\nb.mp4,c1\n")
    assert (two.path, two.consent_ids) == (tmp_path / "list" / "b.mp4", ("c1", "c2"))
    assert (one.path, one.consent_ids) == (tmp_path / "list" / "a.mp4", ("c9",))


def test_two_spellings_are_one_video(read, tmp_path):
    """By path, and by being the same file."""
    (only,) = read("video,consent_id\nb.mp4,c1\n./x/../b.mp4,c2\n")
    assert only.consent_ids == ("c1", "c2")
    (tmp_path / "list" / "b.mp4").touch()
    (tmp_path / "list" / "l.mp4").symlink_to("b.mp4")
    (only,) = read("video,consent_id\nb.mp4,c1\nl.mp4,c2\n")
    assert only.consent_ids == ("c1", "c2")


def test_cameras_and_boxes(read):
    """A camera that only one of the rows tells is the video's; boxes are the operator's word, each once."""
    (only,) = read(
        'video,consent_id,box,camera\nb.mp4,c1,"5:10,20,30,40",door\nb.mp4,c1,"9:11,20,30,40",\n'
        'b.mp4,c2,"5:90,20,30,40.5",\nb.mp4,c1,"5:10.0,20,30,40",door\n'
    )
    assert only.camera == "door"
    assert [(one.consent_id, one.frame, one.box) for one in only.boxes] == [
        ("c1", 5, (10, 20, 30, 40)),
        ("c1", 9, (11, 20, 30, 40)),
        ("c2", 5, (90, 20, 30, 40.5)),
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("video,consent_id,camera\na,c1,door\nb,c1,\na,c2,hall\n", [2, 4]),
        ('video,consent_id,box\na,c1,"1:2,3,4,5"\na,c2,"1:2,3,4,5"\na,c3,"1:9,3,4,5"\n', [2, 3]),
        ('video,consent_id,box\na,c1,"1:2,3,4,5"\n./a,c1,\n', [2, 3]),
        ("video,consent_id\na,c1\n,c1\nb,\n", [3, 4]),
        ("video,consent_id\na,c1,more\na\n", [2, 3]),
        ('video,consent_id,box\na,c1,"1:2,3,4"\na,c1,"1:2,3,0,5"\nb,c1,"1:2,3,4,5"\n', [2, 3]),
        ("video,consent_id\na\0b,c1\n", [2]),
    ],
    ids=["two cameras", "one box, two people", "with and without box", "blank", "fields", "boxes", "nul"],
)
def test_every_contradicting_line_is_named(refused, text, lines):
    """All of the bad lines, and no others; nothing is used."""
    assert refused(text)[0] == lines


@pytest.mark.parametrize(
    "text",
    [
        "video,consent_id\n",
        "video\na\n",
        "video,consent_id,boxes\na,c1,\n",
        "video,consent_id,video\na,c1,b\n",
        'video,consent_id\n"a,c1\n',
        "video,consent_id\n" + "a" * 200_000 + ",c1\n",
        "video,consent_id\n" + "a,c1\n" * 300_000,
        "",
    ],
    ids=["no rows", "no consents", "unknown column", "column twice", "open quote", "huge cell", "huge", "empty"],
)
def test_what_is_no_manifest(read, text):
    """No rows, columns missing, unknown or twice, no CSV, too large."""
    with pytest.raises(UsageError) as error:
        read(text)
    assert error.value.code in {"TABLE_INVALID", "FILE_UNUSABLE"}


def test_no_cell_stands_in_an_error(refused):
    """A shifted cell may be a person's name."""
    assert "Ada" not in refused('video,consent_id,box\na,c1,"Ada Lovelace"\nAda,,\n')[1]


def test_live_sources_need_the_duration(read):
    """A live source in a manifest is read for the duration given."""
    (live,) = read("video,consent_id\nrtsp://h/1,c1\n", seconds=4.0)
    assert (live.path, live.url, live.seconds) == (None, "rtsp://h/1", 4.0)
    with pytest.raises(UsageError) as error:
        read("video,consent_id\nrtsp://h/1,c1\n")
    assert error.value.code == "DURATION_MISSING"


def test_a_box():
    """FRAME:X,Y,W,H."""
    assert parse_box(" 12:1,2.5,30,40 ") == (12, (1, 2.5, 30, 40))
    for text in ("", "12", "12:1,2,3", "-1:1,2,3,4", "1:1,2,0,4", "1:1,2,3,nan", "1:1,2,3,4,5"):
        with pytest.raises(UsageError) as error:
            parse_box(text)
        assert error.value.code == "BOX_INVALID"
