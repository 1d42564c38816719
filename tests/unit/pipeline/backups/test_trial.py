"""Verify: every row of a backup is opened, and what does not open is found."""

from fabnet_secure.pipeline import (
    openable,
    trial,
)
from fabnet_secure.pipeline.diagnose import _backup
from fabnet_secure.store import keystore


def keystore_of(site):
    """Open the keystore for writing."""
    from fabnet_secure.store.database import keystore_work

    return keystore_work(site.keystore)


def test_a_sound_backup_verifies(room, site, copy, nothing_left):
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
    assert nothing_left()


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


def test_a_quarantined_record_is_tried_too(room, site, keys, quarantined, film, copied):
    """What waits in quarantine must open as well."""
    quarantined(site, [room.consent(site)], film)
    assert copied(site).verify(site).rows["quarantine"] == 1


def test_rows_whose_key_was_destroyed_stay_shut(room, site, keys, copied):
    """A backup in the middle of an erasure is sound: what is to be shut is shut."""
    consent_id = room.consent(site)
    room.track(site, consent_id)
    with keystore_of(site) as connection:
        for key in keystore.keys_of_consent(connection, consent_id):
            keystore.destroy_keys(connection, [key.key_id], room.clock())
    found = copied(site).verify(site)
    assert found.shut == 2


def test_rows_that_do_not_open_are_found(room, site, keys, monkeypatch, copied, code_of, nothing_left):
    """A key that is not there, and one that is another's."""
    room.track(site, room.consent(site))
    copy = copied(site)
    monkeypatch.setattr(openable._Keys, "_opens", lambda *_: False)
    assert code_of(copy.verify, site) == "BACKUP_UNOPENABLE"
    assert room.facts(site, "backup.verify_failed") == {"code": "BACKUP_UNOPENABLE"}
    assert trial.last_verified(site) is None
    assert nothing_left()


def test_verifying_needs_every_domain(site, copy, monkeypatch, code_of):
    """A keyring that opens only some domains could not tell."""
    some = frozenset(list(site.keyring.domains)[:2])
    monkeypatch.setattr(type(site.keyring), "domains", property(lambda _: some))
    assert code_of(copy.verify, site) == "KEY_DOMAIN"
