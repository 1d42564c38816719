"""The operator's assignment, typed: what is named is kept, every other face is dropped, and nothing is guessed."""

import re
import sys
import threading
import time
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import pytest


def _bind(shell, *more, people=2):
    consents = [option for one in shell.named["consents"][:people] for option in ("--consent", one)]
    return ("track", "bind", shell.clip("two-people"), *consents, *more)


@pytest.fixture
def listed(shell):
    """The two faces of the clip as --dry-run lists them, from left to right."""
    result = shell.run(*_bind(shell, "--dry-run"), "--json")
    assert result.status == 0, result.err
    faces = [one for one in result.objects if one["message_type"] == "face"]
    return sorted(faces, key=lambda face: float(face["boxes"][0].split(":")[1].split(",")[0]))


def _owners(shell, track_ids):
    """Return the consent of each of these tracks."""
    result = shell.run("track", "list", "--json")
    tracks = {one["track_id"]: one["consent_id"] for one in result.objects if one["message_type"] == "track"}
    return [tracks[one] for one in track_ids]


def test_the_faces_are_listed_and_nothing_is_stored(shell):
    """Each face with its frames, and boxes at its start, middle and end; neither vault nor log changes."""
    before, files = shell.rows(), shell.files()
    result = shell.run(*_bind(shell, "--dry-run"), "--json")
    people = shell.run(*_bind(shell, "--dry-run"))
    assert (shell.rows(), shell.files()) == (before, files)
    assert (result.status, people.status) == (0, 0)
    faces = [one for one in result.objects if one["message_type"] == "face"]
    assert [face["face"] for face in faces] == [1, 2]
    for face in faces:
        frames = [int(box.split(":")[0]) for box in face["boxes"]]
        assert frames == [face["first"], (face["first"] + face["last"]) // 2, face["last"]]
        assert all(box in people.out for box in face["boxes"])
    assert (result.last["tracks"]["detected"], result.last["dry_run"]) == (2, True)


def test_both_people_are_bound_by_the_boxes_listed(shell, listed):
    """A box as it was listed, with a consent behind it, binds that face to that person."""
    left, right = shell.named["consents"][:2]
    options = ("--box", f"{listed[0]['boxes'][1]}={left}", "--box", f"{listed[1]['boxes'][2]}={right}")
    summary = shell.json(*_bind(shell, *options))
    assert summary["tracks"] == {"detected": 2, "bound": 2, "dropped": 0, "quarantined": 0}
    assert summary["frames"]["persisted"] == 0
    assert sorted(_owners(shell, summary["track_ids"])) == sorted((left, right))


def test_whoever_is_not_named_is_dropped(shell, listed):
    """One box: the other person's face leaves a count and a reason, no crop."""
    before = len(shell.rows()["tracklet"])
    option = f"{listed[0]['boxes'][0]}={shell.named['consents'][0]}"
    result = shell.run(*_bind(shell, "--box", option, people=1), "--json")
    assert result.status == 0, result.err
    assert result.last["tracks"] == {"detected": 2, "bound": 1, "dropped": 1, "quarantined": 0}
    assert result.last["drop_reasons"] == {"unbound": 1}
    assert len(shell.rows()["tracklet"]) == before + 1


def test_an_assignment_rehearsed_is_the_assignment(shell, listed):
    """--dry-run with boxes counts what they would bind, and stores nothing."""
    command = _bind(shell, "--box", f"{listed[0]['boxes'][0]}={shell.named['consents'][0]}")
    before = shell.rows()
    said = shell.json(*command, "--dry-run")
    assert shell.rows() == before
    assert shell.json(*command)["tracks"] == said["tracks"]


def test_a_quarantined_video_is_bound_by_a_look(shell, listed):
    """What ingest could not decide, the operator's word can: the earlier quarantine is no reason to skip it."""
    ingest = ("ingest", shell.clip("two-people"), "--consent", shell.named["consents"][0], "--json")
    assert shell.run(*ingest).last["videos"]["quarantined"] == 1
    option = f"{listed[0]['boxes'][0]}={shell.named['consents'][0]}"
    summary = shell.json(*_bind(shell, "--box", option, people=1))
    assert summary["videos"]["ingested"] == 1


def test_a_withdrawn_consent_keeps_nothing(shell, listed):
    """A face assigned under a consent that ended is dropped for it; the other person's is kept."""
    left, ended = shell.named["consents"][0], shell.named["withdrawn"]
    options = ("--box", f"{listed[0]['boxes'][1]}={left}", "--box", f"{listed[1]['boxes'][1]}={ended}")
    summary = shell.json(*_bind(shell, *options, people=1))
    assert (summary["tracks"]["bound"], summary["tracks"]["dropped"]) == (1, 1)
    assert _owners(shell, summary["track_ids"]) == [left]
    assert "unbound" not in summary["drop_reasons"]


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ("0:0,0,5,5", "BOX_UNMATCHED"),
        ("900:100,60,60,60", "BOX_UNMATCHED"),
        ("0:0,0,320,180", "BOX_UNMATCHED"),
    ],
)
def test_a_box_that_fits_no_face_binds_nothing(shell, box, code):
    """Beside every face, after the end, around both: refused, and only the refusal is logged."""
    command = _bind(shell, "--box", f"{box}={shell.named['consents'][0]}")
    shell.refused(*command, status=2, code=code, logs=("ingest.started", "ingest.refused"))


