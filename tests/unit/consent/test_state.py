import copy
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from fabnet_secure.consent.record import EventType, State
from fabnet_secure.consent.state import EffectiveConsent, require, standing
from fabnet_secure.errors import ExitCode, NoEffectiveConsent, UsageError
from fabnet_secure.types import Purpose


def test_a_grant_holds_from_its_instant_until_its_end(happen, noon):
    """Validity is half-open: it holds at the first instant and no longer at the last."""
    events = [happen(EventType.GIVEN, 0, 60)]
    tick = timedelta(microseconds=1)
    end = noon + timedelta(minutes=60)
    assert standing(events, noon - tick).state is State.UNKNOWN
    assert standing(events, noon).state is State.GIVEN
    assert standing(events, end - tick).valid
    over = standing(events, end)
    assert (over.state, over.since, over.valid_until) == (State.EXPIRED, end, end)


def test_a_withdrawal_wins_a_tie_in_any_listing(happen, noon):
    """Grant, renewal and withdrawal at one instant are a withdrawal, however they are listed."""
    events = [happen(kind) for kind in (EventType.GIVEN, EventType.RENEWED, EventType.WITHDRAWN)]
    assert {standing(order, noon).state for order in permutations(events)} == {State.WITHDRAWN}


def test_of_two_grants_at_once_the_shorter_wins(happen, noon):
    """Two ends for one instant are never read as the later one."""
    events = [happen(EventType.GIVEN, 0, 10), happen(EventType.GIVEN, 0, 90)]
    for order in permutations(events):
        assert standing(order, noon).valid_until == noon + timedelta(minutes=10)


@pytest.mark.parametrize("ending", list(EventType)[4:])
def test_every_end_wins_a_tie_with_a_grant(happen, noon, ending):
    """A refusal, an expiry or any other end at the instant of the grant leaves nothing valid."""
    assert not standing([happen(ending), happen(EventType.GIVEN)], noon).valid


@pytest.mark.parametrize("ending", [EventType.WITHDRAWN, EventType.REVOKED, EventType.INVALIDATED])
@pytest.mark.parametrize("again", [EventType.GIVEN, EventType.RENEWED])
def test_what_ended_stays_ended(happen, noon, ending, again):
    """No later grant or renewal revives a consent that was withdrawn, revoked or invalidated."""
    events = [happen(EventType.GIVEN), happen(ending, 1), happen(again, 2)]
    assert standing(events, noon + timedelta(minutes=5)).state.value == ending.value


def test_a_renewal_must_come_before_the_end(happen, noon):
    """Renewed in time it goes on; renewed after the end it stays expired."""
    in_time = [happen(EventType.GIVEN, 0, 60), happen(EventType.RENEWED, 59, 60)]
    too_late = [happen(EventType.GIVEN, 0, 60), happen(EventType.RENEWED, 60, 60)]
    at = noon + timedelta(minutes=70)
    assert standing(in_time, at).state is State.RENEWED
    assert standing(too_late, at).state is State.EXPIRED


def test_a_renewal_of_nothing_is_nothing(happen, noon):
    """Without a grant there is nothing to renew."""
    assert standing([happen(EventType.RENEWED)], noon).state is State.UNKNOWN


def test_an_expired_consent_can_still_be_withdrawn(happen, noon):
    """The wish to withdraw counts after the end, too, and is what is shown."""
    events = [happen(EventType.GIVEN, 0, 5), happen(EventType.WITHDRAWN, 10)]
    assert standing(events, noon + timedelta(minutes=11)).state is State.WITHDRAWN


def test_asking_again_does_not_undo_a_grant_but_refusing_does(happen, noon):
    """A request leaves a valid consent valid; a refusal ends it, as no is an answer."""
    given = happen(EventType.GIVEN)
    at = noon + timedelta(minutes=5)
    assert standing([given, happen(EventType.REQUESTED, 1)], at).valid
    no = happen(EventType.REFUSED, 1)
    assert standing([given, no, happen(EventType.GIVEN, 2)], at).state is State.REFUSED


