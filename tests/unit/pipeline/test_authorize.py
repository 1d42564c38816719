"""Asking for permission: what is written down, and when."""

from contextlib import suppress

import pytest

from fabnet_secure.access.decision import Denied, Vault
from fabnet_secure.consent.state import require
from fabnet_secure.errors import AccessDenied
from fabnet_secure.pipeline import (
    auditing,
    authorize,
    consents,
    embed,
    ingest,
    plan,
    query,
    registers,
    report,
    roles,
    train,
    withdraw,
)
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.progress import Silent
from fabnet_secure.types import Purpose

NOBODY = "00000000-0000-4000-8000-000000000000"


def _journeys(room):
    terms = plan.Terms(epsilon=1.0, delta=0.01)
    source = ingest.Source(path=room.folder / "nowhere.mp4", consent_ids=(NOBODY,))
    return {
        "consent_add": lambda site: consents.add(site, [room.application()]),
        "consent_read": lambda site: consents.show(site, NOBODY),
        "consent_read ": consents.listing,
        "ingest": lambda site: ingest.ingest(site, [source], progress=Silent()),
        "train_plan": lambda site: plan.plan(site, terms),
        "train_run": lambda site: train.run(site, NOBODY, progress=Silent()),
        "embed": lambda site: embed.embed(site, NOBODY, progress=Silent()),
        "query_similar": lambda site: query.similar(site, NOBODY, top=1, purpose="query_internal"),
        "withdraw": lambda site: withdraw.withdraw(site, NOBODY, confirm=NOBODY),
        "track_list": registers.list_tracks,
        "model_read": registers.list_models,
        "budget_read": registers.budgets,
        "role_grant": lambda site: roles.set_roles(site, "stranger", ("operator",)),
        "role_grant ": roles.listing,
        "audit_verify": auditing.check,
        "audit_export": lambda site: auditing.export(site, room.folder / "log"),
        "report": lambda site: report.write_report(site, "ropa", form="json", lang="en", out=room.folder / "r.json"),
        "report ": lambda site: report.write_all(site, room.folder / "reports"),
    }


def test_an_account_without_roles_is_denied_every_journey(room, stranger):
    """Each journey asks first: AccessDenied, one denial in the register and in the log, no file written."""
    before, files = len(room.acts(stranger)), sorted(room.folder.iterdir())
    journeys = _journeys(room)
    for journey in journeys.values():
        with pytest.raises(AccessDenied):
            journey(stranger)
    assert room.acts(stranger)[before:] == ["access.denied"] * len(journeys)
    denied = room.decisions(stranger)
    assert sorted(row.action for row in denied) == sorted(name.strip() for name in journeys)
    assert {row.outcome for row in denied} == {"deny"}
    assert {row.principal for row in denied} == {"stranger"}
    assert {row.rows for row in denied} == {0}
    assert sorted(room.folder.iterdir()) == files


def test_an_allowance_is_written_with_the_act(room, site):
    """Asking alone writes nothing; the act records who, what, under which policy and how many rows."""
    before = len(room.acts(site))
    grant = authorize.authorize(site, "consent_add")
    assert len(room.acts(site)) == before
    with site.work() as work:
        authorize.record_grant(site, work, grant, rows=3)
    assert room.acts(site)[before:] == ["access.allowed"]
    (row,) = room.decisions(site)
    assert (row.action, row.outcome, row.policy_id, row.rows) == ("consent_add", "allow", "dpo-consent", 3)
    assert row.policy_sha256 == site.policies.sha256
    assert row.decision_id == grant.decision_id


def test_an_act_that_fails_records_no_allowance(room, site):
    """When the act's transaction is undone, the allowance beside it is undone, too."""
    before = room.acts(site)
    grant = authorize.authorize(site, "consent_add")
    with suppress(ZeroDivisionError), site.work() as work:
        authorize.record_grant(site, work, grant)
        _ = 1 / 0
    assert room.acts(site) == before
    assert room.decisions(site) == []


def test_a_forbidden_purpose_is_denied_to_everybody(room, site):
    """No role may infer emotions or match identities, whatever was consented to."""
    for purpose in (Purpose.EMOTION_INFERENCE, Purpose.IDENTITY_MATCHING):
        with pytest.raises(Denied) as caught:
            authorize.authorize_purpose(site, "query_similar", purpose)
        assert caught.value.decision.policy_id in {"no-emotion-inference", "no-identity-matching"}


def test_equal_consents_are_decided_once(room, site):
    """Three consents of one class are one decision; a class that is denied takes its consents out, and is logged."""
    same = [room.consent(site, subject_ref=f"person {number}") for number in range(3)]
    purposes = ("train_model", "query_internal", "embed", "emotion_inference")
    other = room.consent(site, subject_ref="bob", subject_category="employee", purposes=purposes)
    with site.reading() as connection:
        found = {one: find_consent(connection, one) for one in [*same, other]}
    effective = {
        one: require(record, events, Purpose.QUERY_INTERNAL, site.clock()) for one, (record, events) in found.items()
    }
    assert len({authorize.class_of(consent) for consent in effective.values()}) == 2
    before = len(room.acts(site))
    assert authorize.allowed(site, "query_similar", Purpose.QUERY_INTERNAL, effective) == set(effective)
    assert authorize.allowed(site, "query_similar", Purpose.EMBED, effective) == set()
    assert room.acts(site)[before:] == ["access.denied"] * 2


def test_the_log_holds_no_name_of_an_account(room, stranger):
    """A denial's log entry names a commitment to the account, never the account itself or the decision's id."""
    with pytest.raises(AccessDenied):
        authorize.authorize(stranger, "audit_verify", resource=Vault())
    from fabnet_secure.store.log_storage import SqlLogStorage

    with stranger.reading() as connection:
        storage = SqlLogStorage(connection)
        blob = storage.read_entries(0, storage.size())[-1]
    (row,) = room.decisions(stranger)
    assert b"access.denied" in blob
    assert b"stranger" not in blob
    assert row.decision_id.encode() not in blob
