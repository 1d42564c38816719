"""The demo's own parts: its folder, its surroundings, and that a step that goes wrong stops it."""

import os
from contextlib import suppress

import pytest

from fabnet_secure.commands import demo
from fabnet_secure.errors import ExitCode, FabnetError, UsageError


def test_a_used_folder_is_refused(tmp_path):
    """--keep wants a new or empty folder, and leaves another alone."""
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UsageError), demo._folder(tmp_path):
        pytest.fail("a used folder was taken")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_kept_folder_stays_and_another_goes(tmp_path):
    """With --keep the folder stays; without, it is removed even when the demo fails."""
    with demo._folder(tmp_path / "kept") as kept:
        (kept / "x").touch()
    assert (tmp_path / "kept" / "x").exists()
    with suppress(ZeroDivisionError), demo._folder(None) as lost:
        _ = 1 / 0
    assert not lost.exists()


def test_a_step_with_another_status_stops_the_demo(tmp_path, monkeypatch, capsys):
    """Every step names the status that it expects; another one is a failure."""
    monkeypatch.setenv("FABNET_VAULT", str(tmp_path / "nowhere"))
    monkeypatch.setenv("FABNET_KEY_FILE", str(tmp_path / "nowhere.key"))
    with pytest.raises(FabnetError) as caught:
        demo._run("consent", "list")
    assert caught.value.code == "DEMO_FAILED"
    demo._run("consent", "list", expect=ExitCode.NO_VAULT)
    assert "exit status 10, as it should be" in capsys.readouterr().out
    assert os.environ["FABNET_VAULT"] == str(tmp_path / "nowhere")