def test_a_time_without_offset_is_refused(happen, noon):
    """Asking with a naive time is a mistake, not a guess."""
    with pytest.raises(UsageError):
        standing([happen(EventType.GIVEN)], noon.replace(tzinfo=None))


def test_require_names_record_purpose_and_end(record, happen, noon):
    """The proof carries who, what for, when and until when."""
    proof = require(record, [happen(EventType.GIVEN)], Purpose.EMBED, noon)
    assert (proof.consent_id, proof.subject_id) == (record.consent_id, record.subject_id)
    assert (proof.purpose, proof.at) == (Purpose.EMBED, noon)
    assert proof.valid_until == noon + timedelta(minutes=60)


@pytest.mark.parametrize(
    "case",
    [
        ([], 0, "CONSENT_NOT_YET"),
        ([EventType.REQUESTED], 5, "CONSENT_NOT_YET"),
        ([EventType.REQUEST_DEFERRED], 5, "CONSENT_NOT_YET"),
        ([EventType.REFUSED], 5, "CONSENT_REFUSED"),
        ([EventType.GIVEN], -1, "CONSENT_NOT_YET"),
        ([EventType.GIVEN], 60, "CONSENT_EXPIRED"),
        ([EventType.GIVEN, EventType.EXPIRED], 5, "CONSENT_EXPIRED"),
        ([EventType.GIVEN, EventType.WITHDRAWN], 5, "CONSENT_WITHDRAWN"),
        ([EventType.GIVEN, EventType.REVOKED], 5, "CONSENT_REVOKED"),
        ([EventType.GIVEN, EventType.INVALIDATED], 5, "CONSENT_INVALIDATED"),
    ],
)
def test_refusals_have_their_codes(record, happen, noon, case):
    """Each way of not holding is refused with its own stable code and exit status 20."""
    kinds, minutes, code = case
    events = [happen(kind) for kind in kinds]
    with pytest.raises(NoEffectiveConsent) as caught:
        require(record, events, Purpose.EMBED, noon + timedelta(minutes=minutes))
    assert caught.value.code == code
    assert caught.value.exit_code is ExitCode.NO_CONSENT
    assert f"consent show {record.consent_id}" in caught.value.hint


def test_the_message_says_what_happened_and_when(record, happen, noon):
    """A refusal is a sentence with the day of the withdrawal."""
    events = [happen(EventType.GIVEN), happen(EventType.WITHDRAWN, 24 * 60)]
    with pytest.raises(NoEffectiveConsent, match=f"consent {record.consent_id} expired on 2026-10-01"):
        require(record, events, Purpose.EMBED, noon + timedelta(hours=2))
    with pytest.raises(NoEffectiveConsent, match=f"consent {record.consent_id} was withdrawn on 2026-10-02"):
        require(record, events, Purpose.EMBED, noon + timedelta(hours=25))
    with pytest.raises(NoEffectiveConsent, match="does not begin before 2026-10-01"):
        require(record, events, Purpose.EMBED, noon - timedelta(hours=1))


def test_another_purpose_is_not_covered(record, happen, noon):
    """A valid consent to training and embedding permits no query."""
    with pytest.raises(NoEffectiveConsent) as caught:
        require(record, [happen(EventType.GIVEN)], Purpose.QUERY_INTERNAL, noon)
    assert caught.value.code == "PURPOSE_NOT_COVERED"


def test_nobody_else_mints_an_effective_consent(record, happen, noon):
    """The constructor refuses, and a proof cannot be turned into one for another purpose or time."""
    fields = {"record": record, "purpose": Purpose.EMBED, "at": noon, "valid_until": noon}
    with pytest.raises(TypeError):
        EffectiveConsent(**fields)
    with pytest.raises(TypeError):
        EffectiveConsent(**fields, mint=object())
    proof = require(record, [happen(EventType.GIVEN)], Purpose.EMBED, noon)
    with pytest.raises((TypeError, ValueError)):
        replace(proof, purpose=Purpose.TRAIN_MODEL)
    with pytest.raises(AttributeError):
        proof.purpose = Purpose.TRAIN_MODEL
    assert copy.copy(proof) == proof
