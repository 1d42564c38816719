"""Verify and restore: what a copy must be, and what it must be told, before it is a vault again."""

import contextlib
import json
import os
import shutil
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.age import Identity, encrypting
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.errors import FabnetError, UsageError
from fabnet_secure.pipeline import (
    archive,
    backup,
    context,
    openable,
    quarantine,
    replay,
    restore,
    trial,
    unpacked,
    workshop,
)
from fabnet_secure.pipeline.auditing import check
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.create import create_vault
from fabnet_secure.pipeline.diagnose import _backup
from fabnet_secure.pipeline.keys import grant, revoke
from fabnet_secure.pipeline.reencrypt import reencrypt
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.spending import spend
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import approvals, consents, erasures, holders, keystore, ledger, meta
from fabnet_secure.store.database import read_only
from fabnet_secure.store.states import ErasureState, LedgerSource

OURS, THEIRS = Identity.generate(), Identity.generate()
EVENT = '{"epsilon":1.0,"event":"lost"}'


@pytest.fixture
def keys(room):
    """The file of the age secret key."""
    path = room.folder / "age.key"
    path.write_text(OURS.reveal(), "utf-8")
    path.chmod(0o600)
    return path


class Copy:
    """A backup of the room's vault and short ways to use it."""

    def __init__(self, room, site, keys, name="out"):
        done = backup.create(site, room.folder / name, recipients=[str(OURS.recipient)])
        self.room, self.keys, self.vault_id = room, keys, site.vault_id
        self.vault, self.keystore = done.archives["vault"].path, done.archives["keystore"].path
        self.size = done.log_size

    def sources(self, **changes):
        plain = {"vault_archive": self.vault, "keystore_archive": self.keystore, "identity": self.keys}
        return restore.Sources(**plain | {"original": self.room.place} | changes)

    def target(self, name="new", **changes):
        return replace(self.room.place, root=self.room.folder / name, **changes)

    def restore(self, name="new", *, confirm="", dry_run=False, target=None, **changes):
        return restore.restore(
            target or self.target(name),
            load([]).settings,
            self.sources(**changes),
            confirm=confirm or self.vault_id,
            dry_run=dry_run,
            clock=self.room.clock,
        )

    def opened(self, name="new"):
        return self.room.stack.enter_context(open_site(self.target(name), load([]).settings, clock=self.room.clock))

    def verify(self, site, **changes):
        plain = {"vault_archive": self.vault, "keystore_archive": self.keystore, "identity": self.keys}
        return trial.verify(site, **plain | changes)


@pytest.fixture
def copy(room, site, keys):
    """A backup of a vault with two people, a track of one of them, and limits of its own."""
    (room.place.root / "fabnet.toml").write_text("[query]\ndaily_budget = 7\n")
    room.track(site, room.consent(site, subject_ref="ada"))
    room.consent(site, subject_ref="ben")
    return Copy(room, site, keys)


def _code(act, *arguments, **options):
    with pytest.raises(FabnetError) as refused:
        act(*arguments, **options)
    return refused.value.code


def _nothing_left(room, name="new"):
    found = [path.name for path in room.folder.iterdir() if path.name.startswith((f"{name}", f".{name}", ".restored"))]
    return not found and not list(room.place.root.glob(".backup-*"))


def _consents(site):
    with site.reading() as connection:
        return {record.consent_id: events for record, events in consents.list_consents(connection)}


def _spend(room, site, epsilon=1.0):
    with site.reading() as connection:
        people = [record.subject_id for record, _ in consents.list_consents(connection)]
    with site.work() as work:
        return spend(
            site,
            work,
            source=LedgerSource.QUERY,
            dp_event=EVENT,
            epsilon=epsilon,
            delta=1e-9,
            subject_ids=people,
            facts={},
        )


# --- verify


def test_a_sound_backup_verifies(room, site, copy):
    """Every row is opened; the log and the doctor's date say so; nothing of it stays."""
    found = copy.verify(site)
    assert found.rows == {
        "identities": 2,
        "tracklets": 1,
        "embedding_pages": 0,
        "log_openings": 2,
        "quarantine": 0,
    }
    assert (found.opened, found.shut, found.sampled) == (5, 0, False)
    assert found.log_size == copy.size
    assert room.facts(site, "backup.verified")["opened"] == 5
    assert trial.last_verified(site) == room.clock()
    assert _nothing_left(room)


