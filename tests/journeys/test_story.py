"""The whole story by the command line, on both databases: each command's contract, and what each act leaves behind."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from fabnet_secure.types import canonical_json

QUESTION = ("--top", "40", "--purpose", "query_internal")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request, home, monkeypatch):
    """The database that the vault lies in; the keystore is a local file in any case."""
    if request.param == "postgresql":
        monkeypatch.setenv("FABNET_DATABASE_URL", request.getfixturevalue("postgres_url"))
    return request.param


def test_from_a_video_and_a_consent_to_a_report_anyone_can_verify(database, home, clips, program, ok, consent_of):
    """Every command of the path keeps its contract, in the order in which a site meets them."""
    story = SimpleNamespace(
        database=database, home=home, clips=clips, program=program, ok=ok, consent_of=consent_of, people={}
    )
    for chapter in (
        found_the_vault,
        record_consents,
        ingest_one_person,
        keep_bystanders_out,
        refuse_embedding_before_a_model_exists,
        price_before_spending,
        train,
        embed,
        ask,
        withdraw,
        find_nothing_any_more,
        account_for_it,
        report,
        prove_the_log,
    ):
        chapter(story)


def found_the_vault(story):
    made = story.ok("init")
    assert made["message_type"] == "init"
    assert made["schema_version"] == 1
    assert made["created"] is True
    assert made["vault"] == str(story.home.vault)
    assert made["log_origin"].startswith("fabnet-secure/")
    assert made["log_vkey"].startswith(made["log_origin"] + "+")
    assert story.home.key.stat().st_mode & 0o777 == 0o600
    assert (story.home.vault / "vault.db").exists() == (story.database == "sqlite")
    size = story.ok("audit", "verify")["size"]
    assert story.ok("init") == made | {"created": False}
    assert story.ok("audit", "verify")["size"] == size == 1
    story.made = made


def record_consents(story):
    for name in ("ada", "ben", "cleo"):
        story.people[name] = story.ok(*story.consent_of(f"{name}@example.org"))
    again = story.ok(*story.consent_of("  ADA@example.org "))
    assert again["subject_id"] == story.people["ada"]["subject_id"]
    assert again["consent_id"] != story.people["ada"]["consent_id"]
    assert len({one["subject_id"] for one in story.people.values()}) == 3
    shown = story.ok("consent", "show", story.people["ben"]["consent_id"])
    assert shown["state"] == "given"
    assert shown["purposes"] == ["train_model", "embed", "query_internal"]
    assert shown["valid_until"] > shown["events"][0]["occurred_at"]
    assert [event["type"] for event in shown["events"]] == ["given"]
    listed = story.program("consent", "list")
    assert listed.last == {"schema_version": 1, "message_type": "summary", "consents": 4}
    assert {one["consent_id"] for one in listed.objects[:-1]} >= {one["consent_id"] for one in story.people.values()}
    assert "example.org" not in listed.out.lower()


def ingest_one_person(story):
    for name in ("ada", "ben", "cleo"):
        done = ingest(story, name, story.people[name], status=0)
        assert done["videos"] == {"ingested": 1, "skipped": 0, "refused": 0, "quarantined": 0}
        assert done["tracks"] == {"detected": 1, "bound": 1, "dropped": 0, "quarantined": 0}
        assert done["frames"] == {"read": 24, "persisted": 0}
        assert done["drop_reasons"] == {}
        (story.people[name]["track"],) = done["track_ids"]
    before = story.program("track", "list").objects
    skipped = ingest(story, "ada", story.people["ada"], status=0)
    assert skipped["videos"] == {"ingested": 0, "skipped": 1, "refused": 0, "quarantined": 0}
    assert skipped["track_ids"] == []
    assert story.program("track", "list").objects == before
    assert ingest(story, "ada", story.people["ben"], status=23)["code"] == "SOURCE_OF_ANOTHER"


def keep_bystanders_out(story):
    seen = ingest(story, "two", story.people["ada"], status=3)
    assert seen["videos"]["quarantined"] == 1
    assert seen["tracks"] == {"detected": 2, "bound": 0, "dropped": 0, "quarantined": 2}
    assert seen["drop_reasons"] == {"several_faces": 2}
    assert seen["track_ids"] == []
    story.home.settle('primary_track = "largest"')
    seen = ingest(story, "two", story.people["ada"], status=0)
    assert seen["tracks"] == {"detected": 2, "bound": 1, "dropped": 1, "quarantined": 0}
    assert seen["drop_reasons"] == {"unbound": 1}
    story.home.settle()
    tracks = story.program("track", "list").objects[:-1]
    assert Counter(one["status"] for one in tracks) == {"bound": 4, "quarantined": 2, "dropped": 1}
    assert all((one["subject_id"] is None) == (one["status"] != "bound") for one in tracks)
    assert all(one["expires_at"] for one in tracks if one["status"] == "bound")


def refuse_embedding_before_a_model_exists(story):
    only = story.consent_of("dan@example.org", "--purpose", "embed", "--purpose", "query_internal")
    story.people["dan"] = story.ok(*only)
    refused = ingest(story, "dan", story.people["dan"], status=20)
    assert refused["message_type"] == "exit_error"
    assert refused["code"] == "NO_ENCODER"
    assert refused["exit_code"] == 20
    assert refused["hint"]


def price_before_spending(story):
    plan = story.ok("train", "plan", "--epsilon", "8", "--delta", "1e-2")
    assert plan["message_type"] == "plan"
    assert plan["persons"] == 3
    assert plan["privacy_unit"] == "person"
    assert 7.5 < plan["epsilon"] <= 8
    assert plan["epsilon_check"] == pytest.approx(plan["epsilon"], rel=0.01)
    assert plan["delta"] == 0.01
    assert plan["noise_multiplier"] > 0
    assert 0 < plan["sampling_probability"] <= 1
    assert plan["steps"] == 5
    assert plan["seconds_estimate"] > 0
    assert plan["excluded"] == {"purpose_not_covered": 1}  # dan consents to embedding only
    assert all(one["spent"] == one["reserved"] == 0 for one in budgets(story).values())
    dear = story.program("train", "plan", "--epsilon", "25", "--delta", "1e-2")
    assert (dear.status, dear.last["code"]) == (22, "BUDGET_EXCEEDED")
    assert dear.last["excluded"]["budget"] == 3
    story.plan = plan


def train(story):
    run = story.ok("train", "run", "--plan", story.plan["plan_id"])
    assert run["message_type"] == "summary"
    assert run["epsilon"] == story.plan["epsilon"]
    assert run["epsilon_check"] == pytest.approx(run["epsilon"], rel=0.01)
    assert (run["steps"], run["persons"]) == (5, 3)
    assert 0 < run["audit"] < run["epsilon"]
    again = story.program("train", "run", "--plan", story.plan["plan_id"])
    assert (again.status, again.last["code"]) == (2, "PLAN_USED")
    listed = story.program("model", "list")
    assert listed.last["models"] == 1
    (model,) = listed.objects[:-1]
    assert (model["model_id"], model["kind"], model["status"]) == (run["model_id"], "dp", "active")
    assert (model["epsilon"], model["persons"], model["decision_due"]) == (run["epsilon"], 3, None)
    assert model["card"]["privacy"]["empirical_audit"]["epsilon_lower"] == run["audit"]
    weights = story.home.vault / "models" / f"{run['model_id']}.safetensors"
    assert weights.is_file()
    spent = budgets(story)
    for name in ("ada", "ben", "cleo"):
        one = spent[story.people[name]["subject_id"]]
        assert (one["spent"], one["reserved"], one["cap"]) == (run["epsilon"], 0, 20)
    story.run = run


def embed(story):
    ingested = ingest(story, "dan", story.people["dan"], status=0)  # now there is a model to embed with
    assert ingested["tracks"]["bound"] == 1
    (story.people["dan"]["track"],) = ingested["track_ids"]
    done = story.ok("embed", "--model", story.run["model_id"])
    assert (done["tracks"], done["embeddings"]) == (4, 4 * 8)
    again = story.ok("embed", "--model", story.run["model_id"])
    assert (again["tracks"], again["embeddings"]) == (0, 0)


def ask(story):
    answer = ranked(story)
    assert [one["rank"] for one in answer["results"]] == list(range(1, 33))
    assert all(set(one) == {"rank", "track_id", "frame"} for one in answer["results"])
    assert len(answer["decision_id"]) == 36
    found = Counter(one["track_id"] for one in answer["results"])
    assert story.people["ada"]["track"] not in found
    assert all(found[story.people[name]["track"]] == 8 for name in ("ben", "cleo", "dan"))
    wrong = story.program(
        *("query", "similar", "--track", story.people["ada"]["track"], "--purpose", "share_third_party")
    )
    assert (wrong.status, wrong.last["code"]) == (20, "PURPOSE_NOT_COVERED")
    story.before = answer["results"]


def withdraw(story):
    ben = story.people["ben"]["consent_id"]
    rehearsed = story.ok("subject", "withdraw", ben, "--dry-run")
    assert (rehearsed["outcome"], rehearsed["keys_destroyed"]) == ("dry_run", 3)
    assert (rehearsed["embeddings_removed"], rehearsed["models_affected"]) == (8, [story.run["model_id"]])
    for arguments in ((), ("--confirm", ben[:8]), ("--confirm", story.people["ada"]["consent_id"])):
        refused = story.program("subject", "withdraw", ben, *arguments)
        assert (refused.status, refused.last["code"]) == (2, "NOT_CONFIRMED")
    assert ranked(story)["results"] == story.before
    done = story.ok("subject", "withdraw", ben, "--confirm", ben)
    assert (done["outcome"], done["already"]) == ("complete", False)
    same = ("keys_destroyed", "embeddings_removed", "tracklets_removed", "models_affected")
    assert {name: done[name] for name in same} == {name: rehearsed[name] for name in same}
    certificate = done["certificate"]["evidence"]
    (told,) = certificate["body"]["facts"]["erasures"]
    assert certificate["body"]["outcome"] == "complete"
    assert told["consent_id"] == ben
    assert all(store["after"] == 0 for store in told["stores"])
    assert all(key["destroyed_at"] and not key["opens"] for key in told["keys"])
    assert [model["model_id"] for model in told["models"]] == [story.run["model_id"]]
    (story.home.folder / "certificate.json").write_bytes(canonical_json(done["certificate"]))
    story.ok("report", "verify", "certificate.json", "--public-key", story.made["report_public_key"])
    again = story.ok("subject", "withdraw", ben, "--confirm", ben)
    assert again == done | {"already": True}


def find_nothing_any_more(story):
    ben = story.people["ben"]
    after = ranked(story)["results"]
    kept = [(one["track_id"], one["frame"]) for one in story.before if one["track_id"] != ben["track"]]
    assert [(one["track_id"], one["frame"]) for one in after] == kept
    assert [one["rank"] for one in after] == list(range(1, len(kept) + 1))
    probe = story.program("query", "similar", "--track", ben["track"], *QUESTION)
    assert (probe.status, probe.last["code"]) == (20, "CONSENT_WITHDRAWN")
    refused = ingest(story, "ben", ben, status=20)
    assert refused["code"] == "CONSENT_WITHDRAWN"
    (track,) = [one for one in story.program("track", "list").objects[:-1] if one["track_id"] == ben["track"]]
    assert track["status"] == "erased"
    shown = story.ok("consent", "show", ben["consent_id"])
    assert (shown["state"], [event["type"] for event in shown["events"]]) == ("withdrawn", ["given", "withdrawn"])


def account_for_it(story):
    (model,) = story.program("model", "list").objects[:-1]
    assert model["status"] == "flagged"
    assert model["decision_due"] > model["created_at"]
    spent = budgets(story)[story.people["ben"]["subject_id"]]
    assert spent["spent"] == story.run["epsilon"]  # a withdrawal does not take back what was learned
    assert story.ok("train", "plan", "--epsilon", "4", "--delta", "1e-2")["persons"] == 2


def report(story):
    key = ("--public-key", story.made["report_public_key"])
    written = story.ok("report", "all", "--out", "reports")["files"]
    assert sorted(written) == sorted(
        f"reports/{name}.{form}"
        for name in ("ropa", "dp", "erasure", "access", "ingest")
        for form in ("json", "en.html", "ja.html")
    )
    for file in written:
        assert story.ok("report", "verify", file, *key)["pinned"] is True
    erasure = json.loads((story.home.folder / "reports/erasure.json").read_text("utf-8"))["evidence"]["body"]
    assert (erasure["outcome"], len(erasure["facts"]["erasures"])) == ("complete", 1)
    dp = json.loads((story.home.folder / "reports/dp.json").read_text("utf-8"))["evidence"]["body"]
    assert dp["facts"]["runs"][0]["audit"]["epsilon_lower"] == story.run["audit"]
    assert dp["summary"]["worst_spent"] == story.run["epsilon"]
    access = json.loads((story.home.folder / "reports/access.json").read_text("utf-8"))["evidence"]["body"]
    assert access["facts"]["log"]["ok"] is True
    page = story.home.folder / "reports/erasure.ja.html"
    page.write_text(page.read_text("utf-8").replace("</h1>", "!</h1>", 1), "utf-8")
    forged = story.program("report", "verify", str(page))
    assert (forged.status, forged.last["code"]) == (30, "REPORT_BROKEN")


def prove_the_log(story):
    checked = story.ok("audit", "verify")
    assert checked["ok"] is True
    assert checked["size"] > 30
    assert len(checked["root"]) == 44
    size = story.ok("audit", "export", "log")["size"]
    assert size > checked["size"]  # the export is an act, and logged
    assert {"checkpoint", "vkey", "tile"} <= {path.name for path in (story.home.folder / "log").iterdir()}
    outside = story.ok("audit", "verify", "--export", "log", "--vkey", story.made["log_vkey"])
    assert (outside["ok"], outside["size"], outside["pinned"]) == (True, size, True)
    entries = b"".join(path.read_bytes() for path in (story.home.folder / "log/tile/entries").rglob("*.p/*"))
    assert b"ingest.completed" in entries
    ids = [one[key] for one in story.people.values() for key in ("consent_id", "subject_id")]
    assert not [one for one in ids if one.encode() in entries]  # commitments only


def ingest(story, name, person, *, status):
    """Ingest a clip under a person's consent, which must end with ``status``; return the last object."""
    said = story.program("ingest", str(story.clips / f"{name}.mp4"), "--consent", person["consent_id"])
    assert said.status == status, said.err
    return said.last


def ranked(story):
    """Ask whose frames are like ada's."""
    return story.ok("query", "similar", "--track", story.people["ada"]["track"], *QUESTION)


def budgets(story):
    """Return each person's budget by pseudonym."""
    said = story.program("budget", "show")
    assert said.last["persons"] == [
        {key: value for key, value in one.items() if key not in ("schema_version", "message_type")}
        for one in said.objects[:-1]
    ]
    return {one["subject_id"]: one for one in said.objects[:-1]}
