"""Legal holds: nothing under one is erased and nothing is done with it; two people end it; nobody does in silence."""

import sqlite3
from contextlib import closing
from itertools import count

import pytest

from fabnet_secure.errors import AccessDenied, ExitCode, FabnetError, IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.pipeline import withdraw as withdrawing
from fabnet_secure.pipeline.consents import show
from fabnet_secure.pipeline.coverage import require_consent
from fabnet_secure.pipeline.hold_release import release
from fabnet_secure.pipeline.holds import held, listing, place
from fabnet_secure.pipeline.keys import destroy as destroy_key
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.pipeline.withdraw import withdraw
from fabnet_secure.store import erasures, keystore
from fabnet_secure.store.database import read_only
from fabnet_secure.types import Domain, Purpose


def end(site, consent):
    return withdraw(site, consent, confirm=consent)


def left(site, consent):
    """Return how many rows and keys a consent still has."""
    with site.reading() as connection:
        rows = sum(erasures.remaining(connection, consent).values())
    with read_only(site.keystore) as connection:
        return rows, len(keystore.keys_of_consent(connection, consent))


def kept(site):
    """Return the consents that are held now."""
    with site.reading() as connection:
        return set(held(site, connection))


def free(site, pair, consent):
    """End the hold by two people."""
    (row,) = [one for one in listing(site) if one.consent_id == consent and one.released_at is None]
    files = pair.approve(site, "hold_release", consent=consent, hold=row.hold_id)
    return release(site, consent, confirm=consent, approvals=files)


@pytest.fixture
def consent(room, site):
    """A consent with a track, held."""
    made = room.consent(site)
    room.track(site, made)
    place(site, made, ground="legal_claim")
    return made


def test_a_hold_is_shown_and_logged_without_an_id(room, site, consent):
    """The consent and the list say it; the log names the ground and no consent."""
    assert show(site, consent).hold.ground.value == "legal_claim"
    assert kept(site) == {consent}
    facts = room.facts(site, "hold.placed")
    assert facts["ground"] == "legal_claim"
    assert consent not in str(facts)


def test_a_withdrawal_under_a_hold_ends_the_consent_and_keeps_the_data(room, site, consent):
    """It ends partial, says why, and nothing may be done any more; again is the same again."""
    before = left(site, consent)
    for _ in range(2):
        done = end(site, consent)
        assert done.outcome == "partial"
        assert (done.keys_destroyed, done.tracklets_removed) == (0, 0)
        rows, keys = left(site, consent)
        assert rows >= before[0]  # the entry of the withdrawal has an opening of its own
        assert keys == before[1]
    (told,) = done.certificate["evidence"]["body"]["facts"]["erasures"]
    assert {"item": "legal_hold", "ground": "GDPR 17(3)(e)", "until": None} in told["retained"]
    with site.reading() as connection, pytest.raises(NoEffectiveConsent) as caught:
        require_consent(site, connection, consent, Purpose.EMBED)
    assert caught.value.code == "CONSENT_WITHDRAWN"
    with site.reading() as connection:
        assert [row.consent_id for row in erasures.list_erasures(connection)] == [consent]
    assert kept(site) == {consent}


def test_a_rehearsed_withdrawal_knows_of_the_hold(site, consent):
    """What a hold keeps would not go."""
    done = withdraw(site, consent, confirm=None, dry_run=True)
    assert (done.keys_destroyed, done.tracklets_removed, done.embeddings_removed) == (0, 0, 0)


def test_releasing_carries_the_withdrawal_through(room, site, pair, consent):
    """With the hold gone, everything goes at once, and the certificate says complete, with no hold in it."""
    end(site, consent)
    done = free(site, pair, consent)
    assert done.erasure == "complete"
    assert left(site, consent) == (0, 0)
    again = end(site, consent)
    assert (again.outcome, again.already) == ("complete", True)
    (told,) = again.certificate["evidence"]["body"]["facts"]["erasures"]
    assert "legal_hold" not in str(told["retained"])
    facts = room.facts(site, "hold.released")
    assert len(set(facts["approvers"])) == 2


def test_releasing_carries_an_expiry_through(room, site, pair, consent):
    """A consent that expired under a hold is erased when the hold ends."""
    room.clock.forward(days=400)
    sweep(site)
    assert all(left(site, consent))
    free(site, pair, consent)
    assert left(site, consent) == (0, 0)


def test_releasing_where_nothing_waits_erases_nothing(site, pair, consent):
    """A consent in force stays in force."""
    before = left(site, consent)
    assert free(site, pair, consent).erasure == ""
    assert left(site, consent)[1] == before[1]
    assert show(site, consent).standing.valid


def test_old_crops_under_a_hold_are_kept(room, site, consent):
    """Retention waits as well: crops past their time stay while they are held."""
    room.clock.forward(days=100)
    sweep(site)
    assert left(site, consent)[0]


def test_a_hold_ends_by_itself_where_that_was_said(room, site):
    """Past its end it holds no more, and what waited is carried through by whatever sweeps next."""
    made = room.consent(site)
    room.track(site, made)
    place(site, made, ground="authority_order", until="2026-06-01")
    end(site, made)
    room.clock.forward(days=40)
    assert show(site, made).hold is None
    sweep(site)
    assert left(site, made) == (0, 0)