def test_a_sample_says_that_it_is_one(site, copy):
    """About so many rows of each kind."""
    found = copy.verify(site, sample=1)
    assert found.sampled
    assert found.rows["identities"] == found.rows["log_openings"] == 1


def test_the_doctor_asks_for_a_trial(room, site, copy):
    """Never, now, and 31 days ago."""
    assert _backup(site).status == "warn"
    copy.verify(site)
    assert _backup(site).status == "ok"
    room.clock.forward(days=31)
    assert _backup(site).status == "warn"


def test_a_quarantined_record_is_tried_too(room, site, keys, quarantined, film):
    """What waits in quarantine must open as well."""
    quarantined(site, [room.consent(site)], film)
    assert Copy(room, site, keys).verify(site).rows["quarantine"] == 1


def test_rows_whose_key_was_destroyed_stay_shut(room, site, keys):
    """A backup in the middle of an erasure is sound: what is to be shut is shut."""
    consent_id = room.consent(site)
    room.track(site, consent_id)
    with keystore_of(site) as connection:
        for key in keystore.keys_of_consent(connection, consent_id):
            keystore.destroy_keys(connection, [key.key_id], room.clock())
    found = Copy(room, site, keys).verify(site)
    assert found.shut == 2


def keystore_of(site):
    """Open the keystore for writing."""
    from fabnet_secure.store.database import keystore_work

    return keystore_work(site.keystore)


def test_rows_that_do_not_open_are_found(room, site, keys, monkeypatch):
    """A key that is not there, and one that is another's."""
    room.track(site, room.consent(site))
    copy = Copy(room, site, keys)
    monkeypatch.setattr(openable._Keys, "_opens", lambda *_: False)
    assert _code(copy.verify, site) == "BACKUP_UNOPENABLE"
    assert room.facts(site, "backup.verify_failed") == {"code": "BACKUP_UNOPENABLE"}
    assert trial.last_verified(site) is None
    assert _nothing_left(room)


def test_verifying_needs_every_domain(site, copy, monkeypatch):
    """A keyring that opens only some domains could not tell."""
    some = frozenset(list(site.keyring.domains)[:2])
    monkeypatch.setattr(type(site.keyring), "domains", property(lambda _: some))
    assert _code(copy.verify, site) == "KEY_DOMAIN"


# --- refused


def test_the_wrong_identity(room, site, copy):
    """Verify and restore tell that the key is wrong, and leave nothing."""
    other = room.folder / "other.key"
    other.write_text(THEIRS.reveal(), "utf-8")
    other.chmod(0o600)
    assert _code(copy.verify, site, identity=other) == "IDENTITY_WRONG"
    assert _code(copy.restore, identity=other) == "IDENTITY_WRONG"
    assert _nothing_left(room)


def test_archives_in_each_others_place(room, site, copy):
    """They are told apart, whatever they are called."""
    assert _code(copy.verify, site, vault_archive=copy.keystore, keystore_archive=copy.vault) == "ARCHIVE_KIND"


@pytest.fixture
def other_vault(room, keys):
    """A backup of another vault under another key."""
    place = Place(root=room.folder / "second" / "vault", key_file=room.folder / "second.key")
    create_vault(place, load([]).settings, clock=room.clock)
    with open_site(place, load([]).settings, clock=room.clock) as second:
        yield Copy(room, second, keys, name="out2")


def test_another_vaults_archives(room, site, copy, other_vault):
    """One of them, or both."""
    assert _code(copy.verify, site, keystore_archive=other_vault.keystore) == "ARCHIVE_OTHER_VAULT"
    assert _code(other_vault.verify, site) == "ARCHIVE_OTHER_VAULT"
    assert _code(copy.restore, keystore_archive=other_vault.keystore) == "ARCHIVE_OTHER_VAULT"
    assert _nothing_left(room)


def test_another_key_file(room, copy, other_vault):
    """The archives open, and nothing in them does."""
    target = copy.target(key_file=room.folder / "second.key")
    assert _code(copy.restore, target=replace(target, unlocked=type(target.unlocked)())) == "KEY_WRONG"
    assert _nothing_left(room)


