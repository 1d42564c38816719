"""A video that the program may not decide about waits, and a person's word or the deadline ends it: the whole path."""

import json
from datetime import timedelta

import pytest

from fabnet_secure.config import load
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.maintain import sweep

FORTNIGHT = timedelta(days=14)


@pytest.fixture
def waiting(home, ok, program, consent_of, clips):
    """A site with two people's film, which nobody said anything about, in quarantine: film, consents, video."""
    ok("init")
    film = home.folder / "two.mp4"
    film.write_bytes((clips / "two.mp4").read_bytes())
    consents = [ok(*consent_of(name))["consent_id"] for name in ("ada", "eve")]
    said = program("ingest", str(film), "--consent", consents[0], "--consent", consents[1])
    assert (said.status, said.last["videos"]["quarantined"], said.last["frames"]["persisted"]) == (3, 1, 0)
    (video,) = [row["video_id"] for row in program("quarantine", "list").objects[:-1]]
    return film, consents, video


def _swept(home):
    """Open the site and sweep it."""
    with open_site(Place(root=home.vault, key_file=home.key), load().settings) as site:
        return sweep(site)


def _states(program):
    return [row["state"] for row in program("quarantine", "list").objects[:-1]]


def test_nothing_of_what_waits_can_be_read_off_the_vault(home, waiting):
    """No crop, no page, no box and no path: sealed bytes, two rows without a person, and a deadline."""
    film, _, _ = waiting
    for table in ("tracklet", "embedding_page"):
        assert home.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert home.rows("SELECT DISTINCT status, subject_id, consent_id FROM track") == [("quarantined", None, None)]
    for path in home.vault.rglob("*"):
        if path.is_file():
            assert film.name.encode() not in path.read_bytes(), path.name
    assert len(home.rows("SELECT name FROM secret WHERE name LIKE 'quarantine/%'", file="keystore.db")) == 1


def test_a_person_says_who_is_who_and_both_are_kept(home, waiting, ok, program):
    """The faces are listed with places to name them by; named, each is bound to its own person; then it is over."""
    film, consents, video = waiting
    shown = ok("quarantine", "release", video, "--dry-run")
    places = [track["boxes"][2] for track in shown["tracks"]]
    assert len(places) == 2
    boxes = [word for place, consent in zip(places, consents, strict=True) for word in ("--box", f"{place}={consent}")]
    assert ok("quarantine", "release", video, *boxes, "--dry-run")["tracks"]["bound"] == 2
    assert _states(program) == ["held"]
    done = ok("quarantine", "release", video, *boxes)
    assert (done["tracks"]["bound"], len(done["track_ids"])) == (2, 2)
    assert _states(program) == ["released"]
    owners = home.rows("SELECT consent_id FROM track WHERE status = 'bound'")
    assert sorted(one for (one,) in owners) == sorted(consents)
    assert home.rows("SELECT count(*) FROM tracklet") == [(2,)]
    again = program("quarantine", "release", video, *boxes)
    assert (again.status, again.last["code"]) == (2, "QUARANTINE_OVER")
    assert film.exists()
    ok("audit", "verify")


def test_one_face_named_is_the_only_one_kept(home, waiting, ok):
    """Whoever is not named is dropped before anything is computed of them."""
    _, consents, video = waiting
    place = ok("quarantine", "release", video, "--dry-run")["tracks"][0]["boxes"][2]
    done = ok("quarantine", "release", video, "--box", f"{place}={consents[0]}")
    assert (done["tracks"]["bound"], done["tracks"]["dropped"]) == (1, 1)
    assert home.rows("SELECT count(*) FROM tracklet") == [(1,)]


