"""The events that may be appended to a consent, each made so that it means what its name says.

Guarantees that a grant is explicit, carries the digest of its evidence, and ends; that a renewal continues
a consent that still holds; that a consent is withdrawn once. Does not write anything down: the store does.
"""

from collections.abc import Sequence
from datetime import datetime

from fabnet_secure.consent.codec import word
from fabnet_secure.consent.duration import add_duration, parse_duration
from fabnet_secure.consent.record import (
    ConsentEvent,
    ConsentRecord,
    EventType,
    IndicatedBy,
    State,
    SubjectCategory,
)
from fabnet_secure.consent.state import standing
from fabnet_secure.errors import NoEffectiveConsent, UsageError

__all__ = ["add_duration", "end_of", "given", "parse_duration", "refused", "renewed", "withdrawn"]


def given(
    record: ConsentRecord,
    *,
    at: datetime,
    valid_for: str,
    evidence_sha256: str,
    actor: str,
    indicated_by: str = IndicatedBy.SUBJECT,
    method: str = "",
    recorded_at: datetime | None = None,
) -> ConsentEvent:
    """Return the event that gives ``record``'s consent at ``at`` for the ISO 8601 period ``valid_for``.

    ``evidence_sha256`` is the digest of the signed form, recording or ticket. ``method`` defaults to the
    record's collection method, ``recorded_at`` to ``at``.

    Raises:
        UsageError: code ``DURATION_INVALID``, ``DIGEST_INVALID``, or ``GUARDIAN_REQUIRED`` for a child's
            consent that no guardian or representative gave (GDPR Art. 8).
    """
    return _event(
        EventType.GIVEN,
        record,
        at=at,
        actor=actor,
        indicated_by=indicated_by,
        method=method,
        recorded_at=recorded_at,
        valid_until=end_of(record.subject_category, at=at, valid_for=valid_for, indicated_by=indicated_by),
        evidence_sha256=evidence_sha256,
    )


def renewed(
    record: ConsentRecord,
    events: Sequence[ConsentEvent],
    *,
    at: datetime,
    valid_for: str,
    evidence_sha256: str,
    actor: str,
    indicated_by: str = IndicatedBy.SUBJECT,
    method: str = "",
    recorded_at: datetime | None = None,
) -> ConsentEvent:
    """Return the event that renews a consent which holds at ``at``; the new period counts from ``at``.

    Raises:
        NoEffectiveConsent: code ``CONSENT_NOT_RENEWABLE`` when it does not hold; that takes a new consent.
        UsageError: as :func:`given`.
    """
    if not standing(events, at).valid:
        raise NoEffectiveConsent(
            f"consent {record.consent_id} does not hold, so it cannot be renewed",
            hint="record a new consent",
            code="CONSENT_NOT_RENEWABLE",
        )
    return _event(
        EventType.RENEWED,
        record,
        at=at,
        actor=actor,
        indicated_by=indicated_by,
        method=method,
        recorded_at=recorded_at,
        valid_until=end_of(record.subject_category, at=at, valid_for=valid_for, indicated_by=indicated_by),
        evidence_sha256=evidence_sha256,
    )


def withdrawn(
    record: ConsentRecord,
    events: Sequence[ConsentEvent],
    *,
    at: datetime,
    indicated_by: str,
    actor: str,
    method: str = "request",
    evidence_sha256: str = "",
    recorded_at: datetime | None = None,
) -> ConsentEvent:
    """Return the event that withdraws ``record``'s consent from ``at`` on (GDPR Art. 7(3)).

    An expired or never given consent can be withdrawn too: the wish counts.

    Raises:
        UsageError: code ``CONSENT_ALREADY_WITHDRAWN`` when a withdrawal or revocation is among ``events``.
    """
    if any(event.type in {EventType.WITHDRAWN, EventType.REVOKED} for event in events):
        raise UsageError(
            f"consent {record.consent_id} is already withdrawn",
            hint=f"run 'fabnet-secure consent show {record.consent_id}'",
            code="CONSENT_ALREADY_WITHDRAWN",
        )
    return _event(
        EventType.WITHDRAWN,
        record,
        at=at,
        actor=actor,
        indicated_by=indicated_by,
        method=method,
        recorded_at=recorded_at,
        evidence_sha256=evidence_sha256,
    )


def refused(
    record: ConsentRecord,
    *,
    at: datetime,
    actor: str,
    indicated_by: str = IndicatedBy.SUBJECT,
    method: str = "",
    recorded_at: datetime | None = None,
) -> ConsentEvent:
    """Return the event that a person who was asked said no."""
    return _event(
        EventType.REFUSED,
        record,
        at=at,
        actor=actor,
        indicated_by=indicated_by,
        method=method,
        recorded_at=recorded_at,
    )


def end_of(category: SubjectCategory, *, at: datetime, valid_for: str, indicated_by: str) -> datetime:
    """Return when a consent given at ``at`` ends, if one like this can be given at all.

    Raises:
        UsageError: codes ``DURATION_INVALID``, ``GUARDIAN_REQUIRED``, as :func:`given`.
    """
    guardians = {IndicatedBy.GUARDIAN, IndicatedBy.REPRESENTATIVE}
    if category is SubjectCategory.CHILD and word(IndicatedBy, indicated_by) not in guardians:
        raise UsageError(
            "a child's consent is given by a guardian",
            hint="say who gave it: --indicated-by guardian, or the column indicated_by",
            code="GUARDIAN_REQUIRED",
        )
    return add_duration(at, valid_for)


def _event(
    kind: EventType,
    record: ConsentRecord,
    *,
    at: datetime,
    actor: str,
    indicated_by: str,
    method: str,
    recorded_at: datetime | None,
    valid_until: datetime | None = None,
    evidence_sha256: str = "",
) -> ConsentEvent:
    return ConsentEvent(
        type=kind,
        state_after=State(kind.value),
        occurred_at=at,
        recorded_at=at if recorded_at is None else recorded_at,
        valid_until=valid_until,
        indicated_by=word(IndicatedBy, indicated_by),
        method=method or record.collection_method,
        consent_type="explicit",
        notice_version=record.notice.version,
        evidence_sha256=evidence_sha256,
        actor=actor,
    )
