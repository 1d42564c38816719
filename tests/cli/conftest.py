"""A small vault made once (three synthetic people, a trained model), and a shell to type commands into."""

import fcntl
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.commands.program import main
from fabnet_secure.store.database import open_vault_database, read_only, sqlite_url
from fabnet_secure.store.log_storage import SqlLogStorage

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 3
PURPOSES = ("--purpose", "train_model", "--purpose", "embed", "--purpose", "query_internal")
SETTINGS = "[train]\nembedding_dim = 16\nwidth = 0.125\nsteps = 4\n"
LOGGING = {"log_head", "log_entry", "log_tile", "log_opening", "decision"}
"""The tables that a logged refusal may change."""


@dataclass(frozen=True)
class Result:
    """What one command left behind: its exit status, what it printed, and the JSON objects among it."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON Lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        """The last JSON object of stdout."""
        return self.objects[-1]


@dataclass
class Shell:
    """A person at a keyboard: a folder to work in, a vault and its key."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def vault(self) -> Path:
        return self.folder / "vault"

    @property
    def key(self) -> Path:
        return self.folder / "vault.key"

    @property
    def named(self) -> dict[str, Any]:
        """The ids and files that the vault was made with."""
        return json.loads((self.folder / "named.json").read_text("utf-8"))

    @property
    def program(self) -> Path:
        """The program as a file to start."""
        return ROOT / "cli.py"

    def clip(self, name: str) -> str:
        return str(self.folder / f"{name}.avi")

    def run(self, *arguments: str, **env: str) -> Result:
        """Run a command inside this process (the program's own entry, without the start-up time)."""
        before = dict(os.environ)
        os.environ.update(self.env | env)
        out, err = io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                status = main([str(one) for one in arguments])
        finally:
            os.environ.clear()
            os.environ.update(before)
        return Result(int(status), out.getvalue(), err.getvalue())

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a command that must go well and return its last JSON object."""
        result = self.run(*arguments, "--json")
        assert result.status == 0, result.err
        return result.last

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the program as a process of its own."""
        command = [sys.executable, str(self.program), *arguments]
        return subprocess.Popen(
            command,
            env=os.environ | self.env | options.pop("env", {}),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background has SIGINT ignored, and would hand that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            **options,
        )

    def process(self, *arguments: str, **options: Any) -> Result:
        """Run the program as a process of its own."""
        with self.start(*arguments, **options) as running:
            out, err = running.communicate(timeout=120)
        return Result(running.returncode, out, err)

    def rows(self) -> dict[str, list[Any]]:
        """Return every row of both databases, by table."""
        found: dict[str, list[Any]] = {}
        for name in ("vault.db", "keystore.db"):
            with closing(sqlite3.connect(f"file:{self.vault / name}?mode=ro", uri=True)) as database:
                tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for (table,) in tables:
                    found[table] = database.execute(f'SELECT * FROM "{table}"').fetchall()
        return found

    def files(self) -> set[str]:
        """Return the names of the vault's files; SQLite's side files come and go."""
        names = (str(path.relative_to(self.vault)) for path in self.vault.rglob("*"))
        return {name for name in names if not name.endswith(("-wal", "-shm"))}

    def acts(self) -> list[str]:
        """Return what the log says was done, in order."""
        engine = open_vault_database(sqlite_url(self.vault / "vault.db"))
        try:
            with read_only(engine) as connection:
                storage = SqlLogStorage(connection)
                return [read_leaf(blob).act for blob in storage.read_entries(0, storage.size())]
        finally:
            engine.dispose()

    def refused(self, *arguments: str, status: int, code: str, logs: tuple[str, ...] = ()) -> dict[str, Any]:
        """Type a command that must be refused: the documented status, words on stderr, JSON last, nothing changed.

        Args:
            arguments: the command, without ``--json``.
            status: the exit status to expect.
            code: the stable word to expect.
            logs: the acts that the log gains (a denial, a refusal), and nothing else.
        """
        before, files, acts = self.rows(), self.files(), self.acts()
        result = self.run(*arguments, "--json")
        said = told(result, status, code)
        after = self.rows()
        changed = {table for table in before if before[table] != after[table]}
        assert changed <= (LOGGING if logs else set()), f"changed: {changed}"
        assert self.files() == files
        assert tuple(self.acts()[len(acts) :]) == logs
        return said


