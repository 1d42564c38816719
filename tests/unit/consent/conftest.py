"""One made-up record for every test of consent."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

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
from fabnet_secure.types import ConsentId, Purpose, SubjectId

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)


@pytest.fixture
def noon():
    return NOON


@pytest.fixture
def record():
    return ConsentRecord(
        consent_id=ConsentId("5e0c1a52-0a0e-4c40-9d5e-6f3d0f6a7b10"),
        subject_id=SubjectId("0b5f7a3e-7a41-4a5e-8a2b-0f7b8f5d9c11"),
        subject_category=SubjectCategory.ADULT,
        controller=Controller(name="葛󠄀城 <研究所>", address="奈良県", contact="dpo@example.org"),
        jurisdictions=("EU", "JP"),
        applicable_laws=("GDPR", "APPI"),
        collection_method="paper_form",
        created_at=NOON,
        notice=Notice(
            version="3",
            language="ja",
            sha256="a" * 64,
            covers_purposes=(Purpose.TRAIN_MODEL, Purpose.EMBED),
            states_face_feature_extraction=True,
            states_retention=True,
            withdrawal_method="by mail or in person",
            states_model_fate=True,
        ),
        scopes=(
            Scope(purpose=Purpose.TRAIN_MODEL, dp_epsilon_cap=8.0, dp_delta_cap=1e-5),
            Scope(purpose=Purpose.EMBED, retention="P6M"),
        ),
    )


@pytest.fixture
def happen():
    """Return a maker of events: kind, minutes after noon, minutes of validity."""

    def make(kind: EventType, minutes: float = 0, lasts: float = 60) -> ConsentEvent:
        at = NOON + timedelta(minutes=minutes)
        valid = State(kind.value).valid
        return ConsentEvent(
            type=kind,
            state_after=State(kind.value),
            occurred_at=at,
            recorded_at=at,
            valid_until=at + timedelta(minutes=lasts) if valid else None,
            indicated_by=IndicatedBy.SUBJECT,
            method="paper_form",
            consent_type="explicit",
            notice_version="3",
            evidence_sha256="b" * 64 if valid else "",
            actor="role:dpo",
        )

    return make


@pytest.fixture
def child(record):
    return replace(record, subject_category=SubjectCategory.CHILD)
