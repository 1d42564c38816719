"""Asking for permission: what is written down, and when."""

import dataclasses
from contextlib import suppress

import pytest

from fabnet_secure.access.decision import Denied, PolicySet, Vault
from fabnet_secure.config import policies_dir
from fabnet_secure.consent.state import require
from fabnet_secure.errors import AccessDenied
from fabnet_secure.pipeline import (
    auditing,
    authorize,
    clip_query,
    consents,
    embed,
    ingest,
    plan,
    query,
    registers,
    report,
    roles,
    stats,
    train,
    withdraw,
)
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.progress import Silent
from fabnet_secure.types import Purpose

NOBODY = "00000000-0000-4000-8000-000000000000"


def _journeys(room):
    asked = query.Asked(top=1, purpose="query_internal")
    counted = stats.Question(count="tracks", by=None, epsilon=0.5, purpose="query_internal")
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
        "query_similar": lambda site: query.similar(site, [NOBODY], asked),
        "query_clip": lambda site: clip_query.similar_to_clip(
            site, source.path, consent_id=NOBODY, asked=asked, progress=Silent()
        ),
        "query_stats": lambda site: stats.stats(site, counted),
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


def _effective(room, site, *consents):
    with site.reading() as connection:
        found = {one: find_consent(connection, one) for one in consents}
    return {
        one: require(record, events, Purpose.QUERY_INTERNAL, site.clock()) for one, (record, events) in found.items()
    }


def test_a_class_has_one_verdict_with_its_count(room, site):
    """Three alike and one other are two verdicts; each allowed one is recorded beside the act, with what it let out."""
    alike = [room.consent(site, subject_ref=f"person {number}") for number in range(3)]
    other = room.consent(site, subject_ref="bob", subject_category="employee")
    effective = _effective(room, site, *alike, other)
    before = len(room.acts(site))
    verdicts = authorize.class_verdicts(site, "query_clip", Purpose.QUERY_INTERNAL, effective)
    assert len(room.acts(site)) == before  # an allowance is written with the act
    assert {frozenset(alike), frozenset({other})} == {verdict.consents for verdict in verdicts.values()}
    assert authorize.permitted(verdicts) == {*alike, other}
    kind = authorize.class_of(effective[other])
    with site.work() as work:
        authorize.record_verdicts(site, work, verdicts, rows={kind: 7})
    rows = [row for row in room.decisions(site) if row.action == "query_clip"]
    assert sorted(row.rows for row in rows) == [0, 7]
    assert {(row.action, row.outcome, row.policy_id) for row in rows} == {("query_clip", "allow", "analyst-query")}
    assert {row.policy_sha256 for row in rows} == {site.policies.sha256}
    assert room.facts(site, "access.allowed")["consents"] in {1, 3}


def test_a_class_that_is_denied_is_logged_with_its_count(room, site):
    """The denial says how many consents it kept out; with it nothing is left to record beside the act."""
    alike = [room.consent(site, subject_ref=f"person {number}") for number in range(3)]
    effective = _effective(room, site, *alike)
    verdicts = authorize.class_verdicts(site, "query_scores", Purpose.QUERY_INTERNAL, effective)
    assert authorize.permitted(verdicts) == frozenset()
    facts = room.facts(site, "access.denied")
    assert (facts["action"], facts["consents"], facts["rows"], facts["policy"]) == ("query_scores", 3, 0, "")
    with site.work() as work:
        authorize.record_verdicts(site, work, verdicts)
        work.log("test.act", facts={})
    assert room.acts(site)[-2:] == ["access.denied", "test.act"]
    assert authorize.class_verdicts(site, "query_scores", Purpose.QUERY_INTERNAL, {}) == {}


def test_a_policy_that_fails_to_evaluate_denies_and_is_logged(room, site, tmp_path):
    """Cedar would skip the faulty forbid and allow: here it is 21, and the log names the policy that failed."""
    (tmp_path / "faulty.cedar").write_text(
        '@id("faulty") @title("Faulty")\nforbid (principal, action, resource)\n'
        'when { Principal::"Ada Lovelace".uid == 1 };\n',
        "utf-8",
    )
    policies = PolicySet.load(policies_dir() / "access", tmp_path)
    with pytest.raises(AccessDenied) as caught:
        authorize.authorize(dataclasses.replace(site, policies=policies), "consent_add")
    assert (caught.value.exit_code, caught.value.fields["policy_id"]) == (21, "")
    assert "the policy 'faulty' did not evaluate" in caught.value.message
    facts = room.facts(site, "access.denied")
    assert (facts["undecided"], facts["policies"]) == (["faulty"], policies.sha256)
    assert room.decisions(site)[-1].policy_sha256 == policies.sha256


def test_outside_the_open_hours(room, site):
    """The settings' hours reach the policies, in the machine's zone: closed for persons' data, open for the rest."""
    now = site.clock().astimezone().hour
    access = site.settings.access.model_copy(update={"open_hours": ((now + 1) % 24, now or 24)})
    shut = dataclasses.replace(site, settings=site.settings.model_copy(update={"access": access}))
    with pytest.raises(Denied) as caught:
        authorize.authorize_purpose(shut, "embed", Purpose.EMBED)
    assert caught.value.decision.policy_id == "closed-hours"
    authorize.authorize(shut, "withdraw")
    authorize.authorize_purpose(site, "embed", Purpose.EMBED)


def test_a_keyring_that_cannot_sign_denies_all_the_same(room, site, monkeypatch):
    """An auditor's denial is a denial (21), not a problem of keys; what else goes wrong with keys is told as such."""
    from fabnet_secure.errors import KeyProblem

    def refuse(code):
        def work(_):
            raise KeyProblem("this keyring cannot sign", code=code)

        return work

    auditor = dataclasses.replace(site, principal=dataclasses.replace(site.principal, roles=("auditor",)))
    before = len(room.acts(site))
    monkeypatch.setattr(type(site), "work", refuse("KEY_CANNOT_SIGN"))
    with pytest.raises(AccessDenied) as caught:
        authorize.authorize(auditor, "withdraw")
    assert caught.value.fields["recorded"] is False
    assert len(room.acts(site)) == before
    monkeypatch.setattr(type(site), "work", refuse("KEY_DOMAIN"))
    with pytest.raises(KeyProblem):
        authorize.authorize(auditor, "withdraw")


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
