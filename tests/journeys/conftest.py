"""A whole site for the tests of the whole path: made-up people on video, a vault, and the program run in it.

What is slow is made once and copied: the clips, a vault with three people ingested, and the same vault with a model
trained and everybody embedded. Parallel test processes share them through a lock.
"""

import fcntl
import io
import json
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fabnet_secure.commands.program import main
from fabnet_secure.config import load
from fabnet_secure.pipeline import context
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.store.database import open_vault_database
from fabnet_secure.synth.clip import write_clip
from fabnet_secure.types import utc_now

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = """[site]
controller_name = "Journeys Ltd"
dpo = "Officer"
[ingest]
frames_per_tracklet = 8
crops_per_second = 25.0
detector_interval = 1
crop_size = 64
{ingest}
[train]
steps = 5
tuples_per_person = 2
"""
PURPOSES = ("--purpose", "train_model", "--purpose", "embed", "--purpose", "query_internal")
CLIPS = {"ada": [1], "ben": [2], "cleo": [3], "dan": [4], "eve": [6], "two": [1, 5]}
TABLES = ("meta", "principal", "notice", "subject", "consent", "video", "tracklet", "embedding_page", "log_opening")


@dataclass(frozen=True, slots=True)
class Said:
    """What one run of the program left: its exit status, its JSON objects, and both outputs."""

    status: int
    objects: list[dict[str, Any]]
    out: str
    err: str

    @property
    def last(self) -> dict[str, Any]:
        """The object that ends the output: the result, the summary or the error."""
        return self.objects[-1]


