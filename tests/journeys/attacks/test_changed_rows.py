"""Bytes of sealed values changed, rows that vanish, a consent edited by hand: each is refused and opens nothing."""

import json
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.pipeline import context

VAULT, KEYS = "vault.db", "keystore.db"
QUESTION = ("--top", "40", "--purpose", "query_internal")
BROKEN = 30
FEW = settings(
    max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- any byte of any sealed or signed value


SEALED = {
    ("log_entry", "body"): (VAULT, ("audit", "verify")),
    ("log_tile", "hashes"): (VAULT, ("audit", "verify")),
    ("log_head", "checkpoint"): (VAULT, ("audit", "verify")),
    ("log_opening", "sealed"): (VAULT, None),
    ("subject", "sealed_reference"): (VAULT, None),
    ("tracklet", "sealed"): (VAULT, None),
    ("quarantine", "sealed"): (VAULT, ("quarantine", "release", "{video}", "--dry-run")),
    ("embedding_page", "sealed"): (VAULT, ("query", "similar", "--track", "{track}", *QUESTION)),
    ("embedding_bundle", "sealed"): (VAULT, ("query", "similar", "--track", "{track}", *QUESTION)),
    ("consent", "body"): (VAULT, ("consent", "list")),
    ("consent_event", "body"): (VAULT, ("consent", "list")),
    ("epoch", "wrapped"): (KEYS, ("track", "list")),
    ("epoch_key", "public"): (KEYS, ("track", "list")),
    ("data_key", "wrapped"): (KEYS, None),
    ("data_key", "public"): (KEYS, None),
    ("secret", "wrapped"): (KEYS, ("quarantine", "release", "{video}", "--dry-run")),
}
"""Every column of sealed, wrapped or signed bytes, and what reads it: a command, or the trial restore (None)."""
ELSEWHERE = {("notice", "text"), ("holder", "public"), ("holder_key", "sealed"), ("secret", "public")}
"""Held to their digest, row or private half by tests of their own, in this folder or in ``test_keyrings``."""


def test_no_column_of_bytes_is_forgotten(crowded, home):
    """The table above has every column of bytes of both databases, and the site has a row in every table."""
    found = set()
    for file in (VAULT, KEYS):
        for (table,) in home.rows("SELECT name FROM sqlite_master WHERE type = 'table'", file=file):
            assert home.rows(f"SELECT count(*) FROM {table}", file=file) > [(0,)], table
            columns = home.rows(f"PRAGMA table_info({table})", file=file)
            found |= {(table, column[1]) for column in columns if column[2] == "BLOB"}
    texts = {("log_head", "checkpoint"), ("consent", "body"), ("consent_event", "body")}
    assert found == (set(SEALED) | ELSEWHERE) - texts


@pytest.mark.parametrize("column", SEALED, ids=".".join)
def test_any_byte_that_is_changed(
    column, crowded, home, program, tmp_path, asked, answer, opened_by_trial, kept, put_back
):
    """Flip a bit, cut the end off, take another row's: whoever reads it refuses; undone, all is as before."""
    (table, name), (file, command) = column, SEALED[column]
    words = [word.format(video=crowded.video, track=crowded.tracks["eve"][0]) for word in command or ()]
    rows = home.rows(f"SELECT rowid, {name} FROM {table} WHERE length({name}) > 0 ORDER BY rowid", file=file)
    before = answer(program, asked(crowded))
    assert before[0] == 0
    original = kept(home, tmp_path / "original")

    def put(row, cell):
        home.rows(f"UPDATE {table} SET {name} = ? WHERE rowid = ?", cell, row, file=file)

    @FEW
    @given(st.data())
    def attack(data):
        row, cell = data.draw(st.sampled_from(rows), label="row")
        changed = bytearray(cell if isinstance(cell, bytes) else cell.encode())
        others = [one for _, one in rows if one != cell]
        kind = data.draw(st.sampled_from(["flip", "cut", *(["swap"] if others else [])]), label="kind")
        if kind == "flip":
            place = data.draw(st.integers(0, len(changed) * (8 if isinstance(cell, bytes) else 7) - 1), label="bit")
            changed[place % len(changed)] ^= 1 << (place // len(changed))
        elif kind == "cut":
            del changed[data.draw(st.integers(1, len(changed) - 1), label="length") :]
        else:
            other = data.draw(st.sampled_from(others), label="other")
            changed = bytearray(other if isinstance(other, bytes) else other.encode())
        try:
            put(row, bytes(changed) if isinstance(cell, bytes) else changed.decode())
        except sqlite3.IntegrityError:
            return  # the schema itself refuses it
        if command is None:
            assert opened_by_trial(home) == BROKEN
        else:
            said = program(*words)
            assert said.status == BROKEN, (said.out, said.err)
            assert "results" not in said.out
        put_back(home, original)

    attack()
    assert answer(program, asked(crowded)) == before
    assert program("doctor").status == 0


# --- rows that vanish


READERS = {
    "meta": ("doctor", 1),
    "log_head": ("audit verify", BROKEN),
    "log_entry": ("audit verify", BROKEN),
    "log_tile": ("audit verify", BROKEN),
    "embedding_page": ("query", BROKEN),
    "embedding_segment": ("query", BROKEN),
    "embedding_bundle": ("query", BROKEN),
    "legal_hold": ("subject holds", BROKEN),
    "approver": ("approval keys", BROKEN),
    "ledger_entry": ("budget show", BROKEN),
    "ledger_member": ("budget show", BROKEN),
    "run": ("budget show", BROKEN),
    "epoch": ("track list", BROKEN),
    "epoch_key": ("track list", BROKEN),
}
"""Where a command that reads the rows refuses by itself; all others are missed by ``doctor``."""
REFUSED_ANYWAY = {"principal", "holder", "holder_key", "alembic_version"}
"""Whoever's row is gone is refused, so nobody gains: an account, a keyring, the schema's version."""
UNSEEN = {"log_opening"}
"""What nothing counts (docs/threat-model.md): a person's access report then tells of fewer acts."""
COMMANDS = {
    "doctor": ("doctor",),
    "audit verify": ("audit", "verify"),
    "subject holds": ("subject", "holds"),
    "approval keys": ("approval", "keys"),
    "budget show": ("budget", "show"),
    "track list": ("track", "list"),
}


def test_rows_that_are_taken_out(crowded, home, program, tmp_path, asked, answer, kept, put_back):
    """One row, the last, of each table in turn: the command that reads it refuses, or doctor misses it."""
    before = answer(program, asked(crowded))
    original = kept(home, tmp_path / "original")
    unseen, seen = set(), set()
    for file in (VAULT, KEYS):
        for (table,) in home.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1", file=file):
            if table in REFUSED_ANYWAY:
                continue
            where = "WHERE key LIKE 'consent/%'" if table == "meta" else ""  # other proofs: the next two tests
            home.rows(f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table} {where})", file=file)
            reader, status = READERS.get(table, ("doctor", 1))
            said = program(
                *(
                    asked(crowded, "ada" if table != "embedding_page" else "ben")
                    if reader == "query"
                    else COMMANDS[reader]
                )
            )
            assert said.status in (0, status), (table, said.out, said.err)
            (seen if said.status else unseen).add(table)
            put_back(home, original)
    assert unseen == UNSEEN
    assert len(seen) > 30
    assert answer(program, asked(crowded)) == before
    assert program("doctor").status == 0


def test_a_key_without_its_proof_is_used_for_nothing(crowded, home, program, asked):
    """Only the vault can prove a public half; one that is not proven is sealed to no more, nor asked under."""
    home.rows("DELETE FROM meta WHERE key LIKE 'key/%'")
    said = program(*asked(crowded))
    assert (said.status, said.last["code"]) == (BROKEN, "KEY_CHANGED")


@pytest.mark.parametrize("table", ["principal", "holder", "holder_key", "alembic_version", "meta"])
def test_whoever_is_taken_out_is_refused(table, crowded, home, program, monkeypatch, asked):
    """Without its row an account, a keyring or a schema has no rights: nothing opens."""
    file = KEYS if table.startswith("holder") else VAULT
    home.rows("PRAGMA foreign_keys = OFF", file=file)
    home.rows(f"DELETE FROM {table}" + (" WHERE key LIKE 'holder/%'" if table == "meta" else ""), file=file)
    monkeypatch.setattr(context, "os_account", lambda: "ana")
    monkeypatch.setenv("FABNET_KEY_FILE", str(home.folder / "ana.key"))
    said = program(*asked(crowded))
    assert said.status in ((BROKEN,) if table == "meta" else (10, 12, 21)), said.err
    assert "results" not in said.out


def test_a_consent_that_is_edited_covers_nothing(crowded, home, program, ok, clips, asked):
    """A purpose added, a cap raised, a longer time, a withdrawal taken out with its erasure: refused, 30."""
    ben = crowded.consents["ben"]
    ((text,),) = home.rows("SELECT body FROM consent WHERE consent_id = ?", ben)
    record = json.loads(text)
    scopes = [dict(scope) for scope in record["scopes"]]
    scopes[0]["dp_epsilon_cap"] = 900.0
    wider = [*record["scopes"], dict(record["scopes"][-1], purpose="share_third_party")]
    shown = record["notice"] | {"covers_purposes": [*record["notice"]["covers_purposes"], "share_third_party"]}
    for change in ({"scopes": scopes}, {"scopes": wider, "notice": shown}, {"jurisdictions": ["US-IL"]}):
        body = json.dumps(record | change, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        home.rows("UPDATE consent SET body = ? WHERE consent_id = ?", body, ben)
        for command in (
            asked(crowded),
            ("train", "plan", "--epsilon", "1", "--delta", "1e-2"),
            ("ingest", str(clips / "dan.mp4"), "--consent", ben),
            ("consent", "show", ben),
        ):
            said = program(*command)
            assert (said.status, said.last["code"]) == (BROKEN, "CONSENT_CHANGED"), (command, said.err)
        assert program("doctor").status == 1
    home.rows("UPDATE consent SET body = ? WHERE consent_id = ?", text, ben)
    assert program("doctor").status == 0

    dan = crowded.consents["dan"]  # withdrew
    home.rows("DELETE FROM consent_event WHERE consent_id = ? AND type = 'withdrawn'", dan)
    home.rows("DELETE FROM erasure WHERE consent_id = ?", dan)
    said = program("ingest", str(clips / "dan.mp4"), "--consent", dan)
    assert said.status == BROKEN, said.err
    assert home.rows(
        "SELECT count(*) FROM tracklet WHERE track_id IN (SELECT track_id FROM track WHERE consent_id = ?)", dan
    ) == [(0,)]


def test_a_changed_consent_can_still_be_withdrawn(trained, home, program, ok, asked):
    """The wish counts, whatever was done to the record."""
    ben = trained.consents["ben"]
    home.rows("UPDATE consent SET body = replace(body, 'on premise', 'elsewhere!') WHERE consent_id = ?", ben)
    assert program("query", "similar", "--track", trained.tracks["ada"][0], *QUESTION).status == BROKEN
    done = ok("subject", "withdraw", ben, "--confirm", ben)
    assert (done["outcome"], done["keys_destroyed"]) == ("complete", 3)
    found = ok(*asked(trained))["results"]
    assert found
    assert not {one["track_id"] for one in found} & set(trained.tracks["ben"])
