"""How values are written for people and for programs."""

import json

import pytest

from fabnet_secure.commands.output import Output, Talk, columns, day, pairs, print_error, print_json, short, words
from fabnet_secure.errors import FabnetError, UsageError


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7.98588369076746, "7.986"),
        (0.0, "0"),
        (1e-05, "1e-05"),
        (0.01, "0.01"),
        (100000, "100000"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        ({"ingested": 1, "skipped": 0}, "1 ingested, 0 skipped"),
        ({"train_model": 10.0, "embed": None}, "train_model 10, embed -"),
        (["EU", "JP"], "EU JP"),
        (("a", "b", "c", "d", "e"), "a b c … and 2 more"),
        ([{"rank": 1, "frame": 2}, {"rank": 2, "frame": 9}], "1 rank, 2 frame; 2 rank, 9 frame"),
        ("text_with_underscores", "text_with_underscores"),
    ],
)
def test_words(value, said):
    """Numbers with 4 significant digits, no brackets, a dash for nothing."""
    assert words(value) == said


def test_columns_line_up():
    """Each column is as wide as its widest cell; nothing hangs over at the end."""
    assert columns(("id", "state"), [("a", "given"), ("bbbb", None)]) == ["id    state", "a     given", "bbbb  -"]


def test_columns_wrap_the_last_one():
    """On a narrow screen the last column continues under itself; where that would be too narrow, nothing wraps."""
    text = "one two three four five six seven"
    lines = columns(("check", "found"), [("a", text)], width=32)
    assert lines == ["check  found", "a      one two three four five", "       six seven"]
    assert columns(("check", "found"), [("a", text)], width=20)[1] == f"a      {text}"
    assert columns(("check", "found"), [], width=32) == ["check  found"]


def test_pairs_line_up():
    """Names are words, values start in one column."""
    assert pairs({"noise_multiplier": 1.5, "steps": 4}) == ["noise multiplier  1.5", "steps             4"]
    assert pairs({}) == []


def test_short_forms():
    """A time is shortened to its day, an id to its beginning, nothing to nothing."""
    assert day("2026-05-04T03:02:01.000007Z") == "2026-05-04"
    assert short("4dd1a3b2-aaaa-4bbb-8ccc-000000000000") == "4dd1a3b2…"
    assert (day(None), short(None)) == (None, None)


def test_json_goes_one_object_a_line(capsys):
    """Every object has its version and type first, and other scripts are not escaped."""
    print_json("track", {"note": "日本\n語"})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {"schema_version": 1, "message_type": "track", "note": "日本\n語"}
    assert "日本" in line


def test_an_error_is_three_lines(capsys):
    """error, hint, code on stderr; nothing on stdout without --json."""
    print_error(UsageError("it broke", hint="mend it", code="BROKEN"), as_json=False)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: it broke\nhint: mend it\n[BROKEN]\n")


def test_an_error_cannot_forge_lines(capsys):
    """Control characters in a message are written as escapes; letters of other scripts are not."""
    print_error(FabnetError("a\nb\x1b[2Jc\u2028d 顔", hint="x\ry"), as_json=False)
    assert capsys.readouterr().err == "error: a\\nb\\x1b[2Jc\\u2028d 顔\nhint: x\\ry\n[FAILED]\n"


def test_an_error_in_json_keeps_its_fields(capsys):
    """Plain fields go into the object, others are left out, and none takes the place of code or status."""
    print_error(UsageError("it broke", code="BROKEN", rows=[{"line": 3}], thing=object(), exit_code=0), as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["exit_code"], said["code"]) == ([{"line": 3}], 2, "BROKEN")
    assert "thing" not in said


@pytest.mark.parametrize(
    ("as_json", "quiet", "out", "err"),
    [
        (False, False, "line\n", "talk\n"),
        (False, True, "id\n", ""),
        (True, True, "", ""),
        (True, False, "", "talk\n"),
    ],
)
def test_who_reads_what(capsys, as_json, quiet, out, err):
    """Lines for people, ids with -q, objects with --json; talk only where nobody asked for quiet."""
    output = Output(as_json=as_json, quiet=quiet)
    output.result("summary", {}, ["line"])
    output.ids(["id"])
    output.say("talk")
    said = capsys.readouterr()
    assert said.err == err
    assert (json.loads(said.out)["message_type"] == "summary") if as_json else said.out == out


def test_a_stage_starts_its_own_count(capsys):
    """Rate and figures belong to a stage; the next one starts anew."""
    talk = Talk()
    talk.advance("read", 10, loss=1.0)
    talk.spoken -= 60
    talk.advance("train", 1, 2)
    assert "loss" not in capsys.readouterr().err
