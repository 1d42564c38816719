"""Which files were opened for writing while a video was read."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from fabnet_secure.pipeline.discard import watch_writes


def test_every_way_to_write_is_seen(tmp_path):
    """open, os.open, Path, copies and temporary files are counted with their names."""
    with watch_writes() as seen:
        (tmp_path / "a").write_bytes(b"x")
        with (tmp_path / "a").open("ab"):
            pass
        with (tmp_path / "a").open("r+b"):
            pass
        os.close(os.open(tmp_path / "b", os.O_CREAT | os.O_WRONLY))
        os.close(os.open(os.fsencode(tmp_path / "c"), os.O_CREAT))
        shutil.copy(tmp_path / "a", tmp_path / "d")
        with tempfile.NamedTemporaryFile(dir=tmp_path):
            pass
    assert seen.count >= 7
    assert [Path(path).name for path in seen.paths[:3]] == ["a", "a", "a"]
    assert {Path(path).name for path in seen.paths} >= {"a", "b", "c", "d"}


def test_reading_is_not_writing(tmp_path):
    """Files that are only read, and devices, are not counted."""
    (tmp_path / "a").write_bytes(b"x")
    with watch_writes() as seen:
        (tmp_path / "a").read_bytes()
        with Path(os.devnull).open("wb"):
            pass
    assert seen.count == 0


def test_only_what_happens_inside_is_counted(tmp_path):
    """Before and after the block nothing is seen; blocks inside one another each see their own."""
    with watch_writes() as outer:
        (tmp_path / "a").touch()
        with watch_writes() as inner:
            (tmp_path / "b").touch()
    (tmp_path / "c").touch()
    assert [Path(path).name for path in outer.paths] == ["a", "b"]
    assert [Path(path).name for path in inner.paths] == ["b"]


def test_an_error_inside_ends_the_watch(tmp_path):
    """A block that fails stops watching as well."""
    with suppress(ZeroDivisionError), watch_writes() as seen:
        _ = 1 / 0
    (tmp_path / "a").touch()
    assert seen.count == 0
