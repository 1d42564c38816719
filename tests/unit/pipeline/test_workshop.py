"""Private folders for work in progress."""

import os
import signal
import subprocess
import sys

import pytest

from fabnet_secure.pipeline.workshop import clear_leftovers, clear_parts, workshop

SLEEPER = """
import sys, time
from pathlib import Path
from fabnet_secure.pipeline.workshop import workshop
with workshop(Path(sys.argv[1]), ".w-") as folder:
    (folder / "half").write_text("half")
    print("in", flush=True)
    time.sleep(60)
"""


def _working(folder):
    child = subprocess.Popen([sys.executable, "-c", SLEEPER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "in\n"
    return child


def test_it_is_private_and_gone_afterwards(tmp_path):
    """Mode 0700, removed with all that is in it."""
    with workshop(tmp_path, ".w-") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_it_is_gone_after_an_error(tmp_path, kind):
    """An error and a Ctrl-C remove it too."""

    def fail():
        with workshop(tmp_path, ".w-"):
            raise kind

    with pytest.raises(kind):
        fail()
    assert not list(tmp_path.iterdir())


def test_it_is_gone_after_a_termination(tmp_path):
    """SIGTERM unwinds the work."""
    child = _working(tmp_path)
    child.terminate()
    assert child.wait(20) != 0
    child.stdout.close()
    assert not list(tmp_path.iterdir())


def test_termination_means_what_it_did_before(tmp_path):
    """The handler of the caller is put back."""
    before = signal.getsignal(signal.SIGTERM)
    with workshop(tmp_path, ".w-"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_kill_left_is_removed_by_the_next(tmp_path):
    """SIGKILL leaves the folder; the next work in the same place removes it, and no folder that is in use."""
    child = _working(tmp_path)
    with workshop(tmp_path, ".w-"):
        assert len(list(tmp_path.iterdir())) == 2  # somebody works there
    child.kill()
    child.wait(20)
    child.stdout.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert clear_leftovers(tmp_path, ".w-") == 1
    assert not list(tmp_path.iterdir())


def test_only_its_own_kind_is_removed(tmp_path):
    """Other folders, files and links stay."""
    (tmp_path / "other").mkdir()
    (tmp_path / ".w-file").write_text("x")
    (tmp_path / ".w-link").symlink_to(tmp_path / "other")
    assert clear_leftovers(tmp_path, ".w-") == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_unfinished_archives_are_removed(tmp_path):
    """Parts that nobody writes any more."""
    (tmp_path / ".a.age.part").write_text("half")
    (tmp_path / "a.age").write_text("whole")
    os.mkfifo(tmp_path / ".pipe.part")
    assert clear_parts(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.age", ".pipe.part"}
