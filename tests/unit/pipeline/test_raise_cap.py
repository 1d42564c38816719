"""Raising a cap: the person's own fresh evidence, two people, a consent in force, and never behind our back."""

import sqlite3
from contextlib import closing

import pytest

from fabnet_secure.crypto.digest import sha256_file
from fabnet_secure.errors import AccessDenied, IntegrityFailure, NoEffectiveConsent, UsageError
from fabnet_secure.pipeline.consents import show
from fabnet_secure.pipeline.plan import promised
from fabnet_secure.pipeline.raise_cap import raise_cap
from fabnet_secure.pipeline.registers import budgets
from fabnet_secure.pipeline.withdraw import withdraw


@pytest.fixture
def consent(room, site):
    """A consent with a cap of 8."""
    return room.consent(site, dp_epsilon_cap=8.0)


@pytest.fixture
def form(room):
    """A paper that the person signed anew."""
    path = room.folder / "raise.txt"
    path.write_text("SYNTHETIC: I agree to 12\n", "utf-8")
    return path


def lift(site, pair, consent, form, cap=12.0):
    files = pair.approve(site, "budget_raise", consent=consent, cap=cap, evidence=sha256_file(form))
    return raise_cap(site, consent, cap=cap, evidence=form, confirm=consent, approvals=files)


def cap_of(site, consent):
    with site.reading() as connection:
        return promised(site, connection)[show(site, consent).record.subject_id]


def test_a_raised_cap_binds_instead_of_the_promised_one(room, site, pair, consent, form):
    """Plans, the budget's table and the consent itself see the new cap; the record stays as it was."""
    done = lift(site, pair, consent, form)
    assert (done.before, done.cap) == (8.0, 12.0)
    assert cap_of(site, consent) == 12.0
    assert budgets(site)[0][0]["cap"] == 12.0
    shown = show(site, consent)
    assert shown.raised_cap == 12.0
    assert shown.record.scopes[0].dp_epsilon_cap == 8.0
    facts = room.facts(site, "budget.cap_raised")
    assert (facts["cap"], facts["before"], facts["evidence"]) == (12.0, 8.0, sha256_file(form))
    assert len(set(facts["approvers"])) == 2


def test_a_second_raise_starts_from_the_first(room, site, pair, consent, form):
    """The last raise counts; each needs evidence of its own."""
    lift(site, pair, consent, form)
    other = room.folder / "again.txt"
    other.write_text("SYNTHETIC: I agree to 13\n", "utf-8")
    assert lift(site, pair, consent, other, 13.0).before == 12.0
    assert cap_of(site, consent) == 13.0
    with pytest.raises(UsageError) as caught:
        lift(site, pair, consent, form, 14.0)
    assert caught.value.code == "EVIDENCE_NOT_FRESH"


def test_the_smallest_cap_of_several_consents_still_binds(room, site, pair, consent, form):
    """Who promised less elsewhere is held to the smaller promise."""
    room.consent(site, dp_epsilon_cap=9.0)
    lift(site, pair, consent, form)
    assert cap_of(site, consent) == 9.0


@pytest.mark.parametrize(
    ("cap", "code"), [(8.0, "CAP_NOT_HIGHER"), (3.0, "CAP_NOT_HIGHER"), (1001.0, "EPSILON_INVALID"),
                      (float("nan"), "EPSILON_INVALID"), (-1.0, "EPSILON_INVALID")],
)  # fmt: skip
def test_a_raise_is_upwards_and_sane(site, consent, form, cap, code):
    """A cap is never lowered by this, and is a possible number."""
    with pytest.raises(UsageError) as caught:
        raise_cap(site, consent, cap=cap, evidence=form, confirm=consent, approvals=[])
    assert caught.value.code == code


def test_two_people_and_their_very_values(site, pair, consent, form, room):
    """Not without approvals, not for another cap, not by other evidence, not unconfirmed."""
    digest = sha256_file(form)
    files = pair.approve(site, "budget_raise", consent=consent, cap=11, evidence=digest)
    for options, error, code in (
        ({"approvals": []}, AccessDenied, "APPROVALS_NEEDED"),
        ({"approvals": files}, AccessDenied, "APPROVAL_OTHER_ACT"),
        ({"approvals": files, "cap": 11.0, "evidence": room.folder / "notice.txt"}, AccessDenied, "APPROVAL_OTHER_ACT"),
        ({"approvals": files, "confirm": None}, UsageError, "NOT_CONFIRMED"),
        ({"approvals": files, "evidence": room.folder / "evidence.txt"}, UsageError, "EVIDENCE_NOT_FRESH"),
    ):
        plain = {"cap": 12.0, "evidence": form, "confirm": consent}
        with pytest.raises(error) as caught:
            raise_cap(site, consent, **plain | options)
        assert caught.value.code == code
    assert cap_of(site, consent) == 8.0


def test_a_consent_that_is_not_in_force_gets_no_raise(room, site, pair, consent, form):
    """Withdrawn, or without the purpose: there is no budget to raise; even an approval from before does not help."""
    files = pair.approve(site, "budget_raise", consent=consent, cap=12, evidence=sha256_file(form))
    withdraw(site, consent, confirm=consent)
    with pytest.raises(NoEffectiveConsent) as caught:
        raise_cap(site, consent, cap=12.0, evidence=form, confirm=consent, approvals=files)
    assert caught.value.code == "CONSENT_WITHDRAWN"
    other = room.consent(site, subject_ref="ben", purposes=("embed",))
    with pytest.raises(NoEffectiveConsent) as caught:
        raise_cap(site, other, cap=12.0, evidence=form, confirm=other, approvals=[])
    assert caught.value.code == "PURPOSE_NOT_COVERED"


def test_a_dry_run_changes_nothing(room, site, consent, form):
    """A rehearsal says from what to what."""
    before = room.acts(site)
    done = raise_cap(site, consent, cap=12.0, evidence=form, confirm=None, approvals=[], dry_run=True)
    assert (done.before, done.cap, done.dry_run) == (8.0, 12.0, True)
    assert room.acts(site) == before


@pytest.mark.parametrize("change", ["cap = 900", "evidence_sha256 = 'ab'", "position = 3"])
def test_a_raise_changed_behind_our_back_is_refused(room, site, pair, consent, form, change):
    """Nothing is spent by a cap that nobody approved."""
    lift(site, pair, consent, form)
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute(f"UPDATE cap_raise SET {change}")
    with pytest.raises(IntegrityFailure) as caught:
        cap_of(site, consent)
    assert caught.value.code == "CAP_CHANGED"


def test_a_raise_taken_out_leaves_the_smaller_promise(room, site, pair, consent, form):
    """The safe way round: less may be spent, never more."""
    lift(site, pair, consent, form)
    with closing(sqlite3.connect(room.folder / "vault" / "vault.db")) as connection, connection:
        connection.execute("DELETE FROM cap_raise")
    assert cap_of(site, consent) == 8.0
