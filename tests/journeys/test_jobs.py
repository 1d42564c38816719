"""Several videos at once, each in a process of its own: the vault is the same as if they had been read one by one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

NAMES = ("ada", "ada-again", "ben", "cleo", "dan", "eve")


@pytest.fixture
def films(home, clips):
    """A folder of six clips."""
    folder = home.folder / "films"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(clips / f"{name}.mp4", folder)
    return folder


@pytest.fixture
def consent_id(home, ok, consent_of):
    """A vault, and a consent to ingest everything under."""
    ok("init")
    return ok(*consent_of("ada@example.org"))["consent_id"]


@pytest.fixture
def start(home, python):
    """Start the program in a process of its own, out of the way of a Ctrl-C here."""
    started = []

    def run(*arguments):
        script = "import sys; from fabnet_secure.commands.program import main; sys.exit(main(sys.argv[1:]))"
        process = subprocess.Popen(
            [python, "-c", script, *arguments],
            cwd=home.folder,
            env=home.surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _workers(parent):
    """Return the processes under one process, by /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(after_name[1]) == parent and after_name[0] != "Z":
                found.append(int(entry.name))
    return found


def _wait(true, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _videos(home):
    return home.rows("SELECT count(*) FROM video")[0][0]


def _lasting(state):
    """Return a vault's state without openings, which are counted per try: each begun ingest is logged."""
    return {name: one for name, one in state.items() if name != "log_opening"}


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def unbroken():
    """What an unbroken run, one video after the other, left and said; made by the first test that asks."""
    return {}


@pytest.fixture
def whole(unbroken, home, films, consent_id, ok, tmp_path):
    """The state after an unbroken run, and its summary."""
    if not unbroken:
        other = type(home)(tmp_path / "twin")
        shutil.copytree(home.folder, other.folder)
        with other.entered():
            unbroken["summary"] = ok("ingest", "films", "--consent", consent_id)
        unbroken["state"] = other.state()
    return unbroken


def test_two_at_once_are_the_same_as_one_by_one(home, films, consent_id, ok, whole):
    """The same rows, keys and counts; the summary, too; all of it in the order of names."""
    command, alone = ("ingest", "films", "--consent", consent_id), whole["summary"]
    done = ok(*command, "--jobs", "2")
    assert done["videos"] == alone["videos"] == {"ingested": 6, "skipped": 0, "refused": 0, "quarantined": 0}
    assert (done["tracks"], done["frames"]) == (alone["tracks"], alone["frames"])
    assert home.state() == whole["state"]
    ok("audit", "verify")
    assert ok(*command, "--jobs", "2")["videos"]["skipped"] == 6


def test_videos_are_told_in_their_order(home, films, consent_id, program):
    """Whichever is finished first; a broken one is refused beside the others: status 3."""
    (films / "broken.mp4").write_bytes((films / "ada.mp4").read_bytes()[:3000])
    shutil.copy(films / "ada.mp4", films / "zz-copy.mp4")
    said = program("ingest", "films", "--consent", consent_id, "--jobs", "2")
    assert said.status == 3
    assert [one["video"] for one in said.objects[:-1]] == sorted(path.name for path in films.iterdir())
    assert said.last["videos"] == {"ingested": 6, "skipped": 1, "refused": 1, "quarantined": 0}
    assert [one["video"] for one in said.last["refusals"]] == ["broken.mp4"]


@pytest.mark.skipif(sys.platform != "linux", reason="workers die with their parent on Linux")
@pytest.mark.parametrize("committed", [0, 3])
def test_a_run_that_was_killed_is_finished_by_another(home, films, consent_id, ok, start, whole, committed):
    """SIGKILL in the middle: no worker is left, and the second run ends where an unbroken one does."""
    command = ("ingest", "films", "--consent", consent_id, "--jobs", "2")
    running = start(*command)
    _wait(lambda: len(_workers(running.pid)) == 2 and _videos(home) >= committed)
    workers = _workers(running.pid)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    _wait(lambda: not any(map(_alive, workers)), 10)
    ok("audit", "verify")
    kept = _videos(home)
    assert committed <= kept
    done = ok(*command)
    assert done["videos"] == {"ingested": 6 - kept, "skipped": kept, "refused": 0, "quarantined": 0}
    assert _lasting(home.state()) == _lasting(whole["state"])
    ok("audit", "verify")


def test_ctrl_c_ends_every_worker(home, films, consent_id, ok, start):
    """Status 130, no worker is left, nothing is half done; the same command goes on from there."""
    command = ("ingest", "films", "--consent", consent_id, "--jobs", "2")
    running = start(*command)
    _wait(lambda: _videos(home) >= 1)
    workers = _workers(running.pid)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert not any(map(_alive, workers))
    ok(*command)
    assert _videos(home) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_killed_worker_costs_the_video_it_was_reading(home, films, consent_id, start, ok):
    """The others are ingested; the lost one is told and logged, and a second run makes up for it."""
    running = start("ingest", "films", "--consent", consent_id, "--jobs", "2", "--json")
    _wait(lambda: home.rows("SELECT count(*) FROM log_opening")[0][0] > 1)  # a video was begun
    os.kill(_workers(running.pid)[0], signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    kept = _videos(home)
    if running.returncode == 0:
        assert kept == 6  # it was between two videos
        return
    assert running.returncode == 3, err
    assert kept in {5, 6}  # killed before its commit, or between the commit and the telling
    assert out.count('"WORKER_DIED"') == 2  # beside the video, and in the summary
    assert ok("ingest", "films", "--consent", consent_id)["videos"]["skipped"] == kept
    assert _videos(home) == 6
