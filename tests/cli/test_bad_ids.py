"""Ids that name nothing, or were never meant to: consents, tracks, models and plans."""

import pytest

HOSTILE = [
    "../../etc/passwd",
    "a'; DROP TABLE consent; --",
    'a"b',
    "a\nerror: forged",
    "\x1b[2Jcleared",
    "😀",
    "",
    "x" * 5000,
    "\udcff",
    "00000000-0000-4000-8000-000000000000",
]
DENIED = ("access.denied", "ingest.refused")
names = pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))


def _tame(said):
    """Check that a message cannot forge a line or move the cursor, and is not as long as what was typed."""
    assert said["message"].isprintable()
    assert len(said["message"]) < 200


@names
def test_a_consent_that_is_not_there(shell, hostile):
    """Any text may stand for a consent's id: status 20, and only ingest writes down that it refused."""
    missing = {"status": 20, "code": "CONSENT_UNKNOWN"}
    _tame(shell.refused("consent", "show", hostile, **missing))
    _tame(shell.refused("subject", "withdraw", hostile, "--confirm", hostile, **missing))
    refused = shell.refused("ingest", shell.clip("person-1"), "--consent", hostile, **missing, logs=DENIED)
    _tame(refused)


@names
def test_a_track_that_is_not_there(shell, hostile):
    """Any text may stand for a track's id: status 2, nothing changed."""
    question = ("query", "similar", "--track", hostile, "--purpose", "query_internal")
    _tame(shell.refused(*question, status=2, code="TRACK_UNKNOWN"))


@names
def test_a_model_or_plan_that_is_not_there(shell, hostile):
    """Any text may stand for a model's or a plan's id: status 2; no file outside the vault is touched."""
    _tame(shell.refused("embed", "--model", hostile, status=2, code="MODEL_UNKNOWN"))
    _tame(shell.refused("train", "run", "--plan", hostile, status=2, code="PLAN_UNKNOWN"))


@pytest.mark.parametrize(
    ("which", "code"),
    [("withdrawn", "CONSENT_WITHDRAWN"), ("expired", "CONSENT_EXPIRED"), ("other_purpose", "PURPOSE_NOT_COVERED")],
)
def test_a_consent_that_does_not_hold(shell, which, code):
    """Withdrawn, expired or given for something else: ingest ends with status 20, before the file is decoded."""
    consent = shell.named[which]
    command = ("ingest", shell.clip("person-1"), "--consent", consent)
    said = shell.refused(*command, status=20, code=code, logs=DENIED)
    assert consent in said["hint"]


def test_another_persons_video_cannot_be_decided(shell):
    """A file that is bound to one person is refused under another's consent: status 23."""
    command = ("ingest", shell.clip("person-1"), "--consent", shell.named["consents"][1])
    shell.refused(*command, status=23, code="SOURCE_OF_ANOTHER", logs=("ingest.refused",))


@pytest.mark.parametrize("other", ["living", "withdrawn"])
def test_consents_of_two_people_cannot_be_decided(shell, other):
    """Two people's consents on one video, nobody's word on who is who: quarantined, whether or not both stand."""
    first, second, _ = shell.named["consents"]
    named = second if other == "living" else shell.named["withdrawn"]
    result = shell.run("ingest", shell.clip("spare"), "--consent", first, "--consent", named, "--json")
    assert result.status == 3
    assert result.last["videos"]["quarantined"] == 1
    assert result.last["drop_reasons"] == {"several_subjects": 1}
    assert result.last["track_ids"] == []


@pytest.mark.parametrize("purpose", ["emotion_inference", "identity_matching", "share_third_party"])
def test_a_query_for_a_purpose_nobody_consented_to(shell, purpose):
    """A purpose outside the consent's scope: status 20, no answer."""
    question = ("query", "similar", "--track", shell.named["tracks"][0], "--purpose", purpose)
    shell.refused(*question, status=20, code="PURPOSE_NOT_COVERED", logs=DENIED[:1])


def test_a_query_under_a_withdrawn_consent(shell):
    """After a withdrawal the person's own track answers nothing: status 20."""
    consent, track = shell.named["consents"][0], shell.named["tracks"][0]
    shell.json("subject", "withdraw", consent, "--confirm", consent)
    question = ("query", "similar", "--track", track, "--purpose", "query_internal")
    shell.refused(*question, status=20, code="CONSENT_WITHDRAWN", logs=DENIED[:1])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--purpose", "curiosity"), "PURPOSE_INVALID"),
        (("--purpose", "query_internal", "--top", "0"), "TOP_INVALID"),
        (("--purpose", "query_internal", "--top", "-3"), "TOP_INVALID"),
        (("--purpose", "query_internal", "--top", "1001"), "TOP_INVALID"),
        (("--purpose", "query_internal", "--top", "many"), "USAGE"),
    ],
)
def test_a_question_that_cannot_be_asked(shell, arguments, code):
    """An unknown purpose or a number of results out of range: status 2."""
    shell.refused("query", "similar", "--track", shell.named["tracks"][0], *arguments, status=2, code=code)


@pytest.mark.parametrize("confirm", [(), ("--confirm", ""), ("--confirm", "yes")])
def test_a_withdrawal_wants_the_id_twice(shell, confirm):
    """A severe act without its confirmation: status 2, the consent still holds."""
    consent = shell.named["consents"][0]
    said = shell.refused("subject", "withdraw", consent, *confirm, status=2, code="NOT_CONFIRMED")
    assert f"--confirm {consent}" in said["hint"]
    assert shell.json("consent", "show", consent)["state"] == "given"
