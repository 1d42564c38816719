"""Which files were opened for writing while a video was read."""

import os
import resource
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fabnet_secure.errors import Gap, IntegrityFailure
from fabnet_secure.logs import LOGGER
from fabnet_secure.memory import Swap
from fabnet_secure.pipeline import discard
from fabnet_secure.pipeline.discard import Watch, require_memory_stays, require_none, watch_writes


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


@pytest.mark.parametrize(
    ("swap", "policy", "refused"),
    [
        (Swap.UNENCRYPTED, "refuse", True),
        (Swap.UNENCRYPTED, "warn", False),
        (Swap.ENCRYPTED, "refuse", False),
        (Swap.NONE, "refuse", False),
    ],
)
def test_swap_in_the_clear_is_refused_where_the_policy_says_so(swap, policy, refused, site, monkeypatch, caplog):
    """Otherwise it is warned of; encrypted swap is neither; core dumps are off in every case."""
    monkeypatch.setattr(discard, "swap_state", lambda: swap)
    monkeypatch.setattr(LOGGER, "propagate", True)
    table = site.settings.ingest.model_copy(update={"unencrypted_swap": policy})
    strict = replace(site, settings=site.settings.model_copy(update={"ingest": table}))
    if refused:
        with pytest.raises(Gap) as caught:
            require_memory_stays(strict)
        assert caught.value.code == "SWAP_IN_THE_CLEAR"
    else:
        require_memory_stays(strict)
    assert ("unencrypted swap" in caplog.text) == (swap is Swap.UNENCRYPTED and not refused)
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def test_one_written_file_refuses_the_video():
    """Nothing of a video is kept during whose reading anything was opened for writing."""
    require_none(Watch())
    with pytest.raises(IntegrityFailure) as caught:
        require_none(Watch(paths=["frame.png"]))
    assert caught.value.code == "FRAMES_PERSISTED"


def test_the_anchor_may_be_written_meanwhile(tmp_path):
    """What another act notes beside the vault is no frame; any other file is."""
    anchor = tmp_path / "vault.anchor"
    with watch_writes(ours=anchor) as seen:
        anchor.write_bytes(b"line")
        assert seen.count == 0
        anchor.with_name("frame").write_bytes(b"x")
    assert seen.paths == [str(tmp_path / "frame")]
