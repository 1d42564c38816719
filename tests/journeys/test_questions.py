"""Every kind of question on a real small vault: batches, filters, clips, scores, races, and what is left behind."""

import hashlib
import json
import subprocess
import uuid

import pytest

from fabnet_secure.pipeline import clip_query, context, nearest, query

QUESTION = ("--top", "40", "--purpose", "query_internal")
LOGGING = {"log_head", "log_entry", "log_tile", "log_opening", "decision"}


def everything(home):
    """Return the rows of every table of both databases, and the digest of every other file of the site."""
    tables = {}
    for file in ("vault.db", "keystore.db"):
        for (name,) in home.rows("SELECT name FROM sqlite_master WHERE type = 'table'", file=file):
            tables[name] = home.rows(f'SELECT * FROM "{name}"', file=file)
    files = {
        str(path.relative_to(home.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.folder.rglob("*")
        if path.is_file() and ".db" not in path.name and not path.name.endswith(".anchor")
    }
    return tables, files


def similar(track, *more):
    return ("query", "similar", "--track", track, *QUESTION, *more)


def by_clip(clips, name, consent, *more):
    return ("query", "similar", "--clip", str(clips / f"{name}.mp4"), "--consent", consent, *QUESTION, *more)


def test_one_question_answers_as_ever(trained, ok):
    """The contract: results with rank, track_id and frame, and a decision_id; the track's own frames are left out."""
    told = ok(*similar(trained.tracks["ada"][0]))
    assert told["decision_id"]
    assert {key for one in told["results"] for key in one} == {"rank", "track_id", "frame"}
    assert [one["rank"] for one in told["results"]] == list(range(1, len(told["results"]) + 1))
    assert trained.tracks["ada"][0] not in {one["track_id"] for one in told["results"]}


def test_a_batch_answers_each_track_as_one_question_would(trained, ok):
    """Several tracks at once: the same ranks for each, one decision, an answer each."""
    asked = [trained.tracks["ada"][0], trained.tracks["ben"][0], trained.tracks["cleo"][0]]
    alone = {track: ok(*similar(track)) for track in asked}
    more = [word for track in asked[1:] for word in ("--track", track)]
    told = ok(*similar(asked[0], *more))
    assert told["answers_left"] == alone[asked[2]]["answers_left"] - 3
    for track in asked:
        found = [one for one in told["results"] if one["for_track"] == track]
        assert [(one["rank"], one["track_id"], one["frame"]) for one in found] == [
            (one["rank"], one["track_id"], one["frame"]) for one in alone[track]["results"]
        ]


def test_filters_leave_what_they_say(trained, home, ok):
    """By the day and the camera of the video: only such tracks are ranked, and all others are not searched."""
    ben, cleo = trained.tracks["ben"][0], trained.tracks["cleo"][0]
    (video,) = home.rows("SELECT video_id FROM track WHERE track_id = ?", cleo)
    home.rows(
        "UPDATE video SET evidence = json_set(evidence, '$.camera', 'door', '$.site', 'north'), "
        "ingested_at = '2026-01-15T00:00:00.000000Z' WHERE video_id = ?",
        *video,
    )
    for more in (
        ("--camera", "door"),
        ("--site", "north"),
        ("--until", "2026-01-15"),
        ("--since", "2026-01-15", "--until", "2026-01-15", "--camera", "door"),
    ):
        told = ok(*similar(ben, *more))
        assert {one["track_id"] for one in told["results"]} == {cleo}
        assert told["searched"] is None  # an exact count of what a filter names is for 'query stats', with noise
    told = ok(*similar(ben, "--since", "2026-01-16"))
    assert {one["track_id"] for one in told["results"]} == set(trained.tracks["ada"])


@pytest.mark.parametrize("resident", [True, False])
def test_where_nothing_is_left_to_search_nothing_is_found(resident, trained, ok, clips, monkeypatch):
    """A day on which nothing was ingested: no result and no error, for one track, several, or a clip."""
    if not resident:
        monkeypatch.setattr(nearest, "fits", lambda *_: False)
    track, late = trained.tracks["ada"][0], ("--since", "2099-01-01")
    for question in (
        similar(track, *late),
        similar(track, "--track", trained.tracks["ben"][0], *late),
        by_clip(clips, "ada", trained.consents["ada"], *late),
    ):
        told = ok(*question)
        assert (told["results"], told["searched"]) == ([], None)


def test_a_model_may_be_named(trained, home, program, ok):
    """The model that embedded answers as without naming it; one that did not is NOT_EMBEDDED."""
    track = trained.tracks["ada"][0]
    assert ok(*similar(track, "--model", trained.model))["results"] == ok(*similar(track))["results"]
    other = str(uuid.uuid4())
    home.rows(
        "INSERT INTO model SELECT ?, 'public', NULL, weights_sha256, card, created_at, status, decision_due FROM model",
        other,
    )
    said = program(*similar(track, "--model", other))
    assert (said.status, said.last["code"]) == (2, "NOT_EMBEDDED")


def test_what_is_ingested_remembers_its_camera(home, ok, clips, consent_of):
    """A camera of the settings is recorded with the video, can be asked for, and is not in the log."""
    settings = (home.folder / "fabnet.toml").read_text("utf-8")
    table = f'\n[[camera]]\nname = "front-door"\nsources = ["{clips}/ada*.mp4"]\n'
    (home.folder / "fabnet.toml").write_text(settings + table, "utf-8")
    ok("init")
    (home.vault / "fabnet.toml").write_text('[access]\nsite = "north"\n', "utf-8")
    consent = ok(*consent_of("ada@example.org"))["consent_id"]
    ok("ingest", str(clips / "ada.mp4"), "--consent", consent)
    ((evidence,),) = home.rows("SELECT evidence FROM video")
    assert (json.loads(evidence)["camera"], json.loads(evidence)["site"]) == ("front-door", "north")
    assert not [body for (body,) in home.rows("SELECT body FROM log_entry") if b"front-door" in body]


def test_a_clip_is_searched_by_and_nothing_of_it_is_kept(trained, home, ok, clips):
    """Ada on a clip finds stored frames; afterwards only the log and the decisions have changed, not a file more."""
    before = everything(home)
    told = ok(*by_clip(clips, "ada-again", trained.consents["ada"]))
    after = everything(home)
    assert told["frames"] == {"read": 24, "persisted": 0}
    assert len(told["results"]) == 32
    assert {table for table in before[0] if before[0][table] != after[0][table]} <= LOGGING
    assert after[1] == before[1]
    last = home.rows("SELECT body FROM log_entry ORDER BY leaf_index DESC LIMIT 5")
    entry = next(json.loads(body) for (body,) in last if b"query.answered" in body)
    assert (entry["facts"]["kind"], entry["facts"]["frames_read"], entry["facts"]["frames_persisted"]) == (
        "clip",
        24,
        0,
    )


def test_a_clip_of_who_is_stored_finds_them_first(trained, ok, clips):
    """The very clip that was ingested: its own track's frames lie nearest to it."""
    told = ok(*by_clip(clips, "ben", trained.consents["ben"]))
    assert told["results"][0]["track_id"] == trained.tracks["ben"][0]


def test_the_clips_numbers_are_zeroed(trained, ok, clips, monkeypatch):
    """The embedding is zeroed once the search is done, and the candidates with it, also when the search fails."""
    seen = []
    real = clip_query.nearest_to_vector

    def watched(site, vector, *rest):
        seen.append(vector)
        assert vector.any()
        return real(site, vector, *rest)

    monkeypatch.setattr(clip_query, "nearest_to_vector", watched)
    ok(*by_clip(clips, "ada", trained.consents["ada"]))
    assert not seen[0].any()


def test_two_people_on_a_clip_refuse_it(trained, home, program, clips):
    """A second face: status 23, and not even a decision or an entry of what was on it."""
    before = everything(home)
    said = program(*by_clip(clips, "two", trained.consents["ada"]))
    assert (said.status, said.last["code"]) == (23, "CLIP_NOT_ONE_PERSON")
    assert everything(home) == before


@pytest.mark.parametrize("who", ["ada", "ben"])
def test_a_withdrawal_during_a_clip_query_wins(who, trained, program, clips, meanwhile, leave):
    """The clip's person: refused at the answer. Somebody found: their rows are taken out of it."""
    meanwhile(clip_query, "nearest_to_vector", lambda: leave(trained.consents[who]), after=True)
    said = program(*by_clip(clips, "ada-again", trained.consents["ada"]))
    if who == "ada":
        assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")
        assert "results" not in said.out
    else:
        assert trained.tracks["ben"][0] not in {one["track_id"] for one in said.last["results"]}
        assert trained.tracks["cleo"][0] in {one["track_id"] for one in said.last["results"]}


@pytest.mark.parametrize("who", ["ada", "ben"])
def test_a_withdrawal_between_decision_and_answer_wins(who, trained, program, meanwhile, leave):
    """After everything was compared, before the answer's transaction: the withdrawal is seen."""
    meanwhile(query, "answer", lambda: leave(trained.consents[who]))
    said = program(*similar(trained.tracks["ada"][0]))
    if who == "ada":
        assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")
    else:
        assert said.status == 0
        assert trained.tracks["ben"][0] not in {one["track_id"] for one in said.last["results"]}


def test_one_of_a_batch_withdraws_and_nobody_is_answered(trained, program, meanwhile, leave):
    """A batch is one answer: the consent of each track searched by is asked for again."""
    meanwhile(query, "answer", lambda: leave(trained.consents["cleo"]))
    more = ("--track", trained.tracks["cleo"][0])
    said = program(*similar(trained.tracks["ada"][0], *more))
    assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")
    assert "results" not in said.out


def test_only_pages_of_who_consents_are_opened(trained, ok, monkeypatch):
    """A consent that does not cover the question is never opened, not only left out of the answer."""
    opened = []
    real = nearest.unlock

    def watched(site, connection, model_id, permitted, **rest):
        opened.append(permitted)
        return real(site, connection, model_id, permitted, **rest)

    monkeypatch.setattr(nearest, "unlock", watched)
    ok("subject", "withdraw", trained.consents["ben"], "--confirm", trained.consents["ben"])
    ok(*similar(trained.tracks["ada"][0]))
    assert opened == [frozenset({trained.consents["ada"], trained.consents["cleo"]})]


def test_streaming_answers_the_same(trained, home, ok, monkeypatch):
    """Over query.memory_limit_mib the embeddings are never resident at once; ranks, counts and filters are the same."""
    asked = [trained.tracks["ada"][0], trained.tracks["ben"][0]]
    batch = similar(asked[0], "--track", asked[1])
    resident = ok(*batch)
    monkeypatch.setattr(nearest, "fits", lambda *_: False)
    streamed = ok(*batch)
    assert (streamed["results"], streamed["searched"]) == (resident["results"], resident["searched"])


def test_scores_need_a_policy_of_the_sites_own(trained, program, ok, home, monkeypatch):
    """No role has query_scores. Where a site's policy permits it: three digits, and ten answers."""
    denied = program(*similar(trained.tracks["ada"][0], "--scores"))
    assert (denied.status, denied.last["code"]) == (21, "ACCESS_DENIED")
    assert "query_scores" in denied.last["message"]
    real = query.authorize
    plain = query.class_verdicts

    def permits(site, action, **rest):
        return real(site, "query_similar" if action == "query_scores" else action, **rest)

    monkeypatch.setattr(query, "authorize", permits)
    monkeypatch.setattr(query, "class_verdicts", lambda site, _, *rest: plain(site, "query_similar", *rest))
    monkeypatch.setattr(query.Permit, "scores", property(lambda permit: len(permit.grants) > 1))
    before = ok(*similar(trained.tracks["ada"][0]))["answers_left"]
    told = ok(*similar(trained.tracks["ada"][0], "--scores"))
    assert told["answers_left"] == before - 10
    scores = [one["score"] for one in told["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= one <= 1 and one == round(one, 3) for one in scores)


def test_two_processes_share_one_budget(trained, home, python):
    """Two programs ask at once until both are refused: together they got exactly what the budget holds."""
    (home.vault / "fabnet.toml").write_text("[query]\ndaily_budget = 4\n", "utf-8")
    script = """
import sys
from fabnet_secure.commands.program import main
codes = [main(sys.argv[1:]) for _ in range(4)]
print("CODES", *codes)
"""
    command = [python, "-c", script, *similar(trained.tracks["ada"][0], "--json")]
    running = [
        subprocess.Popen(
            command, cwd=home.folder, env=home.surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    codes = []
    for one in running:
        out, _ = one.communicate(timeout=120)
        codes += next(line for line in out.splitlines() if line.startswith("CODES")).split()[1:]
    assert sorted(codes) == ["0"] * 4 + ["22"] * 4
    assert home.rows("SELECT sum(answers) FROM decision WHERE action = 'query_similar'") == [(4,)]


def test_counting_few_people_tells_nothing_and_is_paid(trained, home, ok, program):
    """Three people: silence; each paid; log and ledger agree; the report counts the answer, not its people."""
    told = ok("query", "stats", "--purpose", "query_internal", "--count", "people", "--epsilon", "0.5")
    assert (told["cells"], told["withheld"], told["privacy_unit"]) == ([], 1, "person")
    assert home.rows("SELECT source, run_id, epsilon FROM ledger_entry WHERE source = 'query'") == [
        ("query", None, 0.5)
    ]
    people = program("budget", "show").objects[:-1]
    paid = {one["subject_id"]: one["spent"] for one in people}
    trained_for = min(paid.values())
    assert trained_for > 0.5
    ok("report", "dp", "--format", "json", "--out", str(home.folder / "dp.json"))
    body = json.loads((home.folder / "dp.json").read_text("utf-8"))["evidence"]["body"]
    assert body["summary"]["answers"] == 1
    assert [one["persons"] for one in body["facts"]["entries"] if one["source"] == "query"] == [None]
    ok("audit", "verify")


def test_an_analyst_may_ask_and_count_but_not_score(trained, ok, program, monkeypatch, clips):
    """The shipped role: similar, clips and counts are permitted, scores are not."""
    ok("policy", "grant", "stranger", "--role", "analyst")
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    track = trained.tracks["ada"][0]
    assert program(*similar(track)).status == 0
    assert program(*by_clip(clips, "ada", trained.consents["ada"])).status == 0
    assert program("query", "stats", "--purpose", "query_internal", "--count", "tracks", "--epsilon", "0.2").status == 0
    assert program(*similar(track, "--scores")).status == 21
