"""The nouns of consent: notice, scope, record and event (ISO/IEC TS 27560, W3C DPV 2.3).

Guarantees that a record or event that exists is well-formed: identifiers have their form, times carry an
offset, a purpose appears once and was covered by the notice, privacy caps are possible numbers, and every
state names its event. Does not decide whether a consent is in force: that is ``consent/state.py``.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from fabnet_secure.consent.codec import decode, encode
from fabnet_secure.consent.duration import parse_duration
from fabnet_secure.errors import UsageError
from fabnet_secure.types import ConsentId, Json, Purpose, SubjectId, is_id

SCHEMA_VERSION = "1"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class SubjectCategory(StrEnum):
    """What the data subject is to the controller (it decides who must approve)."""

    ADULT = "adult"
    CHILD = "child"
    EMPLOYEE = "employee"
    STUDENT = "student"
    PATIENT = "patient"
    CUSTOMER = "customer"
    RESEARCH_PARTICIPANT = "research_participant"


class State(StrEnum):
    """The state of a consent (DPV 2.3, ``dpv:ConsentStatus``)."""

    UNKNOWN = "unknown"
    REQUESTED = "requested"
    REQUEST_DEFERRED = "request_deferred"
    REFUSED = "refused"
    GIVEN = "given"
    RENEWED = "renewed"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"

    @property
    def valid(self) -> bool:
        """Whether this state permits processing (``dpv:ConsentStatusValidForProcessing``)."""
        return self in {State.GIVEN, State.RENEWED}


class EventType(StrEnum):
    """What happened to a consent; each leads to the state of the same name.

    Of events at one instant the one further down is what counts, so what ends a consent wins a tie.
    """

    REQUESTED = "requested"
    REQUEST_DEFERRED = "request_deferred"
    GIVEN = "given"
    RENEWED = "renewed"
    REFUSED = "refused"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"


class ModelFate(StrEnum):
    """What becomes of a model when a person whose data trained it withdraws."""

    RETIRE = "retire"
    RETRAIN = "retrain"
    KEEP_IF_DP = "keep_if_dp"


class IndicatedBy(StrEnum):
    """Who expressed the wish (``dpv:isIndicatedBy``)."""

    SUBJECT = "subject"
    GUARDIAN = "guardian"
    REPRESENTATIVE = "representative"
    CONTROLLER = "controller"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """Who answers for the processing (GDPR Art. 4(7); APPI 個人情報取扱事業者)."""

    name: str
    address: str
    contact: str
    role: str = "controller"

    def to_json(self) -> dict[str, Json]:
        """Return the controller as a JSON object."""
        return cast("dict[str, Json]", encode(self))

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Controller":
        """Read what :meth:`to_json` wrote; UsageError ``CONSENT_FORMAT`` otherwise."""
        return decode(cls, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The text a person was shown before deciding, by version and digest (ISO/IEC 29184)."""

    version: str
    language: str
    sha256: str
    covers_purposes: tuple[Purpose, ...]
    states_face_feature_extraction: bool
    states_retention: bool
    withdrawal_method: str
    states_model_fate: bool

    def __post_init__(self) -> None:
        check_sha256(self.sha256, "the notice's text")

    def to_json(self) -> dict[str, Json]:
        """Return the notice as a JSON object."""
        return cast("dict[str, Json]", encode(self))

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Notice":
        """Read what :meth:`to_json` wrote; UsageError ``CONSENT_FORMAT`` otherwise."""
        return decode(cls, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What was agreed for one purpose.

    ``retention`` and ``deletion_grace`` are ISO 8601 periods. The caps are the most privacy loss (epsilon,
    delta) over all jobs that the person was promised, counted for the person (``privacy_unit``); None
    promises no cap.
    """

    purpose: Purpose
    legal_basis: str = "explicit_consent"
    data_categories: tuple[str, ...] = ("face_video", "facial_embedding")
    special_category: bool = True
    necessity: str = "required"
    operations: tuple[str, ...] = ()
    storage_location: str = "on_premise"
    retention: str = "P1Y"
    deletion_grace: str = "P30D"
    recipients: tuple[str, ...] = ()
    transfer: str = "none"
    dp_epsilon_cap: float | None = None
    dp_delta_cap: float | None = None
    privacy_unit: str = "subject"
    model_fate_on_withdrawal: ModelFate = ModelFate.KEEP_IF_DP

    def __post_init__(self) -> None:
        parse_duration(self.retention)
        parse_duration(self.deletion_grace)
        _check_cap(self.dp_epsilon_cap, math.inf, "epsilon")
        _check_cap(self.dp_delta_cap, 1.0, "delta")
        if self.privacy_unit != "subject":
            raise _invalid("the privacy unit of a consent is the subject")

    def to_json(self) -> dict[str, Json]:
        """Return the scope as a JSON object."""
        return cast("dict[str, Json]", encode(self))

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Scope":
        """Read what :meth:`to_json` wrote; UsageError ``CONSENT_FORMAT`` otherwise."""
        return decode(cls, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRecord:
    """One person's consent to one controller: immutable; its events say what became of it."""

    consent_id: ConsentId
    schema_version: str = SCHEMA_VERSION
    subject_id: SubjectId
    subject_category: SubjectCategory
    controller: Controller
    jurisdictions: tuple[str, ...]
    applicable_laws: tuple[str, ...]
    collection_method: str
    created_at: datetime
    notice: Notice
    scopes: tuple[Scope, ...]
    supersedes: ConsentId | None = None

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise UsageError("a consent record has another version's schema", code="CONSENT_FORMAT")
        if not is_id(self.consent_id) or not is_id(self.subject_id):
            raise _invalid("a consent and its subject are named by UUIDs")
        check_aware(self.created_at)
        if not self.scopes or len(self.purposes) != len(set(self.purposes)):
            raise _invalid("a consent has at least one scope, and one for each purpose")
        if not set(self.purposes) <= set(self.notice.covers_purposes):
            raise UsageError(
                "the notice does not cover every purpose of the consent",
                hint="show a notice that names each purpose, or ask for fewer",
                code="NOTICE_NOT_COVERING",
            )

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """The purposes agreed to, in the order of the scopes."""
        return tuple(scope.purpose for scope in self.scopes)

    def scope(self, purpose: Purpose) -> Scope | None:
        """Return what was agreed for ``purpose``, or None when it was not agreed to."""
        return next((scope for scope in self.scopes if scope.purpose is purpose), None)

    def to_json(self) -> dict[str, Json]:
        """Return the record as a JSON object."""
        return cast("dict[str, Json]", encode(self))

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "ConsentRecord":
        """Read what :meth:`to_json` wrote; UsageError ``CONSENT_FORMAT`` otherwise."""
        return decode(cls, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEvent:
    """One thing that happened to a consent; appended, never changed.

    ``occurred_at`` is when it took effect, ``recorded_at`` when it was written down. A grant or renewal
    carries the end of its validity; nothing else does.
    """

    type: EventType
    state_after: State
    occurred_at: datetime
    recorded_at: datetime
    valid_until: datetime | None
    indicated_by: IndicatedBy
    method: str
    consent_type: str
    notice_version: str
    evidence_sha256: str
    actor: str

    def __post_init__(self) -> None:
        check_aware(self.occurred_at)
        check_aware(self.recorded_at)
        if self.state_after.value != self.type.value:
            raise _invalid("an event leads to the state of its own name")
        if (self.valid_until is not None) != self.state_after.valid:
            raise _invalid("a grant or renewal, and nothing else, says until when it holds")
        if self.valid_until is not None:
            check_aware(self.valid_until)
            if self.valid_until <= self.occurred_at:
                raise _invalid("a consent ends after it begins")
        if self.evidence_sha256 or self.state_after.valid:
            check_sha256(self.evidence_sha256, "the evidence of a consent")

    def to_json(self) -> dict[str, Json]:
        """Return the event as a JSON object."""
        return cast("dict[str, Json]", encode(self))

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "ConsentEvent":
        """Read what :meth:`to_json` wrote; UsageError ``CONSENT_FORMAT`` otherwise."""
        return decode(cls, body)


def check_sha256(text: str, what: str) -> None:
    """Refuse ``text`` unless it is a SHA-256 digest in lower-case hex (UsageError ``DIGEST_INVALID``)."""
    if _SHA256.match(text) is None:
        raise UsageError(f"no SHA-256 digest of {what}", hint="64 lower-case hex digits", code="DIGEST_INVALID")


def check_aware(moment: datetime) -> None:
    """Refuse a time without an offset (UsageError ``CONSENT_INVALID``)."""
    if moment.tzinfo is None:
        raise _invalid("a time of a consent carries an offset")


def _check_cap(cap: float | None, limit: float, name: str) -> None:
    if cap is not None and not 0 < cap < limit:
        raise _invalid(f"a cap on {name} lies above zero and below {'infinity' if limit == math.inf else limit}")


def _invalid(message: str) -> UsageError:
    return UsageError(message, hint="see docs/concepts.md, consent", code="CONSENT_INVALID")