@dataclass(slots=True)
class Clock:
    """A clock that goes right until it is moved."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def forward(self, **spans: float) -> None:
        """Move on by a ``timedelta``."""
        self.ahead += timedelta(**spans)


@dataclass(frozen=True, slots=True)
class Home:
    """A folder with a site in it: settings, notice, evidence, key, vault."""

    folder: Path

    @property
    def vault(self) -> Path:
        """The vault's directory."""
        return self.folder / "vault"

    @property
    def key(self) -> Path:
        """The key file."""
        return self.folder / "site.key"

    def settle(self, ingest: str = "") -> None:
        """Write the site's settings, with further lines in ``[ingest]``."""
        (self.folder / "fabnet.toml").write_text(SETTINGS.format(ingest=ingest), "utf-8")

    def surroundings(self) -> dict[str, str]:
        """Return the environment for a program of its own: every place it may write to lies in this folder."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder / "account"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "TMPDIR": str(self.folder / "tmp"),
            "FABNET_VAULT": str(self.vault),
            "FABNET_KEY_FILE": str(self.key),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "LC_ALL": "C.UTF-8",
        }

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run in this folder and with its environment."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in ("FABNET_DATABASE_URL", "FABNET_KEYSTORE_URL"):
                patch.delenv(name, raising=False)
            patch.setenv("FABNET_VAULT", str(self.vault))
            patch.setenv("FABNET_KEY_FILE", str(self.key))
            patch.setenv("XDG_CONFIG_HOME", str(self.folder / "config"))
            yield

    def rows(self, statement: str, *values: object, file: str = "vault.db") -> list[tuple[Any, ...]]:
        """Run one SQL statement on a database file behind the program's back, and commit."""
        with closing(sqlite3.connect(self.vault / file, timeout=20)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def state(self) -> dict[str, Any]:
        """Describe what the vault holds, without random ids, times and the log (a second try is logged too)."""
        counts: dict[str, Any] = {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
        for table, column in (
            ("consent_event", "type"),
            ("track", "status"),
            ("erasure", "state"),
            ("model", "status"),
            ("run", "state"),
            ("ledger_entry", "state"),
        ):
            counts[table] = Counter(word for (word,) in self.rows(f"SELECT {column} FROM {table}"))
        living = self.rows(
            "SELECT domain, count(*) FROM data_key WHERE destroyed_at IS NULL GROUP BY 1 ORDER BY 1", file="keystore.db"
        )
        files = sorted(path.name.rpartition(".")[2] for path in self.vault.rglob("*") if path.is_file())
        return counts | {"keys": living, "files": files}


def furnish(folder: Path) -> Home:
    """Make a folder in which a vault can be created."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notice.txt").write_text("We film you. You may withdraw.\n", "utf-8")
    (folder / "evidence.txt").write_text("signed: a made-up person\n", "utf-8")
    for name in ("account", "cache", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    home = Home(folder)
    home.settle()
    return home


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Let a function fill a folder once for all test processes of this session: ``once("clips", draw)``."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def fill(name: str, build: Callable[[Path], None]) -> Path:
        folder = root / f"journeys-{name}"
        with (root / f"journeys-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                part = root / f"journeys-{name}.part"
                part.mkdir()
                build(part)
                part.rename(folder)
        return folder

    return fill


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Leave the other cores to the other tests."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def program() -> Callable[..., Said]:
    """Run the program in this process, with ``--json``: ``program("audit", "verify")``."""

    def run(*arguments: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main([*arguments, "--json"])
        objects = [json.loads(line) for line in out.getvalue().splitlines()]
        return Said(int(status), objects, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def ok(program) -> Callable[..., dict[str, Any]]:
    """Run the program, which must end well, and return its last object."""

    def succeed(*arguments: str) -> dict[str, Any]:
        said = program(*arguments)
        assert said.status == 0, (arguments, said.err)
        return said.last

    return succeed


@pytest.fixture(scope="session")
def consent_of() -> Callable[..., tuple[str, ...]]:
    """Return the command that records a consent: ``consent_of("ada@example.org")``."""

    def command(name: str, *purposes: str) -> tuple[str, ...]:
        return (
            *("consent", "add", "--subject-ref", name, "--valid-for", "P1Y", *(purposes or PURPOSES)),
            *("--dp-epsilon-cap", "20", "--notice", "notice.txt", "--evidence", "evidence.txt"),
        )

    return command


@pytest.fixture(scope="session")
def clips(once) -> Path:
    """A folder of clips of people who do not exist: ada, ben, cleo, dan, eve, ada-again, and two (two at once)."""

    def draw(folder: Path) -> None:
        for name, people in CLIPS.items():
            write_clip(folder / f"{name}.mp4", people, frames=24, width=120 + 120 * len(people), height=180)
        write_clip(folder / "ada-again.mp4", [1], frames=24, width=240, height=180, track_seed=7)

    return once("clips", draw)


@pytest.fixture(scope="session")
def ingested_template(once, ok, consent_of, clips) -> Path:
    """A site where ada (two clips), ben and cleo were ingested and two plans priced; ``ids.json`` names them all."""

    def build(folder: Path) -> None:
        home = furnish(folder)
        ids: dict[str, dict[str, Any]] = {"consents": {}, "subjects": {}, "tracks": {}}
        with home.entered():
            ok("init")
            for name in ("ada", "ben", "cleo"):
                added = ok(*consent_of(f"{name}@example.org"))
                ids["consents"][name], ids["subjects"][name] = added["consent_id"], added["subject_id"]
                films = [str(path) for path in sorted(clips.glob(f"{name}*.mp4"))]
                done = ok("ingest", *films, "--consent", added["consent_id"])
                ids["tracks"][name] = done["track_ids"]
            for plan, steps in (("plan", "5"), ("long_plan", "12")):  # pricing takes seconds: once for all tests
                priced = ok("train", "plan", "--epsilon", "8", "--delta", "1e-2", "--steps", steps)
                ids[plan] = priced["plan_id"]
        (folder / "ids.json").write_text(json.dumps(ids), "utf-8")

    return once("ingested", build)


@pytest.fixture(scope="session")
def trained_template(once, ok, ingested_template) -> Path:
    """The same site with a model trained under ``plan`` and everybody embedded; ``ids.json`` names the model too."""

    def build(folder: Path) -> None:
        shutil.copytree(ingested_template, folder, dirs_exist_ok=True)
        ids = json.loads((folder / "ids.json").read_text("utf-8"))
        with Home(folder).entered():
            ids["model"] = ok("train", "run", "--plan", ids["plan"])["model_id"]
            ids["embedded"] = ok("embed", "--model", ids["model"])["embeddings"]
        (folder / "ids.json").write_text(json.dumps(ids), "utf-8")

    return once("trained", build)


@pytest.fixture(scope="session")
def home_in() -> Callable[[Path], Home]:
    """Return a folder as the site that lies in it."""
    return Home


@pytest.fixture
def home(tmp_path) -> Iterator[Home]:
    """A folder ready for ``init``; the program runs in it."""
    made = furnish(tmp_path / "site")
    with made.entered():
        yield made


@pytest.fixture
def move_in(home) -> Callable[[Path], SimpleNamespace]:
    """Return a function that copies a site into ``home`` and returns its ids."""

    def copied(template: Path) -> SimpleNamespace:
        shutil.copytree(template, home.folder, dirs_exist_ok=True)
        return SimpleNamespace(**json.loads((home.folder / "ids.json").read_text("utf-8")))

    return copied


@pytest.fixture
def ingested(move_in, ingested_template) -> SimpleNamespace:
    """A copy of the ingested site in ``home``; its ids."""
    return move_in(ingested_template)


@pytest.fixture
def trained(move_in, trained_template) -> SimpleNamespace:
    """A copy of the trained site in ``home``; its ids."""
    return move_in(trained_template)


@pytest.fixture
def clock() -> Clock:
    """The clock of ``site``."""
    return Clock()


@pytest.fixture
def later(monkeypatch) -> Callable[[timedelta], None]:
    """Let every vault that this process opens from now on be opened later by a span: ``later(timedelta(days=14))``."""

    def move(span: timedelta) -> None:
        defaults = open_site.__wrapped__.__kwdefaults__  # type: ignore[attr-defined]
        monkeypatch.setitem(defaults, "clock", lambda: utc_now() + span)

    return move


@pytest.fixture
def site(home, clock):
    """The open vault in ``home`` (name ``ingested`` or ``trained`` first), under ``clock``."""
    with open_site(Place(root=home.vault, key_file=home.key), load().settings, clock=clock) as opened:
        yield opened


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that runs the tests."""
    return sys.executable


@pytest.fixture
def meanwhile(monkeypatch):
    """Return a function that lets ``act()`` happen once, right before (or after) ``module.name`` runs."""

    def put(module, name, act, *, after=False):
        real, waiting = getattr(module, name), [act]

        def interrupted(*arguments, **options):
            if waiting and not after:
                waiting.pop()()
            answer = real(*arguments, **options)
            if waiting:
                waiting.pop()()
            return answer

        monkeypatch.setattr(module, name, interrupted)

    return put


@pytest.fixture
def leave(program, monkeypatch):
    """Return a function that withdraws a consent; ``beside_reader`` while somebody reads an older snapshot.

    A reader keeps deleted pages in the write-ahead log: the withdrawal does all it can, says so, and is finished by
    running it again.
    """

    def end(consent_id, *, beside_reader=False):
        with monkeypatch.context() as patch:
            if beside_reader:
                patch.setattr(context, "open_vault_database", partial(open_vault_database, lock_timeout_s=0.1))
            said = program("subject", "withdraw", consent_id, "--confirm", consent_id)
        if beside_reader:
            assert (said.status, said.last["code"]) == (11, "WAL_BUSY")
        else:
            assert (said.status, said.last["outcome"]) == (0, "complete")

    return end
