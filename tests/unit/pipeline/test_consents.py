"""Recording consents: what is checked, what is kept, what is not."""

import pytest

from fabnet_secure.consent.record import State
from fabnet_secure.errors import NoEffectiveConsent, UsageError
from fabnet_secure.pipeline import consents
from fabnet_secure.store import keystore
from fabnet_secure.store.consents import get_sealed_reference
from fabnet_secure.store.database import read_only


def _keys(site):
    with read_only(site.keystore) as connection:
        return len(keystore.list_keys(connection))


def test_a_guardian_gives_a_childs_consent(room, site):
    """With the guardian named, a child's consent is recorded as the guardian's."""
    consent_id = room.consent(site, subject_category="child", indicated_by="guardian")
    assert str(consents.show(site, consent_id).events[0].indicated_by) == "guardian"


def test_a_bad_application_among_good_ones_undoes_all(room, site):
    """add() records every application or none: no consent, no key, no entry."""
    before, keys = room.acts(site), _keys(site)
    with pytest.raises(UsageError):
        consents.add(site, [room.application(), room.application(subject_ref="bob", valid_for="P9999Y")])
    assert room.acts(site) == before
    assert consents.listing(site) == ()
    assert _keys(site) == keys


def test_the_same_reference_is_the_same_person(room, site):
    """Case, width and blanks around it do not make another person; another reference does."""
    given = ["Ada Lovelace", "  ada lovelace ", "Ａｄａ Lovelace", "Ada Lovelace 2"]
    recorded = consents.add(site, [room.application(subject_ref=one) for one in given])
    subjects = [one.subject_id for one in recorded]
    assert len(set(subjects[:3])) == 1
    assert subjects[3] != subjects[0]
    assert len({one.consent_id for one in recorded}) == 4


def test_the_reference_rests_sealed_only(room, site):
    """The name is in no file of the vault; what rests is ciphertext."""
    (recorded,) = consents.add(site, [room.application(subject_ref="Rosalind Franklin")])
    with site.reading() as connection:
        sealed = get_sealed_reference(connection, recorded.subject_id)
    assert b"Rosalind" not in sealed.blob
    assert not any(b"Rosalind" in path.read_bytes() for path in site.root.rglob("*") if path.is_file())


def test_a_consent_ends_by_the_clock(room, site):
    """Its state is computed when asked: given until it expires."""
    consent_id = room.consent(site, valid_for="P1M")
    assert consents.show(site, consent_id).standing.state is State.GIVEN
    room.clock.forward(days=32)
    assert consents.show(site, consent_id).standing.state is State.EXPIRED
    assert [one.standing.state for one in consents.listing(site)] == [State.EXPIRED]


def test_show_knows_no_other_ids(site):
    """An id that was never given, and a text that is none: CONSENT_UNKNOWN."""
    for text in ("00000000-0000-4000-8000-000000000000", "' OR 1=1 --", "a\x00b", "\udcff"):
        with pytest.raises(NoEffectiveConsent) as caught:
            consents.show(site, text)
        assert caught.value.code == "CONSENT_UNKNOWN"


def test_the_jurisdictions_decide_the_laws_named(room, site):
    """Jurisdictions of the consent win over the site's; each known one names its law."""
    own = room.consent(site, jurisdictions=("JP", "US-IL"))
    default = room.consent(site, subject_ref="bob")
    assert consents.show(site, own).record.applicable_laws == ("APPI", "BIPA")
    assert consents.show(site, default).record.applicable_laws == ("GDPR", "APPI")


def test_one_persons_consents_are_found_by_what_the_site_calls_them(room, site):
    """Case and composition do not count; a name nobody has finds nothing."""
    room.consent(site, subject_ref="Ada@example.org")
    room.consent(site, subject_ref="Ada@example.org")
    room.consent(site, subject_ref="ben@example.org")
    assert len(consents.listing(site, "ada@EXAMPLE.org")) == 2
    assert consents.listing(site, "nobody") == ()
    assert len(consents.listing(site)) == 3
