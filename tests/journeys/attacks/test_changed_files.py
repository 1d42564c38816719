"""Pages and files of another time, cut, or of another vault: each is refused, and put right nothing is lost."""

import shutil
import sqlite3
from contextlib import closing, suppress

import pytest

VAULT, KEYS = "vault.db", "keystore.db"
BROKEN = 30


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


def test_a_page_of_the_file_from_before(crowded, home, program, tmp_path, clips, ok, asked, answer, kept, put_back):
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
def test_a_file_that_is_cut_short(file, crowded, home, program, tmp_path, ok, asked, answer, kept, put_back):
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
def test_rows_of_another_vaults_keystore(
    row, trained, home, program, ok, tmp_path, asked, answer, settled, kept, put_back
):
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
