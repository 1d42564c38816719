"""Questions that cannot be asked: each has its status and code, changes nothing, and says what to do."""

import pytest

P = ("--purpose", "query_internal")
COUNT = ("query", "stats", *P, "--count", "people")
DENIED = ("access.denied",)


def similar(shell, *more):
    return ("query", "similar", "--track", shell.named["tracks"][0], *P, *more)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--top", "0"), "TOP_INVALID"),
        (("--top", "-3"), "TOP_INVALID"),
        (("--top", "1001"), "TOP_INVALID"),
        (("--top", "many"), "USAGE"),
        (("--since", "yesterday"), "DATE_INVALID"),
        (("--until", "2026-02-30"), "DATE_INVALID"),
        (("--since", "2026-02-02", "--until", "2026-02-01"), "PERIOD_INVALID"),
        (("--camera", "roof"), "CAMERA_UNKNOWN"),
        (("--camera", ""), "CAMERA_UNKNOWN"),
        (("--site", "moon"), "SITE_UNKNOWN"),
        (("--model", "nothing"), "MODEL_UNKNOWN"),
        (("--model", "00000000-0000-4000-8000-000000000000"), "MODEL_UNKNOWN"),
        (("--track", "nothing"), "TRACK_UNKNOWN"),
        (("--clip", "person-1.avi"), "PROBE_INVALID"),
        (("--consent", "x"), "PROBE_INVALID"),
    ],
    ids=lambda one: "".join(one)[:24] if isinstance(one, tuple) else one,
)
def test_a_question_that_cannot_be_read(shell, more, code):
    """Numbers, dates, places, models and tracks that mean nothing: status 2, nothing changed."""
    shell.refused(*similar(shell, *more), status=2, code=code)


def test_a_question_by_nothing(shell):
    """Neither a track nor a clip: status 2."""
    shell.refused("query", "similar", *P, status=2, code="PROBE_INVALID")


def test_a_purpose_that_is_none(shell):
    """A purpose nobody can consent to: status 2; one that the policies forbid, or nobody consented to: 20."""
    track = shell.named["tracks"][0]
    shell.refused("query", "similar", "--track", track, "--purpose", "fun", status=2, code="PURPOSE_INVALID")
    shell.refused(
        *("query", "similar", "--track", track, "--purpose", "emotion_inference"),
        status=20,
        code="PURPOSE_NOT_COVERED",
        logs=DENIED,
    )


def test_scores_are_nobodys(shell):
    """No shipped role, nor all of them together, has query_scores: status 21, and the denial names what is missing."""
    for question in (
        similar(shell, "--scores"),
        ("query", "similar", "--clip", shell.clip("spare"), "--consent", shell.named["consents"][0], *P, "--scores"),
    ):
        said = shell.refused(*question, status=21, code="ACCESS_DENIED", logs=DENIED)
        assert "query_scores" in said["message"]


@pytest.mark.parametrize(
    ("consent", "code"),
    [
        ("", "CONSENT_MISSING"),
        ("nobody", "CONSENT_UNKNOWN"),
        ("withdrawn", "CONSENT_WITHDRAWN"),
        ("expired", "CONSENT_EXPIRED"),
        ("other_purpose", "PURPOSE_NOT_COVERED"),
        ("embed_only", "PURPOSE_NOT_COVERED"),
    ],
)
def test_a_clip_without_its_persons_consent(shell, consent, code):
    """No consent, none in force, or one that covers only half of what is done: status 20, before the file is opened."""
    named = shell.named.get(consent, consent)
    question = ("query", "similar", "--clip", "not-there.mp4", "--consent", named, *P)
    shell.refused(*question, status=20, code=code, logs=DENIED if consent else ())


@pytest.mark.parametrize(
    ("clip", "status", "code"),
    [
        ("not-there.mp4", 1, "SOURCE_MISSING"),
        ("notice.txt", 1, "SOURCE_UNREADABLE"),
        (".", 1, "SOURCE_UNREADABLE"),
        ("two-people.avi", 23, "CLIP_NOT_ONE_PERSON"),
        ("empty.avi", 1, "NO_FACE"),
    ],
)
def test_a_clip_that_shows_no_one_person(shell, clip, status, code):
    """No file, no video, no face, two faces: refused, and nothing at all is written."""
    if clip == "empty.avi":
        _blank(shell.folder / clip)
    question = ("query", "similar", "--clip", clip, "--consent", shell.named["consents"][0], *P)
    result = shell.run(*question, "--json")
    assert result.status == status, result.err
    assert result.last["code"] == code or (code.startswith("SOURCE") and result.last["code"].startswith("SOURCE"))
    shell.refused(*question, status=status, code=result.last["code"])


