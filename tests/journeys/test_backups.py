"""The whole story of a backup: made, tried, lost what came after it, restored; and killed at any point on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from fabnet_secure.crypto.age import Identity

DRIVER = """
import importlib, os, signal, sys

place, when, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
owner = importlib.import_module(module)
real = getattr(owner, name)

def doomed(*given, **named):
    if when == "after":
        real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, doomed)
from fabnet_secure.commands.program import main
sys.exit(main(arguments))
"""
BACKUP, ARCHIVE, RESTORE, UNPACKED, REPLAY = (
    f"fabnet_secure.pipeline.{name}:" for name in ("backup", "archive", "restore", "unpacked", "replay")
)


@dataclass
class Safe:
    """An age key pair and the archives of one backup."""

    folder: Path
    recipient: str
    made: dict

    def archives(self):
        """Return the options that name the pair."""
        vault, keys = (self.made["archives"][kind]["path"] for kind in ("vault", "keystore"))
        identity = str(self.folder / "backup.key")
        return ("--vault-archive", vault, "--keystore-archive", keys, "--identity", identity)


@pytest.fixture
def identity(home):
    """An age key file beside the vault; returns its public half."""
    made = Identity.generate()
    path = home.folder / "backup.key"
    path.write_text(made.reveal(), "utf-8")
    path.chmod(0o600)
    return str(made.recipient)


@pytest.fixture
def backed_up(home, identity, ok):
    """Return a function that makes a backup of the vault in ``home``."""

    def back_up(out="out"):
        return Safe(home.folder, identity, ok("backup", "create", "--out", out, "--recipient", identity))

    return back_up


@pytest.fixture
def restored(home, ok):
    """Return a function that restores a backup into a place of its own, and moves into it."""

    def bring_back(safe, name="back", *more):
        vault_id = json.loads((home.vault / "vault.json").read_text())["vault_id"]
        done = ok("backup", "restore", *safe.archives(), "--into", name, "--confirm", vault_id, *more)
        assert done["vault"] == str(home.folder / name)
        return done

    return bring_back


@pytest.fixture(scope="session")
def cellar(tmp_path_factory):
    """Where the site of ``lost`` is kept for the next test."""
    return tmp_path_factory.mktemp("cellar") / "site"


@pytest.fixture
def lost(trained, home, ok, backed_up, program, cellar):
    """The trained site after a backup: a second model was trained and ada left; what each had spent by then."""
    if cellar.exists():
        shutil.rmtree(home.folder)
        shutil.copytree(cellar, home.folder)
    else:
        made = backed_up().made
        ok("train", "run", "--plan", trained.long_plan)
        spent = {row["subject_id"]: row["spent"] for row in _people(program)}
        ok("subject", "withdraw", trained.consents["ada"], "--confirm", trained.consents["ada"])
        (home.folder / "lost.json").write_text(json.dumps([made, spent]), "utf-8")
        shutil.copytree(home.folder, cellar)
    os.chdir(home.folder)
    made, spent = json.loads((home.folder / "lost.json").read_text("utf-8"))
    return SimpleNamespace(safe=Safe(home.folder, "", made), gone=trained.consents["ada"], spent=spent, ids=trained)


def test_what_a_restore_must_not_bring_back(lost, home, ok, program, restored, monkeypatch):
    """After the backup ada left and a model was trained: the restored vault knows both, though the backup did not."""
    trained, safe, gone, spent = lost.ids, lost.safe, lost.gone, lost.spent
    done = restored(safe)
    assert (done["withdrawn"], done["charged"], done["people"]) == (1, 1, 3)
    assert done["size_lost"] > done["size_kept"]
    monkeypatch.setenv("FABNET_VAULT", str(home.folder / "back"))

    ok("audit", "verify")
    assert ok("consent", "show", gone)["state"] == "withdrawn"
    probe = trained.tracks["ben"][0]
    answer = ok("query", "similar", "--track", probe, "--purpose", "query_internal", "--top", "500")
    found = {row["track_id"] for row in answer["results"]}
    assert found
    assert not found & set(trained.tracks["ada"])
    back = type(home)(home.folder)
    living = back.rows(
        "SELECT count(*) FROM data_key WHERE consent_id = ? AND destroyed_at IS NULL", gone, file="../back/keystore.db"
    )
    assert living == [(0,)]
    assert back.rows("SELECT state FROM erasure WHERE consent_id = ?", gone, file="../back/vault.db") == [("complete",)]
    now = {row["subject_id"]: row["spent"] for row in _people(program)}
    assert all(now[subject] >= figure - 1e-9 for subject, figure in spent.items())
    refused = program("train", "run", "--plan", trained.long_plan)  # the backup knows it as a plan that was never run
    assert refused.status != 0
    assert ok("report", "erasure", "--out", "erasure.json")
    assert ok("report", "dp", "--out", "dp.json")


def _people(program):
    said = program("budget", "show")
    assert said.status == 0, said.err
    return [one for one in said.objects if "subject_id" in one]


def test_a_backup_is_tried_and_the_doctor_knows(trained, home, ok, program, backed_up):
    """Crops, embeddings, references and log openings of the real thing all open."""
    found = ok("backup", "verify", *backed_up().archives())
    assert found["ok"]
    assert found["opened"] == sum(found["rows"].values())
    assert all(found["rows"][kind] for kind in ("identities", "tracklets", "embedding_pages", "log_openings"))
    checks = {one["name"]: one["status"] for one in program("doctor").last["checks"]}
    assert checks["backup"] == "ok"
    assert not list(home.vault.glob(".backup-*"))


def test_a_keystore_from_before_a_rekey_opens_nothing(ingested, home, ok, program, backed_up, restored):
    """What 'keys rekey' ended does not come back; the vault's old archive still serves with a newer keystore."""
    old = backed_up("old")
    ok("keys", "rekey")
    new = backed_up("new")
    said = program("backup", "verify", *old.archives())
    assert (said.status, said.last["code"]) == (12, "ARCHIVE_EPOCH_ENDED")
    vault_id = json.loads((home.vault / "vault.json").read_text())["vault_id"]
    said = program("backup", "restore", *old.archives(), "--into", "back", "--confirm", vault_id)
    assert (said.status, said.last["code"]) == (12, "ARCHIVE_EPOCH_ENDED")
    assert not (home.folder / "back").exists()
    mixed = Safe(home.folder, "", {"archives": old.made["archives"] | {"keystore": new.made["archives"]["keystore"]}})
    assert ok("backup", "verify", *mixed.archives())["ok"]
    restored(mixed)
    assert ok("audit", "verify", "--vault", "back")["size"] > 0