def test_one_face_given_to_two_people_binds_nothing(shell, listed):
    """BOX_CONFLICT: the operator has to look again."""
    at = listed[0]["boxes"][1]
    options = [option for one in shell.named["consents"][:2] for option in ("--box", f"{at}={one}")]
    shell.refused(*_bind(shell, *options), status=2, code="BOX_CONFLICT", logs=("ingest.started", "ingest.refused"))


@pytest.mark.parametrize("box", ["", "0:1,2,3=x", "x:1,2,3,4", "0:1,2,3,4", "0:1,2,0,4", "-1:1,2,3,4"])
def test_a_box_that_is_none_is_refused(shell, box):
    """A box is a frame, four numbers and a consent."""
    shell.refused(*_bind(shell, "--box", f"{box}={shell.named['consents'][0][:-1]}"), status=2, code="BOX_INVALID")


def test_somebody_has_to_say_it(shell):
    """Without --box and --show, with both, or without any consent there is nothing to go by."""
    shell.refused(*_bind(shell), status=2, code="ASSIGNMENT_MISSING")
    box = f"0:1,2,3,4={shell.named['consents'][0]}"
    shell.refused(*_bind(shell, "--box", box, "--show"), status=2, code="USAGE")
    shell.refused("track", "bind", shell.clip("two-people"), "--show", status=2, code="CONSENT_MISSING")


def test_a_missing_video_is_told_as_by_ingest(shell):
    """The file is refused before anybody is asked."""
    consent = ("--consent", shell.named["consents"][0])
    for how in ("--show", "--dry-run"):
        logs = () if how == "--dry-run" else ("ingest.refused",)
        shell.refused("track", "bind", "nowhere.mp4", *consent, how, status=1, code="SOURCE_MISSING", logs=logs)


def test_the_faces_are_shown_and_the_answer_is_kept(shell):
    """--show: the page's address is on stderr even with -q; what is ticked there is bound, the rest dropped."""
    answered = []

    def operator():
        answered.append(_Page(_address()).answer(**{"face-0": "1", "face-1": "nobody"}))

    person = threading.Thread(target=operator, daemon=True)
    person.start()
    result = shell.run(*_bind(shell, "--show", "-q"))
    person.join(5)
    assert (result.status, answered) == (0, [200]), result.err
    (track_id,) = result.out.split()
    assert _owners(shell, [track_id]) == [shell.named["consents"][1]]


def test_leaving_the_page_binds_nothing(shell):
    """Without an answer the video is refused: REVIEW_ABANDONED, and no row changes."""
    person = threading.Thread(target=lambda: _Page(_address()).answer(act="leave"), daemon=True)
    person.start()
    logs = ("ingest.started", "ingest.refused")
    shell.refused(*_bind(shell, "--show"), status=2, code="REVIEW_ABANDONED", logs=logs)
    person.join(5)


class _Page:
    """The page in a browser: its address, its cookie, its proof."""

    def __init__(self, address):
        self._parts = urlsplit(address)
        answer = self._ask("GET")
        self._cookie = answer.headers["Set-Cookie"].partition(";")[0]
        self._proof = re.search(r'name="proof" value="([^"]+)"', answer.read().decode())[1]

    def answer(self, act="bind", **choices):
        """Send the form; return the status."""
        form = urlencode(choices | {"act": act, "proof": self._proof})
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": self._cookie}
        answer = self._ask("POST", form, kind)
        answer.read()
        return answer.status

    def _ask(self, method, body=None, headers=None):
        connection = HTTPConnection(self._parts.hostname, self._parts.port, timeout=10)
        connection.request(method, self._parts.path, body, headers or {})
        return connection.getresponse()


def _address():
    """Wait for the page's address on what is stderr while the command runs in this process."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        written = sys.stderr.getvalue() if hasattr(sys.stderr, "getvalue") else ""
        if found := re.search(r"^http://127\.0\.0\.1:\d+/\S+$", written, re.MULTILINE):
            return found[0]
        time.sleep(0.02)
    raise AssertionError("no address was announced")
