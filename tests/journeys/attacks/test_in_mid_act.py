"""Several processes at once, and a database or a disk that goes away in mid-act: it ends well or is done again."""

import json
import sqlite3
import subprocess
from contextlib import closing

import pytest
import sqlalchemy as sa

from fabnet_secure.pipeline import ingest, keep

VAULT, KEYS = "vault.db", "keystore.db"
BROKEN = 30


# --- several processes at once


SCRIPT = """
import json, sys
from fabnet_secure.commands.program import main
said = []
for command in json.load(sys.stdin):
    said.append(int(main([*command, "--debug"])))
print(json.dumps(said), file=sys.stderr)
"""


def test_processes_that_write_at_once(crowded, home, clips, ok, program, consent_of, python, asked, opened_by_trial):
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
def test_a_database_that_goes_away(
    how, moment, file, ingested, home, clips, program, ok, meanwhile, tmp_path, kept, put_back
):
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


def test_a_disk_that_takes_no_more(ingested, home, clips, python, ok, program, settled):
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