@pytest.fixture
def killed(home):
    """Return a function that runs the program in a process that kills itself before or after a function's call."""

    def kill(place, when, *arguments):
        command = [sys.executable, "-c", DRIVER, place, when, *arguments]
        done = subprocess.run(
            command, cwd=home.folder, env=home.surroundings(), capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, (done.returncode, done.stdout, done.stderr)

    return kill


@pytest.mark.parametrize(
    ("place", "when"),
    [
        (BACKUP + "_snapshot", "before"),
        (BACKUP + "_snapshot", "after"),
        (ARCHIVE + "_write_file", "after"),
        (ARCHIVE + "_name", "before"),
        (BACKUP + "_facts", "before"),
    ],
)
def test_a_backup_that_was_killed(place, when, ingested, home, ok, identity, killed):
    """The vault serves on; what is named as an archive is whole; what else was left goes with the next backup."""
    command = ("backup", "create", "--out", "out", "--recipient", identity)
    killed(place, when, *command)
    ok("audit", "verify")
    half = [path for path in (home.folder / "out").rglob("*.age") if path.stat().st_size < 50_000]
    assert half == []
    ok(*command)
    assert not list(home.vault.glob(".backup-*"))
    assert not list((home.folder / "out").rglob(".*"))


@pytest.mark.parametrize(
    ("place", "when"),
    [
        (UNPACKED + "read_archive", "after"),
        (RESTORE + "check_sound", "after"),
        (REPLAY + "carry_out", "after"),
        (REPLAY + "spend", "after"),
        (RESTORE + "replay", "after"),
        (RESTORE + "_install", "after"),
        (RESTORE + "sync_directory", "before"),
    ],
)
def test_a_restore_that_was_killed(place, when, lost, home, ok, killed, monkeypatch):
    """There is no vault until all of it is one; the same command makes it, and charges everything once."""
    safe, gone = lost.safe, lost.gone
    vault_id = json.loads((home.vault / "vault.json").read_text())["vault_id"]
    command = ("backup", "restore", *safe.archives(), "--into", "back", "--confirm", vault_id)
    killed(place, when, *command)
    assert not (home.folder / "back").exists()
    done = ok(*command)
    assert (done["withdrawn"], done["charged"]) == (1, 1)
    assert not list(home.folder.glob(".back.restoring-*"))
    monkeypatch.setenv("FABNET_VAULT", str(home.folder / "back"))
    ok("audit", "verify")
    assert ok("consent", "show", gone)["state"] == "withdrawn"


@pytest.mark.postgres
def test_a_vault_in_postgresql_comes_back_as_either(
    home, ok, identity, consent_of, postgres_url, second_postgres_url, monkeypatch
):
    """Backed up from a server, restored into a file; and that again into another database of the server."""
    monkeypatch.setenv("FABNET_DATABASE_URL", postgres_url)
    ok("init")
    added = ok(*consent_of("ada@example.org"))
    safe = Safe(home.folder, identity, ok("backup", "create", "--out", "out", "--recipient", identity))
    assert ok("backup", "verify", *safe.archives())["ok"]
    vault_id = json.loads((home.vault / "vault.json").read_text())["vault_id"]
    monkeypatch.delenv("FABNET_DATABASE_URL")
    ok("backup", "restore", *safe.archives(), "--into", "lite", "--confirm", vault_id)
    monkeypatch.setenv("FABNET_VAULT", str(home.folder / "lite"))
    assert ok("consent", "show", added["consent_id"])["state"] == "given"
    ok("audit", "verify")
    again = Safe(home.folder, identity, ok("backup", "create", "--out", "out2", "--recipient", identity))
    target = ("--into", "served", "--database-url", second_postgres_url, "--confirm", vault_id)
    ok("backup", "restore", *again.archives(), *target)
    assert not (home.folder / "served" / "vault.db").exists()
    monkeypatch.setenv("FABNET_VAULT", str(home.folder / "served"))
    monkeypatch.setenv("FABNET_DATABASE_URL", second_postgres_url)
    assert ok("consent", "show", added["consent_id"])["state"] == "given"
    ok(*consent_of("ben@example.org"))
    ok("audit", "verify")
    shutil.rmtree(home.folder / "served")
