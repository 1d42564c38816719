"""Somebody who can write to the vault's files, but holds no key, changes a whole vault: each change is caught.

What one change breaks is found by the check that is made for it: the log by ``audit verify``, sealed data and plans by
the act that would use them. Exit status 30, or 12 where the key file is not the vault's.
"""

import json
import shutil

import pytest

from fabnet_secure.privacy.plan import DPPlan

QUESTION = ("--top", "3", "--purpose", "query_internal")


def flipped(blob, at):
    """Return the bytes (or text) with one bit flipped."""
    changed = bytearray(blob if isinstance(blob, bytes) else blob.encode())
    changed[at] ^= 1
    return bytes(changed) if isinstance(blob, bytes) else changed.decode()


def flip(home, table, column, where, *values, at=-7, file="vault.db"):
    """Flip a bit in one cell."""
    ((cell,),) = home.rows(f"SELECT {column} FROM {table} WHERE {where}", *values, file=file)
    home.rows(f"UPDATE {table} SET {column} = ? WHERE {where}", flipped(cell, at), *values, file=file)


def swap(home, table, column, key, one, other, *, file="vault.db"):
    """Exchange the cells of two rows."""
    cells = [home.rows(f"SELECT {column} FROM {table} WHERE {key} = ?", row, file=file)[0][0] for row in (one, other)]
    for row, cell in zip((other, one), cells, strict=True):
        home.rows(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", cell, row, file=file)


LAST = "leaf_index = (SELECT max(leaf_index) FROM log_entry)"
LOG = {
    "an entry's bit flipped": lambda home: flip(home, "log_entry", "body", "leaf_index = 5"),
    "an entry dropped from the middle": lambda home: (
        home.rows("DELETE FROM log_opening WHERE leaf_index = 5")
        + home.rows("DELETE FROM log_entry WHERE leaf_index = 5")
    ),
    "the last entry dropped": lambda home: home.rows(f"DELETE FROM log_entry WHERE {LAST}"),
    "the last entry dropped and the size with it": lambda home: (
        home.rows(f"DELETE FROM log_entry WHERE {LAST}") + home.rows("UPDATE log_head SET size = size - 1")
    ),
    "two entries swapped": lambda home: swap(home, "log_entry", "body", "leaf_index", 3, 4),
    "an entry added": lambda home: home.rows("INSERT INTO log_entry SELECT 1 + max(leaf_index), body FROM log_entry"),
    "an entry replaced by text": lambda home: home.rows("UPDATE log_entry SET body = 'x' WHERE leaf_index = 2"),
    "a tile's bit flipped": lambda home: flip(home, "log_tile", "hashes", "level = 0", at=40),
    "a tile cut short": lambda home: home.rows("UPDATE log_tile SET hashes = substr(hashes, 1, 64) WHERE level = 0"),
    "a tile dropped": lambda home: home.rows("DELETE FROM log_tile WHERE level = 0"),
    "the checkpoint's signature flipped": lambda home: flip(home, "log_head", "checkpoint", "1", at=-9),
    "the checkpoint's size changed": lambda home: home.rows(
        "UPDATE log_head SET checkpoint = replace(checkpoint, char(10) || size, char(10) || (size - 1))"
    ),
    "the head dropped": lambda home: home.rows("DELETE FROM log_head"),
    "the checkpoint emptied": lambda home: home.rows("UPDATE log_head SET checkpoint = ''"),
}


@pytest.mark.parametrize("change", LOG)
def test_a_changed_log_is_caught(change, trained, home, program, ok):
    """Flip, drop, swap, add: ``audit verify`` ends with 30, and the access report does not call the log sound."""
    assert ok("audit", "verify")["ok"] is True
    LOG[change](home)
    said = program("audit", "verify")
    assert said.status == 30, said.out
    assert said.last["code"] in ("LOG_BROKEN", "CHECKPOINT_BROKEN")
    assert said.last["ok"] is False


@pytest.mark.parametrize("change", ["a tile's bit flipped", "the checkpoint's signature flipped", "the head dropped"])
def test_nothing_is_signed_on_top_of_a_changed_edge(change, trained, home, program, consent_of):
    """An act that would extend a log whose edge was changed is refused, and not kept."""
    LOG[change](home)
    before = home.rows("SELECT count(*) FROM consent")
    said = program(*consent_of("eve@example.org"))
    assert said.status == 30
    assert home.rows("SELECT count(*) FROM consent") == before


def test_a_changed_export_is_caught(trained, home, program, ok):
    """The same holds for a copy of the log that somebody else keeps, and for one signed by another log's key."""
    vkey = ok("init")["log_vkey"]
    ok("audit", "export", "log")
    (entries,) = (home.folder / "log/tile/entries").glob("*.p/*")
    whole = entries.read_bytes()
    entries.write_bytes(flipped(whole, len(whole) // 2))
    assert program("audit", "verify", "--export", "log", "--vkey", vkey).status == 30
    entries.write_bytes(whole)
    assert program("audit", "verify", "--export", "log", "--vkey", vkey).status == 0
    ok("init", "--vault", "other", "--key-file", "other.key")
    stranger = ok("init", "--vault", "other", "--key-file", "other.key")["log_vkey"]
    assert program("audit", "verify", "--export", "log", "--vkey", stranger).status == 30


@pytest.mark.parametrize("change", ["flip", "swap people", "swap tracks"])
def test_changed_crops_are_caught(change, ingested, home, program):
    """Sealed crops open in their own row only: not changed, not as another person's, not as another track's."""
    (ada, again), (ben,) = ingested.tracks["ada"], ingested.tracks["ben"]
    if change == "flip":
        flip(home, "tracklet", "sealed", "track_id = ?", ben, at=2000)
    else:
        swap(home, "tracklet", "sealed", "track_id", ada, ben if change == "swap people" else again)
    said = program("train", "run", "--plan", ingested.plan)
    assert (said.status, said.last["code"]) == (30, "SEAL_BROKEN")
    assert home.rows("SELECT count(*) FROM model") == [(0,)]


@pytest.mark.parametrize("change", ["flip", "swap people", "swap tracks", "other shape"])
def test_changed_embeddings_are_caught(change, trained, home, program):
    """The same holds for pages of embeddings, and for what a row says about their shape."""
    (ada, again), (ben,) = trained.tracks["ada"], trained.tracks["ben"]
    if change == "flip":
        flip(home, "embedding_page", "sealed", "track_id = ?", ben, at=300)
    elif change == "other shape":
        home.rows("UPDATE embedding_page SET n = 4, dim = 256 WHERE track_id = ?", ben)
    else:
        swap(home, "embedding_page", "sealed", "track_id", ada, ben if change == "swap people" else again)
    said = program("query", "similar", "--track", ada, *QUESTION)
    # The census counts every page with its person, track, shape and ciphertext, so it is first; the seal is the second.
    assert (said.status, said.last["code"]) == (30, "SEAL_BROKEN" if change == "flip" else "EMBEDDINGS_CHANGED")
    assert "results" not in said.out


@pytest.mark.parametrize("change", ["noise", "epsilon", "steps", "members", "garbage"])
def test_a_changed_plan_is_caught(change, ingested, home, program):
    """What is run is what was priced: less noise, a smaller ε, other people are not."""
    ((text, dataset_id),) = home.rows("SELECT body, dataset_id FROM plan WHERE plan_id = ?", ingested.plan)
    body = json.loads(text)
    if change == "noise":
        body["noise_multiplier"] = 0.01
    elif change == "epsilon":
        body["epsilon"] = 0.5
    elif change == "steps":
        body["steps"] = 4
    if change == "members":
        ((dataset,),) = home.rows("SELECT body FROM dataset WHERE dataset_id = ?", dataset_id)
        kept = json.loads(dataset)
        ben = ingested.tracks["ben"][0]
        kept["members"] = [one for one in kept["members"] if one["track_id"] != ingested.tracks["ada"][1]]
        assert ben in {one["track_id"] for one in kept["members"]}
        home.rows("UPDATE dataset SET body = ? WHERE dataset_id = ?", json.dumps(kept), dataset_id)
    else:
        text = json.dumps(body) if change != "garbage" else '{"plan": 1}'
        home.rows("UPDATE plan SET body = ? WHERE plan_id = ?", text, ingested.plan)
    said = program("train", "run", "--plan", ingested.plan)
    assert (said.status, said.last["code"]) == (30, "PLAN_BROKEN")
    assert home.rows("SELECT count(*) FROM ledger_entry") == [(0,)]


def test_a_plan_changed_together_with_its_log_entry_is_caught(ingested, home, program):
    """The log is checked whole before it is believed: an entry rewritten to fit a changed plan is no entry."""
    ((text,),) = home.rows("SELECT body FROM plan WHERE plan_id = ?", ingested.plan)
    body = json.loads(text) | {"noise_multiplier": 0.5}
    before, after = (DPPlan.from_json(one).sha256() for one in (json.loads(text), body))
    home.rows("UPDATE plan SET body = ? WHERE plan_id = ?", json.dumps(body), ingested.plan)
    home.rows("UPDATE log_entry SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)", before, after)
    said = program("train", "run", "--plan", ingested.plan)
    assert (said.status, said.last["code"]) == (30, "LOG_BROKEN")


@pytest.mark.parametrize("change", ["flip", "cut", "gone", "other digest"])
def test_changed_weights_are_caught(change, trained, home, program):
    """Weights that are not those registered are not used."""
    path = home.vault / "models" / f"{trained.model}.safetensors"
    whole = path.read_bytes()
    if change == "gone":
        path.unlink()
    elif change in ("flip", "cut"):
        path.write_bytes(whole[:-100] if change == "cut" else flipped(whole, len(whole) // 2))
    if change == "other digest":
        home.rows("UPDATE model SET weights_sha256 = ?", "ab" * 32)
    said = program("embed", "--model", trained.model)
    assert said.status == 30, said.out


@pytest.mark.parametrize("change", ["wrapped flipped", "wrapped swapped", "moved to another person", "secret", "epoch"])
def test_a_changed_keystore_is_caught(change, trained, home, program):
    """A wrapped key opens in its own row only; the vault's own secrets likewise."""
    query = "SELECT key_id FROM data_key WHERE consent_id = ? AND domain = 'embeddings'"
    ada, ben = (home.rows(query, trained.consents[name], file="keystore.db")[0][0] for name in ("ada", "ben"))
    if change == "wrapped flipped":
        flip(home, "data_key", "wrapped", "key_id = ?", ada, file="keystore.db")
    elif change == "wrapped swapped":
        swap(home, "data_key", "wrapped", "key_id", ada, ben, file="keystore.db")
    elif change == "moved to another person":
        home.rows("DELETE FROM data_key WHERE key_id = ?", ben, file="keystore.db")
        home.rows(
            "UPDATE data_key SET subject_id = ?, consent_id = ? WHERE key_id = ?",
            *(trained.subjects["ben"], trained.consents["ben"], ada),
            file="keystore.db",
        )
    elif change == "secret":
        flip(home, "secret", "wrapped", "name = 'log_signing'", file="keystore.db")
    else:
        flip(home, "epoch", "wrapped", "number = 1", file="keystore.db")
    said = program("query", "similar", "--track", trained.tracks["ada"][0], *QUESTION)
    expected = {"moved to another person": "KEY_LOST", "epoch": "EPOCH_BROKEN"}.get(change, "SEAL_BROKEN")
    assert (said.status, said.last["code"]) == (30, expected), said.out


def test_another_vaults_key_opens_nothing(trained, home, program, ok):
    """A key file that is none of this vault's: exit 12, before anything is read."""
    ok("init", "--vault", "other", "--key-file", "other.key")
    said = program("track", "list", "--key-file", "other.key")
    assert (said.status, said.last["code"]) == (12, "KEY_WRONG")
    shutil.copy(home.folder / "other" / "keystore.db", home.vault / "keystore.db")
    for name in ("keystore.db-wal", "keystore.db-shm"):
        (home.vault / name).unlink(missing_ok=True)
    said = program("audit", "verify", "--key-file", "other.key")  # the whole keystore exchanged, with its key
    assert (said.status, said.last["code"]) == (30, "EPOCH_BROKEN")
    said = program("audit", "verify")
    assert (said.status, said.last["code"]) == (30, "EPOCH_BROKEN")


def test_a_changed_card_is_caught(trained, home, program):
    """``vault.json`` says whose log and whose database this is; another name fits neither."""
    card = json.loads((home.vault / "vault.json").read_text("utf-8"))
    (home.vault / "vault.json").write_text(json.dumps(card | {"log_origin": "fabnet-secure/other"}), "utf-8")
    assert program("audit", "verify").status == 30
    (home.vault / "vault.json").write_text(json.dumps(card | {"vault_id": "other"}), "utf-8")
    said = program("audit", "verify")
    assert (said.status, said.last["code"]) == (10, "VAULT_MISMATCH")
