"""What happened after the backup is told to the copy first: withdrawn, spent, revoked, used, destroyed."""

from datetime import timedelta

import pytest

from fabnet_secure.config import load
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.pipeline import (
    quarantine,
)
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.keys import grant, revoke
from fabnet_secure.pipeline.rekey import rekey
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import approvals, erasures, holders, keystore, ledger
from fabnet_secure.store.database import read_only
from fabnet_secure.store.states import ErasureState, LedgerSource


def test_who_withdrew_since_is_withdrawn_again(room, site, copy, consents_of):
    """Event, rows, keys, erasure and certificate: as if the backup had never come back."""
    (gone, *_), when = list(consents_of(site)), room.clock()
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


def test_a_keyring_that_was_revoked_since_is_revoked_again(room, site, keys, monkeypatch, copied):
    """A backup from before gives nobody a keyring back; one that stands is left alone, and the keys can be renewed."""
    from fabnet_secure.crypto.keyfile import create_key_file
    from fabnet_secure.pipeline import keys as keyrings
    from fabnet_secure.pipeline.rekey import rekey

    for name in ("ada", "bob"):
        keyrings.grant(site, name, ("trainer",), create_key_file(room.folder / f"{name}.key").public.raw)
    copy = copied(site)
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


def test_an_erasure_that_was_under_way_is_finished(room, site, keys, copied):
    """A backup made between the withdrawal's event and its end: the erasure goes on."""
    gone = room.consent(site)
    room.track(site, gone)
    made = []

    from fabnet_secure.pipeline import withdraw as journey

    real = journey._erase

    def erase(*arguments):
        made.append(copied(site))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journey, "_erase", erase)
        withdraw(site, gone, confirm=gone)
    assert made[0].restore().replayed.withdrawn == 1
    back = made[0].opened()
    with back.reading() as connection:
        (row,) = erasures.list_erasures(connection)
    assert row.state is ErasureState.COMPLETE


def test_budget_is_never_given_back(room, site, copy, entries_of, spent):
    """What was spent after the backup is charged to everybody the backup knows, under the same entry."""
    early = entries_of(site)
    entry = spent(site, 2.5)
    replayed = copy.restore().replayed
    assert (replayed.charged, replayed.epsilon, replayed.people) == (1, 2.5, 2)
    back = copy.opened()
    rows = entries_of(back)
    assert set(rows) - set(early) == {entry}
    assert (rows[entry].source, rows[entry].epsilon, rows[entry].delta) == (LedgerSource.RESTORED, 2.5, 1e-9)
    with back.reading() as connection:
        assert len(ledger.members_of_entry(connection, entry)) == 2


def test_a_second_restore_charges_the_same_once(room, site, copy, entries_of, spent):
    """From the first backup again, after the restored vault spent more: each spending once, none forgotten."""
    one = spent(site, 1.0)
    copy.restore("second")
    back = copy.opened("second")
    other = spent(back, 0.5)
    anchor = copy.target("second").anchor_file
    again = copy.restore("third", anchor=anchor)
    assert (again.replayed.charged, again.replayed.epsilon) == (2, 1.5)
    assert set(entries_of(copy.opened("third"))) == {one, other}


def test_spending_that_the_backup_knows_is_not_charged(room, site, keys, copied, spent):
    """Only what is missing."""
    room.consent(site)
    spent(site)
    assert copied(site).restore().replayed.charged == 0


def test_what_expired_meanwhile_is_gone(room, site, copy):
    """The clock goes on: what ended by time has ended in the copy before it serves."""
    room.clock.forward(days=400)
    copy.restore()
    back = copy.opened()
    with read_only(back.keystore) as connection:
        assert {key.domain.value for key in keystore.list_keys(connection)} == {"identity"}
    with back.reading() as connection:
        assert erasures.list_erasures(connection) == []  # nobody withdrew


def test_a_lost_anchor_needs_an_answer_and_costs_the_budget(room, site, copy, code_of, consents_of, entries_of):
    """Somebody says who withdrew; nobody has any budget left; a new anchor begins."""
    gone = next(iter(consents_of(site)))
    assert code_of(copy.restore, without_anchor=True) == "WITHDRAWN_UNKNOWN"
    told = room.folder / "withdrawn.txt"
    told.write_text("Ada Lovelace\n")
    assert code_of(copy.restore, without_anchor=True, withdrawn=told) == "WITHDRAWN_INVALID"
    told.write_text(f"{gone}\n{'0' * 8}-0000-4000-8000-{'0' * 12}\n")
    done = copy.restore(without_anchor=True, withdrawn=told)
    assert (done.anchored, done.replayed.withdrawn, done.replayed.charged) == (False, 1, 1)
    back = copy.opened()
    caps = load([]).settings.train.default_epsilon_cap
    assert [row.epsilon for row in entries_of(back).values()] == [caps]
    assert room.facts(back, "vault.restored")["anchor"] is False


def test_keys_that_two_people_destroyed_stay_destroyed(room, site, copy, consents_of):
    """A key destroyed outside any withdrawal is destroyed again, and nobody is withdrawn."""
    consent_id = next(iter(consents_of(site)))
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


def test_a_quarantined_record_destroyed_since_stays_destroyed(room, site, keys, quarantined, film, copied):
    """Record and key are gone again; one that still waits goes on waiting."""
    gone = quarantined(site, [room.consent(site)], film)
    copy = copied(site)
    quarantine.destroy(site, gone, gone)
    copy.restore()
    back = copy.opened()
    (row,) = quarantine.list_held(back)
    assert (row["video_id"], row["state"]) == (gone, "destroyed")
    with read_only(back.keystore) as connection:
        assert not [one.name for one in keystore.list_secrets(connection) if one.name.startswith("quarantine/")]


@pytest.mark.parametrize("anchored", [True, False], ids=["anchored", "without"])
def test_a_revoked_keyring_stays_revoked(room, site, keys, anchored, copied):
    """Revoked after the backup; without an anchor every keyring is taken for revoked. A rekey renews none of it."""
    public = RootKey.generate().public.raw
    grant(site, "ada", ["analyst"], public)
    copy = copied(site)
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
