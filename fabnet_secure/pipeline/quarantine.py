"""Quarantine: a video that a person has to look at waits, sealed and with a deadline; no pixel of it is kept.

What is held of a video is a small record: where its file was and what its bytes are named by, the consents that were
named, and of each quarantined track when and where it was seen, so that whoever releases it finds the face again. The
record is sealed under a random key of its own; the key is in the keystore, and destroying it destroys the record.

Order against crashes: a key is stored *before* the vault commits the record, so a record is never without its key; it
is deleted *before* the vault commits the record's destruction, so what the log calls destroyed opens no more; and the
anchor is told first, so that no backup brings it back. A crash leaves a key without a record (swept) or a record
without a key (where the anchor knows of its end, the next sweep finishes it; else it is held, openable by nobody, until
its deadline). The deadline is computed on read: past it nothing is released, even if no sweep ran.

A withdrawal destroys every record that names the consent. Does not look at videos: ``release.py`` reads the file again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fabnet_secure.access.decision import Grant
from fabnet_secure.audit.anchor import DESTROYED
from fabnet_secure.consent.append import add_duration
from fabnet_secure.consent.state import standing
from fabnet_secure.crypto.digest import random_bytes
from fabnet_secure.crypto.envelope import Context, DataKey, seal, unseal
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError, VaultLocked
from fabnet_secure.logs import LOGGER
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.disposition import deletes, dispose_unreleased, named
from fabnet_secure.pipeline.held import Held, HeldTrack
from fabnet_secure.pipeline.officer import check_officer
from fabnet_secure.store import erasures, keystore, quarantine, tracks, videos
from fabnet_secure.store.database import Connection, Work, keystore_work, read_only
from fabnet_secure.store.quarantine import QuarantineRow
from fabnet_secure.store.states import Disposition, QuarantineState
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import ConsentId, KeyDomain, TrackStatus, VideoId, is_id, rfc3339

__all__ = [
    "Destroyed",
    "Held",
    "HeldTrack",
    "destroy",
    "destroy_again",
    "end_wait",
    "forget_released",
    "hold",
    "list_held",
    "open_held",
    "reopens",
    "state_at",
    "sweep_held",
]

_PREFIX = "quarantine/"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroyed:
    """What destroying a record did, or what a dry run would do; ``disposition`` is the source file's."""

    video_id: VideoId
    tracks: int
    disposition: str
    dry_run: bool = False


def hold(site: Site, work: Work, video_id: VideoId, *, held: Held) -> None:
    """Hold a video inside the unit of work that commits its rows; its tracks are added by the caller."""
    check_officer(site, work.connection)  # who signed for the half that is wrapped to, where it is not opened
    octets, now = random_bytes(_KEY_BYTES), site.clock()
    with keystore_work(site.keystore) as connection:
        keystore.put_secret(connection, site.keyring.wrap_secret(_secret(video_id), octets, KeyDomain.HOLD))
    key = DataKey(octets)
    sealed = seal(key, _context(video_id), held.to_bytes())
    key.wipe()
    deadline = add_duration(now, site.settings.ingest.quarantine_period)
    quarantine.add_held(work.connection, video_id, sealed, reason=held.reason, deadline=deadline, created_at=now)
    work.log(
        "quarantine.held",
        facts={
            "video": named(video_id), "reason": held.reason, "tracks": len(held.tracks), "deadline": rfc3339(deadline),
        },
    )  # fmt: skip


def open_held(site: Site, video_id: str) -> Held:
    """Open what is held of a video.

    Raises:
        UsageError: code ``QUARANTINE_UNKNOWN``, ``QUARANTINE_OVER`` (released, destroyed or past its deadline).
        IntegrityFailure: its key is gone, or the record was changed.
    """
    row = _waiting(site, video_id)
    if row.deadline <= site.clock():
        raise UsageError(
            "the video's time in quarantine is over: what was held of it is destroyed",
            hint="ingest the file again, if it may be kept that long",
            code="QUARANTINE_OVER",
        )
    return _opened(site, row)


