"""The anchor's file: made once, appended to under a lock, never silently made anew."""

import base64
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from fabnet_secure.audit import anchor_file
from fabnet_secure.audit.anchor_file import Anchor
from fabnet_secure.errors import IntegrityFailure, StorageFailed

START = datetime(2026, 5, 4, tzinfo=UTC)


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def note(size):
    return f"example.org/log\n{size}\n{base64.b64encode(b'1' * 32).decode()}\n\n— example.org/log c2ln\n"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def anchor(tmp_path, clock):
    return Anchor.create(tmp_path / "vault.anchor", "v", clock)


def test_it_is_made_for_its_owner_alone(anchor):
    """Mode 0600, one line, no other file beside it."""
    assert stat.S_IMODE(anchor.path.stat().st_mode) == 0o600
    assert [path.name for path in anchor.path.parent.iterdir()] == ["vault.anchor"]
    assert anchor.state().vault_id == "v"


def test_it_is_never_made_over_another(anchor, clock):
    """A second creation is refused and changes nothing."""
    before = anchor.path.read_bytes()
    with pytest.raises(StorageFailed) as refused:
        Anchor.create(anchor.path, "w", clock)
    assert refused.value.code == "ANCHOR_NOT_WRITTEN"
    assert anchor.path.read_bytes() == before
    assert len(list(anchor.path.parent.iterdir())) == 1


def test_lines_are_added_and_read_again(anchor, clock):
    """Another object, as another process has, reads what was appended, and the times of the clock."""
    clock.now += timedelta(hours=1)
    anchor.append("withdrawn", consent_id="c", key_ids=["k"])
    anchor.append("head", checkpoint=note(7))
    again = Anchor(anchor.path, "v", clock)
    state = again.state()
    assert (state.head.size, state.withdrawn[0].consent_id, state.latest_at) == (7, "c", clock.now)
    assert (again.size, again.latest_at) == (anchor.size, anchor.latest_at) == (7, clock.now)


def test_spending_is_confirmed_by_the_head_that_ends_its_work(anchor):
    """A spent line in a unit of work that was undone stays unconfirmed, even when another commits after it."""
    anchor.begin()
    anchor.append("spent", entry_id="undone", epsilon=1.0, delta=0.0)
    anchor.begin()
    anchor.append("spent", entry_id="done", epsilon=1.0, delta=0.0)
    anchor.append("head", checkpoint=note(3))
    assert (anchor.state().owed, anchor.state().uncertain) == ({"done"}, {"undone"})


def test_spending_noted_between_two_units_of_work_belongs_to_none(anchor):
    """Nothing confirms it but what the ledger is found to hold."""
    anchor.begin()
    anchor.append("head", checkpoint=note(3))
    anchor.append("spent", entry_id="between", epsilon=1.0, delta=0.0)
    anchor.begin()
    anchor.append("head", checkpoint=note(4))
    assert anchor.state().uncertain == {"between"}


def test_uncertain_spending_that_the_ledger_holds_is_confirmed_later(anchor):
    """What opening found in the ledger is confirmed by the next head."""
    anchor.append("spent", entry_id="cut off", epsilon=1.0, delta=0.0)
    again = Anchor(anchor.path, "v", Clock())
    again.found(again.state().uncertain)
    again.begin()
    again.append("head", checkpoint=note(3))
    assert again.state().owed == {"cut off"}


def test_it_is_not_made_anew(anchor):
    """Gone is gone: reading, starting and appending all refuse, and nothing appears."""
    anchor.path.unlink()
    for act in (anchor.state, anchor.begin, lambda: anchor.append("head", checkpoint=note(1))):
        with pytest.raises(IntegrityFailure) as refused:
            act()
        assert refused.value.code == "ANCHOR_MISSING"
    assert not anchor.path.exists()


def test_it_belongs_to_one_vault(anchor, clock):
    """Another vault's anchor is refused."""
    with pytest.raises(IntegrityFailure, match="another vault") as refused:
        Anchor(anchor.path, "w", clock).state()
    assert refused.value.code == "ANCHOR_BROKEN"


