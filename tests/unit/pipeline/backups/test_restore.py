"""A restored vault is a vault; a restore that is cut off leaves nothing that serves."""

import contextlib
import json
import os
import shutil
import signal

import pytest

from fabnet_secure.config import load
from fabnet_secure.pipeline import (
    replay,
    restore,
    unpacked,
    workshop,
)
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import meta


def test_the_limits_come_back(room, copy):
    """The vault's own settings lie in its archive, so that a restored vault is not laxer than the lost one."""
    place = copy.restore().vault
    assert load([], vault=place).settings.query.daily_budget == 7


def test_a_restored_vault_is_a_vault(room, site, copy, consents_of):
    """Everything of the backup is there, the log goes on, and it says what was lost."""
    before = consents_of(site)
    room.consent(site, subject_ref="later")
    with site.reading() as connection:
        size_lost = len(room.acts(site))
        assert meta.get_meta(connection, "vault_id")
    done = copy.restore()
    assert (done.size_kept, done.size_lost, done.anchored) == (copy.size, size_lost, True)
    back = copy.opened()
    assert consents_of(back) == before
    told = room.facts(back, "vault.restored")
    assert (told["size_kept"], told["size_lost"], told["withdrawn"], told["charged"]) == (copy.size, size_lost, 0, 0)
    assert check(back)[0] > copy.size
    assert oct(done.vault.stat().st_mode)[-3:] == "700"
    assert [path.name for path in done.vault.iterdir() if path.name.startswith(".")] == []
    room.consent(back, subject_ref="new")  # it serves


def test_a_dry_run_keeps_nothing(room, site, copy, nothing_left):
    """All of it is done and thrown away; no confirmation is asked."""
    done = copy.restore(dry_run=True, confirm="x")
    assert done.dry_run
    assert nothing_left()


def test_a_copy_that_was_not_told_serves_nobody(room, site, copy, monkeypatch, code_of, nothing_left):
    """Whoever takes the half-made copy out of its place finds that it does not open."""
    taken = room.folder / "taken"

    def steal(place, *arguments, **options):
        del arguments, options
        shutil.copytree(place.root, taken)
        for name in ("anchor", "epoch"):
            shutil.copy(place.root.parent / name, room.folder / f"taken.{name}")
        raise KeyboardInterrupt

    monkeypatch.setattr(unpacked, "open_site", steal)
    with pytest.raises(KeyboardInterrupt):
        copy.restore()
    assert nothing_left()
    assert code_of(copy.opened, "taken") == "RESTORE_PENDING"


def test_the_database_of_such_a_copy_says_so_too(room, site, copy, monkeypatch, code_of):
    """A card written anew by hand does not help: the database knows."""
    taken = room.folder / "taken"

    def steal(found, *arguments, **options):
        del arguments, options
        shutil.copytree(found.root, taken)
        for name in ("anchor", "epoch"):
            shutil.copy(found.root.parent / name, room.folder / f"taken.{name}")
        raise KeyboardInterrupt

    monkeypatch.setattr(restore, "replay", steal)
    with pytest.raises(KeyboardInterrupt):
        copy.restore()
    card = json.loads((taken / "vault.json").read_text())
    card.pop("restored")
    (taken / "vault.json").write_text(json.dumps(card))
    assert code_of(copy.opened, "taken") == "RESTORE_PENDING"


def test_what_fails_in_the_replay_leaves_nothing(room, site, copy, monkeypatch, nothing_left, consents_of):
    """All or nothing, the anchor too."""
    gone = next(iter(consents_of(site)))
    withdraw(site, gone, confirm=gone)
    before = room.place.anchor_file.read_bytes()

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replay, "sweep", fail)
    with pytest.raises(OSError, match="No space"):
        copy.restore()
    assert nothing_left()
    assert room.place.anchor_file.read_bytes() == before


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_restore_killed_in_its_last_steps_is_done_by_the_same_command(room, site, copy, monkeypatch, consents_of):
    """Anchor and epoch file are in place, the vault is not: nothing has to be moved or typed anew."""
    for name in ("anchor", "epoch"):
        shutil.copy(room.folder / f"vault.{name}", room.folder / f"kept.{name}")
    given = {"anchor": room.folder / "kept.anchor", "epoch_file": room.folder / "kept.epoch"}
    gone = next(iter(consents_of(site)))
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(restore, "_write_card", lambda _, told: told == {"restored": "pending"} or _kill())
        with contextlib.suppress(BaseException):
            copy.restore(**given)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (room.folder / "new.anchor").exists()
    assert list(room.folder.glob(".new.restoring-*/epoch"))
    assert copy.restore(**given).anchored
    assert gone in consents_of(copy.opened())
    assert not list(room.folder.glob(".new.restoring-*"))


def test_no_copy_of_the_epoch_file_is_left_with_its_bytes(room, site, copy, monkeypatch):
    """What the restore copied it to is overwritten before it is removed; a killed one's copy too, by a rekey."""
    seen = {}
    real = workshop.shutil.rmtree

    def look(folder, **options):
        for path in folder.glob("epoch*"):
            seen[path.name] = path.read_bytes()
        seen["folder"] = b""
        real(folder, **options)

    monkeypatch.setattr(workshop.shutil, "rmtree", look)
    assert copy.restore().epoch_left == room.place.gate
    assert seen == {"folder": b""}
    left = room.folder / ".other.restoring-abc"
    left.mkdir()
    shutil.copy(room.place.gate, left / "epoch")
    held = room.folder / "held"
    os.link(left / "epoch", held)
    rekey(site)
    assert not left.exists()
    assert not held.read_bytes().strip(b"\0")


@pytest.mark.parametrize("act", ["restore", "backup"])
def test_what_a_killed_restore_left_goes_with_the_next_act_beside_it(act, room, site, copy, copied):
    """Whatever name it was to have, its copy of the epoch file is overwritten; docs/backup.md says by what."""
    left = room.folder / ".other.restoring-abc"
    left.mkdir()
    shutil.copy(room.place.gate, left / "epoch")
    held = room.folder / "held"
    os.link(left / "epoch", held)
    if act == "restore":
        copy.restore()
    else:
        copied(site, "out2")
    assert not left.exists()
    assert not held.read_bytes().strip(b"\0")
