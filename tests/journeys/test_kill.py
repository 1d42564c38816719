"""An ingest that deletes its sources is killed (SIGKILL) at any moment: no file goes before its video is committed.

Then the same command is run again, and the vault and the folder are compared with those of a run that was not broken.
The folder holds what may be deleted (three films of one person) and what may not: a film of two people, which is
quarantined, and a broken one, which is refused.
"""

import os
import shutil
import signal
import subprocess

import pytest

from fabnet_secure.config import load
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.prints import content_of

FILMS = ("ada", "ada-again", "ben", "two")
STAYING = {"broken.mp4", "two.mp4"}
DRIVER = """
import importlib, os, signal, sys

place, when, count, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
if module:
    owner = importlib.import_module(module)
    *outer, name = name.split(".")
    for one in outer:
        owner = getattr(owner, one)
    real, calls = getattr(owner, name), 0

    def doomed(*given, **named):
        global calls
        calls += 1
        if calls == int(count) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(*given, **named)
        if calls == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, doomed)
from fabnet_secure.commands.program import main
sys.exit(main(arguments))
"""
INGEST = "fabnet_secure.pipeline.ingest:"
DISPOSITION = "fabnet_secure.pipeline.disposition:"
MOMENTS = {
    "the first film is being read": ("fabnet_secure.video.reader:VideoStream.frame", "after", 6),
    "the second film was read": (INGEST + "observe", "after", 2),
    "a tracklet is written": ("fabnet_secure.store.tracks:add_tracklet", "after", 2),
    "before the second commit": ("fabnet_secure.pipeline.keep:record_grant", "after", 2),
    "after the second commit": (INGEST + "keep", "after", 2),
    "before the second unlink": (DISPOSITION + "_unlink", "before", 2),
    "after the second disposition": (INGEST + "dispose", "after", 2),
    "a quarantine's key is stored": ("fabnet_secure.pipeline.keep:hold", "after", 1),
    "after the quarantine": (INGEST + "keep", "after", 4),
}
UNLINKED = (DISPOSITION + "_unlink", "after", 2)


@pytest.fixture
def films(home, clips):
    """A folder of films, some of which may be deleted."""
    home.settle('source_disposition = "delete"')
    folder = home.folder / "films"
    folder.mkdir()
    for name in FILMS:
        shutil.copy(clips / f"{name}.mp4", folder)
    (folder / "broken.mp4").write_bytes((folder / "ada.mp4").read_bytes()[:3000])
    return folder


@pytest.fixture
def command(home, films, ok, consent_of):
    """A vault with a consent, and the command that ingests the folder under it."""
    ok("init")
    return ("ingest", "films", "--consent", ok(*consent_of("ada@example.org"))["consent_id"])


@pytest.fixture
def named(home, films, command):
    """What each film's bytes are named by in this vault."""
    with open_site(Place(root=home.vault, key_file=home.key), load().settings) as site:
        return {path.name: content_of(site, path) for path in films.iterdir()}


@pytest.fixture(scope="module")
def unbroken():
    """What an unbroken run left; made by the first test that asks."""
    return {}


@pytest.fixture
def whole(unbroken, home, films, command, program, tmp_path):
    """The state and the files that an unbroken run leaves."""
    if not unbroken:
        twin = type(home)(shutil.copytree(home.folder, tmp_path / "twin"))
        with twin.entered():
            said = program(*command)
        assert (said.status, said.last["videos"]["ingested"], said.last["videos"]["quarantined"]) == (3, 3, 1)
        unbroken.update(_left(twin))
        assert unbroken["files"] == STAYING
    return unbroken


@pytest.fixture
def start(home, python):
    """Start the program in a process group of its own; nothing of it outlives the test."""
    started = []

    def run(moment, *arguments):
        process = subprocess.Popen(
            [python, "-c", DRIVER, *map(str, moment), *arguments],
            cwd=home.folder,
            env=home.surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _left(home):
    """Describe the vault's rows and the films that are there, without ids, times and tries."""
    state = {name: one for name, one in home.state().items() if name != "log_opening"}
    state["secrets"] = home.rows("SELECT count(*) FROM secret", file="keystore.db")
    columns = "status, frames_read, detected, bound, dropped, quarantined, drop_reasons, disposition"
    rows = sorted(home.rows(f"SELECT {columns} FROM video"))
    return {"state": state, "videos": rows, "files": {path.name for path in (home.folder / "films").iterdir()}}


def _assert_kept_or_there(home, named):
    """Check that every film that is gone has a committed video with a bound track, and its crops."""
    gone = set(named) - {path.name for path in (home.folder / "films").iterdir()}
    assert not gone & STAYING
    for name in gone:
        (row,) = home.rows("SELECT video_id, status, disposition FROM video WHERE content = ?", named[name])
        assert row[1] == "ingested"
        assert row[2] in ("deleted", "delete_due")
        kept = "SELECT 1 FROM tracklet JOIN track USING (track_id) WHERE video_id = ?"
        assert home.rows(kept, row[0])
    return gone


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_deleting_ingest_that_was_killed_is_finished_by_another(
    moment, home, films, command, named, whole, start, ok, program
):
    """No film is gone that is not committed; the second run deletes what is due and ends where an unbroken one does."""
    running = start(MOMENTS[moment], *command)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    _assert_kept_or_there(home, named)
    ok("audit", "verify")
    assert program(*command).status == 3
    assert _left(home) == whole
    ok("audit", "verify")


def test_a_deletion_that_was_killed_is_never_called_done(home, films, command, named, whole, start, program):
    """Killed between the unlink and its record: the file is gone, the video is there and goes on saying «due».

    Nothing can prove afterwards who deleted the file (no path is kept), so this one word differs from an unbroken run.
    """
    running = start(UNLINKED, *command)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    assert _assert_kept_or_there(home, named) == {"ada.mp4", "ada-again.mp4"}
    program(*command)
    assert home.rows("SELECT count(*) FROM video WHERE disposition = 'delete_due'") == [(1,)]
    assert _told_done(_left(home)) == whole


@pytest.mark.parametrize(("jobs", "lines"), [(1, 1), (2, 2)])
def test_an_ingest_killed_at_a_line_of_its_output(jobs, lines, home, films, command, named, whole, start, ok, program):
    """The whole group of processes, whatever each of them was doing when a video had just been told."""
    running = start((":", "", 0), *command, "--jobs", str(jobs), "--json")
    for _ in range(lines):
        assert '"video"' in running.stdout.readline()
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    _assert_kept_or_there(home, named)
    ok("audit", "verify")
    program(*command)
    ok("audit", "verify")
    assert _told_done(_left(home)) == whole


def _told_done(left):
    """Take a deletion that was done, but not recorded, for recorded: only there may a killed run leave «due»."""
    videos = sorted((*row[:-1], "deleted" if row[-1] == "delete_due" else row[-1]) for row in left["videos"])
    return left | {"videos": videos}
