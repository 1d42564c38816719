"""Vaults and keys that are not what they should be: statuses 10, 11 and 12, and 2 where 'init' is asked for."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial

import pytest

from fabnet_secure.crypto.keyfile import create_key_file
from fabnet_secure.pipeline import context
from fabnet_secure.store import engine


def _told(shell, arguments, status, code, **env):
    """Run where the vault itself may be no vault, and check only how the error is told."""
    result = shell.run(*arguments, "--json", **env)
    lines = result.err.splitlines()
    assert (result.status, lines[-1]) == (status, f"[{code}]"), result.err
    assert result.last["exit_code"] == status
    assert result.last["code"] == code
    assert "Traceback" not in result.err
    return result.last


# --- keys


def _no_file(key):
    key.unlink()


def _open_to_all(key):
    key.chmod(0o644)


def _open_to_group(key):
    key.chmod(0o640)


def _wrong(key):
    key.unlink()
    create_key_file(key)


def _malformed(key):
    key.write_text("hunter2\n", "utf-8")


def _cut(key):
    key.write_bytes(key.read_bytes()[:-5])


def _emptied(key):
    key.write_bytes(b"")


def _folder(key):
    key.unlink()
    key.mkdir(mode=0o700)


def _pipe(key):
    key.unlink()
    os.mkfifo(key, 0o600)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_no_file, "KEY_MISSING"),
        (_open_to_all, "KEY_MODE"),
        (_open_to_group, "KEY_MODE"),
        (_wrong, "KEY_WRONG"),
        (_malformed, "KEY_FORMAT"),
        (_cut, "KEY_FORMAT"),
        (_emptied, "KEY_FORMAT"),
        (_folder, "KEY_FORMAT"),
        (_pipe, "KEY_FORMAT"),
    ],
)
def test_a_bad_key_file(shell, spoil, code):
    """Each way that a key file can be bad: status 12, its own code, nothing changed, no byte of it in the message."""
    spoil(shell.key)
    for command in (("consent", "list"), ("init",), ("ingest", shell.clip("person-1"), "--consent", "x")):
        said = shell.refused(*command, status=12, code=code)
        assert "hunter2" not in json.dumps(said)


def test_no_key_is_named(shell):
    """Without --key-file and FABNET_KEY_FILE: status 12 and a hint that names both."""
    said = _told(shell, ("consent", "list"), 12, "KEY_MISSING", FABNET_KEY_FILE="")
    assert "--key-file" in said["hint"]
    assert "FABNET_KEY_FILE" in said["hint"]


def test_a_bad_key_is_told_by_a_process_of_its_own(shell):
    """The real program, started as one: status 12, error, hint and code on stderr, nothing on stdout."""
    shell.key.chmod(0o604)
    result = shell.process("consent", "list")
    assert (result.status, result.out) == (12, "")
    first, hint, code = result.err.splitlines()
    assert first.startswith("error: the key file ")
    assert hint.startswith("hint: run 'chmod 600 ")
    assert code == "[KEY_MODE]"


# --- vaults


def test_no_vault_is_named(bare):
    """Without --vault and FABNET_VAULT: status 10."""
    _told(bare, ("consent", "list"), 10, "NO_VAULT", FABNET_VAULT="")


@pytest.mark.parametrize("command", [("consent", "list"), ("audit", "verify"), ("track", "list"), ("budget", "show")])
def test_a_folder_that_is_no_vault(bare, command):
    """A missing, an empty and a foreign folder: status 10, and nothing is made there."""
    _told(bare, command, 10, "NO_VAULT")
    assert not bare.vault.exists()
    bare.vault.mkdir()
    (bare.vault / "letter.txt").write_text("dear", "utf-8")
    _told(bare, command, 10, "NO_VAULT")
    assert [path.name for path in bare.vault.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "NOT_A_VAULT"),
        (b"{", "NOT_A_VAULT"),
        (b"[]", "NOT_A_VAULT"),
        (b"\xff\xfe", "NOT_A_VAULT"),
        (b'{"format": 1}', "NOT_A_VAULT"),
        (b'{"format": "1", "vault_id": "a", "log_origin": "b"}', "NOT_A_VAULT"),
        (b'{"format": 0, "vault_id": "a", "log_origin": "b"}', "NOT_A_VAULT"),
        (b'{"format": 2, "vault_id": "a", "log_origin": "b"}', "VAULT_NEWER"),
        (b'{"format": 2, "something": "new"}', "VAULT_NEWER"),
        (b"[" * 100_000, "NOT_A_VAULT"),
    ],
)
def test_a_damaged_vault_json(shell, content, code):
    """A vault.json that says nothing sensible: status 10; one of a newer format says so."""
    (shell.vault / "vault.json").write_bytes(content)
    shell.refused("consent", "list", status=10, code=code)
    shell.refused("init", status=10, code=code)


@pytest.mark.parametrize("name", ["vault", "keystore"])
def test_a_newer_schema(shell, name):
    """A database that a newer program migrated: status 10, nothing changed."""
    with closing(sqlite3.connect(shell.vault / f"{name}.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (f"{name}_0999",))
    shell.refused("consent", "list", status=10, code="VAULT_NEWER")


def _gone(path):
    path.unlink()


def _blank(path):
    path.write_bytes(b"")


def _prose(path):
    path.write_bytes(b"this was never a database\n" * 200)


def _foreign(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE recipe (name TEXT)")


@pytest.mark.parametrize("name", ["vault.db", "keystore.db"])
@pytest.mark.parametrize(
    ("spoil", "code"),
    [(_gone, "NO_VAULT"), (_blank, "VAULT_NOT_MIGRATED"), (_prose, "NOT_A_VAULT"), (_foreign, "NOT_A_VAULT")],
)
def test_a_database_that_is_not_ours(shell, name, spoil, code):
    """A missing, empty, foreign or no database at all: status 10, and the file is left as it was found."""
    path = shell.vault / name
    spoil(path)
    before = path.read_bytes() if path.exists() else None
    _told(shell, ("consent", "list"), 10, code)
    assert (path.read_bytes() if path.exists() else None) == before


def test_the_two_databases_swapped(shell):
    """The keystore in the vault's place: status 10."""
    shutil.copy(shell.vault / "keystore.db", shell.vault / "vault.db")
    _told(shell, ("consent", "list"), 10, "NOT_A_VAULT")