def list_held(site: Site) -> list[dict[str, Any]]:
    """Return every quarantined video with its state now, oldest first; no record is opened."""
    authorize(site, "quarantine_list")
    now = site.clock()
    with site.reading() as connection:
        rows = quarantine.list_quarantine(connection)
        counts = {row.video_id: row.quarantined for row in videos.list_videos(connection)}
    if any(row.video_id not in counts for row in rows):
        hint = "run 'fabnet-secure doctor', then restore a backup"
        raise IntegrityFailure("the video of a quarantine was taken out", hint=hint, code="ROWS_MISSING")
    return [
        {
            "video_id": row.video_id,
            "reason": row.reason,
            "tracks": counts[row.video_id],
            "created_at": rfc3339(row.created_at),
            "deadline": rfc3339(row.deadline),
            "state": state_at(row, now).value,
            "resolved_at": rfc3339(row.resolved_at) if row.resolved_at else None,
        }
        for row in rows
    ]


def state_at(row: QuarantineRow, now: datetime) -> QuarantineState:
    """Return the state at a time: past its deadline a record is expired, whether it was swept or not."""
    over = row.state is QuarantineState.HELD and row.deadline <= now
    return QuarantineState.EXPIRED if over else row.state


def destroy(site: Site, video_id: str, confirm: str | None, *, dry_run: bool = False) -> Destroyed:
    """Destroy what is held of a video, and (where the policy deletes sources) its file.

    Args:
        site: an open vault.
        video_id: the video.
        confirm: the same id again; a severe act wants it said twice.
        dry_run: say what would go, and change nothing.

    Raises:
        AccessDenied: the principal may not destroy.
        UsageError: code ``QUARANTINE_UNKNOWN``, ``QUARANTINE_OVER``, ``NOT_CONFIRMED``.
    """
    grant = authorize(site, "quarantine_destroy")
    row = _waiting(site, video_id)
    with site.reading() as connection:
        waiting = len(tracks.list_tracks(connection, video_id=row.video_id, status=TrackStatus.QUARANTINED))
    if dry_run:
        planned = Disposition.DELETE_DUE if deletes(site) and _has_file(site, row) else Disposition.KEEP
        return Destroyed(video_id=row.video_id, tracks=waiting, disposition=planned.value, dry_run=True)
    if confirm != row.video_id:
        hint = f"repeat the id: --confirm {row.video_id}"
        raise UsageError("the destruction was not confirmed", hint=hint, code="NOT_CONFIRMED")
    disposition = _file_goes(site, row)
    _end(site, row, QuarantineState.DESTROYED, TrackStatus.ERASED, cause="operator", grant=grant)
    return Destroyed(video_id=row.video_id, tracks=waiting, disposition=disposition.value)


def end_wait(site: Site, work: Work, video_id: str) -> None:
    """End a wait by release, in the transaction that keeps the tracks anew, under ids of their own.

    Raises:
        UsageError: code ``QUARANTINE_UNKNOWN``; ``QUARANTINE_OVER``: it ended otherwise meanwhile, or its time did.
    """
    row = _still_held(quarantine.get_quarantine(work.connection, VideoId(video_id)), video_id, site.clock())
    site.anchor.append(DESTROYED, video_id=row.video_id)
    _resolve(site, work, row, QuarantineState.RELEASED, TrackStatus.DROPPED, cause="released")


def forget_released(site: Site, video_id: VideoId, grant: Grant) -> None:
    """Destroy the key of a record whose video was released, and write down who was allowed to."""
    with site.work() as work:
        row = quarantine.get_quarantine(work.connection, video_id)
        if row is not None and row.state is QuarantineState.HELD:  # it was taken in by a release that was cut off
            end_wait(site, work, video_id)
        record_grant(site, work, grant, rows=1)
    with keystore_work(site.keystore) as connection:
        keystore.delete_secret(connection, _secret(video_id))
    _scrub(site)