def _blank(path):
    """Write a video that shows nothing."""
    import cv2
    import numpy as np

    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (160, 120))
    for _ in range(12):
        film.write(np.full((120, 160, 3), 90, np.uint8))
    film.release()


@pytest.mark.parametrize("epsilon", ["0", "-1", "-0.0", "nan", "inf", "-inf", "1e-9", "1.001", "1e9"])
def test_an_epsilon_that_cannot_be(shell, epsilon):
    """ε that is zero, negative, no number, too small to say anything, or over the site's maximum: status 2."""
    shell.refused(*COUNT, "--epsilon", epsilon, status=2, code="EPSILON_INVALID")
    shell.refused(*COUNT, "--epsilon", epsilon, "--dry-run", status=2, code="EPSILON_INVALID")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--epsilon", "half"), "USAGE"),
        ((), "USAGE"),
        (("--epsilon", "0.5", "--by", "name"), "QUESTION_INVALID"),
        (("--epsilon", "0.5", "--count", "faces"), "QUESTION_INVALID"),
        (("--epsilon", "0.5", "--at-most", "3"), "QUESTION_INVALID"),
        (("--epsilon", "0.5", "--count", "tracks", "--at-most", "0"), "USAGE"),
        (("--epsilon", "0.5", "--count", "frames", "--at-most", "1000001"), "QUESTION_INVALID"),
        (("--epsilon", "0.5", "--camera", "roof"), "CAMERA_UNKNOWN"),
        (("--epsilon", "0.5", "--since", "2026-13-01"), "DATE_INVALID"),
        (("--epsilon", "0.5", "--purpose", "fun"), "PURPOSE_INVALID"),
    ],
    ids=lambda one: "".join(one)[:30] if isinstance(one, tuple) else one,
)
def test_a_count_that_cannot_be(shell, more, code):
    """What is to be counted, told apart or narrowed by something that is not there: status 2."""
    shell.refused(*COUNT, *more, status=2, code=code)


def test_counting_for_another_purpose_is_denied(shell):
    """The policies let queries serve query_internal only."""
    question = ("query", "stats", "--purpose", "train_model", "--count", "people", "--epsilon", "0.5")
    said = shell.refused(*question, status=21, code="ACCESS_DENIED", logs=DENIED)
    assert said["policy_id"] == "query-for-its-purpose"


def test_a_rehearsed_count_changes_nothing(shell):
    """``--dry-run``: price, error and threshold; no row, no entry."""
    before, acts = shell.rows(), shell.acts()
    told = shell.json(*COUNT, "--epsilon", "0.5", "--by", "month", "--dry-run")
    assert (told["epsilon"], told["min_people"], told["dry_run"]) == (0.5, 20, True)
    assert told["threshold"] > 20
    assert (shell.rows(), shell.acts()) == (before, acts)


def test_answers_run_out(shell):
    """Over query.daily_budget: status 22, code QUERY_BUDGET, logged; batches cost one a track, all or nothing."""
    (shell.vault / "fabnet.toml").write_text("[query]\ndaily_budget = 3\n", "utf-8")
    assert shell.json(*similar(shell))["answers_left"] == 2
    batch = similar(shell, "--track", shell.named["tracks"][1], "--track", shell.named["tracks"][2])
    assert shell.refused(*batch, status=22, code="QUERY_BUDGET", logs=DENIED)["left"] == 2
    shell.json(*COUNT, "--epsilon", "0.5")
    assert shell.json(*similar(shell))["answers_left"] == 0
    shell.refused(*similar(shell), status=22, code="QUERY_BUDGET", logs=DENIED)
    shell.refused(*COUNT, "--epsilon", "0.5", status=22, code="QUERY_BUDGET", logs=DENIED)
    clip = ("query", "similar", "--clip", "not-there.mp4", "--consent", shell.named["consents"][0], *P)
    shell.refused(*clip, status=22, code="QUERY_BUDGET", logs=DENIED)
    shown = shell.json("budget", "show")["answers"]
    assert (shown["daily_budget"], shown["used"], shown["left"]) == (3, 3, 0)


def test_answers_in_words(shell):
    """What a person reads: a table with ranks, without scores, and how many answers are left."""
    told = shell.run(*similar(shell))
    assert told.status == 0
    assert "answers left today" in told.out
    assert "score" not in told.out
    counted = shell.run(*COUNT, "--epsilon", "0.5")
    assert "1 of 1 cells withheld" in counted.out
