"""A quarantine that ends while it is being released, and one face that two people are said to be: nothing is kept."""

import pytest

from fabnet_secure.pipeline import ingest, release

LEFT, RIGHT = "8:63,45,69,86", "8:223,45,70,92"


@pytest.fixture
def waiting(home, clips, ok, program, consent_of):
    """A site with a quarantined video of two people; the consents of both, and the video's id."""
    ok("init")
    people = [ok(*consent_of(f"{name}@example.org"))["consent_id"] for name in ("left", "right")]
    said = program("ingest", str(clips / "two.mp4"), "--consent", people[0], "--consent", people[1])
    assert said.last["drop_reasons"] == {"several_subjects": 2}
    return (*people, said.objects[0]["video_id"])


def bound(home):
    """Return the consents of the bound tracks."""
    return [consent for (consent,) in home.rows("SELECT consent_id FROM track WHERE status = 'bound'")]


def test_a_release_binds_both_and_ends_the_wait_in_one(home, waiting, ok, program):
    """The tracks and the end of the wait are committed together; the same bytes are not bound to anybody anew."""
    left, right, video = waiting
    done = ok("quarantine", "release", video, "--box", f"{LEFT}={left}", "--box", f"{RIGHT}={right}")
    assert done["tracks"] == {"detected": 2, "bound": 2, "dropped": 0, "quarantined": 0}
    assert sorted(bound(home)) == sorted([left, right])
    assert program("quarantine", "list").objects[0]["state"] == "released"
    assert ok("audit", "verify")["ok"]


@pytest.mark.parametrize("ending", ["destroyed", "released", "withdrawn", "late"])
def test_a_wait_that_ended_meanwhile_keeps_nothing(ending, home, waiting, clips, ok, program, meanwhile, monkeypatch):
    """Whoever ends it first wins; the other release is refused, and leaves no track."""
    left, right, video = waiting
    enders = {
        "destroyed": lambda: ok("quarantine", "destroy", video, "--confirm", video),
        "released": lambda: ok("quarantine", "release", video, "--box", f"{RIGHT}={left}"),
        "withdrawn": lambda: ok("subject", "withdraw", right, "--confirm", right),
        "late": lambda: home.rows("UPDATE quarantine SET deadline = created_at"),
    }
    meanwhile(ingest, "keep", enders[ending])
    said = program("quarantine", "release", video, "--box", f"{LEFT}={left}")
    assert (said.status, said.last["code"]) in {(2, "QUARANTINE_OVER"), (23, "SOURCE_OF_ANOTHER")}
    assert bound(home) == ([left] if ending == "released" else [])
    assert home.rows("SELECT count(*) FROM tracklet") == [(len(bound(home)),)]


def test_one_face_is_never_two_peoples(home, waiting, clips, ok, program):
    """Naming both does not help: a file that was bound is bound to nobody else, until that person leaves."""
    left, right, _ = waiting
    film = str(clips / "two.mp4")
    ok("track", "bind", film, "--box", f"{LEFT}={left}", "--consent", right)
    again = program("track", "bind", film, "--box", f"{LEFT}={right}", "--consent", left)
    assert (again.status, again.last["code"]) == (23, "SOURCE_OF_ANOTHER")
    same = ok("track", "bind", film, "--box", f"{RIGHT}={left}")
    assert same["drop_reasons"] == {"already_bound": 1, "unbound": 1}
    assert bound(home) == [left]
    ok("subject", "withdraw", left, "--confirm", left)
    ok("track", "bind", film, "--box", f"{LEFT}={right}")
    assert bound(home) == [right]


def test_a_release_killed_before_its_file_was_deleted_is_finished_by_an_ingest(
    home, waiting, clips, ok, program, monkeypatch
):
    """What was decided about the file is carried out when the same bytes come again, under whatever consents."""
    left, right, first = waiting
    ok("quarantine", "destroy", first, "--confirm", first)  # the same bytes must not wait elsewhere
    film = home.folder / "two-copy.mp4"
    film.write_bytes((clips / "two.mp4").read_bytes())
    home.settle('source_disposition = "delete"')
    video = program("ingest", str(film), "--consent", left, "--consent", right).objects[0]["video_id"]
    monkeypatch.setattr(release, "dispose", lambda _site, outcome, _identity: outcome)
    monkeypatch.setattr(ingest, "dispose", lambda _site, outcome, _identity: outcome)
    ok("quarantine", "release", video, "--box", f"{LEFT}={left}")
    monkeypatch.undo()
    assert home.rows("SELECT disposition FROM video WHERE status = 'ingested'") == [("delete_due",)]
    with home.entered():
        ok("ingest", str(film), "--consent", left, "--consent", right)
    assert not film.exists()


@pytest.mark.parametrize(
    "word", ["rstp://eye:hunter2@127.0.0.1/1", "http://eye:hunter2@host", " rtsp://eye:hunter2@h", "eye:hunter2@cam"]
)
def test_a_mistyped_address_shows_no_password(word, home, waiting, program):
    """It is refused as an address, not looked for as a file, and nothing of it is repeated."""
    left, *_ = waiting
    said = program("ingest", word, "--consent", left)
    assert (said.status, said.last["code"]) == (2, "ADDRESS_INVALID")
    assert "hunter2" not in said.out + said.err
