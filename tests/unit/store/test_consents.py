"""Subjects, notices, consents and their events go in and come out as they were."""

from dataclasses import replace
from datetime import timedelta

import pytest

from fabnet_secure.consent.append import given, withdrawn
from fabnet_secure.consent.record import SubjectCategory
from fabnet_secure.crypto.envelope import Context, unseal
from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent
from fabnet_secure.store import consents, erasures
from fabnet_secure.types import new_id


def test_consent_round_trips_with_its_events_in_order(site, make):
    """A record and its events come back equal, in the order they were appended, whatever their times."""
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        record, events = consents.get_consent(work.connection, consent_id)
        earlier = withdrawn(record, events, at=make.at - timedelta(days=1), indicated_by="subject", actor="dpo")
        consents.append_event(work.connection, consent_id, earlier)
        work.log("consent.given", facts={})
        again, stream = consents.get_consent(work.connection, consent_id)
    assert again == record
    assert record.subject_id == subject_id
    assert record.scopes[0].dp_epsilon_cap == 8.0
    assert record.controller.name == "葛󠄀城研究所"
    assert stream == (*events, earlier)


def test_list_consents_is_of_all_or_of_one_subject(site):
    """Every consent is listed with its own events; with a subject, only that subject's."""
    with site.work() as work:
        anna, first = site.enrol(work.connection, ref="anna")
        _, second = site.enrol(work.connection, ref="ben")
        work.log("consent.given", facts={})
        everyone = consents.list_consents(work.connection)
        (of_anna,) = consents.list_consents(work.connection, subject_id=anna)
    assert {record.consent_id for record, _ in everyone} == {first, second}
    assert all(len(events) == 1 for _, events in everyone)
    assert of_anna[0].consent_id == first


def test_unknown_names_are_none(site):
    """What is not there is None, not an error."""
    with site.work() as work:
        assert consents.get_consent(work.connection, new_id()) is None
        assert consents.find_subject_by_index(work.connection, "x") is None
        assert consents.get_sealed_reference(work.connection, new_id()) is None
        assert consents.get_subject(work.connection, new_id()) is None
        assert consents.get_notice_text(work.connection, "0" * 64) is None
        work.log("test.entry", facts={})


def test_subject_is_found_by_blind_index_and_keeps_a_sealed_reference(site):
    """The blind index finds the pseudonym, and the reference comes back as ciphertext that opens."""
    with site.work() as work:
        subject_id, _ = site.enrol(work.connection, ref="anna")
        work.log("consent.given", facts={})
        assert consents.find_subject_by_index(work.connection, f"{'anna':0<64}") == subject_id
        sealed = consents.get_sealed_reference(work.connection, subject_id)
        assert [row.subject_id for row in consents.list_subjects(work.connection)] == [subject_id]
    assert unseal(site.key, Context(format="test/1"), sealed) == b"anna"


def test_same_blind_index_twice_is_refused(site):
    """Two pseudonyms for one person cannot be stored."""
    with site.refused() as work:
        site.enrol(work.connection, ref="anna")
        site.enrol(work.connection, ref="anna")


def test_plain_bytes_are_no_sealed_reference(site, make):
    """A sealed column refuses bytes: nothing that crypto did not seal can be stored as a reference."""
    with pytest.raises(Exception, match="Sealed"), site.work() as work:
        consents.add_subject(
            work.connection,
            subject_id=new_id(),
            blind_index="i",
            sealed_reference=b"FSE1 plain",
            category=SubjectCategory.ADULT,
            created_at=make.at,
        )


def test_notice_text_must_have_its_digest(site, make):
    """A text that is not the notice's is refused; the right one is kept once."""
    record = make.record()
    with site.work() as work:
        with pytest.raises(IntegrityFailure) as caught:
            consents.add_notice(work.connection, record.notice, b"another text")
        assert caught.value.code == "NOTICE_DIGEST"
        consents.add_notice(work.connection, record.notice, make.notice_text)
        consents.add_notice(work.connection, record.notice, make.notice_text)
        work.log("test.entry", facts={})
        assert consents.get_notice_text(work.connection, record.notice.sha256) == make.notice_text


def test_consent_without_its_notice_cannot_be_committed(site, make):
    """The notice may come after the consent, but not after the commit."""
    with site.refused() as work:
        subject_id, _ = site.enrol(work.connection)
        consents.add_consent(work.connection, make.record(subject_id=subject_id, notice_text=b"never stored"))


def test_event_of_no_consent_is_refused(site, make):
    """An event needs its consent."""
    event = given(make.record(), at=make.at, valid_for="P1D", evidence_sha256=make.sha, actor="dpo")
    with site.refused() as work:
        consents.append_event(work.connection, new_id(), event)


def test_erased_subject_takes_no_new_consent_but_a_withdrawal(site, make):
    """After erasure a grant is refused, and a withdrawal can still be recorded."""
    with site.work() as work:
        subject_id, consent_id = site.enrol(work.connection)
        assert erasures.forget_subject(work.connection, subject_id, make.at)["subjects"] == 1
        with pytest.raises(NoEffectiveConsent) as caught:
            consents.add_consent(work.connection, make.record(subject_id=subject_id))
        assert caught.value.code == "SUBJECT_ERASED"
        record, events = consents.get_consent(work.connection, consent_id)
        event = withdrawn(record, events, at=make.at, indicated_by="subject", actor="dpo")
        consents.append_event(work.connection, consent_id, event)
        work.log("consent.withdrawn", facts={})


def test_forgotten_subject_cannot_be_found_again(site, make):
    """Forgetting empties the blind index and the sealed reference, once; the same person is a new subject then."""
    with site.work() as work:
        subject_id, _ = site.enrol(work.connection, ref="anna")
        erasures.forget_subject(work.connection, subject_id, make.at)
        assert erasures.forget_subject(work.connection, subject_id, make.at) == {"openings": 0, "subjects": 0}
        assert consents.find_subject_by_index(work.connection, f"{'anna':0<64}") is None
        assert consents.get_sealed_reference(work.connection, subject_id) is None
        assert consents.get_subject(work.connection, subject_id).erased_at == make.at
        assert site.enrol(work.connection, ref="anna")[0] != subject_id
        work.log("test.entry", facts={})


def test_naive_time_is_refused(site, make):
    """A time without an offset does not reach the database."""
    with pytest.raises(Exception, match="aware"), site.work() as work:
        consents.add_subject(
            work.connection,
            subject_id=new_id(),
            blind_index="i",
            sealed_reference=site.sealed(),
            category=SubjectCategory.ADULT,
            created_at=make.at.replace(tzinfo=None),
        )


def test_records_differing_in_one_field_stay_apart(site, make):
    """Two consents of one subject are stored and read as two."""
    with site.work() as work:
        subject_id, first = site.enrol(work.connection)
        second = replace(make.record(subject_id=subject_id), supersedes=first)
        consents.add_consent(work.connection, second)
        work.log("consent.given", facts={})
        assert consents.get_consent(work.connection, second.consent_id) == (second, ())
        assert len(consents.list_consents(work.connection, subject_id=subject_id)) == 2