def test_a_keystore_older_than_the_vault(room, site, keys, copy):
    """Rows sealed in between could not open: refused, not found out later. A newer one is right."""
    room.clock.forward(seconds=5)
    room.consent(site, subject_ref="cleo")
    later = Copy(room, site, keys)
    assert _code(later.verify, site, keystore_archive=copy.keystore) == "ARCHIVE_MISMATCH"
    assert copy.verify(site, keystore_archive=later.keystore).opened == 5


def test_archives_that_the_vault_did_not_make(room, site, copy, monkeypatch):
    """Whoever knows the public age key and the format, but not the log's key, is found out."""
    folder = room.folder / "forged"
    folder.mkdir()
    got = archive.read_archive(copy.vault, (OURS,), kind="vault", into=folder)
    path = room.folder / "forged.age"
    parts = {entry.name: folder / entry.name for entry in got.manifest.files}
    archive.write_archive(path, got.manifest, parts, recipients=[OURS.recipient], sign=lambda _: b"\x01" * 64)
    assert _code(copy.verify, site, vault_archive=path) == "ARCHIVE_FORGED"
    assert _code(copy.restore, vault_archive=path) == "ARCHIVE_FORGED"
    assert _nothing_left(room)


def test_damage(room, site, copy):
    """A flipped bit, a cut end, no file: verify and restore refuse and leave nothing."""
    blob = copy.vault.read_bytes()
    bad = room.folder / "bad.age"
    for content in (blob[:-9], blob[:5000] + bytes([blob[5000] ^ 1]) + blob[5001:], b""):
        bad.write_bytes(content)
        assert _code(copy.verify, site, vault_archive=bad) == "ARCHIVE_DAMAGED"
        assert _code(copy.restore, vault_archive=bad) == "ARCHIVE_DAMAGED"
    assert _code(copy.restore, vault_archive=room.folder / "none.age") == "ARCHIVE_MISSING"
    assert _nothing_left(room)


def test_an_archive_that_is_something_else(room, site, copy):
    """Encrypted to us, and no backup."""
    junk = room.folder / "junk.age"
    with junk.open("wb") as target, encrypting(target, [OURS.recipient]) as tar:
        tar.write(b"junk" * 10_000)
    assert _code(copy.restore, vault_archive=junk) == "ARCHIVE_FORMAT"
    assert _nothing_left(room)


def test_never_over_anything(room, site, copy):
    """Not over a vault, a file, a full folder; not without the vault's id."""
    (room.folder / "full").mkdir()
    (room.folder / "full" / "x").write_text("x")
    (room.folder / "file").write_text("x")
    for name in ("vault", "full", "file"):
        assert _code(copy.restore, name) == "RESTORE_PLACE"
    with pytest.raises(UsageError, match="not confirmed"):
        copy.restore(confirm="yes")
    assert _nothing_left(room)
    (room.folder / "new").mkdir()
    assert copy.restore().vault == room.folder / "new"  # empty is new


def test_the_limits_come_back(room, copy):
    """The vault's own settings lie in its archive, so that a restored vault is not laxer than the lost one."""
    place = copy.restore().vault
    assert load([], vault=place).settings.query.daily_budget == 7


def test_an_ended_epoch(room, site, copy):
    """Once its epoch file is another one, an old keystore archive opens nothing, and this is said so."""
    room.place.gate.write_text(room.place.gate.read_text().replace("\n1\n", "\n2\n"))
    assert _code(copy.restore) == "ARCHIVE_EPOCH_ENDED"
    room.place.gate.unlink()
    assert _code(copy.restore) == "GATE_MISSING"
    assert _nothing_left(room)


# --- restored


def test_a_restored_vault_is_a_vault(room, site, copy):
    """Everything of the backup is there, the log goes on, and it says what was lost."""
    before = _consents(site)
    room.consent(site, subject_ref="later")
    with site.reading() as connection:
        size_lost = len(room.acts(site))
        assert meta.get_meta(connection, "vault_id")
    done = copy.restore()
    assert (done.size_kept, done.size_lost, done.anchored) == (copy.size, size_lost, True)
    back = copy.opened()
    assert _consents(back) == before
    told = room.facts(back, "vault.restored")
    assert (told["size_kept"], told["size_lost"], told["withdrawn"], told["charged"]) == (copy.size, size_lost, 0, 0)
    assert check(back)[0] > copy.size
    assert oct(done.vault.stat().st_mode)[-3:] == "700"
    assert [path.name for path in done.vault.iterdir() if path.name.startswith(".")] == []
    room.consent(back, subject_ref="new")  # it serves


