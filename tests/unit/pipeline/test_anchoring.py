"""A vault held against what is remembered outside it: older copies, another clock, lost budget do not open."""

import base64
import json
import shutil
from datetime import timedelta

import pytest

from fabnet_secure.audit.anchor_file import Anchor
from fabnet_secure.config import load
from fabnet_secure.errors import IntegrityFailure, StorageFailed, UsageError
from fabnet_secure.pipeline.auditing import check, export
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.reanchor import accept, standing
from fabnet_secure.pipeline.witnessing import check as check_one
from fabnet_secure.pipeline.witnessing import of_folder, of_vault, prove, verify_against, witness


def act(site, **facts):
    with site.work() as work:
        work.log("test.act", facts=facts)


def refusal(room, **settings):
    """Return the code with which opening is refused."""
    with pytest.raises(IntegrityFailure) as refused, opened(room, **settings):
        pass
    return refused.value.code


def opened(room, *, witnesses=(), anchored=True):
    settings = load([]).settings
    audit = settings.audit.model_copy(update={"witness": tuple(map(str, witnesses))})
    return open_site(room.place, settings.model_copy(update={"audit": audit}), clock=room.clock, anchored=anchored)


def kept(room, name="kept"):
    """Copy the vault's databases as they are now."""
    return shutil.copytree(room.place.root, room.folder / name)


def put_back(room, copy, *files):
    """Put an earlier copy of the databases (or of those named) in the vault's place."""
    for path in room.place.root.glob("*.db-*"):
        path.unlink()
    for path in sorted(copy.glob("*.db*")):
        if not files or path.name.split("-")[0] in files:
            shutil.copy(path, room.place.root / "incoming")
            (room.place.root / "incoming").replace(room.place.root / path.name)


def test_every_act_is_noted_outside(room):
    """The anchor's head is the log's own after each act, with its signature."""
    with opened(room) as site:
        for _ in range(3):
            act(site)
            size, _, _ = check(site)
            assert site.anchor.state().head.size == size


@pytest.mark.parametrize("files", [(), ("vault.db",)], ids=["both", "vault"])
def test_an_earlier_copy_of_the_databases_does_not_open(room, files):
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


def test_another_history_of_the_same_length_does_not_open(room):
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


