"""Small private files: checked as they are opened, and read without waiting."""

import os
import stat
from pathlib import Path

import pytest

from fabnet_secure.crypto.files import read_checked, sync_directory


def test_what_is_checked_is_what_is_read(tmp_path):
    """The check sees the open file: another one that is put in its place meanwhile is not read."""
    path = tmp_path / "key"
    path.write_bytes(b"first")

    def swap(status):
        assert status.st_ino == path.stat().st_ino
        path.rename(tmp_path / "away")
        path.write_bytes(b"second")

    assert read_checked(path, swap) == b"first"


def test_a_check_that_refuses_ends_it_and_leaves_nothing_open(tmp_path):
    """What it raises comes through, and the descriptor is closed."""
    path = tmp_path / "key"
    path.write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))

    def refuse(status):
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            read_checked(path, refuse)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_fifo_makes_nobody_wait_and_no_more_is_read_than_was_asked(tmp_path):
    """The check is told what it is; a long file is cut."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    kinds = []
    assert read_checked(tmp_path / "fifo", lambda status: kinds.append(stat.S_ISFIFO(status.st_mode))) == b""
    assert kinds == [True]
    (tmp_path / "long").write_bytes(bytes(100))
    assert read_checked(tmp_path / "long", lambda _: None, 10) == bytes(10)


def test_what_is_not_there_is_the_systems_error(tmp_path):
    """No file, and no directory to make durable."""
    with pytest.raises(FileNotFoundError):
        read_checked(tmp_path / "none", lambda _: None)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "none")
    sync_directory(tmp_path)