def test_a_dry_run_keeps_nothing(room, site, copy):
    """All of it is done and thrown away; no confirmation is asked."""
    done = copy.restore(dry_run=True, confirm="x")
    assert done.dry_run
    assert _nothing_left(room)


def test_who_withdrew_since_is_withdrawn_again(room, site, copy):
    """Event, rows, keys, erasure and certificate: as if the backup had never come back."""
    (gone, *_), when = list(_consents(site)), room.clock()
    room.clock.forward(hours=1)
    withdraw(site, gone, confirm=gone)
    room.clock.forward(days=3)
    assert copy.restore().replayed.withdrawn == 1
    back = copy.opened()
    with back.reading() as connection:
        record, events = find_consent(connection, gone)
        (row,) = erasures.list_erasures(connection, consent_id=record.consent_id)
        left = erasures.remaining(connection, record.consent_id)
    assert (events[-1].type.value, events[-1].method) == ("withdrawn", "replayed after a restore")
    assert events[-1].occurred_at == when + timedelta(hours=1)
    assert events[-1].recorded_at == room.clock()
    assert row.state is ErasureState.COMPLETE
    assert (row.requested_at, row.finished_at) == (when + timedelta(hours=1), room.clock())
    assert not any(left.values())
    with read_only(back.keystore) as connection:
        assert keystore.keys_of_consent(connection, record.consent_id) == []
        assert len(keystore.tombstones(connection, record.consent_id)) == 3
    keys = row.certificate["evidence"]["body"]["facts"]["erasures"][0]["keys"]
    assert len(keys) == 3
    assert all(key["destroyed_at"] and not key["opens"] for key in keys)


def test_a_keyring_that_was_revoked_since_is_revoked_again(room, site, keys, monkeypatch):
    """A backup from before gives nobody a keyring back; one that stands is left alone, and the keys can be renewed."""
    from fabnet_secure.crypto.keyfile import create_key_file
    from fabnet_secure.pipeline import keys as keyrings
    from fabnet_secure.pipeline.rekey import rekey

    for name in ("ada", "bob"):
        keyrings.grant(site, name, ("trainer",), create_key_file(room.folder / f"{name}.key").public.raw)
    copy = Copy(room, site, keys)
    keyrings.revoke(site, "ada")
    copy.restore()
    back = copy.opened()
    assert {
        one.holder.name: (one.holder.revoked_at is None, one.proven) for one in keyrings.overview(back).holders
    } == {
        "ada": (False, True),
        "bob": (True, True),
    }
    assert rekey(back).holders == 1


def test_an_erasure_that_was_under_way_is_finished(room, site, keys):
    """A backup made between the withdrawal's event and its end: the erasure goes on."""
    gone = room.consent(site)
    room.track(site, gone)
    made = []

    from fabnet_secure.pipeline import withdraw as journey

    real = journey._erase

    def erase(*arguments):
        made.append(Copy(room, site, keys))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journey, "_erase", erase)
        withdraw(site, gone, confirm=gone)
    assert made[0].restore().replayed.withdrawn == 1
    back = made[0].opened()
    with back.reading() as connection:
        (row,) = erasures.list_erasures(connection)
    assert row.state is ErasureState.COMPLETE


def test_budget_is_never_given_back(room, site, copy):
    """What was spent after the backup is charged to everybody the backup knows, under the same entry."""
    early = _entries(site)
    entry = _spend(room, site, 2.5)
    replayed = copy.restore().replayed
    assert (replayed.charged, replayed.epsilon, replayed.people) == (1, 2.5, 2)
    back = copy.opened()
    rows = _entries(back)
    assert set(rows) - set(early) == {entry}
    assert (rows[entry].source, rows[entry].epsilon, rows[entry].delta) == (LedgerSource.RESTORED, 2.5, 1e-9)
    with back.reading() as connection:
        assert len(ledger.members_of_entry(connection, entry)) == 2


def test_a_second_restore_charges_the_same_once(room, site, copy):
    """From the first backup again, after the restored vault spent more: each spending once, none forgotten."""
    one = _spend(room, site, 1.0)
    copy.restore("second")
    back = copy.opened("second")
    other = _spend(room, back, 0.5)
    anchor = copy.target("second").anchor_file
    again = copy.restore("third", anchor=anchor)
    assert (again.replayed.charged, again.replayed.epsilon) == (2, 1.5)
    assert set(_entries(copy.opened("third"))) == {one, other}


