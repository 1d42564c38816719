"""A vault held against what is remembered outside it: older copies, another clock, lost budget do not open."""

import base64
import json
import shutil

import pytest

from fabnet_secure.audit.anchor_file import Anchor
from fabnet_secure.config import load
from fabnet_secure.errors import IntegrityFailure, StorageFailed, UsageError
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.create import create_vault


def test_every_act_is_noted_outside(room, act, opened):
    """The anchor's head is the log's own after each act, with its signature."""
    with opened(room) as site:
        for _ in range(3):
            act(site)
            size, _, _ = check(site)
            assert site.anchor.state().head.size == size


@pytest.mark.parametrize("files", [(), ("vault.db",)], ids=["both", "vault"])
def test_an_earlier_copy_of_the_databases_does_not_open(room, files, act, refusal, opened, kept, put_back):
    """One act is enough: the copy from before it is refused, and opens again when the newest is back."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
    newest = kept(room, "newest")
    put_back(room, copy, *files)
    assert refusal(room) == "ROLLED_BACK"
    put_back(room, newest)
    with opened(room):
        pass


def test_another_history_of_the_same_length_does_not_open(room, act, refusal, opened, kept, put_back):
    """A copy that went its own way has the right size and the wrong root."""
    copy = kept(room)
    anchor = room.place.anchor_file.read_bytes()
    with opened(room) as site:
        act(site)
    other = kept(room, "other")
    put_back(room, copy)
    room.place.anchor_file.write_bytes(anchor)
    with opened(room) as site:
        act(site, another=True)
    put_back(room, other)
    assert refusal(room) == "ROLLED_BACK"


def test_databases_put_back_under_an_open_vault_are_noticed_by_the_next_act(room, act, opened, kept, put_back):
    """The process that saw the larger log refuses to sign on top of the smaller."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
        act(site)
        put_back(room, copy)
        with pytest.raises(IntegrityFailure) as refused:
            act(site)
        assert refused.value.code == "ROLLED_BACK"


def test_a_moved_vault_without_its_anchor_does_not_open_and_makes_none(room, opened):
    """ANCHOR_MISSING, with the way out in the hint; no file appears."""
    room.place.anchor_file.unlink()
    with pytest.raises(IntegrityFailure) as refused, opened(room):
        pass
    assert refused.value.code == "ANCHOR_MISSING"
    assert "audit anchor --accept" in refused.value.hint
    assert not room.place.anchor_file.exists()


def test_an_anchor_that_goes_while_the_vault_is_open_stops_every_act(room, act, opened):
    """Nothing is done that could not be noted outside."""
    with opened(room) as site:
        size, _, _ = check(site)
        room.place.anchor_file.unlink()
        with pytest.raises(IntegrityFailure) as refused:
            act(site)
        assert refused.value.code == "ANCHOR_MISSING"
        assert check(site)[0] == size


def test_a_torn_last_line_opens_and_is_mended(room, act, opened):
    """A crash while the line was written costs nothing."""
    with room.place.anchor_file.open("ab") as file:
        file.write(b'{"kind":"head","che')
    with opened(room) as site:
        act(site)
        assert site.anchor.state().head.size == check(site)[0]


@pytest.mark.parametrize("content", [b"", b"junk\n", b'{"kind":"head"}\n'], ids=["empty", "junk", "headless"])
def test_a_damaged_anchor_does_not_open(room, content, refusal):
    """ANCHOR_BROKEN."""
    room.place.anchor_file.write_bytes(content)
    assert refusal(room) == "ANCHOR_BROKEN"


def test_a_head_that_the_log_did_not_sign_is_damage(room, refusal):
    """A head written into the anchor by hand bears no signature of the log's."""
    root = base64.b64encode(b"\1" * 32).decode()
    line = {
        "kind": "head",
        "at": "2026-05-04T03:02:02.000000Z",
        "checkpoint": f"x/y\n9\n{root}\n\n\u2014 x/y AAAAAAA=\n",
    }
    with room.place.anchor_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    assert refusal(room) == "ANCHOR_BROKEN"


