"""Sweeping: what is past its time is gone, and nothing else."""

from datetime import timedelta

from fabnet_secure.pipeline.maintain import living_tracks, sweep
from fabnet_secure.pipeline.registers import list_tracks
from fabnet_secure.store import keystore, tracks
from fabnet_secure.store.database import read_only


def _crops(site):
    with site.reading() as connection:
        return {row.track_id for row in tracks.list_tracklets(connection)}


def _living(site):
    with site.reading() as connection:
        return {row.track_id for row in living_tracks(site, connection)}


def test_nothing_due_changes_nothing(room, site):
    """A sweep without anything to destroy writes no entry."""
    room.track(site, room.consent(site))
    before = room.acts(site)
    assert sweep(site) == 0
    assert room.acts(site) == before


def test_expired_crops_are_destroyed(room, site):
    """Crops past their time are not used any more at once, and gone after a sweep; younger ones stay."""
    consent = room.consent(site)
    old = room.track(site, consent, lives=timedelta(days=10))
    young = room.track(site, consent, lives=timedelta(days=30))
    endless = room.track(site, consent, lives=None)
    assert _living(site) == {old, young, endless}
    room.clock.forward(days=10)
    assert _living(site) == {young, endless}
    assert _crops(site) == {old, young, endless}
    assert sweep(site) == 1
    assert _crops(site) == {young, endless}
    assert room.acts(site)[-1] == "retention.swept"
    assert sweep(site) == 0


def test_the_register_tells_the_state_before_a_sweep(room, site):
    """'expired' is computed on read; after the sweep it is stored; the row itself stays as evidence."""
    track = room.track(site, room.consent(site), lives=timedelta(days=1))
    assert [row["status"] for row in list_tracks(site)] == ["bound"]
    room.clock.forward(days=2)
    assert [row["status"] for row in list_tracks(site)] == ["expired"]
    sweep(site)
    assert [(row["track_id"], row["status"]) for row in list_tracks(site)] == [(track, "expired")]


def test_an_expired_consent_takes_its_crops_and_keys_with_it(room, site):
    """When a consent ends by time its crops go, however long they could have lived, and its keys with them."""
    ending, staying = room.consent(site, valid_for="P1M"), room.consent(site, subject_ref="bob")
    room.track(site, ending, lives=timedelta(days=300))
    kept = room.track(site, staying, lives=timedelta(days=300))
    room.clock.forward(days=40)
    sweep(site)
    assert _crops(site) == {kept}
    with read_only(site.keystore) as connection:
        owners = {key.consent_id for key in keystore.list_keys(connection)}
        gone = keystore.tombstones(connection, ending)
    assert ending not in owners
    assert staying in owners
    assert len(gone) == 3
    assert sweep(site) == 0