def test_spending_that_the_backup_knows_is_not_charged(room, site, keys):
    """Only what is missing."""
    room.consent(site)
    _spend(room, site)
    assert Copy(room, site, keys).restore().replayed.charged == 0


def _entries(site):
    with site.reading() as connection:
        return {row.entry_id: row for row in ledger.list_entries(connection)}


def test_what_expired_meanwhile_is_gone(room, site, copy):
    """The clock goes on: what ended by time has ended in the copy before it serves."""
    room.clock.forward(days=400)
    copy.restore()
    back = copy.opened()
    with read_only(back.keystore) as connection:
        assert {key.domain.value for key in keystore.list_keys(connection)} == {"identity"}
    with back.reading() as connection:
        assert erasures.list_erasures(connection) == []  # nobody withdrew


# --- the anchor


def test_without_an_anchor_it_is_refused(room, site, copy):
    """Missing, another's, damaged, or older than the backup."""
    old = room.folder / "old.anchor"
    old.write_bytes(b"".join(room.place.anchor_file.read_bytes().splitlines(keepends=True)[:3]))
    assert _code(copy.restore, anchor=old) == "ANCHOR_BEHIND"
    old.write_text("{}\n")
    assert _code(copy.restore, anchor=old) == "ANCHOR_BROKEN"
    assert _code(copy.restore, anchor=room.folder / "none") == "ANCHOR_MISSING"
    assert _code(copy.restore, original=None) in {"ANCHOR_MISSING", "GATE_MISSING"}
    assert _code(copy.restore, original=None, epoch_file=room.place.gate) == "ANCHOR_MISSING"
    assert _nothing_left(room)


def test_a_lost_anchor_needs_an_answer_and_costs_the_budget(room, site, copy):
    """Somebody says who withdrew; nobody has any budget left; a new anchor begins."""
    gone = next(iter(_consents(site)))
    assert _code(copy.restore, without_anchor=True) == "WITHDRAWN_UNKNOWN"
    told = room.folder / "withdrawn.txt"
    told.write_text("Ada Lovelace\n")
    assert _code(copy.restore, without_anchor=True, withdrawn=told) == "WITHDRAWN_INVALID"
    told.write_text(f"{gone}\n{'0' * 8}-0000-4000-8000-{'0' * 12}\n")
    done = copy.restore(without_anchor=True, withdrawn=told)
    assert (done.anchored, done.replayed.withdrawn, done.replayed.charged) == (False, 1, 1)
    back = copy.opened()
    caps = load([]).settings.train.default_epsilon_cap
    assert [row.epsilon for row in _entries(back).values()] == [caps]
    assert room.facts(back, "vault.restored")["anchor"] is False


def test_a_copy_that_was_not_told_serves_nobody(room, site, copy, monkeypatch):
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
    assert _nothing_left(room)
    assert _code(copy.opened, "taken") == "RESTORE_PENDING"


def test_the_database_of_such_a_copy_says_so_too(room, site, copy, monkeypatch):
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
    assert _code(copy.opened, "taken") == "RESTORE_PENDING"


def test_what_fails_in_the_replay_leaves_nothing(room, site, copy, monkeypatch):
    """All or nothing, the anchor too."""
    gone = next(iter(_consents(site)))
    withdraw(site, gone, confirm=gone)
    before = room.place.anchor_file.read_bytes()

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replay, "sweep", fail)
    with pytest.raises(OSError, match="No space"):
        copy.restore()
    assert _nothing_left(room)
    assert room.place.anchor_file.read_bytes() == before


def test_keys_that_two_people_destroyed_stay_destroyed(room, site, copy):
    """A key destroyed outside any withdrawal is destroyed again, and nobody is withdrawn."""
    consent_id = next(iter(_consents(site)))
    with read_only(site.keystore) as connection:
        key = keystore.keys_of_consent(connection, consent_id)[0]
    site.anchor.append("withdrawn", consent_id="", key_ids=[key.key_id])
    assert copy.restore().replayed.withdrawn == 0
    back = copy.opened()
    with read_only(back.keystore) as connection:
        assert keystore.is_destroyed(connection, key.key_id)
    with back.reading() as connection:
        assert erasures.list_erasures(connection) == []