def test_another_place_for_the_anchor(room, act):
    """Place.anchor (FABNET_ANCHOR) moves it; the default place is then not looked at."""
    moved = room.folder / "elsewhere" / "the.anchor"
    moved.parent.mkdir()
    room.place.anchor_file.rename(moved)
    place = Place(root=room.place.root, key_file=room.place.key_file, anchor=moved)
    with open_site(place, load([]).settings, clock=room.clock) as site:
        act(site)
    assert not room.place.anchor_file.exists()


def test_a_clock_set_back_stops_the_vault(room, act, refusal, opened):
    """More than five minutes behind the newest entry: refused; less is a clock being set right."""
    room.clock.forward(hours=2)
    with opened(room) as site:
        act(site)
    room.clock.forward(seconds=-299)
    with opened(room) as site:
        act(site)
    room.clock.forward(seconds=-299)
    assert refusal(room) == "CLOCK_BACK"


def test_a_clock_set_back_under_an_open_vault_stops_the_next_act(room, act, opened):
    """The clock is looked at before every act, not only when opening."""
    with opened(room) as site:
        room.clock.forward(hours=2)
        act(site)
        room.clock.forward(hours=-1)
        with pytest.raises(IntegrityFailure) as refused:
            act(site)
        assert refused.value.code == "CLOCK_BACK"


def test_the_log_s_own_time_counts_when_the_anchor_lags(room, act, refusal, opened):
    """An anchor that misses the last heads does not let the clock go back."""
    anchor = room.place.anchor_file.read_bytes()
    room.clock.forward(hours=2)
    with opened(room) as site:
        act(site)
    room.place.anchor_file.write_bytes(anchor)
    room.clock.forward(hours=-1)
    assert refusal(room) == "CLOCK_BACK"


def test_spending_that_the_ledger_lost_stops_the_vault(room, refusal, opened):
    """Confirmed spending must be in the ledger; what was cut off before its commit need not."""
    with opened(room) as site:
        site.anchor.append("spent", entry_id="cut off", epsilon=1.0, delta=1e-6)
    with opened(room) as site, site.work() as work:
        site.anchor.append("spent", entry_id="lost", epsilon=1.0, delta=1e-6)
        work.log("test.act", facts={})
    assert refusal(room) == "BUDGET_REWOUND"
    size = 1  # a restore counts it, and says so
    Anchor(room.place.anchor_file, site.vault_id, room.clock).append("restored", checkpoint_lost="", size_kept=size)
    with opened(room):
        pass


def test_a_full_disk_beside_the_vault_is_said(room, monkeypatch, act, opened):
    """The act is in the log; that the anchor lags is not hidden, and the next act brings it up to date."""
    with opened(room) as site:
        with monkeypatch.context() as patch:
            patch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(StorageFailed) as refused:
                act(site)
        assert refused.value.code == "ANCHOR_NOT_WRITTEN"
        act(site)
        assert site.anchor.state().head.size == check(site)[0]


def test_a_new_vault_sets_an_old_anchor_aside(room):
    """What a removed vault left behind is kept under another name, unless a person chose the place."""
    shutil.rmtree(room.place.root)
    place = Place(root=room.place.root, key_file=room.folder / "new.key", epoch_file=room.folder / "new.epoch")
    create_vault(place, load([]).settings, clock=room.clock)
    assert len(list(room.folder.glob("vault.anchor.set-aside-*"))) == 1
    chosen = Place(root=room.folder / "third", key_file=room.folder / "third.key", anchor=place.anchor_file)
    with pytest.raises(UsageError) as refused:
        create_vault(chosen, load([]).settings, clock=room.clock)
    assert refused.value.code == "ANCHOR_IN_USE"


def test_init_cut_off_before_the_anchor_is_finished_by_another(room, act, opened):
    """The last step makes the anchor; running 'init' again makes it up."""
    room.place.anchor_file.unlink()
    (room.place.root / ".creating").touch()
    create_vault(room.place, load([]).settings, clock=room.clock)
    with opened(room) as site:
        act(site)
