"""People as pseudonyms, the notices they were shown, their consents and the events on them.

Guarantees that events are only ever appended, that a stored notice is the text its digest names, and that an erased
subject gets no new consent. Does not decide whether a consent is in force: that is ``consent/``.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, Text, func, select, type_coerce, update

from fabnet_secure.consent.record import ConsentEvent, ConsentRecord, Notice, SubjectCategory
from fabnet_secure.crypto.envelope import Sealed
from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.store.rows import change, put
from fabnet_secure.store.tables import consent, consent_event, notice, subject
from fabnet_secure.types import ConsentId, SubjectId

Consent: TypeAlias = tuple[ConsentRecord, tuple[ConsentEvent, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRow:
    """A pseudonym; ``erased_at`` is set once nothing ties it to a person any more."""

    subject_id: SubjectId
    category: SubjectCategory
    created_at: datetime
    erased_at: datetime | None


def find_subject_by_index(connection: Connection, blind_index: str) -> SubjectId | None:
    """Return the subject with this blind index (``crypto.digest.blind_index``), or None."""
    wanted = select(subject.c.subject_id).where(subject.c.blind_index == blind_index)
    found = connection.execute(wanted).scalar_one_or_none()
    return None if found is None else SubjectId(found)


def add_subject(
    connection: Connection,
    *,
    subject_id: SubjectId,
    blind_index: str,
    sealed_reference: Sealed,
    category: SubjectCategory,
    created_at: datetime,
) -> None:
    """Add a pseudonym with the sealed reference that the site knows the person by.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the id or blind index is there already.
    """
    put(
        connection,
        subject,
        subject_id=subject_id,
        blind_index=blind_index,
        sealed_reference=sealed_reference,
        category=category,
        created_at=created_at,
        erased_at=None,
    )


def get_sealed_reference(connection: Connection, subject_id: SubjectId) -> Sealed | None:
    """Return the sealed reference, or None when the subject is unknown or erased."""
    wanted = select(subject.c.sealed_reference).where(subject.c.subject_id == subject_id)
    sealed: Sealed | None = connection.execute(wanted).scalar_one_or_none()
    return sealed


def replace_sealed_reference(connection: Connection, subject_id: SubjectId, sealed: Sealed) -> None:
    """Put the same reference, sealed anew, in its place.

    Raises:
        UsageError: code ``NOT_FOUND``: the subject is unknown, or its reference is gone.
    """
    place = (subject.c.subject_id == subject_id) & subject.c.sealed_reference.is_not(None)
    change(connection, update(subject).where(place).values(sealed_reference=sealed), "reference")


def get_subject(connection: Connection, subject_id: SubjectId) -> SubjectRow | None:
    """Return one pseudonym, or None."""
    return next(iter(_subjects(connection, subject_id)), None)


def list_subjects(connection: Connection) -> list[SubjectRow]:
    """Return every pseudonym, oldest first."""
    return _subjects(connection, None)


def add_notice(connection: Connection, shown: Notice, text: bytes) -> None:
    """Keep the text of a notice under its digest; the same text again changes nothing.

    Raises:
        IntegrityFailure: code ``NOTICE_DIGEST``: the text is not the one that the notice names.
    """
    if hashlib.sha256(text).hexdigest() != shown.sha256:
        raise IntegrityFailure("the notice's text does not have the notice's digest", code="NOTICE_DIGEST")
    if get_notice_text(connection, shown.sha256) is None:
        put(connection, notice, sha256=shown.sha256, body=shown.to_json(), text=text)


def get_notice_text(connection: Connection, sha256: str) -> bytes | None:
    """Return the text of a notice by its digest, or None."""
    found = connection.execute(select(notice.c.text).where(notice.c.sha256 == sha256)).scalar_one_or_none()
    return None if found is None else bytes(found)


def add_consent(connection: Connection, record: ConsentRecord) -> None:
    """Add a consent record. Its notice must be there by the time the unit of work commits.

    Raises:
        NoEffectiveConsent: code ``SUBJECT_ERASED``: the pseudonym was erased and takes no new consent.
        IntegrityFailure: code ``ROW_REFUSED``: the id is there already, or the subject or notice is not.
    """
    known = get_subject(connection, record.subject_id)
    if known is not None and known.erased_at is not None:
        raise NoEffectiveConsent(
            f"subject {record.subject_id} was erased", hint="record the person as a new subject", code="SUBJECT_ERASED"
        )
    put(
        connection,
        consent,
        consent_id=record.consent_id,
        subject_id=record.subject_id,
        notice_sha256=record.notice.sha256,
        body=record.to_json(),
        created_at=record.created_at,
    )


def append_event(connection: Connection, consent_id: ConsentId, happened: ConsentEvent) -> None:
    """Append an event to a consent's stream.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: there is no such consent.
    """
    past = select(func.count()).select_from(consent_event).where(consent_event.c.consent_id == consent_id)
    put(
        connection,
        consent_event,
        consent_id=consent_id,
        position=connection.execute(past).scalar_one(),
        type=happened.type,
        occurred_at=happened.occurred_at,
        body=happened.to_json(),
    )


def get_consent(connection: Connection, consent_id: ConsentId) -> Consent | None:
    """Return a consent record and its events in the order they were recorded, or None."""
    return next(iter(_consents(connection, consent.c.consent_id == consent_id)), None)


def list_consents(connection: Connection, *, subject_id: SubjectId | None = None) -> list[Consent]:
    """Return every consent (of one subject) with its events, oldest first."""
    return _consents(connection, *(() if subject_id is None else (consent.c.subject_id == subject_id,)))


def digests(connection: Connection, consent_id: ConsentId | None = None) -> dict[ConsentId, str]:
    """Return the SHA-256 (hex) of each consent's record and events as they are stored, in their order."""
    records = select(consent.c.consent_id, consent.c.subject_id, type_coerce(consent.c.body, Text).label("text"))
    events = select(consent_event.c.consent_id, type_coerce(consent_event.c.body, Text).label("text"))
    events = events.order_by(consent_event.c.consent_id, consent_event.c.position)
    if consent_id is not None:
        records = records.where(consent.c.consent_id == consent_id)
        events = events.where(consent_event.c.consent_id == consent_id)
    found = {}
    for row in connection.execute(records):
        found[row.consent_id] = hashlib.sha256(f"{row.subject_id}\n{row.text}\n".encode())
    for row in connection.execute(events):
        if row.consent_id in found:
            found[row.consent_id].update(f"{row.text}\n".encode())
    return {ConsentId(one): digest.hexdigest() for one, digest in found.items()}