def test_a_used_approval_stays_used(room, site, copy):
    """It was used after the backup: the restored vault knows it, in its table and in its log."""
    site.anchor.append("used", nonce="ab" * 32, act="key_destroy", request="cd" * 32)
    copy.restore()
    back = copy.opened()
    with back.reading() as connection:
        assert approvals.is_used(connection, "ab" * 32)
    assert room.facts(back, "approval.used") == {"act": "key_destroy", "request": "cd" * 32, "restored": True}


def test_a_quarantined_record_destroyed_since_stays_destroyed(room, site, keys, quarantined, film):
    """Record and key are gone again; one that still waits goes on waiting."""
    gone = quarantined(site, [room.consent(site)], film)
    copy = Copy(room, site, keys)
    quarantine.destroy(site, gone, gone)
    copy.restore()
    back = copy.opened()
    (row,) = quarantine.list_held(back)
    assert (row["video_id"], row["state"]) == (gone, "destroyed")
    with read_only(back.keystore) as connection:
        assert not [one.name for one in keystore.list_secrets(connection) if one.name.startswith("quarantine/")]


@pytest.mark.parametrize("anchored", [True, False], ids=["anchored", "without"])
def test_a_revoked_keyring_stays_revoked(room, site, keys, anchored):
    """Revoked after the backup; without an anchor every keyring is taken for revoked. A rekey renews none of it."""
    public = RootKey.generate().public.raw
    grant(site, "ada", ["analyst"], public)
    copy = Copy(room, site, keys)
    if anchored:
        revoke(site, "ada")
        copy.restore()
    else:
        nobody = room.folder / "nobody.txt"
        nobody.touch()
        copy.restore(without_anchor=True, withdrawn=nobody)
    back = copy.opened()
    with read_only(back.keystore) as connection:
        assert holders.list_holders(connection, revoked=False) == []
    assert rekey(back).holders == 0
    assert grant(copy.opened(), "ada", ["analyst"], public).epoch == 2


def _kill():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_restore_killed_in_its_last_steps_is_done_by_the_same_command(room, site, copy, monkeypatch):
    """Anchor and epoch file are in place, the vault is not: nothing has to be moved or typed anew."""
    for name in ("anchor", "epoch"):
        shutil.copy(room.folder / f"vault.{name}", room.folder / f"kept.{name}")
    given = {"anchor": room.folder / "kept.anchor", "epoch_file": room.folder / "kept.epoch"}
    gone = next(iter(_consents(site)))
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
    assert gone in _consents(copy.opened())
    assert not list(room.folder.glob(".new.restoring-*"))


def test_a_newer_file_in_the_place_is_not_written_over(room, site, copy):
    """Another epoch file, or another anchor, than the given one stays as it is."""
    other = room.folder / "new.epoch"
    other.write_text("FABNET-SECURE-EPOCH-1\n9\n")
    assert _code(copy.restore, epoch_file=room.place.gate) == "RESTORE_PLACE"
    other.unlink()
    other = room.folder / "new.anchor"
    other.write_text("{}")
    assert _code(copy.restore, anchor=room.place.anchor_file) == "RESTORE_PLACE"


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


def test_a_pair_from_both_sides_of_a_reencryption(room, site, keys, copy):
    """Rows sealed under keys that were exchanged since open with no newer keystore: found, not restored."""
    reencrypt(site)
    room.clock.forward(seconds=5)
    later = Copy(room, site, keys)
    assert later.verify(site).opened == 5
    assert _code(copy.verify, site, keystore_archive=later.keystore) == "BACKUP_UNOPENABLE"
    assert _code(copy.restore, keystore_archive=later.keystore) == "BACKUP_UNOPENABLE"
    assert _nothing_left(room)
    assert copy.restore().replayed.withdrawn == 0  # the old pair still is one


def test_who_may_not_restore_is_denied(room, site, copy, monkeypatch):
    """Asked of the vault when it is tried, of the copy itself when it is restored; nothing is left of it."""
    monkeypatch.setattr(context, "os_account", lambda: "stranger")
    assert _code(copy.verify, room.open()) == "ACCESS_DENIED"
    assert _code(copy.restore) == "ACCESS_DENIED"
    assert _nothing_left(room)