def test_databases_put_back_under_an_open_vault_are_noticed_by_the_next_act(room):
    """The process that saw the larger log refuses to sign on top of the smaller."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
        act(site)
        put_back(room, copy)
        with pytest.raises(IntegrityFailure) as refused:
            act(site)
        assert refused.value.code == "ROLLED_BACK"


def test_a_moved_vault_without_its_anchor_does_not_open_and_makes_none(room):
    """ANCHOR_MISSING, with the way out in the hint; no file appears."""
    room.place.anchor_file.unlink()
    with pytest.raises(IntegrityFailure) as refused, opened(room):
        pass
    assert refused.value.code == "ANCHOR_MISSING"
    assert "audit anchor --accept" in refused.value.hint
    assert not room.place.anchor_file.exists()


def test_an_anchor_that_goes_while_the_vault_is_open_stops_every_act(room):
    """Nothing is done that could not be noted outside."""
    with opened(room) as site:
        size, _, _ = check(site)
        room.place.anchor_file.unlink()
        with pytest.raises(IntegrityFailure) as refused:
            act(site)
        assert refused.value.code == "ANCHOR_MISSING"
        assert check(site)[0] == size


def test_a_torn_last_line_opens_and_is_mended(room):
    """A crash while the line was written costs nothing."""
    with room.place.anchor_file.open("ab") as file:
        file.write(b'{"kind":"head","che')
    with opened(room) as site:
        act(site)
        assert site.anchor.state().head.size == check(site)[0]


@pytest.mark.parametrize("content", [b"", b"junk\n", b'{"kind":"head"}\n'], ids=["empty", "junk", "headless"])
def test_a_damaged_anchor_does_not_open(room, content):
    """ANCHOR_BROKEN."""
    room.place.anchor_file.write_bytes(content)
    assert refusal(room) == "ANCHOR_BROKEN"


def test_a_head_that_the_log_did_not_sign_is_damage(room):
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


def test_another_place_for_the_anchor(room):
    """Place.anchor (FABNET_ANCHOR) moves it; the default place is then not looked at."""
    moved = room.folder / "elsewhere" / "the.anchor"
    moved.parent.mkdir()
    room.place.anchor_file.rename(moved)
    place = Place(root=room.place.root, key_file=room.place.key_file, anchor=moved)
    with open_site(place, load([]).settings, clock=room.clock) as site:
        act(site)
    assert not room.place.anchor_file.exists()


def test_a_clock_set_back_stops_the_vault(room):
    """More than five minutes behind the newest entry: refused; less is a clock being set right."""
    room.clock.forward(hours=2)
    with opened(room) as site:
        act(site)
    room.clock.forward(seconds=-299)
    with opened(room) as site:
        act(site)
    room.clock.forward(seconds=-299)
    assert refusal(room) == "CLOCK_BACK"


def test_a_clock_set_back_under_an_open_vault_stops_the_next_act(room):
    """The clock is looked at before every act, not only when opening."""
    with opened(room) as site:
        room.clock.forward(hours=2)
        act(site)
        room.clock.forward(hours=-1)
        with pytest.raises(IntegrityFailure) as refused:
            act(site)
        assert refused.value.code == "CLOCK_BACK"


def test_the_log_s_own_time_counts_when_the_anchor_lags(room):
    """An anchor that misses the last heads does not let the clock go back."""
    anchor = room.place.anchor_file.read_bytes()
    room.clock.forward(hours=2)
    with opened(room) as site:
        act(site)
    room.place.anchor_file.write_bytes(anchor)
    room.clock.forward(hours=-1)
    assert refusal(room) == "CLOCK_BACK"


def test_spending_that_the_ledger_lost_stops_the_vault(room):
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


def test_a_full_disk_beside_the_vault_is_said(room, monkeypatch):
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


def test_init_cut_off_before_the_anchor_is_finished_by_another(room):
    """The last step makes the anchor; running 'init' again makes it up."""
    room.place.anchor_file.unlink()
    (room.place.root / ".creating").touch()
    create_vault(room.place, load([]).settings, clock=room.clock)
    with opened(room) as site:
        act(site)


def head_of(room):
    with opened(room, anchored=False) as site:
        size, root, _ = check(site)
        return f"{size}:{root}", site.vault_id


@pytest.mark.parametrize("content", [None, b"junk\n"], ids=["missing", "damaged"])
def test_a_person_can_accept_the_head_when_the_anchor_is_lost(room, content):
    """With the log's size and root and the vault's id; logged; a damaged anchor is kept aside."""
    room.place.anchor_file.unlink()
    if content:
        room.place.anchor_file.write_bytes(content)
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site:
        accept(site, head, confirm=vault_id)
    with opened(room) as site:
        assert "anchor.accepted" in room.acts(site)[-2:]
        assert standing(site).problem is None
    assert len(list(room.folder.glob("vault.anchor.set-aside-*"))) == (1 if content else 0)


def test_accepting_wants_the_true_head_and_the_vault_s_id(room):
    """A wrong root, a size the log has not, no id, or no head at all: refused, and nothing is written."""
    room.place.anchor_file.unlink()
    head, vault_id = head_of(room)
    wrong = head.split(":")[0] + ":" + base64.b64encode(b"\1" * 32).decode()
    larger = "999:" + head.split(":")[1]
    for given, confirm, code in (
        (wrong, vault_id, "ROLLED_BACK"),
        (larger, vault_id, "ROLLED_BACK"),
        (head, "", "CONFIRM"),
        ("5", vault_id, "HEAD_INVALID"),
        ("5:!!", vault_id, "HEAD_INVALID"),
    ):
        with opened(room, anchored=False) as site:
            before = check(site)[0]
            with pytest.raises((IntegrityFailure, UsageError)) as refused:
                accept(site, given, confirm=confirm)
            assert (refused.value.code, check(site)[0]) == (code, before)
    assert not room.place.anchor_file.exists()


def test_a_dry_run_accepts_nothing(room):
    """It checks, and leaves log and anchor alone."""
    room.place.anchor_file.unlink()
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site:
        assert accept(site, head, confirm=vault_id, dry_run=True) == int(head.split(":")[0])
    assert refusal(room) == "ANCHOR_MISSING"


def test_accepting_an_older_copy_does_not_rewind_the_budget(room):
    """What was spent since then stays spent: the copy is refused even when a person vouches for its head."""
    copy = kept(room)
    with opened(room) as site, site.work() as work:
        site.anchor.append("spent", entry_id="spent since", epsilon=1.0, delta=1e-6)
        work.log("test.act", facts={})
    put_back(room, copy)
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site, pytest.raises(IntegrityFailure) as refused:
        accept(site, head, confirm=vault_id)
    assert refused.value.code == "BUDGET_REWOUND"


def test_a_clock_that_was_wrong_is_accepted_by_a_person(room):
    """A clock that ran a year ahead and was set right stops the vault until somebody says so."""
    room.clock.forward(days=365)
    with opened(room) as site:
        act(site)
    room.clock.forward(days=-365)
    assert refusal(room) == "CLOCK_BACK"
    head, vault_id = head_of(room)
    with opened(room, anchored=False) as site:
        accept(site, head, confirm=vault_id)
    with opened(room) as site:
        act(site)


def witnessed(room, out, **fields):
    with opened(room) as site, of_vault(site, "audit_witness") as log:
        return witness(log, out=out, key_file=room.folder / "witness.key", now=room.clock, **fields)


def test_a_witness_stops_a_vault_whose_anchor_was_put_back_too(room):
    """Databases and anchor together are an honest older vault to everybody but the witness."""
    copy = kept(room)
    anchor = room.place.anchor_file.read_bytes()
    with opened(room) as site:
        act(site)
    witnessed(room, room.folder / "seen")
    put_back(room, copy)
    room.place.anchor_file.write_bytes(anchor)
    with opened(room):
        pass
    assert refusal(room, witnesses=[room.folder / "seen"]) == "ROLLED_BACK"


def test_a_witness_that_cannot_be_read_stops_the_vault(room):
    """A configured witness that is not there is not passed over."""
    assert refusal(room, witnesses=[room.folder / "gone"]) == "WITNESS_MISSING"


def test_an_accepted_head_does_not_outvote_a_witness(room):
    """A person's word does not undo what a witness saw."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
    witnessed(room, room.folder / "seen")
    put_back(room, copy)
    head, vault_id = head_of(room)
    with (
        opened(room, witnesses=[room.folder / "seen"], anchored=False) as site,
        pytest.raises(IntegrityFailure) as refused,
    ):
        accept(site, head, confirm=vault_id)
    assert refused.value.code == "ROLLED_BACK"