def test_another_vaults_database(shell, tmp_path):
    """A database with rows of another vault: status 10."""
    other = str(tmp_path / "other")
    key = str(tmp_path / "other.key")
    shell.json("init", "--vault", other, "--key-file", key)
    shutil.copy(tmp_path / "other" / "vault.db", shell.vault / "vault.db")
    _told(shell, ("consent", "list"), 10, "VAULT_MISMATCH")


def test_another_vaults_keystore(shell, tmp_path):
    """A keystore of another vault does not fit this one's epoch file: status 30."""
    shell.json("init", "--vault", str(tmp_path / "other"), "--key-file", str(tmp_path / "other.key"))
    shutil.copy(tmp_path / "other" / "keystore.db", shell.vault / "keystore.db")
    _told(shell, ("consent", "list"), 30, "EPOCH_BROKEN")


def test_a_database_url_that_cannot_be_read(shell):
    """A FABNET_DATABASE_URL of another kind: status 2, and a password in it is not repeated."""
    for url in ("mysql://me:hunter2@host/x", "not a url", "sqlite://"):
        result = shell.run("consent", "list", "--json", FABNET_DATABASE_URL=url)
        assert result.status == 2, result.err
        assert result.last["code"] == "DATABASE_URL"
        assert "hunter2" not in result.out + result.err


# --- init


def test_init_will_not_move_into_a_used_folder(bare):
    """'init' in a folder with other things in it, or on a file: status 2, nothing made, no key file either."""
    bare.vault.mkdir()
    (bare.vault / "letter.txt").write_text("dear", "utf-8")
    _told(bare, ("init",), 2, "NOT_A_VAULT")
    assert not bare.key.exists()
    file = bare.folder / "file"
    file.touch()
    _told(bare, ("init", "--vault", str(file)), 2, "NOT_A_DIRECTORY")
    assert not bare.key.exists()


def test_init_wants_the_key_elsewhere(bare):
    """A key inside its vault would travel with every copy: status 2, nothing made."""
    _told(bare, ("init", "--key-file", str(bare.vault / "vault.key")), 2, "KEY_INSIDE_VAULT")
    assert not bare.vault.exists()


def test_init_twice_changes_nothing(bare):
    """A second 'init' says that the vault was there; the first left nothing that is open to others."""
    first = bare.run("init", "--json")
    assert first.status == 0, first.err
    assert first.last["created"] is True
    assert first.last["log_origin"].startswith("fabnet-secure/")
    assert bare.key.stat().st_mode & 0o777 == 0o600
    assert bare.vault.stat().st_mode & 0o077 == 0
    before, files = bare.rows(), bare.files()
    again = bare.json("init")
    assert (again["created"], again["log_origin"]) == (False, first.last["log_origin"])
    assert (bare.rows(), bare.files()) == (before, files)
    assert "nothing changed" in bare.run("init").out


