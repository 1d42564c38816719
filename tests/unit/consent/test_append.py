from datetime import timedelta

import pytest

from fabnet_secure.consent.append import given, refused, renewed, withdrawn
from fabnet_secure.consent.record import IndicatedBy, State
from fabnet_secure.consent.state import standing
from fabnet_secure.errors import NoEffectiveConsent, UsageError

EVIDENCE = "c" * 64


def grant(record, noon, **changes):
    return given(record, **{"at": noon, "valid_for": "P1Y", "evidence_sha256": EVIDENCE, "actor": "dpo"} | changes)


def test_a_grant_is_explicit_ends_and_names_its_notice(record, noon):
    """A grant for a year ends a calendar year later, explicit, under the notice's version."""
    event = grant(record, noon)
    assert event.valid_until == noon.replace(year=2027)
    assert (event.consent_type, event.notice_version) == ("explicit", "3")
    assert (event.method, event.recorded_at) == ("paper_form", noon)
    assert grant(record, noon, method="tablet").method == "tablet"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"evidence_sha256": ""}, "DIGEST_INVALID"),
        ({"valid_for": "P0D"}, "DURATION_INVALID"),
        ({"valid_for": "-P1Y"}, "DURATION_INVALID"),
        ({"indicated_by": "neighbour"}, "CONSENT_FORMAT"),
    ],
)
def test_a_grant_without_evidence_end_or_speaker_is_refused(record, noon, change, code):
    """No evidence, no positive period or an unknown speaker: no grant."""
    with pytest.raises(UsageError) as caught:
        grant(record, noon, **change)
    assert caught.value.code == code


def test_a_child_does_not_consent_alone(child, noon):
    """A child's grant is refused unless a guardian or representative gave it."""
    with pytest.raises(UsageError) as caught:
        grant(child, noon)
    assert caught.value.code == "GUARDIAN_REQUIRED"
    assert grant(child, noon, indicated_by="guardian").indicated_by is IndicatedBy.GUARDIAN


def test_a_renewal_counts_from_its_own_day(record, noon):
    """A renewed consent holds for its period from the renewal on."""
    first = grant(record, noon)
    later = noon + timedelta(days=300)
    again = renewed(record, [first], at=later, valid_for="P30D", evidence_sha256=EVIDENCE, actor="dpo")
    assert standing([first, again], later).valid_until == later + timedelta(days=30)
    assert standing([first, again], later).state is State.RENEWED


def test_what_does_not_hold_cannot_be_renewed(record, noon):
    """An expired, withdrawn or never given consent needs a new consent."""
    first = grant(record, noon, valid_for="P1D")
    gone = withdrawn(record, [first], at=noon, indicated_by="subject", actor="dpo")
    for events, at in (([], noon), ([first], noon + timedelta(days=1)), ([first, gone], noon)):
        with pytest.raises(NoEffectiveConsent) as caught:
            renewed(record, events, at=at, valid_for="P1D", evidence_sha256=EVIDENCE, actor="dpo")
        assert caught.value.code == "CONSENT_NOT_RENEWABLE"


def test_a_consent_is_withdrawn_once(record, noon):
    """The second withdrawal is told that there was a first."""
    gone = withdrawn(record, [grant(record, noon)], at=noon, indicated_by="subject", actor="dpo")
    assert standing([grant(record, noon), gone], noon).state is State.WITHDRAWN
    with pytest.raises(UsageError) as caught:
        withdrawn(record, [gone], at=noon, indicated_by="subject", actor="dpo")
    assert caught.value.code == "CONSENT_ALREADY_WITHDRAWN"


def test_an_expired_or_never_given_consent_can_be_withdrawn(record, noon):
    """Whoever wants out is heard, whatever the state."""
    late = noon + timedelta(days=9)
    for events in ([], [grant(record, noon, valid_for="P1D")]):
        gone = withdrawn(record, events, at=late, indicated_by="guardian", actor="dpo")
        assert standing([*events, gone], late).state is State.WITHDRAWN


def test_a_no_is_recorded(record, noon):
    """A refusal is a state of its own."""
    assert standing([refused(record, at=noon, actor="dpo")], noon).state is State.REFUSED
