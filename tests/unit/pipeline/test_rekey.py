"""Renewing the epoch: what older copies open, what a cut leaves, and what everything else still opens."""

import os
import shutil
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.gate import read_gates
from fabnet_secure.crypto.keyfile import create_key_file
from fabnet_secure.errors import AccessDenied, FabnetError, IntegrityFailure, KeyProblem, VaultLocked
from fabnet_secure.pipeline import context, keys
from fabnet_secure.pipeline import rekey as pipeline
from fabnet_secure.pipeline.context import open_site
from fabnet_secure.pipeline.embed import open_tracklet
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.roles import set_roles
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import holders, keystore, meta, tracks
from fabnet_secure.store.database import keystore_work, read_only
from fabnet_secure.types import Domain, KeyDomain


def code_of(act, *arguments, kind=FabnetError, **named):
    with pytest.raises(kind) as caught:
        act(*arguments, **named)
    return caught.value.code


def opens(site, track_id):
    """Open a track's crops for good."""
    with site.reading() as connection:
        row = next(one for one in tracks.list_tracks(connection) if one.track_id == track_id)
        tracklet = tracks.get_tracklet(connection, track_id)
    return bool(open_tracklet(site, row, tracklet).size)


@pytest.fixture
def people(room, site):
    """Two people with a consent and crops each, and something in quarantine's hands."""
    ada, ben = room.consent(site, subject_ref="ada"), room.consent(site, subject_ref="ben")
    with keystore_work(site.keystore) as connection:
        keystore.put_secret(connection, site.keyring.wrap_secret("quarantine/x", b"held" * 8, KeyDomain.HOLD))
    return {"ada": (ada, room.track(site, ada)), "ben": (ben, room.track(site, ben))}


@pytest.fixture
def trainer(room, site, monkeypatch):
    """Ada's keyring as a trainer; return how to open the vault with it."""
    path = room.folder / "ada.key"
    set_roles(site, "ada", ("trainer",))
    keys.grant(site, "ada", ("trainer",), create_key_file(path).public.raw)

    @contextmanager
    def enter(root=None):
        place = replace(room.place, key_file=path, root=root or room.place.root, epoch_file=room.place.gate)
        with monkeypatch.context() as patch:
            patch.setattr(context, "os_account", lambda: "ada")
            with open_site(place, load([]).settings, clock=room.clock, anchored=root is None) as mine:
                yield mine

    return enter


def test_everything_living_opens_after_a_renewal(room, site, people, trainer):
    """Crops, secrets, keys and holders' keyrings; the old epoch is destroyed and its number told."""
    done = rekey(site)
    assert (done.epoch, done.destroyed_epoch, done.holders) == (2, 1, 1)
    again = room.open()
    with read_only(again.keystore) as connection:
        living = keystore.list_keys(connection)
        epochs = keystore.list_epochs(connection)
        assert again.keyring.unwrap_secret(keystore.get_secret(connection, "quarantine/x")) == b"held" * 8
    assert {key.epoch for key in living} == {2}
    assert len(again.keyring.unwrap_many(living)) == len(living)
    assert done.rewrapped == len(living) + 4
    assert (epochs[1].wrapped, epochs[1].destroyed_at) == (b"", room.clock())
    assert all(opens(again, track) for _, track in people.values())
    with trainer() as mine:
        assert opens(mine, people["ben"][1])
    assert again.log_vkey == site.log_vkey
    assert room.acts(again)[-3:] == ["keys.rekey_begun", "keys.rekeyed", "access.allowed"]
    assert room.facts(again, "keys.rekeyed") == {
        "epoch": 2,
        "destroyed": 1,
        "rewrapped": done.rewrapped,
        "holders": 1,
    }
    assert list(read_gates(room.place.gate)) == [2]
    with again.reading() as connection:
        assert len([name for name in meta.list_meta(connection) if name.startswith("epoch/")]) == 1