def test_a_release_that_fails_leaves_everything_as_it_was(home, waiting, program, ok):
    """A box on nobody, a withdrawn consent's box, another file in its place: refused, and still waiting."""
    film, consents, video = waiting
    nobody = program("quarantine", "release", video, "--box", f"3:500,500,10,10={consents[0]}")
    assert (nobody.status, nobody.last["code"]) == (2, "BOX_UNMATCHED")
    film.rename(film.with_name("moved.mp4"))
    gone = program("quarantine", "release", video, "--box", f"3:1,1,10,10={consents[0]}")
    assert (gone.status, gone.last["code"]) == (1, "SOURCE_GONE")
    assert _states(program) == ["held"]
    film.with_name("moved.mp4").rename(film)
    ok("subject", "withdraw", consents[0], "--confirm", consents[0])
    assert _states(program) == ["destroyed"]
    over = program("quarantine", "release", video, "--box", f"3:1,1,10,10={consents[1]}")
    assert (over.status, over.last["code"]) == (2, "QUARANTINE_OVER")
    assert home.rows("SELECT count(*) FROM tracklet") == [(0,)]


def test_destroyed_by_hand(home, waiting, program, ok):
    """Said twice it goes, key and record; a rehearsal changes nothing; the file stays where the policy keeps it."""
    film, _, video = waiting
    assert ok("quarantine", "destroy", video, "--dry-run")["destroyed"] is False
    assert program("quarantine", "destroy", video).last["code"] == "NOT_CONFIRMED"
    assert ok("quarantine", "destroy", video, "--confirm", video)["tracks"] == 2
    assert _states(program) == ["destroyed"]
    assert home.rows("SELECT count(*) FROM secret WHERE name LIKE 'quarantine/%'", file="keystore.db") == [(0,)]
    assert film.exists()


@pytest.mark.parametrize("policy", ["keep", "delete"])
def test_at_its_deadline_it_is_destroyed(home, waiting, program, policy, later):
    """Not before; and under 'delete' its file goes with it, which is never deleted while it waits."""
    film, _, video = waiting
    home.settle(ingest=f'source_disposition = "{policy}"')
    later(FORTNIGHT - timedelta(minutes=5))
    assert _swept(home) == 0
    assert (_states(program), film.exists()) == (["held"], True)
    later(FORTNIGHT)
    assert _swept(home) == 1
    assert (_states(program), film.exists()) == (["expired"], policy == "keep")
    assert home.rows("SELECT disposition FROM video") == [("keep" if policy == "keep" else "deleted",)]
    assert program("quarantine", "destroy", video, "--confirm", video).status == 2


def test_the_report_tells_of_it(home, waiting, ok):
    """The ingest report names the wait, its reason and its deadline, and the evidence of how the film was read."""
    _, _, video = waiting
    ok("report", "ingest", "--out", str(home.folder / "report.json"))
    body = json.loads((home.folder / "report.json").read_text("utf-8"))["evidence"]["body"]
    (told,) = body["facts"]["videos"]
    assert (told["video_id"], told["quarantine"]["state"], told["quarantine"]["reason"]) == (
        video, "held", "several_subjects",
    )  # fmt: skip
    assert (told["discard"]["writes_seen"], told["discard"]["passes"], told["frames_persisted"]) == (0, 1, 0)
    assert body["outcome"] in {"discard_shown", "discard_gaps"}  # gaps where this machine locks no memory


def test_a_source_is_deleted_once_it_is_ingested(home, ok, program, consent_of, clips):
    """Under 'delete' the file goes after the commit, with an entry; not in a dry run, and not when it is refused."""
    home.settle(ingest='source_disposition = "delete"')
    ok("init")
    consent = ok(*consent_of("ada"))["consent_id"]
    film, empty = home.folder / "ada.mp4", home.folder / "empty.mp4"
    film.write_bytes((clips / "ada.mp4").read_bytes())
    empty.write_bytes(b"")
    ok("ingest", str(film), "--consent", consent, "--dry-run")
    assert film.exists()
    assert program("ingest", str(film), str(empty), "--consent", consent).status == 3
    assert (film.exists(), empty.exists()) == (False, True)
    assert home.rows("SELECT disposition FROM video") == [("deleted",)]
    twin = home.folder / "again.mp4"
    twin.write_bytes((clips / "ada.mp4").read_bytes())
    assert ok("ingest", str(twin), "--consent", consent)["videos"]["skipped"] == 1
    assert not twin.exists()