def test_a_link_in_its_place_is_refused(anchor, tmp_path, clock):
    """A symbolic link is not followed."""
    link = tmp_path / "link.anchor"
    link.symlink_to(anchor.path)
    with pytest.raises(IntegrityFailure) as refused:
        Anchor(link, "v", clock).state()
    assert refused.value.code == "ANCHOR_BROKEN"


@pytest.mark.parametrize("torn", [b'{"kind":"hea', b"\0" * 9000, b"x" * 4096], ids=["text", "zeros", "page"])
def test_a_line_cut_off_is_removed_before_the_next(anchor, torn):
    """After a crash in the middle of a line the next line starts on its own."""
    anchor.append("head", checkpoint=note(3))
    with anchor.path.open("ab") as file:
        file.write(torn)
    anchor.append("head", checkpoint=note(4))
    assert anchor.state().head.size == 4
    assert torn not in anchor.path.read_bytes()


def test_old_heads_are_dropped_when_it_has_grown(anchor, monkeypatch):
    """Compaction keeps the newest head, everything else, and the mode; and waits for as much growth again."""
    monkeypatch.setattr(anchor_file, "GROWTH", 4000)
    anchor.append("withdrawn", consent_id="c", key_ids=["k"])
    sizes = []
    for size in range(1, 100):
        anchor.append("head", checkpoint=note(size))
        sizes.append(anchor.path.stat().st_size)
    state = anchor.state()
    assert (state.head.size, state.withdrawn[0].consent_id) == (99, "c")
    assert 4000 < max(sizes) < 5500
    assert sum(b < a for a, b in pairwise(sizes)) > 3
    assert stat.S_IMODE(anchor.path.stat().st_mode) == 0o600
    assert len(list(anchor.path.parent.iterdir())) == 1


def test_a_shared_anchor_stays_shared(anchor, monkeypatch):
    """Compaction keeps the group and the mode; who may not write beside the vault leaves the file as it is."""
    monkeypatch.setattr(anchor_file, "GROWTH", 1000)
    group = max(os.getgroups(), default=os.getgid()) if os.getuid() else 4242
    os.chown(anchor.path, -1, group)
    anchor.path.chmod(0o660)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        for size in range(1, 20):
            anchor.append("head", checkpoint=note(size))
        assert anchor.path.stat().st_size > 3000
    anchor.append("head", checkpoint=note(20))
    status = anchor.path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group)
    assert status.st_size < 1000
    assert anchor.state().head.size == 20


def test_writers_at_once_lose_no_line(anchor, monkeypatch, clock):
    """Several writers append while the file is compacted under them: every withdrawal is there, every line whole."""
    monkeypatch.setattr(anchor_file, "GROWTH", 3000)

    def write(number):
        mine = Anchor(anchor.path, "v", clock)
        for count in range(20):
            mine.append("withdrawn", consent_id=f"{number}-{count}", key_ids=[])
            mine.append("head", checkpoint=note(1 + count))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    state = anchor.state()
    assert {one.consent_id for one in state.withdrawn} == {f"{a}-{b}" for a in range(4) for b in range(20)}
    assert len(state.withdrawn) == 80


def test_what_must_not_be_forgotten_is_flushed(anchor, monkeypatch):
    """A withdrawal, spending and a restore reach the disk at once; a head need not."""
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    anchor.append("head", checkpoint=note(1))
    assert flushed == []
    anchor.append("withdrawn", consent_id="c", key_ids=[])
    anchor.append("spent", entry_id="e", epsilon=1.0, delta=0.0)
    anchor.append("restored", checkpoint_lost="", size_kept=1)
    assert len(flushed) == 3


def test_a_disk_that_refuses_is_said(anchor, monkeypatch):
    """A full disk is a storage failure, not an integrity failure."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFailed) as refused:
        anchor.append("head", checkpoint=note(1))
    assert refused.value.code == "ANCHOR_NOT_WRITTEN"
