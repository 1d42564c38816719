"""Erasures: planned before the first delete, carried out, read back, and certified.

Guarantees that an erasure whose rows can still be read is never recorded as complete. Tracks, consents and ledger
entries stay as pseudonymous evidence; crops, embeddings and the openings of log entries go. Does not destroy keys
(``store/keystore.py``) and does not reach backups: only the keys' destruction does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store import embeddings
from fabnet_secure.store.census import Census
from fabnet_secure.store.rows import change, count, put
from fabnet_secure.store.states import ErasureState
from fabnet_secure.store.tables import erasure, log_opening, subject, track, tracklet
from fabnet_secure.types import ConsentId, ErasureId, Json, SubjectId, TrackStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureRow:
    """One erasure: what was planned, how it ended, and the certificate that says so."""

    erasure_id: ErasureId
    consent_id: ConsentId
    subject_id: SubjectId
    requested_at: datetime
    planned: Mapping[str, Any]
    state: ErasureState
    certificate: Mapping[str, Any] | None
    finished_at: datetime | None


def open_erasure(
    connection: Connection,
    *,
    erasure_id: ErasureId,
    consent_id: ConsentId,
    subject_id: SubjectId,
    requested_at: datetime,
    planned: Mapping[str, Json],
) -> ErasureRow:
    """Record what is to be erased, before anything is.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the consent or subject is unknown.
    """
    values: dict[str, Any] = {
        "erasure_id": erasure_id,
        "consent_id": consent_id,
        "subject_id": subject_id,
        "requested_at": requested_at,
        "planned": planned,
        "state": ErasureState.PENDING,
        "certificate": None,
        "finished_at": None,
    }
    put(connection, erasure, **values)
    return ErasureRow(**values)


def finish_erasure(
    connection: Connection,
    erasure_id: ErasureId,
    *,
    state: ErasureState,
    certificate: Mapping[str, Json],
    finished_at: datetime,
) -> None:
    """Record how an erasure ended. One that ended ``partial`` can still become ``complete``; never the reverse.

    Raises:
        IntegrityFailure: code ``ERASURE_INCOMPLETE``: it is said to be complete, but rows can still be read.
        UsageError: code ``NOT_FOUND``: no such erasure, or it is complete.
    """
    held = get_erasure(connection, erasure_id)
    if held is not None and state is ErasureState.COMPLETE:
        left = {name: rows for name, rows in remaining(connection, held.consent_id).items() if rows}
        if left:
            raise IntegrityFailure(
                "an erasure is not complete: rows of the consent can still be read",
                hint="withdraw the consent again: it carries on where it stopped",
                code="ERASURE_INCOMPLETE",
                remaining=left,
            )
    place = (erasure.c.erasure_id == erasure_id) & (erasure.c.state != ErasureState.COMPLETE)
    ended = update(erasure).where(place).values(state=state, certificate=certificate, finished_at=finished_at)
    change(connection, ended, "erasure")


def get_erasure(connection: Connection, erasure_id: ErasureId) -> ErasureRow | None:
    """Return one erasure, or None."""
    return next(iter(_erasures(connection, select(erasure).where(erasure.c.erasure_id == erasure_id))), None)


def pending(connection: Connection) -> list[ErasureRow]:
    """Return the erasures that were begun and not finished, oldest first: what a crash left behind."""
    return _erasures(connection, select(erasure).where(erasure.c.state == ErasureState.PENDING))


def list_erasures(connection: Connection, *, consent_id: ConsentId | None = None) -> list[ErasureRow]:
    """Return every erasure (of a consent), oldest first."""
    wanted = select(erasure)
    return _erasures(connection, wanted if consent_id is None else wanted.where(erasure.c.consent_id == consent_id))


def delete_consent_artifacts(connection: Connection, census: Census, consent_id: ConsentId) -> dict[str, int]:
    """Delete every artefact under a consent and return what went.

    Returns:
        counts of ``tracklets``, ``embedding_pages``, ``embeddings`` (vectors), ``openings`` deleted, and of
        ``tracks`` newly marked erased. Running it again gives zeroes.
    """
    before = remaining(connection, consent_id)
    count(connection, delete(tracklet).where(_of_consent(consent_id)))
    embeddings.delete_consent(connection, census, consent_id)
    count(connection, delete(log_opening).where(log_opening.c.consent_id == consent_id))
    alive = (track.c.consent_id == consent_id) & (track.c.status != TrackStatus.ERASED)
    count(connection, update(track).where(alive).values(status=TrackStatus.ERASED, reason="withdrawn"))
    return before


def remaining(connection: Connection, consent_id: ConsentId) -> dict[str, int]:
    """Read back what is left under a consent; the same words as :func:`delete_consent_artifacts`."""
    alive = (track.c.consent_id == consent_id) & (track.c.status != TrackStatus.ERASED)
    counts: dict[str, Select[Any]] = {
        "tracklets": select(func.count()).select_from(tracklet).where(_of_consent(consent_id)),
        "openings": select(func.count()).select_from(log_opening).where(log_opening.c.consent_id == consent_id),
        "tracks": select(func.count()).select_from(track).where(alive),
    }
    found = {name: int(connection.execute(wanted).scalar_one()) for name, wanted in counts.items()}
    return found | embeddings.remaining(connection, consent_id)


def forget_subject(connection: Connection, subject_id: SubjectId, at: datetime) -> dict[str, int]:
    """Cut a pseudonym from the person: its sealed reference, its blind index and its own log openings go.

    The same person recorded again later is a new subject that nothing ties to this one.

    Returns:
        counts of ``openings`` deleted and ``subjects`` newly erased.
    """
    openings = count(connection, delete(log_opening).where(log_opening.c.subject_id == subject_id))
    place = (subject.c.subject_id == subject_id) & subject.c.erased_at.is_(None)
    emptied = update(subject).where(place).values(blind_index=None, sealed_reference=None, erased_at=at)
    return {"openings": openings, "subjects": count(connection, emptied)}


def _of_consent(consent_id: ConsentId) -> ColumnElement[bool]:
    return tracklet.c.track_id.in_(select(track.c.track_id).where(track.c.consent_id == consent_id))


def _erasures(connection: Connection, wanted: Select[Any]) -> list[ErasureRow]:
    ordered = wanted.order_by(erasure.c.requested_at, erasure.c.erasure_id)
    return [ErasureRow(**row) for row in connection.execute(ordered).mappings()]