def _consents(connection: Connection, *conditions: object) -> list[Consent]:
    records = select(consent.c.body).order_by(consent.c.created_at, consent.c.consent_id)
    events = (
        select(consent_event.c.consent_id, consent_event.c.body)
        .join(consent, consent.c.consent_id == consent_event.c.consent_id)
        .order_by(consent_event.c.consent_id, consent_event.c.position)
    )
    for condition in conditions:
        records, events = records.where(condition), events.where(condition)  # type: ignore[arg-type]
    try:
        streams = _grouped((row.consent_id, row.body) for row in connection.execute(events))
        known = [ConsentRecord.from_json(body) for body in connection.execute(records).scalars()]
    except UsageError as error:  # it is no person's input: this program wrote it
        raise IntegrityFailure("a stored consent is damaged", hint="restore a backup", code="STORE_CORRUPT") from error
    return [(record, tuple(streams.get(record.consent_id, ()))) for record in known]


def _grouped(pairs: "Iterable[tuple[str, dict[str, object]]]") -> dict[str, list[ConsentEvent]]:
    streams: dict[str, list[ConsentEvent]] = {}
    for consent_id, body in pairs:
        streams.setdefault(consent_id, []).append(ConsentEvent.from_json(body))
    return streams


def _subjects(connection: Connection, subject_id: SubjectId | None) -> list[SubjectRow]:
    wanted = select(subject.c.subject_id, subject.c.category, subject.c.created_at, subject.c.erased_at)
    if subject_id is not None:
        wanted = wanted.where(subject.c.subject_id == subject_id)
    ordered = wanted.order_by(subject.c.created_at, subject.c.subject_id)
    return [SubjectRow(**row) for row in connection.execute(ordered).mappings()]
