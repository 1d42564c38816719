"""What happens to a consent while an act is under way: the consent wins; and no act without its log entry."""

import json

import pytest

from fabnet_secure.errors import NoEffectiveConsent
from fabnet_secure.fabnet import train as trainer
from fabnet_secure.pipeline import embed, ingest, keep, nearest, train, withdraw
from fabnet_secure.progress import Silent

QUESTION = ("--top", "40", "--purpose", "query_internal")


class Leaving(Silent):
    """Lets ``act()`` happen after one step of training."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def advance(self, stage, done, total=None, **figures):  # noqa: ARG002  the protocol's names
        if (stage, done) == ("train", self.step):
            self.act()


def another(film, path):
    """Copy a clip as other bytes (an empty MP4 box behind it), so that it counts as another recording."""
    path.write_bytes(film.read_bytes() + b"\x00\x00\x00\x08free")
    return path


def rows_of(home):
    """Count what a video leaves behind."""
    return {table: home.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("video", "track", "tracklet")}


@pytest.mark.parametrize(
    ("room", "moment", "after"),
    [
        (ingest, "_log_start", False),
        (ingest, "observe", False),
        (ingest, "bind", False),
        (ingest, "keep", False),
        (keep, "_authorized", True),
    ],
    ids=["start", "read", "bind", "keep", "authorized"],
)
def test_a_withdrawal_during_an_ingest_wins(
    room, moment, after, ingested, home, clips, program, meanwhile, leave, ok, consent_of
):
    """Whatever the ingest had reached, nothing of the video is kept, and the next video is taken in all the same."""
    dan = ok(*consent_of("dan@example.org"))["consent_id"]
    before = rows_of(home)
    meanwhile(room, moment, lambda: leave(dan), after=after)
    manifest = home.folder / "two.csv"
    rows = (f"{clips / 'dan.mp4'},{dan}", f"{clips / 'eve.mp4'},{ingested.consents['ben']}")
    manifest.write_text("\n".join(("video,consent_id", *rows)), "utf-8")
    said = program("ingest", "--manifest", str(manifest))
    assert said.status == 3
    assert [(one["status"], one["code"]) for one in said.objects[:2]] == [
        ("refused", "CONSENT_WITHDRAWN"),
        ("ingested", None),
    ]
    assert rows_of(home) == {table: count + 1 for table, count in before.items()}  # the second video's
    assert home.rows("SELECT count(*) FROM track WHERE consent_id = ?", dan) == [(0,)]
    ok("audit", "verify")


def test_a_consent_that_expires_during_an_ingest_leaves_nothing(ingested, home, clips, site, clock, meanwhile):
    """Effectiveness is asked again inside the transaction, at the time of the transaction."""
    before = rows_of(home)
    meanwhile(ingest, "observe", lambda: clock.forward(days=400))
    source = ingest.Source(path=clips / "dan.mp4", consent_ids=(ingested.consents["ben"],))
    (outcome,) = ingest.ingest(site, [source], progress=Silent())
    assert (outcome.status, outcome.error.code) == ("refused", "CONSENT_EXPIRED")
    assert rows_of(home) == before


def test_a_withdrawal_between_plan_and_run_makes_the_plan_stale(ingested, home, program, leave):
    """A plan that names somebody who left is not run, and nothing is reserved."""
    leave(ingested.consents["ben"])
    said = program("train", "run", "--plan", ingested.plan)
    assert (said.status, said.last["code"]) == (20, "PLAN_STALE")
    assert home.rows("SELECT count(*) FROM ledger_entry") == [(0,)]
    assert home.rows("SELECT count(*) FROM run") == [(0,)]


def test_a_withdrawal_between_reservation_and_opening_stops_the_run(ingested, home, site, meanwhile, leave):
    """Crops whose key is gone are a consent that ended, not damage; what was reserved stays spent."""
    ada = ingested.consents["ada"]
    meanwhile(train, "open_tracklet", lambda: leave(ada, beside_reader=True))
    with pytest.raises(NoEffectiveConsent):
        train.run(site, ingested.plan, progress=Silent())
    assert home.rows("SELECT state FROM run") == [("failed",)]
    assert home.rows("SELECT state FROM ledger_entry") == [("reserved",)]
    leave(ada)  # finishes what the reader held up


def test_a_withdrawal_during_training_takes_the_person_out(ingested, home, site, ok, program, leave, monkeypatch):
    """From the next check on nobody draws the person; their ε stays spent; the model waits for a decision."""
    drawn_from = []
    real = trainer.poisson_persons

    def watched(ids, *rest):
        drawn_from.append(set(ids))
        return real(ids, *rest)

    monkeypatch.setattr(trainer, "poisson_persons", watched)
    ben = ingested.subjects["ben"]

    news = Leaving(2, lambda: leave(ingested.consents["ben"]))
    done = train.run(site, ingested.long_plan, progress=news)
    assert [ben in ids for ids in drawn_from] == [True] * 10 + [False] * 2
    assert (done.flagged, done.steps) == (1, 12)
    (model,) = program("model", "list").objects[:-1]
    assert (model["status"], model["model_id"]) == ("flagged", done.model_id)
    assert model["decision_due"]
    assert model["card"]["training_data"]["consents_withdrawn_before_release"] == 1
    spent = {one["subject_id"]: one["spent"] for one in program("budget", "show").objects[:-1]}
    assert spent[ben] == spent[ingested.subjects["ada"]] == done.epsilon
    ok("report", "erasure", "--out", "erasure.json")
    facts = json.loads((home.folder / "erasure.json").read_text("utf-8"))["evidence"]["body"]["facts"]
    assert [one["model_id"] for one in facts["erasures"][0]["models"]] == [done.model_id]


def test_when_everybody_withdraws_training_stops(ingested, home, site, leave):
    """A run without anybody's consent ends; no weights are written."""
    news = Leaving(1, lambda: [leave(consent_id) for consent_id in ingested.consents.values()])
    with pytest.raises(NoEffectiveConsent) as stopped:
        train.run(site, ingested.long_plan, progress=news)
    assert stopped.value.code == "TRAINING_CONSENTS_GONE"
    assert list((home.vault / "models").iterdir()) == []
    assert home.rows("SELECT state FROM ledger_entry") == [("reserved",)]


