"""Whether a consent is in force at a time: a fold over its events, and the one gate to processing.

Guarantees that the result depends on the events and the time alone, never on the order they are listed in;
that expiry is computed when read, so a dead scheduler never extends a consent; that a withdrawal wins a
tie; and that what has ended (refused, withdrawn, revoked, invalidated, expired) never becomes valid again:
that takes a new consent. Does not know what happened after ``at``, nor events nobody recorded.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime

from fabnet_secure.consent.record import ConsentEvent, ConsentRecord, EventType, State, check_aware
from fabnet_secure.errors import NoEffectiveConsent
from fabnet_secure.types import ConsentId, Purpose, SubjectId

_MINT = object()

# Of events at one instant the later member is folded last, so that what ends a consent wins the tie.
_RANK = {event: rank for rank, event in enumerate(EventType)}

_ENDING = frozenset({EventType.INVALIDATED, EventType.REVOKED, EventType.WITHDRAWN})
_ASKING = frozenset({EventType.REQUESTED, EventType.REQUEST_DEFERRED, EventType.REFUSED, EventType.GIVEN})
_LIVING = frozenset({EventType.REFUSED, EventType.GIVEN, EventType.RENEWED, EventType.EXPIRED})

# Which events move a consent on from a state; any other leaves it as it is. From nothing that ended is
# there a way back to ``given``.
_MOVES: dict[State, frozenset[EventType]] = {
    State.UNKNOWN: _ASKING | _ENDING,
    State.REQUESTED: _ASKING | _ENDING,
    State.REQUEST_DEFERRED: _ASKING | _ENDING,
    State.REFUSED: _ENDING,
    State.GIVEN: _LIVING | _ENDING,
    State.RENEWED: _LIVING | _ENDING,
    State.EXPIRED: _ENDING,
    State.INVALIDATED: frozenset({EventType.REVOKED, EventType.WITHDRAWN}),
    State.REVOKED: frozenset({EventType.WITHDRAWN}),
    State.WITHDRAWN: frozenset(),
}

_CODES: dict[State, str] = {
    State.UNKNOWN: "CONSENT_NOT_YET",
    State.REQUESTED: "CONSENT_NOT_YET",
    State.REQUEST_DEFERRED: "CONSENT_NOT_YET",
    State.REFUSED: "CONSENT_REFUSED",
    State.EXPIRED: "CONSENT_EXPIRED",
    State.INVALIDATED: "CONSENT_INVALIDATED",
    State.REVOKED: "CONSENT_REVOKED",
    State.WITHDRAWN: "CONSENT_WITHDRAWN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The state of one consent at a time.

    ``since`` is when the state began (the time asked about, when nothing has happened yet). ``valid_until``
    is the end of a valid consent, or the end that an expired one had; None otherwise.
    """

    state: State
    valid_until: datetime | None
    since: datetime

    @property
    def valid(self) -> bool:
        """Whether the state permits processing."""
        return self.state.valid


def standing(events: Sequence[ConsentEvent], at: datetime) -> Standing:
    """Return the state at ``at`` of the consent with these events (those that occurred by then).

    Validity is half-open: a consent until T is no longer valid at T, and a withdrawal at T holds at T.
    """
    check_aware(at)
    now = Standing(state=State.UNKNOWN, valid_until=None, since=at)
    for event in sorted((event for event in events if event.occurred_at <= at), key=_order):
        now = _lapse(now, event.occurred_at)
        if event.type in _MOVES[now.state]:
            now = Standing(state=event.state_after, valid_until=event.valid_until, since=event.occurred_at)
    return _lapse(now, at)


def _order(event: ConsentEvent) -> tuple[datetime, int, float]:
    # Of two grants at one instant the shorter is folded last and wins.
    end = event.valid_until
    return event.occurred_at, _RANK[event.type], 0.0 if end is None else -end.timestamp()


def _lapse(now: Standing, at: datetime) -> Standing:
    if now.valid_until is None or not now.valid or at < now.valid_until:
        return now
    return Standing(state=State.EXPIRED, valid_until=now.valid_until, since=now.valid_until)


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveConsent:
    """Proof that a consent covered a purpose at a time; only :func:`require` makes one.

    It speaks for the moment ``at`` alone: whoever commits later asks again.
    """

    record: ConsentRecord
    purpose: Purpose
    at: datetime
    valid_until: datetime
    mint: InitVar[object]

    def __post_init__(self, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("an EffectiveConsent comes from consent.state.require only")

    @property
    def consent_id(self) -> ConsentId:
        """The consent this stands on."""
        return self.record.consent_id

    @property
    def subject_id(self) -> SubjectId:
        """The person whose consent it is."""
        return self.record.subject_id


def require(record: ConsentRecord, events: Sequence[ConsentEvent], purpose: Purpose, at: datetime) -> EffectiveConsent:
    """Return the proof that this consent covers ``purpose`` at ``at`` (GDPR Art. 6, 7, 9(2)(a)).

    Raises:
        NoEffectiveConsent: code ``CONSENT_WITHDRAWN``, ``CONSENT_EXPIRED``, ``CONSENT_NOT_YET``,
            ``CONSENT_REFUSED``, ``CONSENT_REVOKED``, ``CONSENT_INVALIDATED`` or ``PURPOSE_NOT_COVERED``.
    """
    now = standing(events, at)
    if not now.valid or now.valid_until is None:
        raise _refuse(record, _CODES[now.state], _why(now, events, at))
    if record.scope(purpose) is None:
        raise _refuse(record, "PURPOSE_NOT_COVERED", f"does not cover the purpose {purpose.value}")
    return EffectiveConsent(record=record, purpose=purpose, at=at, valid_until=now.valid_until, mint=_MINT)


def _why(now: Standing, events: Sequence[ConsentEvent], at: datetime) -> str:
    if now.state is State.EXPIRED:
        return f"expired on {now.since.date()}"
    if _CODES[now.state] != "CONSENT_NOT_YET":
        return f"was {now.state.value} on {now.since.date()}"
    later = [event.occurred_at for event in events if event.type is EventType.GIVEN and event.occurred_at > at]
    return f"does not begin before {min(later).date()}" if later else "has not been given"


def _refuse(record: ConsentRecord, code: str, why: str) -> NoEffectiveConsent:
    return NoEffectiveConsent(
        f"consent {record.consent_id} {why}",
        hint=f"run 'fabnet-secure consent show {record.consent_id}'",
        code=code,
        consent_id=record.consent_id,
    )
