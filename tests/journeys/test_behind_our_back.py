"""Rows taken out or changed behind our back: nothing spent comes back, nobody withdrawn comes back, nothing leaks."""

import shutil

import pytest


def test_budget_taken_out_of_the_ledger_is_missed(trained, home, program):
    """The log remembers every reservation: an emptied ledger refunds nobody."""
    home.rows("DELETE FROM ledger_member")
    home.rows("DELETE FROM ledger_entry")
    for command in (("budget", "show"), ("train", "plan", "--epsilon", "1", "--delta", "1e-2"), ("doctor",)):
        said = program(*command)
        assert said.status in (30, 1), command
    assert program("budget", "show").last["code"] == "BUDGET_REWOUND"  # the anchor knows what was spent


def test_a_setting_that_changes_later_changes_no_promise(ingested, home, program, monkeypatch):
    """The cap is frozen in the consent's record: a laxer fabnet.toml where the command runs buys nothing."""
    (home.folder / "fabnet.toml").write_text("[train]\ndefault_epsilon_cap = 90.0\n", "utf-8")
    monkeypatch.chdir(home.folder)
    said = program("train", "plan", "--epsilon", "60", "--delta", "1e-2")
    assert (said.status, said.last["code"]) == (22, "BUDGET_EXCEEDED")


def test_a_swapped_public_key_is_not_sealed_to(ingested, home, clips, program):
    """Ingest seals only to keys that this vault made."""
    home.rows("UPDATE data_key SET public = randomblob(32) WHERE domain = 'tracklets'", file="keystore.db")
    said = program("ingest", str(clips / "dan.mp4"), "--consent", ingested.consents["ben"])
    assert (said.status, said.last["code"]) == (30, "KEY_CHANGED")


def test_a_withdrawal_taken_out_of_the_events_still_counts(trained, home, clips, program, ok):
    """A consent whose erasure was begun is never effective again, whatever its events say."""
    ben = trained.consents["ben"]
    ok("subject", "withdraw", ben, "--confirm", ben)
    home.rows("DELETE FROM consent_event WHERE type = 'withdrawn'")
    said = program("ingest", str(clips / "dan.mp4"), "--consent", ben)
    assert (said.status, said.last["code"]) == (20, "CONSENT_WITHDRAWN")


def test_keys_that_come_back_are_destroyed_again(trained, home, ok, program):
    """After a keystore was restored, doctor fails, and withdrawing again destroys what came back."""
    ben = trained.consents["ben"]
    keystore = home.vault / "keystore.db"
    shutil.copy(keystore, home.folder / "old-keystore.db")
    ok("subject", "withdraw", ben, "--confirm", ben)
    for name in ("keystore.db-wal", "keystore.db-shm"):
        (home.vault / name).unlink(missing_ok=True)
    shutil.copy(home.folder / "old-keystore.db", keystore)
    assert program("doctor").status == 1
    again = ok("subject", "withdraw", ben, "--confirm", ben)
    assert (again["outcome"], again["already"]) == ("complete", False)
    assert home.rows(
        "SELECT count(*) FROM data_key WHERE consent_id = ? AND destroyed_at IS NULL", ben, file="keystore.db"
    ) == [(0,)]


@pytest.mark.usefixtures("ingested")
def test_init_deletes_nothing_that_a_vault_may_need(home, program):
    """A lost vault.json beside the mark of a cut-off init: the databases are set aside, not deleted."""
    before = (home.vault / "keystore.db").read_bytes()
    (home.vault / ".creating").touch()
    (home.vault / "vault.json").unlink()
    program("init")
    assert before in [path.read_bytes() for path in home.vault.glob("set-aside-*/keystore.db")]


def test_one_film_is_not_two_people(ingested, clips, program):
    """The same bytes under another person's consent are refused: whose face it is cannot be decided."""
    said = program("ingest", str(clips / "ada.mp4"), "--consent", ingested.consents["ben"])
    assert (said.status, said.last["code"]) == (23, "SOURCE_OF_ANOTHER")


def test_a_refused_question_is_in_the_access_report(trained, home, program, ok):
    """A refusal for want of consent is a decision too."""
    track = ok("track", "list")  # the summary; ids come from the rows
    assert track["tracks"]
    (row,) = home.rows("SELECT track_id FROM track WHERE consent_id = ? LIMIT 1", trained.consents["ada"])
    assert program("query", "similar", "--track", row[0], "--purpose", "emotion_inference").status == 20
    denied = home.rows("SELECT count(*) FROM decision WHERE outcome = 'deny' AND policy_id = 'purpose_not_covered'")
    assert denied == [(1,)]