@pytest.mark.parametrize(("moment", "reading"), [("unlock", True), ("nearest_many", False)])
def test_a_withdrawal_during_a_query_takes_the_rows_out(moment, reading, trained, ok, meanwhile, leave):
    """Whether the pages were opened already or not: the answer names nobody who has left."""
    meanwhile(nearest, moment, lambda: leave(trained.consents["ben"], beside_reader=reading))
    answer = ok("query", "similar", "--track", trained.tracks["ada"][0], *QUESTION)
    found = {one["track_id"] for one in answer["results"]}
    assert found == {trained.tracks["ada"][1], trained.tracks["cleo"][0]}
    assert [one["rank"] for one in answer["results"]] == list(range(1, 17))


@pytest.mark.parametrize(("moment", "reading"), [("unlock", True), ("nearest_many", False)])
def test_a_query_by_somebody_who_withdraws_meanwhile_is_refused(moment, reading, trained, program, meanwhile, leave):
    """The person searched by is asked again at the end; no results leave."""
    meanwhile(nearest, moment, lambda: leave(trained.consents["ada"], beside_reader=reading))
    said = program("query", "similar", "--track", trained.tracks["ada"][0], *QUESTION)
    assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")
    assert "results" not in said.out


@pytest.mark.parametrize("after", [False, True])
def test_a_withdrawal_during_embedding_leaves_no_page(after, trained, home, ok, meanwhile, leave):
    """Before the crops are opened or after: the person is skipped, and everybody else is embedded."""
    home.rows("DELETE FROM embedding_page")
    meanwhile(embed, "open_tracklet", lambda: leave(trained.consents["ada"]), after=after)
    done = ok("embed", "--model", trained.model)
    assert sum(done["skipped"].values()) == 2
    assert done["tracks"] == 2
    assert home.rows("SELECT count(*) FROM embedding_page WHERE consent_id = ?", trained.consents["ada"]) == [(0,)]