def test_a_witness_on_another_host_needs_no_key_of_ours(room):
    """An exported folder and the published key are enough; the vault's own witness then goes on from there."""
    with opened(room) as site:
        export(site, room.folder / "log")
        vkey = site.log_vkey
    log = of_folder(room.folder / "log", vkey)
    done, _ = witness(log, out=room.folder / "seen", key_file=room.folder / "far.key", now=room.clock)
    again, _ = witnessed(room, room.folder / "seen")
    assert (again.before, again.size) == (done.size, done.size)
    with opened(room) as site:
        act(site)
    assert witnessed(room, room.folder / "seen")[0].before == done.size


def test_a_witness_keeps_nothing_inside_what_it_watches(room):
    """Neither its key nor its memory lies in the vault."""
    for out, key in (("vault/seen", "w.key"), ("seen", "vault/w.key")):
        with (
            opened(room) as site,
            of_vault(site, "audit_witness") as log,
            pytest.raises(UsageError) as refused,
        ):
            witness(
                log,
                out=room.folder / out,
                key_file=room.folder / key,
                now=room.clock,
                forbidden=[room.place.root],
            )
        assert refused.value.code == "WITNESS_INSIDE"


def test_a_refused_witness_makes_no_key(room):
    """A log that does not continue costs the witness nothing."""
    copy = kept(room)
    with opened(room) as site:
        act(site)
    witnessed(room, room.folder / "seen")
    (room.folder / "witness.key").unlink()
    put_back(room, copy)
    with (
        opened(room, anchored=False) as site,
        of_vault(site, "audit_witness") as log,
        pytest.raises(IntegrityFailure),
    ):
        witness(log, out=room.folder / "seen", key_file=room.folder / "witness.key", now=room.clock)
    assert not (room.folder / "witness.key").exists()


def test_a_proof_under_a_witnessed_checkpoint_is_checked_with_its_key(room):
    """The cosignature travels with the proof; without the witness's line it is refused."""
    _, key = witnessed(room, room.folder / "seen")
    room.clock.now += timedelta(seconds=1)
    with opened(room) as site:
        act(site)
        with of_vault(site, "audit_prove") as log:
            text, entry = prove(log, 0, under=room.folder / "seen")
            plain, _ = prove(log, 0)
            assert verify_against(log, room.folder / "seen", [key]) == log.storage.size() - 1
    done = check_one(text, entry, site.log_vkey, [key])
    assert (done.act, done.proven.index, len(done.cosigned)) == ("vault.created", 0, 1)
    assert check_one(plain, entry, site.log_vkey).cosigned == []
    with pytest.raises(IntegrityFailure) as refused:
        check_one(plain, entry, site.log_vkey, [key])
    assert refused.value.code == "COSIGNATURE_BROKEN"