def test_an_old_copy_of_both_databases_opens_nothing_after_withdrawal_and_renewal(room, site, people, trainer):
    """With the root key, a holder's key and the present epoch file: nothing of the person, nor of anybody.

    Everything else still opens from the vault itself.
    """
    gone, track = people["ada"]
    room.stack.close()
    copy = room.folder / "copy"
    shutil.copytree(room.place.root, copy)
    with open_site(room.place, load([]).settings, clock=room.clock) as present:
        withdraw(present, gone, confirm=gone)
    with _old_copy(room, copy) as old:  # until the renewal the copy still opens: that is the horizon
        assert opens(old, track)
    with open_site(room.place, load([]).settings, clock=room.clock) as present:
        rekey(present)
    assert code_of(_old_copy(room, copy).__enter__, kind=KeyProblem) == "KEY_EPOCH_GONE"
    assert code_of(trainer(copy).__enter__, kind=KeyProblem) == "KEY_EPOCH_GONE"
    shutil.copy(room.place.root / "keystore.db", copy / "keystore.db")  # today's keystore beside the old rows
    assert code_of(_old_copy(room, copy).__enter__) == "KEY_CHANGED"
    shutil.copy(room.place.root / "vault.db", copy / "vault.db")
    with _old_copy(room, copy) as mended:
        assert opens(mended, people["ben"][1])
        with mended.reading() as connection:
            assert tracks.get_tracklet(connection, track) is None
    with open_site(room.place, load([]).settings, clock=room.clock) as present:
        assert opens(present, people["ben"][1])


@pytest.mark.parametrize("whole", [True, False], ids=["newest_put_back", "withdrawn_again"])
def test_keys_that_a_withdrawal_destroyed_are_not_carried_into_the_next_epoch(room, people, trainer, whole):
    """An older keystore is put back within its epoch: nothing opens but to withdraw again, and nothing is renewed."""
    gone, _ = people["ada"]
    room.stack.close()
    path, old = room.place.root / "keystore.db", room.folder / "old.db"
    shutil.copy(path, old)
    settings = load([]).settings
    with open_site(room.place, settings, clock=room.clock) as present:
        withdraw(present, gone, confirm=gone)
    shutil.copy(path, room.folder / "newest.db")
    shutil.copy(old, path)
    for opening in (open_site(room.place, settings, clock=room.clock), trainer()):
        assert code_of(opening.__enter__, kind=IntegrityFailure) == "KEYSTORE_ROLLED_BACK"
    with open_site(room.place, settings, clock=room.clock, finishing=True) as present:
        assert code_of(rekey, present, kind=IntegrityFailure) == "KEYSTORE_ROLLED_BACK"
        assert "keys.rekey_begun" not in room.acts(present)
        if not whole:
            withdraw(present, gone, confirm=gone)
    if whole:
        shutil.copy(room.folder / "newest.db", path)
    with open_site(room.place, settings, clock=room.clock) as present:
        assert rekey(present).epoch == 2


