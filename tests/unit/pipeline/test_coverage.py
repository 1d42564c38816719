"""Which consents cover a purpose now, and why the others do not."""

import pytest

from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent
from fabnet_secure.pipeline.coverage import covering, find_consent, recipient, require_consent
from fabnet_secure.pipeline.declared import declare
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import keystore
from fabnet_secure.store.database import keystore_work
from fabnet_secure.types import Domain, Purpose


@pytest.fixture
def people(room, site):
    """Four consents: one that holds, one withdrawn, one that expires in a month, one for another purpose."""
    made = {
        "holds": room.consent(site, subject_ref="holds"),
        "withdrawn": room.consent(site, subject_ref="withdrawn"),
        "expired": room.consent(site, subject_ref="expired", valid_for="P1M"),
        "other": room.consent(site, subject_ref="other", purposes=("embed",)),
    }
    withdraw(site, made["withdrawn"], confirm=made["withdrawn"])
    room.clock.forward(days=32)
    return made


def test_covering_counts_the_reasons(site, people):
    """Each consent is effective or excluded for one reason."""
    with site.reading() as connection:
        found = covering(site, connection, Purpose.TRAIN_MODEL)
    assert set(found.effective) == {people["holds"]}
    assert found.reasons() == {"consent_withdrawn": 1, "consent_expired": 1, "purpose_not_covered": 1}
    assert [record.consent_id for record in found.records()] == [people["holds"]]


def test_one_consent_is_required_for_one_purpose(site, people):
    """An effective consent is minted for the purpose asked; the others are refused with their codes."""
    codes = {"withdrawn": "CONSENT_WITHDRAWN", "expired": "CONSENT_EXPIRED", "other": "PURPOSE_NOT_COVERED"}
    with site.reading() as connection:
        assert require_consent(site, connection, people["holds"], Purpose.EMBED).consent_id == people["holds"]
        for name, code in codes.items():
            with pytest.raises(NoEffectiveConsent) as caught:
                require_consent(site, connection, people[name], Purpose.TRAIN_MODEL)
            assert caught.value.code == code


def test_a_lost_key_is_told(room, site):
    """A consent in force without its key in the keystore is damage, not a missing consent."""
    consent = room.consent(site)
    with keystore_work(site.keystore) as connection:
        ids = [key.key_id for key in keystore.keys_of_consent(connection, consent)]
        keystore.destroy_keys(connection, ids, site.clock())
    with site.reading() as connection:
        record, _ = find_consent(connection, consent)
    with pytest.raises(IntegrityFailure) as caught:
        recipient(site, record, Domain.TRACKLETS)
    assert caught.value.code == "KEY_LOST"


def test_keys_of_domains_are_apart(room, site):
    """Each domain of one consent has its own public key."""
    consent = room.consent(site)
    with site.reading() as connection:
        record, _ = find_consent(connection, consent)
    domains = (Domain.TRACKLETS, Domain.EMBEDDINGS, Domain.EVIDENCE)
    assert len({recipient(site, record, domain).raw for domain in domains}) == 3


def test_two_consents_of_one_person_go_together(room, site):
    """Whichever purposes each covers; the tracks are bound to the one for training."""
    training = room.consent(site, purposes=("train_model",))
    embedding = room.consent(site, purposes=("embed",))
    with site.reading() as connection:
        declared = declare(site, connection, [embedding, training])
    (person,) = declared.people.values()
    assert set(person.consents) == {Purpose.TRAIN_MODEL, Purpose.EMBED}
    assert (person.record.consent_id, person.purpose) == (training, Purpose.TRAIN_MODEL)
    assert declared.subjects == (person.record.subject_id,)


def test_of_several_people_those_without_a_consent_in_force_are_told_apart(room, site):
    """A purpose that is not covered refuses that person, not the others; if nobody is left, the video is refused."""
    ada = room.consent(site, purposes=("train_model",))
    bob = room.consent(site, subject_ref="bob", purposes=("share_third_party",))
    with site.reading() as connection:
        declared = declare(site, connection, [ada, bob])
        assert list(declared.people) == [declared.subject_of[ada]]
        assert declared.refusals[declared.subject_of[bob]].code == "PURPOSE_NOT_COVERED"
        with pytest.raises(NoEffectiveConsent):
            declare(site, connection, [bob])


@pytest.mark.parametrize("ids", [[], ["nobody"]])
def test_nobody_declared_is_refused(site, ids):
    """No consent, or an unknown one, declares nobody."""
    with site.reading() as connection, pytest.raises(NoEffectiveConsent) as caught:
        declare(site, connection, ids)
    assert "nobody" not in caught.value.message  # it may be a name that slipped into the wrong column