def told(result: Result, status: int, code: str) -> dict[str, Any]:
    """Check how a fatal error is told, in words and as JSON; return the JSON object."""
    assert result.status == status, (result.status, result.err)
    assert "Traceback" not in result.err
    lines = result.err.splitlines()
    assert lines[-1] == f"[{code}]", result.err
    hint = lines[-2].startswith("hint: ")
    assert lines[-2 - hint].startswith("error: "), result.err
    said = result.last
    assert said["schema_version"] == 1
    assert said["message_type"] == "exit_error"
    assert said["code"] == code
    assert said["exit_code"] == status
    assert said["message"]
    return said


def _once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Build a folder once for all workers of this run, whichever comes first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            build(making)
            making.rename(folder)
    return folder


def _shell(folder: Path) -> Shell:
    env = {
        "FABNET_VAULT": str(folder / "vault"),
        "FABNET_KEY_FILE": str(folder / "vault.key"),
        "FABNET_DATABASE_URL": "",
        "FABNET_KEYSTORE_URL": "",
        "XDG_CONFIG_HOME": str(folder / "no-config"),
        "COLUMNS": "100",
    }
    return Shell(folder, env)


def _build(folder: Path) -> None:
    from fabnet_secure.synth.clip import write_clip

    shell = _shell(folder)
    (folder / "fabnet.toml").write_text(SETTINGS, "utf-8")
    (folder / "notice.txt").write_text("SYNTHETIC notice\n", "utf-8")
    (folder / "evidence.txt").write_text("SYNTHETIC evidence\n", "utf-8")
    for number in range(1, PEOPLE + 1):
        write_clip(folder / f"person-{number}.avi", [number], frames=20, width=240, height=180, track_seed=number)
    write_clip(folder / "spare.avi", [9], frames=20, width=240, height=180, track_seed=9)
    write_clip(folder / "two-people.avi", [1, 4], frames=20, width=320, height=180, track_seed=9)
    papers = ("--notice", str(folder / "notice.txt"), "--evidence", str(folder / "evidence.txt"))
    shell.json("init")

    def give(reference: str, *options: str) -> str:
        return str(shell.json("consent", "add", "--subject-ref", reference, *options, *papers)["consent_id"])

    consents = [
        give(f"person {number}", *PURPOSES, "--valid-for", "P1Y", "--dp-epsilon-cap", "10")
        for number in range(1, PEOPLE + 1)
    ]
    named: dict[str, Any] = {
        "consents": consents,
        "expired": give("person 4", *PURPOSES, "--valid-for", "PT1S"),
        "withdrawn": give("person 5", *PURPOSES, "--valid-for", "P1Y"),
        "other_purpose": give("person 6", "--purpose", "share_third_party", "--valid-for", "P1Y"),
        "embed_only": give("person 7", "--purpose", "embed", "--valid-for", "P1Y"),
    }
    shell.json("subject", "withdraw", named["withdrawn"], "--confirm", named["withdrawn"])
    named["tracks"] = [
        shell.json("ingest", shell.clip(f"person-{number}"), "--consent", consent)["track_ids"][0]
        for number, consent in enumerate(consents, start=1)
    ]
    named["plan"] = shell.json("train", "plan", "--epsilon", "4", "--delta", "1e-2")["plan_id"]
    named["model"] = shell.json("train", "run", "--plan", named["plan"])["model_id"]
    shell.json("embed", "--model", named["model"])
    (folder / "named.json").write_text(json.dumps(named), "utf-8")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vault that every shell starts from."""
    import torch

    torch.set_num_threads(1)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def build(folder: Path) -> None:
        before = Path.cwd()
        os.chdir(folder)  # fabnet.toml is read from the folder that one works in
        try:
            _build(folder)
        finally:
            os.chdir(before)

    return _once(shared / "cli-template", build)


@pytest.fixture
def shell(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A copy of the vault of one's own."""
    folder = tmp_path / "desk"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    return _shell(folder)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in an empty folder: its vault and key are named, and not there."""
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return _shell(folder)