def test_a_release_takes_two_people_and_this_hold(site, pair, consent):
    """No approval, or one for another hold, ends nothing."""
    with pytest.raises(AccessDenied) as caught:
        release(site, consent, confirm=consent, approvals=[])
    assert caught.value.code == "APPROVALS_NEEDED"
    files = pair.approve(site, "hold_release", consent=consent, hold="another")
    with pytest.raises(AccessDenied) as caught:
        release(site, consent, confirm=consent, approvals=files)
    assert caught.value.code == "APPROVAL_OTHER_ACT"
    with pytest.raises(UsageError) as caught:
        release(site, consent, confirm=None, approvals=files)
    assert caught.value.code == "NOT_CONFIRMED"
    assert kept(site) == {consent}


def test_what_cannot_be_held_or_released_is_refused(room, site, pair, consent):
    """Held already, nothing left, never held, an unknown ground, an end in the past."""
    other = room.consent(site, subject_ref="ben")
    for call, code in (
        (lambda: place(site, consent, ground="legal_claim"), "HOLD_IN_FORCE"),
        (lambda: place(site, other, ground="because"), "GROUND_INVALID"),
        (lambda: place(site, other, ground="legal_claim", until="soon"), "UNTIL_INVALID"),
        (lambda: place(site, other, ground="legal_claim", until="2026-01-01"), "UNTIL_INVALID"),
        (lambda: release(site, other, confirm=other, approvals=[]), "NOT_HELD"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == code
    end(site, other)
    with pytest.raises(UsageError) as caught:
        place(site, other, ground="legal_claim")
    assert caught.value.code == "NOTHING_TO_HOLD"


def test_dry_runs_change_nothing(room, site, pair, consent):
    """A rehearsal of a hold or of its release leaves no trace."""
    other = room.consent(site, subject_ref="ben")
    before = room.acts(site)
    place(site, other, ground="legal_claim", dry_run=True)
    release(site, consent, confirm=None, approvals=[], dry_run=True)
    assert room.acts(site) == before


def test_a_stranger_places_no_hold(stranger):
    """Placing a hold is a data protection officer's act."""
    with pytest.raises(AccessDenied):
        place(stranger, "4dd1e2a0-0000-4000-8000-000000000001", ground="legal_claim")


def test_a_held_consents_keys_are_not_destroyed_by_two_people_either(site, pair, consent):
    """Whoever wants the keys gone ends the hold first."""
    files = pair.approve(site, "key_destroy", consent=consent, domain="embeddings")
    with pytest.raises(UsageError) as caught:
        destroy_key(site, consent, Domain.EMBEDDINGS, confirm=consent, approvals=files)
    assert caught.value.code == "LEGAL_HOLD"
    assert left(site, consent)[1] == 3


LIFTED = {
    "the row": "DELETE FROM legal_hold",
    "its end": "UPDATE legal_hold SET released_at = '2026-05-04T00:00:00.000000Z'",
    "its date": "UPDATE legal_hold SET until = '2026-05-04T00:00:00.000000Z'",
    "its consent": "UPDATE legal_hold SET consent_id = (SELECT max(consent_id) FROM consent)",
}


@pytest.mark.parametrize("statement", LIFTED.values(), ids=LIFTED.keys())
def test_a_hold_lifted_behind_our_back_stops_every_erasure(room, site, consent, statement):
    """Nothing is erased while the holds are not those of the log."""
    other = room.consent(site, subject_ref="ben", valid_for="P1D")
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute(statement.replace("max(consent_id)", f"'{other}'"))
    room.clock.forward(days=2)
    before = left(site, consent)
    for call in (lambda: end(site, consent), lambda: sweep(site), lambda: listing(site)):
        with pytest.raises(IntegrityFailure) as caught:
            call()
        assert caught.value.code == "HOLDS_CHANGED"
        assert caught.value.exit_code is ExitCode.INTEGRITY
    assert left(site, consent) == before


def test_a_hold_placed_while_a_withdrawal_begins_still_holds(room, site, monkeypatch):
    """Placed between the look and the deletion, it stops the deletion; the command run again ends partial."""
    made = room.consent(site)
    room.track(site, made)
    look, calls = withdrawing.holds.in_force, count()

    def late(*_arguments):
        if next(calls) == 2:  # looked at to plan, and inside the transaction that ends the consent; now before erasing
            monkeypatch.setattr(withdrawing.holds, "in_force", look)
            place(site, made, ground="legal_claim")

    monkeypatch.setattr(withdrawing.holds, "in_force", late)
    with pytest.raises(FabnetError) as caught:
        end(site, made)
    assert caught.value.code == "LEGAL_HOLD"
    assert all(left(site, made))
    assert end(site, made).outcome == "partial"


def test_every_living_hold_is_found_by_its_consent(site, pair, consent):
    """What is held is told by consent; ended holds are listed and hold nothing."""
    assert kept(site) == {consent}
    free(site, pair, consent)
    assert kept(site) == set()
    assert [row.consent_id for row in listing(site)] == [consent]
