"""In no order of asking, granting, renewing, expiring and ending is a lapsed consent effective."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabnet_secure.consent.append import given, refused, renewed, withdrawn
from fabnet_secure.consent.record import (
    ConsentEvent,
    ConsentRecord,
    Controller,
    EventType,
    IndicatedBy,
    Notice,
    Scope,
    State,
    SubjectCategory,
)
from fabnet_secure.consent.state import require, standing
from fabnet_secure.errors import NoEffectiveConsent, UsageError
from fabnet_secure.types import ConsentId, Purpose, SubjectId

START = datetime(2026, 10, 1, tzinfo=UTC)
EVIDENCE = "d" * 64
DAYS = st.integers(min_value=1, max_value=6)
RECORD = ConsentRecord(
    consent_id=ConsentId("5e0c1a52-0a0e-4c40-9d5e-6f3d0f6a7b10"),
    subject_id=SubjectId("0b5f7a3e-7a41-4a5e-8a2b-0f7b8f5d9c11"),
    subject_category=SubjectCategory.ADULT,
    controller=Controller(name="Site", address="-", contact="-"),
    jurisdictions=("EU",),
    applicable_laws=("GDPR",),
    collection_method="paper_form",
    created_at=START,
    notice=Notice(
        version="1",
        language="en",
        sha256="e" * 64,
        covers_purposes=tuple(Purpose),
        states_face_feature_extraction=True,
        states_retention=True,
        withdrawal_method="by mail",
        states_model_fate=True,
    ),
    scopes=(Scope(purpose=Purpose.EMBED),),
)


def raw(kind: EventType, at: datetime, days: int) -> ConsentEvent:
    """Return an event as a careless or hostile writer could store it: any kind, at any time."""
    valid = State(kind.value).valid
    return ConsentEvent(
        type=kind,
        state_after=State(kind.value),
        occurred_at=at,
        recorded_at=at,
        valid_until=at + timedelta(days=days) if valid else None,
        indicated_by=IndicatedBy.SUBJECT,
        method="",
        consent_type="explicit",
        notice_version="1",
        evidence_sha256=EVIDENCE if valid else "",
        actor="x",
    )


class ConsentMachine(RuleBasedStateMachine):
    """Acts on one consent in any order, beside a model that remembers three plain facts."""

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.events: list[ConsentEvent] = []
        self.ended_at: datetime | None = None  # the first withdrawal, revocation or invalidation
        self.longest = START  # no grant so far reaches beyond this

    @rule(days=st.integers(min_value=0, max_value=4))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(days=DAYS)
    def grant(self, days: int) -> None:
        self.add(
            given(RECORD, at=self.now, valid_for=f"P{days}D", evidence_sha256=EVIDENCE, actor="x"),
        )

    @rule(days=DAYS)
    def renew(self, days: int) -> None:
        was_valid = standing(self.events, self.now).valid
        try:
            event = renewed(
                RECORD, self.events, at=self.now, valid_for=f"P{days}D", evidence_sha256=EVIDENCE, actor="x"
            )
        except NoEffectiveConsent:
            assert not was_valid
        else:
            assert was_valid
            self.add(event)

    @rule()
    def withdraw(self) -> None:
        try:
            event = withdrawn(RECORD, self.events, at=self.now, indicated_by="subject", actor="x")
        except UsageError:
            assert self.ended_at is not None
        else:
            self.add(event)
            assert standing(self.events, self.now).state is State.WITHDRAWN

    @rule()
    def refuse(self) -> None:
        self.add(refused(RECORD, at=self.now, actor="x"))

    @rule(kind=st.sampled_from(EventType), back=st.integers(min_value=-3, max_value=3), days=DAYS)
    def anything(self, kind: EventType, back: int, days: int) -> None:
        """Store an event of any kind, in the past, at present or in the future."""
        self.add(raw(kind, self.now - timedelta(days=back), days))

    def add(self, event: ConsentEvent) -> None:
        self.events.append(event)
        if event.type in {EventType.WITHDRAWN, EventType.REVOKED, EventType.INVALIDATED}:
            self.ended_at = min(self.ended_at or event.occurred_at, event.occurred_at)
        if event.valid_until is not None:
            self.longest = max(self.longest, event.valid_until)

    @invariant()
    def never_effective_after_an_end(self) -> None:
        """From the first ending on, at every probed time, nothing is effective; nor beyond the last grant."""
        for ahead in (0, 1, 3, 40):
            at = self.now + timedelta(days=ahead)
            if self.effective(at):
                assert self.ended_at is None or at < self.ended_at
                assert at < self.longest
                assert any(event.type is EventType.GIVEN and event.occurred_at <= at for event in self.events)
                assert self.unbroken(at)

    @invariant()
    def listing_order_is_nothing(self) -> None:
        """The state is the same for the events reversed and sorted by name."""
        now = standing(self.events, self.now)
        assert standing(self.events[::-1], self.now) == now
        assert standing(sorted(self.events, key=lambda event: event.type.value), self.now) == now

    def effective(self, at: datetime) -> bool:
        try:
            proof = require(RECORD, self.events, Purpose.EMBED, at)
        except NoEffectiveConsent:
            return False
        assert at < proof.valid_until
        return True

    def unbroken(self, at: datetime) -> bool:
        """Tell, without the fold, whether no gap of validity lies between the first grant and ``at``."""
        grants = [event for event in self.events if event.valid_until is not None and event.occurred_at <= at]
        first = min(event.occurred_at for event in grants if event.type is EventType.GIVEN)
        reach = first
        for event in sorted(grants, key=lambda event: event.occurred_at):
            if first <= event.occurred_at <= reach:
                reach = max(reach, event.valid_until)
        return at < reach


ConsentMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
TestConsentMachine = ConsentMachine.TestCase