def sweep_held(site: Site) -> int:
    """Destroy the records that are past their deadline or name a consent withdrawn since; sweep keys of no record.

    Returns:
        how many records went.
    """
    now = site.clock()
    with site.reading() as connection:
        rows = quarantine.list_quarantine(connection, state=QuarantineState.HELD)
    gone = 0
    for row in rows:
        if row.deadline <= now:
            gone += _let_go(site, row, QuarantineState.EXPIRED, TrackStatus.EXPIRED, cause="deadline")
        elif _was_cut_off(site, row):
            gone += _let_go(site, row, QuarantineState.DESTROYED, TrackStatus.ERASED, cause="finished")
        elif _names_a_withdrawn_consent(site, row):
            gone += _let_go(site, row, QuarantineState.DESTROYED, TrackStatus.ERASED, cause="withdrawn")
    _sweep_keys(site)
    return gone


def destroy_again(site: Site, video_ids: Collection[str]) -> int:
    """Destroy the records that a restored backup holds again; the anchor knows better. No file is touched."""
    with site.reading() as connection:
        held = quarantine.list_quarantine(connection, state=QuarantineState.HELD)
    back = [row for row in held if row.video_id in video_ids]
    for row in back:
        _end(site, row, QuarantineState.DESTROYED, TrackStatus.ERASED, cause="restored")
    return len(back)


def reopens(site: Site, row: QuarantineRow) -> None:
    """Open what is held and throw it away: does it still open?

    Raises:
        IntegrityFailure: its key is gone, or the record was changed.
    """
    _opened(site, row)


def _let_go(site: Site, row: QuarantineRow, state: QuarantineState, status: TrackStatus, *, cause: str) -> int:
    """Destroy one record and, where the policy says so, its file; 0 where another process was faster."""
    _file_goes(site, row)
    try:
        _end(site, row, state, status, cause=cause)
    except UsageError:
        return 0
    return 1


def _waiting(site: Site, video_id: str) -> QuarantineRow:
    with site.reading() as connection:
        row = quarantine.get_quarantine(connection, VideoId(video_id)) if is_id(video_id) else None
    return _still_held(row, video_id)


def _still_held(row: QuarantineRow | None, video_id: str, now: datetime | None = None) -> QuarantineRow:
    """Refuse a wait that is over; with ``now``, one whose deadline has passed, too."""
    if row is None:
        raise UsageError(
            f"no video in quarantine has the id {video_id[:60]!r}",
            hint="run 'fabnet-secure quarantine list'",
            code="QUARANTINE_UNKNOWN",
        )
    state = row.state if now is None else state_at(row, now)
    if state is not QuarantineState.HELD:
        raise UsageError(
            f"the video waits no more: it was {state.value}",
            hint="run 'fabnet-secure quarantine list'",
            code="QUARANTINE_OVER",
        )
    return row


def _opened(site: Site, row: QuarantineRow) -> Held:
    with read_only(site.keystore) as connection:
        wrapped = keystore.get_secret(connection, _secret(row.video_id))
    if wrapped is None or row.sealed is None:
        raise IntegrityFailure(
            "what is held of the video opens no more: its key is gone",
            hint=f"run 'fabnet-secure quarantine destroy {row.video_id} --confirm {row.video_id}'",
            code="QUARANTINE_KEY_GONE",
        )
    key = DataKey(site.keyring.unwrap_secret(wrapped))
    try:
        return Held.from_bytes(unseal(key, _context(row.video_id), row.sealed))
    finally:
        key.wipe()


def _file_goes(site: Site, row: QuarantineRow) -> Disposition:
    """Delete the source where the policy says so; a record that does not open tells of no file."""
    try:
        held = _opened(site, row) if deletes(site) else None
    except FabnetError:
        held = None
    if held is None or held.source.path is None:
        return Disposition.KEEP
    return dispose_unreleased(site, row.video_id, held.source.path, held.content)


def _has_file(site: Site, row: QuarantineRow) -> bool:
    try:
        return _opened(site, row).source.path is not None
    except FabnetError:
        return False