def test_an_ingest_that_lands_during_a_withdrawal_is_erased_and_counted(trained, home, clips, ok, meanwhile):
    """What was committed before the consent ended is in the erasure, whenever it was counted."""
    ben = trained.consents["ben"]
    film = str(clips / "dan.mp4")
    meanwhile(withdraw, "authorize", lambda: ok("ingest", film, "--consent", ben), after=True)
    meanwhile(withdraw, "read_only", lambda: ok("ingest", str(clips / "eve.mp4"), "--consent", ben))
    done = ok("subject", "withdraw", ben, "--confirm", ben)
    assert (done["outcome"], done["tracklets_removed"]) == ("complete", 3)
    (told,) = done["certificate"]["evidence"]["body"]["facts"]["erasures"]
    assert {one["store"]: (one["before"], one["after"]) for one in told["stores"]}["tracklets"] == (3, 0)


def test_a_consent_that_expired_can_still_be_withdrawn(trained, home, site, clock, clips):
    """The wish counts, even after a sweep has destroyed what there was, keys and all."""
    clock.forward(days=400)
    ingest.ingest(site, [], progress=Silent())  # sweeps
    assert home.rows(
        "SELECT count(*) FROM data_key WHERE destroyed_at IS NULL AND consent_id IS NOT NULL", file="keystore.db"
    ) == [(0,)]
    ben = trained.consents["ben"]
    done = withdraw.withdraw(site, ben, confirm=ben)
    assert (done.outcome, done.keys_destroyed, done.embeddings_removed) == ("complete", 0, 0)
    assert done.models_affected == (trained.model,)


def test_two_withdrawals_at_once_are_one_erasure(trained, home, ok, meanwhile, leave):
    """The second to come finds the first one's erasure and finishes or repeats it."""
    ben = trained.consents["ben"]
    meanwhile(withdraw, "_announce", lambda: leave(ben))
    done = ok("subject", "withdraw", ben, "--confirm", ben)
    assert (done["outcome"], done["keys_destroyed"], done["embeddings_removed"]) == ("complete", 3, 8)
    assert home.rows("SELECT state FROM erasure") == [("complete",)]
    assert home.rows("SELECT type FROM consent_event WHERE consent_id = ? ORDER BY position", ben) == [
        ("given",),
        ("withdrawn",),
    ]


ACTS = {
    "consent add": (),
    "ingest": ("ingest", "{film}", "--consent", "{ben}"),
    "train plan": ("train", "plan", "--epsilon", "2", "--delta", "1e-2"),
    "train run": ("train", "run", "--plan", "{plan}"),
    "embed": ("embed", "--model", "{model}"),
    "query": ("query", "similar", "--track", "{track}", *QUESTION),
    "withdraw": ("subject", "withdraw", "{ben}", "--confirm", "{ben}"),
    "report": ("report", "dp", "--out", "unlogged.json"),
    "export": ("audit", "export", "unlogged"),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_that_cannot_be_logged_does_not_happen(act, trained, home, clips, program, ok, consent_of):
    """The database refuses the entry: nothing of the act is kept, nothing is answered, and the next try works."""
    names = {
        "film": clips / "dan.mp4",
        "ben": trained.consents["ben"],
        "plan": trained.long_plan,
        "model": trained.model,
        "track": trained.tracks["ada"][0],
    }
    command = [word.format_map(names) for word in ACTS[act]] or consent_of("eve@example.org")
    if act == "embed":
        home.rows("DELETE FROM embedding_page")
    before, size = home.state(), ok("audit", "verify")["size"]
    home.rows("CREATE TRIGGER full BEFORE INSERT ON log_entry BEGIN SELECT RAISE(ABORT, 'no room'); END")
    said = program(*command)
    home.rows("DROP TRIGGER full")
    assert said.status != 0, said.out
    assert [one["message_type"] for one in said.objects] == ["exit_error"]
    after = home.state()
    if act == "consent add":  # the keys exist before the row that needs them; without it they open nothing
        assert before.pop("keys") != after.pop("keys")
    assert after == before
    assert not list(home.folder.glob("unlogged*"))
    assert ok("audit", "verify")["size"] == size
    again = program(*command)
    assert again.status == 0, again.err
