"""Keeping time: what has expired is destroyed before anything new is done with the vault.

Expiry itself is computed on read, so what is past it is never used even if no sweep ran; a sweep makes it gone.
"""

from datetime import datetime

from fabnet_secure.consent.record import State
from fabnet_secure.consent.state import standing
from fabnet_secure.pipeline import holds
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.pipeline.quarantine import sweep_held
from fabnet_secure.pipeline.workshop import WORK, clear_leftovers
from fabnet_secure.store import consents, erasures, keystore, tracks
from fabnet_secure.store.database import Connection, keystore_work, read_only
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import ConsentId, TrackStatus


def sweep(site: Site) -> int:
    """Destroy what is held of videos past their deadline, crops whose time is over, and all under expired consents.

    Returns:
        how many quarantined videos were let go, and tracks lost their crops or embeddings, together.
    """
    from fabnet_secure.pipeline.carry import carry_waiting  # it withdraws, and what withdraws reports on plans

    clear_leftovers(site.root, WORK)  # a backup that was killed left a snapshot, and in it what is deleted here
    held = sweep_held(site)
    carry_waiting(site)
    now = site.clock()
    with site.reading() as connection:
        due, ended = tracks.list_expired(connection, now), _ended(site, connection, now)
        if not due and not ended:
            return held
        kept = holds.held(site, connection)
        if {row.consent_id for row in due} | set(ended) <= set(kept):
            return held
    with site.work() as work:
        kept = holds.held(site, work.connection)
        due = [row for row in tracks.list_expired(work.connection, now) if row.consent_id not in kept]
        for row in due:
            tracks.delete_tracklet(work.connection, row.track_id)
            tracks.set_status(work.connection, row.track_id, TrackStatus.EXPIRED)
        ended = [one for one in _ended(site, work.connection, now) if one not in kept]
        census = census_of(site)
        erased = sum(erasures.delete_consent_artifacts(work.connection, census, one)["tracks"] for one in ended)
        work.log("retention.swept", facts={"tracklets": len(due), "consents": len(ended), "tracks": erased})
    _destroy_keys(site, ended, now)
    checkpoint_wal(site.engine)
    return held + len(due) + erased


def living_tracks(site: Site, connection: Connection) -> list[tracks.TrackRow]:
    """Return the bound tracks whose crops are there and have not expired."""
    now = site.clock()
    kept = tracks.count_crops(connection)
    return [
        row
        for row in tracks.list_tracks(connection, status=TrackStatus.BOUND)
        if row.track_id in kept and (row.expires_at is None or row.expires_at > now)
    ]


def _ended(site: Site, connection: Connection, now: datetime) -> list[ConsentId]:
    """Return the consents that expired by time and still have rows or keys."""
    with read_only(site.keystore) as keys:
        keyed = {key.consent_id for key in keystore.list_keys(keys)}
    return [
        record.consent_id
        for record, events in consents.list_consents(connection)
        if standing(events, now).state is State.EXPIRED
        and (record.consent_id in keyed or any(erasures.remaining(connection, record.consent_id).values()))
    ]


def _destroy_keys(site: Site, ended: list[ConsentId], now: datetime) -> None:
    with keystore_work(site.keystore) as connection:
        for consent_id in ended:
            keys = keystore.keys_of_consent(connection, consent_id)
            keystore.destroy_keys(connection, [key.key_id for key in keys], now)
    checkpoint_wal(site.keystore)