def test_a_withdrawal_that_was_cut_off_opens_and_is_not_renewed(room, site, people, monkeypatch):
    """Its keys are still there: no roll-back, but no renewal before it is finished; what is held is renewed."""
    from fabnet_secure.pipeline import withdraw as pipeline

    gone, _ = people["ada"]

    def cut(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_erase", cut)
    with pytest.raises(KeyboardInterrupt):
        withdraw(site, gone, confirm=gone)
    monkeypatch.undo()
    again = room.open()
    with pytest.raises(IntegrityFailure) as caught:
        rekey(again)
    assert caught.value.code == "KEYSTORE_ROLLED_BACK"
    assert f"subject withdraw {gone} --confirm {gone}" in caught.value.hint
    withdraw(again, gone, confirm=gone)
    assert rekey(again).epoch == 2


def test_what_a_legal_hold_keeps_is_renewed(room, site, people):
    """Although it was withdrawn: it is kept, so it has to open."""
    from fabnet_secure.pipeline import holds

    gone, _ = people["ada"]
    holds.place(site, gone, ground="legal_claim")
    withdraw(site, gone, confirm=gone)
    assert rekey(site).epoch == 2


@pytest.mark.parametrize("how", ["symlink", "second_name"])
def test_an_epoch_file_that_is_a_link_is_refused_before_anything_is_done(room, site, how):
    """No entry, no new epoch; with a file of its own there, it goes on."""
    path, away = room.place.gate, room.folder / "away"
    path.rename(away)
    path.symlink_to(away) if how == "symlink" else os.link(away, path)
    assert code_of(rekey, site, kind=KeyProblem) == "GATE_LINKED"
    assert "keys.rekey_begun" not in room.acts(site)
    path.unlink()
    away.rename(path)
    assert rekey(site).epoch == 2


def _old_copy(room, folder):
    place = replace(room.place, root=folder, epoch_file=room.place.gate, anchor=room.folder / "none.anchor")
    return open_site(place, load([]).settings, clock=room.clock, anchored=False)


def test_no_blob_of_an_old_keystore_opens_with_any_key_at_hand(room, site, people, trainer):
    """Row by row, past the program's own checks: the old seed and the old holder's blob need a gate that is gone."""
    from fabnet_secure.crypto.epoch import open_seed
    from fabnet_secure.crypto.holder import open_holding

    with read_only(site.keystore) as connection:
        old = keystore.list_epochs(connection)[1].wrapped
        (ada,) = holders.list_holders(connection)
        blob = holders.get_holding(connection, "ada", 1)
        wrapped = keystore.list_keys(connection)
    rekey(site)
    again = room.open()
    with trainer() as mine:
        own = mine.place.open_key()
        assert {code_of(mine.keyring.unwrap, key) for key in wrapped} == {"KEY_EPOCH_GONE"}
    place = {"gate": read_gates(room.place.gate)[2], "vault_id": again.vault_id}
    assert code_of(open_seed, old, root=again.root_key, number=1, **place) == "EPOCH_BROKEN"
    assert code_of(open_holding, ada, 1, blob, own, **place) == "HOLDER_FORGED"
    assert {code_of(again.keyring.unwrap, key) for key in wrapped} == {"KEY_EPOCH_GONE"}


def test_the_old_seed_and_gate_are_in_no_file(room, site, people):
    """Neither the wrapped seed in the keystore's files nor the gate beside the vault."""
    with read_only(site.keystore) as connection:
        seed = keystore.list_epochs(connection)[1].wrapped
    gate = room.place.gate.read_bytes().splitlines()[2]
    held = {path: path.read_bytes() for path in room.folder.rglob("*") if path.is_file()}
    assert any(seed in blob for blob in held.values())
    assert any(gate in blob for blob in held.values())
    rekey(site)
    left = [path.name for path in room.folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    for path in room.folder.rglob("*"):
        if path.is_file():
            assert seed not in path.read_bytes(), path
            assert gate not in path.read_bytes(), path
    assert "vault.epoch" in left
    assert "vault.epoch.next" not in left


CUTS = {
    "gate_made": (pipeline, "prepare_gate", True),
    "before_the_seed_goes": (keystore, "destroy_epoch", False),
    "before_the_commit": (keystore, "destroy_epoch", True),
    "before_the_log_is_emptied": (pipeline, "checkpoint_wal", False),
    "before_the_gate_goes": (pipeline, "settle_gate", False),
    "after_the_gate_went": (pipeline, "settle_gate", True),
    "before_the_last_entry": (pipeline, "_forget_marks", True),
}


def killed(room, module, name, *, after):
    """Run a renewal in a process that is killed (SIGKILL) at one step."""
    child = os.fork()
    if child == 0:
        real = getattr(module, name)

        def cut(*arguments, **named):
            if after:
                real(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, cut)
        try:
            with open_site(room.place, load([]).settings, clock=room.clock) as site:
                rekey(site)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("step", CUTS)
def test_a_killed_renewal_loses_nothing_and_the_same_command_finishes_it(room, site, people, trainer, step):
    """Whatever is cut: the vault opens at once, another run ends it, and no trace of the old epoch is left."""
    module, name, after = CUTS[step]
    room.stack.close()
    killed(room, module, name, after=after)
    settings = load([]).settings
    with open_site(room.place, settings, clock=room.clock) as between:
        assert all(opens(between, track) for _, track in people.values())
        consent = room.consent(between, subject_ref="cleo")
        assert opens(between, room.track(between, consent))
    with trainer() as mine:
        assert opens(mine, people["ada"][1])
    with open_site(room.place, settings, clock=room.clock) as finishing:
        done = rekey(finishing)
    assert (done.epoch, done.destroyed_epoch) == (2, 1)
    with open_site(room.place, settings, clock=room.clock) as again:
        assert all(opens(again, track) for _, track in people.values())
        assert room.acts(again).count("keys.rekeyed") == 1
        assert list(read_gates(room.place.gate)) == [2]
        with read_only(again.keystore) as connection:
            assert list(keystore.living_epochs(connection)) == [2]
        with again.reading() as connection:
            names = meta.list_meta(connection)
        assert "rekey_begun" not in names
        assert len([name for name in names if name.startswith("epoch/")]) == 1
        assert rekey(again).epoch == 3


def test_a_process_that_has_the_vault_open_loses_nothing(room, site, people):
    """What it would wrap under the old epoch is refused with exit status 11; opened again, it goes on."""
    other = room.open()
    rekey(site)
    with pytest.raises(VaultLocked) as caught:
        room.consent(other, subject_ref="dan")
    assert (caught.value.code, int(caught.value.exit_code)) == ("EPOCH_CHANGED", 11)
    assert code_of(opens, other, people["ada"][1], kind=KeyProblem) == "KEY_EPOCH_GONE"
    assert code_of(rekey, other, kind=VaultLocked) == "EPOCH_CHANGED"
    assert code_of(keys.grant, other, "bob", ("trainer",), bytes(range(32)), kind=VaultLocked) == "EPOCH_CHANGED"
    again = room.open()
    room.consent(again, subject_ref="dan")
    assert opens(again, people["ada"][1])


def test_an_epoch_that_was_rolled_back_is_found(room, site, people):
    """The old row's bytes put back by hand: the vault does not open (30), and its bytes would open nothing."""
    from fabnet_secure.store.tables import epoch

    with read_only(site.keystore) as connection:
        old = keystore.list_epochs(connection)[1].wrapped
    rekey(site)
    with keystore_work(site.keystore) as connection:
        connection.execute(epoch.update().where(epoch.c.number == 1).values(wrapped=old, destroyed_at=None))
    assert code_of(room.open) == "EPOCH_RETURNED"
    with keystore_work(site.keystore) as connection:
        connection.execute(epoch.update().where(epoch.c.number == 2).values(wrapped=old))
        connection.execute(epoch.update().where(epoch.c.number == 1).values(wrapped=b"", destroyed_at=room.clock()))
    assert code_of(room.open) == "EPOCH_BROKEN"


def test_the_timer_renews_when_the_policy_says_so(room, site):
    """Not before the rotation period is over; then once."""
    room.clock.forward(days=29)
    assert rekey(site, if_due=True).destroyed_epoch is None
    assert room.acts(site).count("keys.rekey_begun") == 0
    room.clock.forward(days=2)
    assert rekey(site, if_due=True).destroyed_epoch == 1
    again = room.open()
    assert rekey(again, if_due=True).destroyed_epoch is None


def test_a_dry_run_counts_and_changes_nothing(room, site, people):
    """What it says is what the real one does."""
    before, gate = len(room.acts(site)), room.place.gate.read_bytes()
    told = rekey(site, dry_run=True)
    assert (len(room.acts(site)), room.place.gate.read_bytes()) == (before, gate)
    assert rekey(site) == told


def test_who_may_not_does_not(room, site, stranger, trainer):
    """An account without the role is denied; a role's keyring is not the root (exit status 12)."""
    assert code_of(rekey, stranger, kind=AccessDenied)
    set_roles(site, "ada", ("operator",))
    with trainer() as mine:
        operator = replace(mine, principal=replace(mine.principal, roles=("operator",)))
        assert code_of(rekey, operator, kind=KeyProblem) == "KEY_NOT_ROOT"
        assert code_of(keys.revoke, operator, "ada", kind=KeyProblem) == "KEY_NOT_ROOT"
        assert code_of(keys.grant, operator, "ada", ("dpo",), bytes(32), kind=KeyProblem) == "KEY_NOT_ROOT"


def test_pending_keys_are_renewed_too(room, site, people):
    """A key that waits to take another's place opens after a renewal."""
    consent, _ = people["ada"]
    with keystore_work(site.keystore) as connection:
        old = next(key for key in keystore.keys_of_consent(connection, consent) if key.domain is Domain.TRACKLETS)
        fresh = site.keyring.mint(domain=old.domain, subject_id=old.subject_id, consent_id=old.consent_id)
        keystore.add_keys(connection, [fresh], pending=True)
    rekey(site)
    again = room.open()
    with read_only(again.keystore) as connection:
        (held,) = keystore.list_keys(connection, pending=True)
    assert again.keyring.unwrap(held).public.raw == fresh.public
