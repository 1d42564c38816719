"""Attacks on a whole vault by somebody who can write to its files and holds no key, or only a lesser one.

Each is refused by exit status 30 or by its own documented code, opens nothing and loses nothing: once what was done is
undone, the vault answers as before. ``test_tamper`` has the changes that one check is made for; here are those that may
come from anywhere: any byte of any sealed value, rows that vanish, pages and files of another time or another vault,
keyrings and policies edited by hand, a clock, a second process, a database that goes away in mid-act.
"""

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.config import load, policies_dir
from fabnet_secure.errors import FabnetError, IntegrityFailure, KeyProblem
from fabnet_secure.pipeline import context, ingest, keep
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.openable import check_openable
from fabnet_secure.store import keystore
from fabnet_secure.store.database import read_only

VAULT, KEYS = "vault.db", "keystore.db"
QUESTION = ("--top", "40", "--purpose", "query_internal")
BROKEN = 30
FEW = settings(
    max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def asked(ids, name="ada"):
    """Return the question that opens every embedding."""
    return ("query", "similar", "--track", ids.tracks[name][0], *QUESTION)


def answer(program, command):
    """Return the status and what was found, without what differs from time to time."""
    said = program(*command)
    body = said.last if said.objects else {}
    return said.status, {key: body[key] for key in ("results", "consents", "tracks") if key in body}


def vault_of(home):
    """Open the site as its root, with every domain."""
    return open_site(Place(root=home.vault, key_file=home.key), load().settings)


def opened_by_trial(home):
    """Open every sealed row, as ``backup verify`` does; what refuses is the answer's code."""
    try:
        with vault_of(home) as site:
            check_openable(site)
            with read_only(site.keystore) as connection:
                site.keyring.unwrap_many(keystore.list_keys(connection))
    except FabnetError as refusal:
        return refusal.exit_code if isinstance(refusal, IntegrityFailure | KeyProblem) else 1
    return 0


def settled(home):
    """Empty the write-ahead logs into the files, so that a file is all there is."""
    for name in (VAULT, KEYS):
        home.rows("PRAGMA wal_checkpoint(TRUNCATE)", file=name)


def kept(home, folder):
    """Copy the files of the site: vault, anchor and epoch file."""
    settled(home)
    shutil.copytree(home.folder, folder, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    return folder


def put_back(home, folder):
    """Bring the copied files back, as if nothing had been done since."""
    shutil.rmtree(home.vault)
    shutil.copytree(folder / "vault", home.vault)
    for name in ("vault.anchor", "vault.epoch"):
        shutil.copy(folder / name, home.folder / name)


def contents(home):
    """Return every row of both databases, by table; of a damaged one, those that can be read."""
    found = {}
    with suppress(sqlite3.DatabaseError):
        found.update(_tables(home))
    return found


def _tables(home):
    for file in (VAULT, KEYS):
        with closing(sqlite3.connect(f"file:{home.vault / file}?mode=ro", uri=True)) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                yield table, connection.execute(f"SELECT * FROM {table} NOT INDEXED").fetchall()


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
"""Held to their digest, row or private half by tests of their own, in this file or in ``test_keyrings``."""


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
def test_any_byte_that_is_changed(column, crowded, home, program, tmp_path):
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


def test_rows_that_are_taken_out(crowded, home, program, tmp_path):
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


def test_a_key_without_its_proof_is_used_for_nothing(crowded, home, program):
    """Only the vault can prove a public half; one that is not proven is sealed to no more, nor asked under."""
    home.rows("DELETE FROM meta WHERE key LIKE 'key/%'")
    said = program(*asked(crowded))
    assert (said.status, said.last["code"]) == (BROKEN, "KEY_CHANGED")


@pytest.mark.parametrize("table", ["principal", "holder", "holder_key", "alembic_version", "meta"])
def test_whoever_is_taken_out_is_refused(table, crowded, home, program, monkeypatch):
    """Without its row an account, a keyring or a schema has no rights: nothing opens."""
    file = KEYS if table.startswith("holder") else VAULT
    home.rows("PRAGMA foreign_keys = OFF", file=file)
    home.rows(f"DELETE FROM {table}" + (" WHERE key LIKE 'holder/%'" if table == "meta" else ""), file=file)
    monkeypatch.setattr(context, "os_account", lambda: "ana")
    monkeypatch.setenv("FABNET_KEY_FILE", str(home.folder / "ana.key"))
    said = program(*asked(crowded))
    assert said.status in ((BROKEN,) if table == "meta" else (10, 12, 21)), said.err
    assert "results" not in said.out


def test_a_consent_that_is_edited_covers_nothing(crowded, home, program, ok, clips):
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


def test_a_changed_consent_can_still_be_withdrawn(trained, home, program, ok):
    """The wish counts, whatever was done to the record."""
    ben = trained.consents["ben"]
    home.rows("UPDATE consent SET body = replace(body, 'on premise', 'elsewhere!') WHERE consent_id = ?", ben)
    assert program("query", "similar", "--track", trained.tracks["ada"][0], *QUESTION).status == BROKEN
    done = ok("subject", "withdraw", ben, "--confirm", ben)
    assert (done["outcome"], done["keys_destroyed"]) == ("complete", 3)
    found = ok(*asked(trained))["results"]
    assert found
    assert not {one["track_id"] for one in found} & set(trained.tracks["ben"])


# --- pages and files of another time, cut, or of another vault


def test_a_page_of_the_file_from_before(crowded, home, program, tmp_path, clips, ok):
    """Each database page that an act changed, put back alone: refused, or not a bit of the answer changes."""
    older = kept(home, tmp_path / "older")
    ben = crowded.consents["ben"]
    ok("subject", "withdraw", ben, "--confirm", ben)
    newer = kept(home, tmp_path / "newer")
    before = answer(program, asked(crowded))
    put_back(home, newer)
    told = contents(home)
    size = home.rows("PRAGMA page_size")[0][0]
    refused = 0
    for file in (VAULT, KEYS):
        old, new = ((folder / "vault" / file).read_bytes() for folder in (older, newer))
        pages = [at for at in range(0, min(len(old), len(new)), size) if old[at : at + size] != new[at : at + size]]
        assert pages
        for at in pages[:: max(1, len(pages) // 8)]:
            (home.vault / file).write_bytes(new[:at] + old[at : at + size] + new[at + size :])
            free = contents(home) == told  # nothing of a free page is in any row
            said = program(*asked(crowded))
            assert said.status in (0, 10, 12, 20, BROKEN), (at, said.err)
            assert "UNFORESEEN" not in said.err
            if said.status == 0:
                found = {one["track_id"] for one in said.last["results"]}
                assert found <= {one["track_id"] for one in before[1]["results"]}
            noticed = said.status != 0 or program("doctor").status != 0 or program("audit", "verify").status != 0
            assert noticed or free, at
            refused += noticed
            put_back(home, newer)
    assert refused > 6
    assert answer(program, asked(crowded)) == before


@pytest.mark.parametrize("file", [VAULT, KEYS])
def test_a_file_that_is_cut_short(file, crowded, home, program, tmp_path, ok):
    """At any length: refused with a code that says so; whole again, nothing is lost."""
    original = kept(home, tmp_path / "original")
    before = answer(program, asked(crowded))
    put_back(home, original)
    whole = (home.vault / file).read_bytes()
    for length in (0, 1, 99, 100, 4096, 3 * 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        (home.vault / file).write_bytes(whole[:length])
        for command in (asked(crowded), ("audit", "verify"), ("track", "list")):
            said = program(*command)
            assert said.status in (10, 12, 20, BROKEN) or length > len(whole) // 2, (length, command, said.err)
            assert said.status or command != asked(crowded) or answer(program, command) == before, length
        # The last byte alone may be one that no row has; else the pages that are left do not fit one another.
        assert program("doctor").status != 0 or length == len(whole) - 1, length
        put_back(home, original)
    assert ok(*asked(crowded))["results"]
    ok("audit", "verify")


@pytest.mark.parametrize("row", ["epoch", "epoch_key", "secret", "data_key", "holder", "the whole file"])
def test_rows_of_another_vaults_keystore(row, trained, home, program, ok, tmp_path):
    """A vault made with the same key file lends its rows: none of them opens or signs anything here."""
    shutil.copy(home.key, home.folder / "lent.key")
    home.key.replace(home.folder / "other.key")
    ok("init", "--vault", "other", "--key-file", "other.key")
    (home.folder / "other.key").replace(home.key)
    settled(home)
    before = answer(program, asked(trained))
    original = kept(home, tmp_path / "original")
    lent = home.folder / "other" / KEYS
    if row == "the whole file":
        with closing(sqlite3.connect(lent)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(lent, home.vault / KEYS)
    else:
        with closing(sqlite3.connect(home.vault / KEYS)) as connection, connection:
            connection.execute("ATTACH ? AS lent", (str(lent),))
            if row == "data_key":
                connection.execute("UPDATE data_key SET wrapped = (SELECT wrapped FROM secret LIMIT 1)")
            elif row == "holder":
                connection.execute("UPDATE epoch SET wrapped = (SELECT wrapped FROM lent.epoch)")
            else:
                names = [column[1] for column in connection.execute(f"PRAGMA table_info({row})")]
                connection.execute(f"DELETE FROM {row}")
                connection.execute(f"INSERT INTO {row} SELECT {', '.join(names)} FROM lent.{row}")
    said = program(*asked(trained))
    assert said.status in (12, BROKEN), said.err
    assert "results" not in said.out
    put_back(home, original)
    assert answer(program, asked(trained)) == before


# --- keyrings, policies and the clock


@pytest.mark.parametrize("change", ["domains", "roles", "both", "a holder of one's own", "the root's blob"])
def test_a_keyring_that_is_widened_by_hand(change, crowded, home, program, ok, monkeypatch):
    """Somebody with an analyst's key and the keystore's file gives herself more: refused, and the root sees it."""
    if change in ("domains", "both"):
        home.rows('UPDATE holder SET domains = \'["embeddings","identity","log","tracklets"]\'', file=KEYS)
    if change in ("roles", "both"):
        home.rows('UPDATE holder SET roles = \'["analyst","dpo","trainer"]\'', file=KEYS)
    if change == "a holder of one's own":
        ok("keys", "new", "mallory.key")
        public = ok("keys", "public", "mallory.key")["public_key"]
        home.rows("INSERT INTO holder SELECT 'mallory', ?, roles, domains, proof, created_at, NULL FROM holder",
                  bytes.fromhex(public), file=KEYS)  # fmt: skip
        home.rows("INSERT INTO holder_key SELECT 'mallory', epoch, sealed FROM holder_key", file=KEYS)
    if change == "the root's blob":
        home.rows("UPDATE holder_key SET sealed = (SELECT wrapped FROM epoch)", file=KEYS)
    name, key = ("mallory", "mallory.key") if change == "a holder of one's own" else ("ana", "ana.key")
    with monkeypatch.context() as patch:
        patch.setattr(context, "os_account", lambda: name)
        patch.setenv("FABNET_KEY_FILE", str(home.folder / key))
        for command in (asked(crowded), ("consent", "list"), ("track", "list")):
            said = program(*command)
            assert said.status in (12, BROKEN), (change, said.err)
    if change != "the root's blob":
        listed = program("keys", "list")
        assert [one["proven"] for one in listed.objects if one["message_type"] == "keyring"][-1] is False
        assert program("keys", "rekey").status == BROKEN
    assert home.rows("SELECT number FROM epoch WHERE destroyed_at IS NULL", file=KEYS) == [(1,)]


def test_a_policy_that_errors_denies(crowded, home, program, ok, monkeypatch, tmp_path):
    """Cedar passes over a policy that fails, even a forbid: we deny (21), whatever the others say."""
    folder = tmp_path / "policies"
    shutil.copytree(policies_dir(), folder)
    (folder / "access" / "zz.cedar").write_text(
        '@id("overflows")\n@title("Counts too far")\n'
        "forbid (principal, action, resource) when { 9223372036854775807 * (context.hour + 2) > 0 };\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(context, "policies_dir", lambda: folder)
        for command in (asked(crowded), ("consent", "list"), ("audit", "verify")):
            said = program(*command)
            assert (said.status, said.last["code"]) == (21, "ACCESS_DENIED"), said.err
            assert "results" not in said.out
    assert ok(*asked(crowded))["results"]
    denied = home.rows("SELECT count(*) FROM decision WHERE outcome = 'deny'")
    assert denied >= [(3,)]


def test_the_clock_set_back_brings_no_consent_back(trained, home, program, later, ok, leave):
    """An hour back: nothing is answered or done (30); five minutes are let pass; right again, all goes on."""
    leave(trained.consents["ben"])
    size = ok("audit", "verify")["size"]
    later(timedelta(hours=-1))
    for command in (asked(trained), ("audit", "verify"), ("consent", "list"), ("embed", "--model", trained.model)):
        said = program(*command)
        assert (said.status, said.last["code"]) == (BROKEN, "CLOCK_BACK")
    later(timedelta(seconds=-200))
    assert ok("audit", "verify")["size"] == size
    later(timedelta())
    assert {one["track_id"] for one in ok(*asked(trained))["results"]} & set(trained.tracks["ben"]) == set()


# --- several processes at once

SCRIPT = """
import json, sys
from fabnet_secure.commands.program import main
said = []
for command in json.load(sys.stdin):
    said.append(int(main([*command, "--debug"])))
print(json.dumps(said), file=sys.stderr)
"""


def test_processes_that_write_at_once(crowded, home, clips, ok, program, consent_of, python):
    """Consents, an ingest, a renewal of the keys, questions, all at once: each ends well or says to come again."""
    programs = {
        "consents": [list(consent_of(f"new{number}@example.org")) for number in range(4)],
        "ingest": [["ingest", str(clips / "ada-again.mp4"), "--consent", crowded.consents["ada"]],
                   ["ingest", str(clips / "dan.mp4"), "--consent", crowded.consents["ben"]]],
        "keys": [["keys", "rekey"], ["keys", "rekey"]],
        "questions": [list(asked(crowded))] * 4,
    }  # fmt: skip
    before = home.rows("SELECT count(*) FROM consent")[0][0]
    running = {
        name: subprocess.Popen(
            [python, "-c", SCRIPT], cwd=home.folder, env=home.surroundings(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for name in programs
    }  # fmt: skip
    for name, one in running.items():
        one.stdin.write(json.dumps(programs[name]))
        one.stdin.close()
    told = {}
    for name, one in running.items():
        words = one.stderr.read()
        one.wait(timeout=120)
        assert "UNFORESEEN" not in words, words
        told[name] = json.loads(words.splitlines()[-1])
        assert set(told[name]) <= {0, 11, 12}, (name, words)
    assert 0 in told["keys"]
    assert home.rows("SELECT count(*) FROM consent") == [(before + told["consents"].count(0),)]
    assert home.rows("SELECT count(*) FROM epoch WHERE destroyed_at IS NULL", file=KEYS) == [(1,)]
    ok("audit", "verify")
    assert program("doctor").status == 0
    assert opened_by_trial(home) == 0
    assert ok(*asked(crowded))["results"]
    for command, status in zip(programs["consents"], told["consents"], strict=True):
        if status:
            ok(*command)


# --- a database that goes away in mid-act


@pytest.mark.parametrize("file", [VAULT, KEYS])
@pytest.mark.parametrize("moment", [(ingest, "observe"), (ingest, "bind"), (keep, "_authorized")],
                         ids=["read", "bound", "in the transaction"])  # fmt: skip
@pytest.mark.parametrize("how", ["gone", "another", "emptied"])
def test_a_database_that_goes_away(how, moment, file, ingested, home, clips, program, ok, meanwhile, tmp_path):
    """Unlinked, exchanged or emptied while an ingest runs: it fails with a code; put back, it is done again."""
    original = kept(home, tmp_path / "original")

    def away():
        for path in home.vault.glob(f"{file}*"):
            if how == "emptied" and not path.name.endswith("-shm"):  # that one is memory: the process would die of it
                path.write_bytes(b"")
            elif how != "emptied":
                path.unlink()
        if how == "another":
            with closing(sqlite3.connect(home.vault / file)) as connection, connection:
                connection.execute("CREATE TABLE other (x)")

    meanwhile(*moment, away, after=moment[1] == "_authorized")
    command = ("ingest", str(clips / "dan.mp4"), "--consent", ingested.consents["ben"])
    said = program(*command)
    assert "UNFORESEEN" not in said.err, said.err
    assert "Traceback" not in said.err
    if said.status == 0:  # an unlinked file that is open still is the database, and goes with the process
        assert how == "gone"
    later = program("track", "list")
    assert later.status in (0, 10, 12, BROKEN)
    put_back(home, original)
    done = ok(*command)
    assert done["tracks"]["bound"] == 1
    ok("audit", "verify")
    assert program("doctor").status == 0


def test_a_disk_that_takes_no_more(ingested, home, clips, python, ok, program):
    """Files may grow no further in mid-act: a code for it, nothing of the act is kept, and the next try works."""
    settled(home)
    before = home.state()
    script = f"""
import resource, sys
from fabnet_secure.commands.program import main
from fabnet_secure.pipeline import ingest
real = ingest.bind
def bind(*arguments, **options):
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    return real(*arguments, **options)
ingest.bind = bind
sys.exit(main(["ingest", {str(clips / "dan.mp4")!r}, "--consent", {ingested.consents["ben"]!r}, "--json"]))
"""
    done = subprocess.run(
        [python, "-c", script], cwd=home.folder, env=home.surroundings(), capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 3), (done.returncode, done.stderr)
    assert "UNFORESEEN" not in done.stderr, done.stderr
    assert home.state() | {"log_opening": 0} == before | {"log_opening": 0}  # that it was begun is in the log
    assert ok("ingest", str(clips / "dan.mp4"), "--consent", ingested.consents["ben"])["tracks"]["bound"] == 1
    ok("audit", "verify")


@pytest.mark.postgres
@pytest.mark.parametrize("moment", [(keep, "_authorized"), (keep, "record_grant")], ids=["early", "late"])
def test_a_server_that_ends_the_connection(
    moment, home, clips, ok, program, consent_of, meanwhile, postgres_url, monkeypatch
):
    """``pg_terminate_backend`` in the middle of a unit of work: nothing of it is kept, and the same command does it."""
    monkeypatch.setenv("FABNET_DATABASE_URL", postgres_url)
    ok("init")
    ada = ok(*consent_of("ada@example.org"))["consent_id"]
    size = ok("audit", "verify")["size"]

    def cut_off():
        engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            ended = connection.execute(
                sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()")
            ).all()  # fmt: skip
        engine.dispose()
        assert ended

    command = ("ingest", str(clips / "ada.mp4"), "--consent", ada)
    meanwhile(*moment, cut_off, after=True)
    said = program(*command)
    assert (said.status, said.last["code"]) == (1, "STORAGE_UNREACHABLE"), said.err
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        counts = [
            connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar() for name in ("video", "tracklet")
        ]
    engine.dispose()
    assert counts == [0, 0]
    assert ok("audit", "verify")["size"] >= size
    assert ok(*command)["tracks"]["bound"] == 1
    ok("audit", "verify")
