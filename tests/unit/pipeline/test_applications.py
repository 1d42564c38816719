"""Consents as they arrive: every bad field and every bad row is named."""

import pytest

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import applications

HEAD = "subject_ref,purpose,valid_for,notice,evidence,dp_epsilon_cap,subject_category,jurisdiction\n"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"subject_ref": "  "}, "SUBJECT_REF_INVALID"),
        ({"subject_ref": "a\x00b"}, "SUBJECT_REF_INVALID"),
        ({"subject_ref": "x" * 321}, "SUBJECT_REF_INVALID"),
        ({"purposes": ()}, "PURPOSE_INVALID"),
        ({"purposes": ("train_model", "TRAIN_MODEL")}, "PURPOSE_INVALID"),
        ({"valid_for": "forever"}, "DURATION_INVALID"),
        ({"valid_for": "P9000Y"}, "DURATION_INVALID"),
        ({"dp_epsilon_cap": float("nan")}, "EPSILON_INVALID"),
        ({"dp_epsilon_cap": 0.0}, "EPSILON_INVALID"),
        ({"dp_epsilon_cap": 1001.0}, "EPSILON_INVALID"),
        ({"subject_category": "robot"}, "SUBJECT_CATEGORY_INVALID"),
        ({"subject_category": "child"}, "GUARDIAN_REQUIRED"),
        ({"indicated_by": "neighbour"}, "GIVER_INVALID"),
    ],
)
def test_check_refuses_a_bad_field(room, changes, code):
    """Each field that cannot be used has its own code."""
    with pytest.raises(UsageError) as caught:
        applications.check(room.application(**changes), at=room.clock())
    assert caught.value.code == code


def test_check_keeps_each_purpose_once(room):
    """A purpose named twice is one purpose; the order stays."""
    checked = applications.check(room.application(purposes=("embed", "train_model", "embed")), at=room.clock())
    assert checked.purposes == ("embed", "train_model")


def test_check_claims_nothing_for_a_notice(room):
    """What a text states was read by nobody: the record does not say that it states anything."""
    notice = applications.check(room.application(), at=room.clock()).notice
    claims = {notice.states_face_feature_extraction, notice.states_retention, notice.states_model_fate}
    assert claims == {False}


def _table(room, *rows):
    path = room.folder / "people.csv"
    path.write_text(HEAD + "\n".join(rows) + "\n", "utf-8")
    return path


def test_read_table_reads_every_column(room):
    """Purposes and jurisdictions are separated by blanks; files are found beside the table; a BOM is no matter."""
    row = '"Doe, Jane","train_model embed",P1Y,notice.txt,evidence.txt,2.5,patient,"EU JP"'
    path = _table(room, row, "bob,embed,P1D,notice.txt,evidence.txt,,,")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    first, second = applications.read_table(path)
    assert (first.subject_ref, first.purposes, first.dp_epsilon_cap) == ("Doe, Jane", ("train_model", "embed"), 2.5)
    assert (first.subject_category, first.jurisdictions) == ("patient", ("EU", "JP"))
    assert first.notice == room.folder / "notice.txt"
    assert (second.dp_epsilon_cap, second.subject_category, second.jurisdictions) == (None, "adult", ())


def test_read_table_names_every_bad_row(room):
    """All bad rows are named at once, each with the line it ends on in the file."""
    path = _table(
        room,
        "ok,embed,P1Y,notice.txt,evidence.txt,,,",
        "bad,nothing,P1Y,notice.txt,evidence.txt,,,",
        '"on two\nlines",embed,P1Y,notice.txt,evidence.txt,,,',
        "bad,embed,P1Y,notice.txt,missing.txt,,,",
        "ok\u2028too,embed,P1Y,notice.txt,evidence.txt,,,",
        "bad,embed,P1Y,notice.txt,evidence.txt,x,,",
        "bad,embed,P1Y,notice.txt,evidence.txt,,,,more",
    )
    with pytest.raises(UsageError) as caught:
        applications.read_table(path)
    found = [(row["line"], row["code"]) for row in caught.value.fields["rows"]]
    assert found == [
        (3, "PURPOSE_INVALID"),
        (5, "SUBJECT_REF_INVALID"),
        (6, "FILE_UNREADABLE"),
        (7, "SUBJECT_REF_INVALID"),
        (8, "EPSILON_INVALID"),
        (9, "TABLE_INVALID"),
    ]
    assert caught.value.message == "6 bad rows; nothing was imported"


@pytest.mark.parametrize(
    "content", [HEAD, "subject_ref,purpose\n", HEAD.replace("notice", "letter"), HEAD + '"open,embed\n']
)
def test_read_table_refuses_what_is_no_table(room, content):
    """No rows, missing or unknown columns, an open quote: TABLE_INVALID."""
    path = room.folder / "people.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(UsageError) as caught:
        applications.read_table(path)
    assert caught.value.code == "TABLE_INVALID"


def test_read_small_reads_small_files_only(room):
    """At most 1 MiB, at least a byte, and a regular file."""
    path = room.folder / "paper"
    path.write_bytes(bytes(1 << 20))
    assert len(applications.read_small(path, "paper")) == 1 << 20
    path.write_bytes(bytes((1 << 20) + 1))
    for bad in (path, room.folder, room.folder / "missing"):
        with pytest.raises(UsageError):
            applications.read_small(bad, "paper")
