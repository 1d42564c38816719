import json
from dataclasses import replace
from datetime import timedelta

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
)
from fabnet_secure.errors import UsageError
from fabnet_secure.types import ConsentId, Purpose, canonical_json


def through_json(body):
    return json.loads(canonical_json(body))


def test_every_noun_survives_canonical_json(record, happen):
    """Record, notice, scope, controller and event come back equal, Japanese variants and floats included."""
    given = happen(EventType.GIVEN)
    assert ConsentRecord.from_json(through_json(record.to_json())) == record
    assert Notice.from_json(through_json(record.notice.to_json())) == record.notice
    assert Controller.from_json(through_json(record.controller.to_json())) == record.controller
    for scope in record.scopes:
        assert Scope.from_json(through_json(scope.to_json())) == scope
    assert ConsentEvent.from_json(through_json(given.to_json())) == given


def test_types_after_reading_are_the_types_before(record):
    """A cap written as ``8`` by canonical JSON is read as the float it was."""
    scope = ConsentRecord.from_json(through_json(record.to_json())).scopes[0]
    assert type(scope.dp_epsilon_cap) is float
    assert scope.purpose is Purpose.TRAIN_MODEL


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"created_at": 7},
        {"subject_category": "alien"},
        {"scopes": "all"},
        {"notice": None},
        {"collection_method": None},
        {"jurisdictions": [1]},
    ],
)
def test_a_record_of_another_form_is_refused(record, change):
    """An unknown field or a value of the wrong kind is never guessed."""
    with pytest.raises(UsageError):
        ConsentRecord.from_json({**record.to_json(), **change})


def test_a_missing_field_is_refused(record):
    """A record without its notice cannot be read."""
    body = record.to_json()
    del body["notice"]
    with pytest.raises(UsageError) as caught:
        ConsentRecord.from_json(body)
    assert caught.value.code == "CONSENT_FORMAT"


def test_true_is_no_number_and_one_is_no_truth(record):
    """Booleans and numbers are not mixed up, though Python mixes them."""
    body = record.scopes[0].to_json()
    for change in ({"dp_epsilon_cap": True}, {"special_category": 1}):
        with pytest.raises(UsageError):
            Scope.from_json({**body, **change})


def test_scope_and_purposes(record):
    """A purpose that was not agreed to has no scope."""
    assert record.purposes == (Purpose.TRAIN_MODEL, Purpose.EMBED)
    assert record.scope(Purpose.EMBED).retention == "P6M"
    assert record.scope(Purpose.QUERY_INTERNAL) is None


@pytest.mark.parametrize(
    "change",
    [
        {"dp_epsilon_cap": 0.0},
        {"dp_epsilon_cap": -1.0},
        {"dp_epsilon_cap": float("inf")},
        {"dp_epsilon_cap": float("nan")},
        {"dp_delta_cap": 1.0},
        {"retention": "forever"},
        {"retention": "P0D"},
        {"deletion_grace": "-P1D"},
        {"privacy_unit": "row"},
    ],
)
def test_impossible_scopes_are_refused(change):
    """A cap that is no number, an endless retention or another privacy unit cannot be promised."""
    with pytest.raises(UsageError):
        Scope(purpose=Purpose.EMBED, **change)


def test_a_record_needs_real_ids_scopes_and_a_covering_notice(record):
    """A record with a made-up id, no or doubled scopes, or a purpose the notice left out cannot exist."""
    train = record.scopes[0]
    for change in (
        {"consent_id": ConsentId("C-7")},
        {"scopes": ()},
        {"scopes": (train, train)},
        {"scopes": (Scope(purpose=Purpose.QUERY_INTERNAL),)},
        {"schema_version": "2"},
        {"created_at": record.created_at.replace(tzinfo=None)},
    ):
        with pytest.raises(UsageError):
            replace(record, **change)


def test_a_notice_is_bound_by_a_digest(record):
    """A notice without the SHA-256 of its text is refused."""
    with pytest.raises(UsageError) as caught:
        replace(record.notice, sha256="A" * 64)
    assert caught.value.code == "DIGEST_INVALID"


def test_events_mean_what_their_names_say(happen):
    """An event cannot lead to another state, grant without end or evidence, or end before it begins."""
    given, gone = happen(EventType.GIVEN), happen(EventType.WITHDRAWN)
    for event, change in (
        (given, {"state_after": State.RENEWED}),
        (gone, {"state_after": State.GIVEN}),
        (given, {"valid_until": None}),
        (gone, {"valid_until": given.valid_until}),
        (given, {"valid_until": given.occurred_at}),
        (given, {"evidence_sha256": ""}),
        (given, {"occurred_at": given.occurred_at.replace(tzinfo=None)}),
    ):
        with pytest.raises(UsageError):
            replace(event, **change)


def test_only_given_and_renewed_are_valid():
    """Of DPV's ten states exactly two permit processing."""
    assert {state for state in State if state.valid} == {State.GIVEN, State.RENEWED}


def test_one_instant_is_one_time(happen):
    """A time read with another offset is the same time."""
    given = happen(EventType.GIVEN)
    body = given.to_json() | {"occurred_at": "2026-10-01T21:00:00+09:00"}
    assert ConsentEvent.from_json(body).occurred_at - given.occurred_at == timedelta(0)
    assert ConsentEvent.from_json(body).indicated_by is IndicatedBy.SUBJECT