def _end(
    site: Site,
    row: QuarantineRow,
    state: QuarantineState,
    status: TrackStatus,
    *,
    cause: str,
    grant: Grant | None = None,
) -> None:
    """Destroy a record: first its key, then (committed together) the row, its tracks' status and the entry."""
    with site.work() as work:
        site.anchor.append(DESTROYED, video_id=row.video_id)
        with keystore_work(site.keystore) as connection:
            keystore.delete_secret(connection, _secret(row.video_id))
        _resolve(site, work, row, state, status, cause=cause)
        if grant is not None:
            record_grant(site, work, grant, rows=1)
    _scrub(site)


def _resolve(
    site: Site, work: Work, row: QuarantineRow, state: QuarantineState, status: TrackStatus, *, cause: str
) -> None:
    quarantine.resolve(work.connection, row.video_id, state, site.clock())
    waiting = tracks.list_tracks(work.connection, video_id=row.video_id, status=TrackStatus.QUARANTINED)
    for track in waiting:
        tracks.set_status(work.connection, track.track_id, status, None if cause == "deadline" else cause)
    work.log(f"quarantine.{state.value}", facts={"video": named(row.video_id), "tracks": len(waiting), "cause": cause})


def _was_cut_off(site: Site, row: QuarantineRow) -> bool:
    """Tell whether the record's destruction was begun: its key is gone, and the anchor was told."""
    with read_only(site.keystore) as connection:
        if keystore.get_secret(connection, _secret(row.video_id)) is not None:
            return False
    return any(one.video_id == row.video_id for one in site.anchor.state().destroyed)


def _names_a_withdrawn_consent(site: Site, row: QuarantineRow) -> bool:
    """Tell whether a consent that the record names was withdrawn since, or none of them is in force."""
    try:
        consent_ids = _opened(site, row).named
    except FabnetError:
        return False  # nobody can release it either; it goes at its deadline
    with site.reading() as connection:
        return any(_withdrawn_since(connection, one, row) for one in consent_ids) or not any(
            _in_force(site, connection, one) for one in consent_ids
        )


def _withdrawn_since(connection: Connection, consent_id: str, row: QuarantineRow) -> bool:
    begun = erasures.list_erasures(connection, consent_id=ConsentId(consent_id))
    return any(erasure.requested_at >= row.created_at for erasure in begun)


def _in_force(site: Site, connection: Connection, consent_id: str) -> bool:
    try:
        _, events = find_consent(connection, consent_id)
    except FabnetError:
        return False
    begun = erasures.list_erasures(connection, consent_id=ConsentId(consent_id))
    return not begun and standing(events, site.clock()).valid


def _sweep_keys(site: Site) -> None:
    """Delete the keys of records that were never committed, or that are gone.

    Decided under the vault's write lock: whoever holds a video has it from before its key is stored until its record
    is committed, so a key without a record is nobody's.
    """
    with site.reading() as connection:
        if not _orphans(site, connection):
            return
    with site.work() as work:
        orphans = _orphans(site, work.connection)
        with keystore_work(site.keystore) as connection:
            for name in orphans:
                keystore.delete_secret(connection, name)
        work.log("quarantine.keys_swept", facts={"keys": len(orphans)})
    _scrub(site)


def _orphans(site: Site, connection: Connection) -> list[str]:
    held = {_secret(row.video_id) for row in quarantine.list_quarantine(connection, state=QuarantineState.HELD)}
    with read_only(site.keystore) as keys:
        names = {row.name for row in keystore.list_secrets(keys) if row.name.startswith(_PREFIX)}
    return sorted(names - held)


def _scrub(site: Site) -> None:
    """Get the deleted bytes out of the databases' logs; a reader in the way is only said, the key is gone anyway."""
    for engine in (site.engine, site.keystore):
        try:
            checkpoint_wal(engine)
        except VaultLocked as busy:
            LOGGER.warning("%s", busy.message)


def _secret(video_id: VideoId) -> str:
    return f"{_PREFIX}{video_id}"


def _context(video_id: VideoId) -> Context:
    return Context(format="quarantine/1", track=video_id)