def test_a_vault_may_have_any_name(bare):
    """Spaces, quotes, percent and question marks, a newline and an emoji in the path are only a name."""
    odd = bare.folder / 'it\'s 50% of "a?b#c"\n😀'
    places = ("--vault", str(odd / "v&x=1"), "--key-file", str(odd / "k%41"))
    odd.mkdir()
    bare.json("init", *places)
    assert bare.json("audit", "verify", *places)["ok"] is True
    assert {path.name for path in (odd / "v&x=1").iterdir()} >= {"vault.db", "keystore.db", "vault.json"}


def test_an_error_about_an_odd_path_is_one_line(bare):
    """A path with a newline, an escape sequence and a byte that is no text cannot forge a line of the error."""
    odd = "nowhere\nerror: forged\x1b[2J\udcff"
    result = bare.run("consent", "list", "--vault", odd, "--json")
    assert result.status == 10
    assert len(result.err.splitlines()) == 3
    assert "\x1b" not in result.err
    assert bare.process("consent", "list", "--vault", odd, "--json").status == 10


# --- locks and full disks

HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("name", ["vault.db", "keystore.db"])
def test_another_process_holds_the_lock(shell, name, monkeypatch):
    """While another process writes: every write ends with status 11 and changes nothing; reading goes on."""
    patient = partial(context.open_vault_database, lock_timeout_s=0.05)
    monkeypatch.setattr(context, "open_vault_database", patient)
    monkeypatch.setattr(context, "open_keystore", patient)
    consent = shell.named["consents"][0]
    papers = ("--notice", "notice.txt", "--evidence", "evidence.txt")
    writes = [("consent", "add", "--subject-ref", "late", "--purpose", "embed", "--valid-for", "P1Y", *papers)]
    if name == "vault.db":
        writes += [
            ("subject", "withdraw", consent, "--confirm", consent),
            ("ingest", shell.clip("spare"), "--consent", consent),
            ("policy", "grant", "somebody", "--role", "analyst"),
            ("audit", "export", "log"),
            ("report", "ropa", "--out", "ropa.json"),
            ("embed", "--model", shell.named["model"]),
        ]
    command = [sys.executable, "-c", HOLD, str(shell.vault / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        for write in writes:
            shell.refused(*write, status=11, code="VAULT_LOCKED")
        assert shell.run("consent", "list").status == 0
        holder.stdin.close()
    assert not (shell.folder / "ropa.json").exists()
    assert not (shell.folder / "log").exists()
    shell.json(*writes[0])


FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk(shell):
    """When no file can grow any more: status 1, said as such, no traceback, and no row of the act is kept."""
    papers = ("--notice", "notice.txt", "--evidence", "evidence.txt")
    add = ("consent", "add", "--subject-ref", "late", "--purpose", "embed", "--valid-for", "P1Y", *papers)
    before, files = shell.rows(), shell.files()
    limit = 40_000  # room for SQLite's shared index (32 KiB), not for what a consent writes
    program = [str(shell.program), *add, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(limit), *program],
        env=os.environ | shell.env,
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["code"] in {"STORAGE_FULL", "STORAGE_IO"}, said
    assert "nothing" in said["message"]
    after = shell.rows()
    assert {table for table in before if before[table] != after[table]} <= {"data_key"}  # keys that open nothing
    assert shell.files() == files
    assert shell.json("audit", "verify")["ok"] is True
    shell.json(*add)


def test_a_disk_that_fills_inside_a_database(shell, monkeypatch, tmp_path):
    """A database that may not grow (SQLite's own limit): STORAGE_FULL, status 1, nothing kept."""
    prepared = engine._set_pragmas

    def small(connection, record):
        prepared(connection, record)
        if connection.execute("PRAGMA database_list").fetchone()[2].endswith("vault.db"):
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

    long = tmp_path / "long-notice.txt"
    long.write_text("We film you. You may withdraw.\n" * 20_000, "utf-8")
    monkeypatch.setattr(engine, "_set_pragmas", small)
    before = shell.rows()
    add = ("consent", "add", "--subject-ref", "Zed", "--valid-for", "P1Y", "--purpose", "embed")
    _told(shell, (*add, "--notice", str(long), "--evidence", str(long)), 1, "STORAGE_FULL")
    after = shell.rows()
    assert {table for table in before if before[table] != after[table]} <= {"data_key"}  # keys that open nothing
