"""Consents that cannot be recorded, one at a time and from a table: status 2, nothing recorded, no key made."""

import pytest

GOOD = {
    "--subject-ref": "late",
    "--purpose": "embed",
    "--valid-for": "P1Y",
    "--notice": "notice.txt",
    "--evidence": "evidence.txt",
}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"--purpose": "everything"}, "PURPOSE_INVALID"),
        ({"--purpose": "*"}, "PURPOSE_INVALID"),
        ({"--purpose": ""}, "PURPOSE_INVALID"),
        ({"--valid-for": "1 year"}, "DURATION_INVALID"),
        ({"--valid-for": "P0D"}, "DURATION_INVALID"),
        ({"--valid-for": "-P1Y"}, "DURATION_INVALID"),
        ({"--valid-for": "P9999Y"}, "DURATION_INVALID"),
        ({"--subject-ref": ""}, "SUBJECT_REF_INVALID"),
        ({"--subject-ref": " \t"}, "SUBJECT_REF_INVALID"),
        ({"--subject-ref": "two\nlines"}, "SUBJECT_REF_INVALID"),
        ({"--subject-ref": "x" * 321}, "SUBJECT_REF_INVALID"),
        ({"--subject-ref": "\udcff"}, "SUBJECT_REF_INVALID"),
        ({"--dp-epsilon-cap": "0"}, "EPSILON_INVALID"),
        ({"--dp-epsilon-cap": "-1"}, "EPSILON_INVALID"),
        ({"--dp-epsilon-cap": "nan"}, "EPSILON_INVALID"),
        ({"--dp-epsilon-cap": "inf"}, "EPSILON_INVALID"),
        ({"--dp-epsilon-cap": "many"}, "USAGE"),
        ({"--subject-category": "alien"}, "SUBJECT_CATEGORY_INVALID"),
        ({"--subject-category": "child"}, "GUARDIAN_REQUIRED"),
        ({"--indicated-by": "neighbour"}, "GIVER_INVALID"),
        ({"--notice": "nowhere.txt"}, "FILE_UNREADABLE"),
        ({"--evidence": "."}, "FILE_UNUSABLE"),
        ({"--evidence": "empty.txt"}, "FILE_UNUSABLE"),
        ({"--evidence": "huge.txt"}, "FILE_UNUSABLE"),
    ],
)
def test_a_consent_that_cannot_be_recorded(shell, changes, code):
    """Each bad field has its code, and the reference is not repeated in the message."""
    (shell.folder / "empty.txt").touch()
    (shell.folder / "huge.txt").write_bytes(bytes((1 << 20) + 1))
    flags = [part for pair in (GOOD | changes).items() for part in pair]
    said = shell.refused("consent", "add", *flags, status=2, code=code)
    assert "late" not in said["message"]


@pytest.mark.parametrize("missing", GOOD)
def test_a_field_that_is_missing(shell, missing):
    """Every field of 'consent add' without a default is required: status 2."""
    flags = [part for key, value in GOOD.items() if key != missing for part in (key, value)]
    said = shell.refused("consent", "add", *flags, status=2, code="USAGE")
    assert missing in said["message"]


HEAD = "subject_ref,purpose,valid_for,notice,evidence,dp_epsilon_cap\n"


def test_a_table_is_imported_whole(shell):
    """Two good rows are two consents; a reference that was known keeps its subject."""
    table = shell.folder / "people.csv"
    rows = '"Doe, Jane",train_model embed,P1Y,notice.txt,evidence.txt,8\nperson 1,embed,P6M,notice.txt,evidence.txt,\n'
    table.write_text(HEAD + rows, "utf-8-sig")
    known = shell.json("consent", "show", shell.named["consents"][0])["subject_id"]
    done = shell.json("consent", "import", str(table))
    assert done["imported"] == 2
    assert [one["subject_id"] == known for one in done["consents"]] == [False, True]


def test_a_table_with_bad_rows_is_refused_whole(shell):
    """Every bad row is named with its line and its code; the good ones are not recorded either."""
    table = shell.folder / "people.csv"
    rows = [
        "good,embed,P1Y,notice.txt,evidence.txt,",
        "bad purpose,all,P1Y,notice.txt,evidence.txt,",
        "bad time,embed,soon,notice.txt,evidence.txt,",
        "bad cap,embed,P1Y,notice.txt,evidence.txt,lots",
        "bad file,embed,P1Y,nowhere.txt,evidence.txt,",
        ",embed,P1Y,notice.txt,evidence.txt,",
        "too long,embed,P1Y,notice.txt,evidence.txt,,surplus",
        "too short,embed",
    ]
    table.write_text(HEAD + "\n".join(rows) + "\n", "utf-8")
    said = shell.refused("consent", "import", str(table), status=2, code="TABLE_INVALID")
    assert [(row["line"], row["code"]) for row in said["rows"]] == [
        (3, "PURPOSE_INVALID"),
        (4, "DURATION_INVALID"),
        (5, "EPSILON_INVALID"),
        (6, "FILE_UNREADABLE"),
        (7, "SUBJECT_REF_INVALID"),
        (8, "TABLE_INVALID"),
        (9, "DURATION_INVALID"),
    ]
    assert "line 3" in said["hint"]


@pytest.mark.parametrize(
    "content",
    [b"", HEAD.encode(), b"name,purpose\nx,embed\n", b"\xff\xfe\x00", HEAD.encode() + b'"open,embed,P1Y,a,b,\n'],
)
def test_a_table_that_is_none(shell, content):
    """An empty table, other columns, no text, an open quote: status 2."""
    table = shell.folder / "people.csv"
    table.write_bytes(content)
    result = shell.run("consent", "import", str(table), "--json")
    assert (result.status, result.last["code"]) in {(2, "TABLE_INVALID"), (2, "FILE_UNUSABLE")}


@pytest.mark.parametrize(
    "content",
    [
        "video,consent_id\n",
        "video,person\nx.mp4,y\n",
        "video,consent_id\nx.mp4,\n",
        "video,consent_id\n,y\n",
        "video,consent_id\nx.mp4,y,z\n",
        "video,consent_id\nx.mp4\n",
    ],
)
def test_a_manifest_that_is_none(shell, content):
    """A manifest without rows, with other columns, an empty cell or a surplus one: status 2, nothing ingested."""
    table = shell.folder / "videos.csv"
    table.write_text(content, "utf-8")
    shell.refused("ingest", "--manifest", str(table), status=2, code="TABLE_INVALID")


def test_a_manifest_beside_other_sources(shell):
    """A manifest and a video on the same line, no video, no consent: status 2."""
    table = shell.folder / "videos.csv"
    table.write_text(f"video,consent_id\nperson-1.avi,{shell.named['consents'][0]}\n", "utf-8")
    shell.refused("ingest", "x.mp4", "--manifest", str(table), status=2, code="USAGE")
    shell.refused("ingest", status=2, code="USAGE")
    shell.refused("ingest", "x.mp4", status=2, code="CONSENT_MISSING")
    assert shell.json("ingest", "--manifest", str(table))["videos"]["skipped"] == 1
