"""The policies that the program ships, held to the tables of policies/tests: every role, every act, every purpose."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fabnet_secure.access.decision import (
    ACTIONS,
    CONSENT_ACTIONS,
    ROLES,
    TWO_PEOPLE,
    VAULT_ACTIONS,
    ConsentClass,
    PolicySet,
    Principal,
    Request,
    Vault,
)
from fabnet_secure.access.examples import read_tables, run
from fabnet_secure.access.premises import Premises
from fabnet_secure.consent.record import SubjectCategory
from fabnet_secure.types import Purpose

SHIPPED = Path(__file__).resolve().parents[3] / "policies"
POLICIES = PolicySet.load(SHIPPED / "access")
EXAMPLES = read_tables(SHIPPED / "tests", categories=tuple(SubjectCategory))
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
OWN = {"ingest": Purpose.EMBED, "train_plan": Purpose.TRAIN_MODEL, "train_run": Purpose.TRAIN_MODEL}
OWN |= {"embed": Purpose.EMBED}
OWN |= dict.fromkeys(("query_similar", "query_clip", "query_scores", "query_stats"), Purpose.QUERY_INTERNAL)
NOBODYS = {"query_scores"}
"""What a site has to permit by a policy of its own."""


def decide(roles, action, purpose=None, policies=POLICIES, premises=None):
    covers = frozenset() if purpose is None else frozenset({purpose})
    return policies.decide(
        Request(
            principal=Principal(name="p", uid=1, roles=(roles,) if isinstance(roles, str) else roles),
            action=action,
            purpose=purpose,
            resource=ConsentClass(purposes=covers) if action in CONSENT_ACTIONS else Vault(),
            at=AT,
            premises=premises or Premises(zone=UTC),
        )
    )


def may(role):
    return {action for action in ACTIONS if decide(role, action, OWN.get(action)).allowed}


def test_the_tables_hold():
    """Every example of the shipped tables gets the decision and the policy that it expects."""
    verdict = run(POLICIES, EXAMPLES)
    assert [(one.example.table, one.example.line, one.decision.reason) for one in verdict.failures] == []
    assert verdict.examples > 2000


def test_the_tables_are_whole():
    """Every act is put together with every role, and with none; every policy decides some example."""
    verdict = run(POLICIES, EXAMPLES)
    assert verdict.unasked == ()
    assert verdict.untested == ()
    assert {one.request.action for one in EXAMPLES if not one.request.principal.roles} == set(ACTIONS)


@pytest.mark.parametrize("role", ROLES)
def test_the_tables_find_a_right_too_many(tmp_path, role):
    """A permit too many fails an example, whichever act it gives to whichever role."""
    folder = Path(shutil.copytree(SHIPPED / "access", tmp_path / "access"))
    (folder / "zz.cedar").write_text(  # the last: who may already is allowed by the shipped policy
        f'@id("slip") @title("A slip")\npermit (principal in Role::"{role}", action, resource);\n', encoding="utf-8"
    )
    verdict = run(PolicySet.load(folder), [one for one in EXAMPLES if one.request.principal.roles == (role,)])
    caught = {one.example.request.action for one in verdict.failures}
    assert caught == set(ACTIONS) - may(role)


@pytest.mark.parametrize("policy", [policy.policy_id for policy in POLICIES.policies])
def test_the_tables_find_a_policy_that_is_lost(tmp_path, policy):
    """Without any one of the policies some example fails."""
    folder = Path(shutil.copytree(SHIPPED / "access", tmp_path / "access"))
    source = folder / POLICIES.policy(policy).source
    kept = [one for one in source.read_text("utf-8").split("@id(") if not one.startswith(f'"{policy}"')]
    source.write_text("@id(".join(kept), encoding="utf-8")
    fewer = PolicySet.load(folder)
    assert len(fewer.policies) == len(POLICIES.policies) - 1
    assert run(fewer, [one for one in EXAMPLES if one.policy_id == policy]).failures


@pytest.mark.parametrize("action", VAULT_ACTIONS)
@pytest.mark.parametrize("purpose", [Purpose.EMOTION_INFERENCE, Purpose.IDENTITY_MATCHING])
def test_the_two_forbidden_purposes_hold_for_every_act(action, purpose):
    """Emotion inference and identity matching are forbidden on the vault too, with every role."""
    decision = decide(ROLES, action, purpose)
    assert not decision.allowed
    assert decision.policy_id in {"no-emotion-inference", "no-identity-matching"}


@pytest.mark.parametrize("action", ACTIONS)
def test_someone_may_do_every_act(action):
    """No act is out of everybody's reach, but scores: those a site permits by a policy of its own, or nobody."""
    assert decide(ROLES, action, OWN.get(action)).allowed == (action not in NOBODYS)


def test_a_site_may_permit_scores(tmp_path):
    """What is nobody's as shipped, a site's own policy permits; the shipped forbids still hold."""
    (tmp_path / "scores.cedar").write_text(
        '@id("our-scores") @title("Our analysts see scores")\n'
        'permit (principal in Role::"analyst", action == Action::"query_scores", resource);\n',
        encoding="utf-8",
    )
    policies = PolicySet.load(SHIPPED / "access", tmp_path)
    allowed = decide("analyst", "query_scores", Purpose.QUERY_INTERNAL, policies)
    assert (allowed.allowed, allowed.policy_id) == (True, "our-scores")
    assert decide("analyst", "query_scores", Purpose.EMBED, policies).policy_id == "query-for-its-purpose"
    assert not decide("trainer", "query_scores", Purpose.QUERY_INTERNAL, policies).allowed


@pytest.mark.parametrize("action", CONSENT_ACTIONS)
def test_persons_data_rests_while_the_site_is_closed(action):
    """Outside the open hours no role works on persons' data; as shipped, every hour is open."""
    closed = Premises(open_hours=(13, 18), zone=UTC)
    assert decide(ROLES, action, OWN[action], premises=closed).policy_id == "closed-hours"
    assert decide(ROLES, action, OWN[action]).policy_id != "closed-hours"


def test_rights_of_people_have_no_closing_time():
    """Whatever ends or limits the use of a person's data is never closed."""
    closed = Premises(open_hours=(13, 18), zone=UTC)
    for action in ("withdraw", "consent_read", "hold_release", "quarantine_destroy", "key_destroy", "audit_verify"):
        assert decide(ROLES, action, premises=closed).allowed, action


def test_duties_are_apart():
    """Who brings in or opens pixels cannot give consent, roles or keys, and who keeps the vault opens no person."""
    handling = {"ingest", "quarantine_release", "train_run", "embed", "query_similar", "query_clip", "query_stats"}
    governing = {"consent_add", "withdraw", "role_grant", "key_rekey", "key_grant", "policy_change", "key_recover"}
    rights = {role: may(role) for role in ROLES}
    for role, acts in rights.items():
        assert not (handling & acts and governing & acts), role
        assert not {"quarantine_release", "quarantine_destroy"} <= acts, role
        assert not {"budget_raise", "train_run"} <= acts, role
        assert not {"policy_change", "hold_release"} <= acts, role
    assert {role for role, acts in rights.items() if "query_similar" in acts} == {"analyst"}
    assert {role for role, acts in rights.items() if "role_grant" in acts} == {"operator"}
    assert not rights["auditor"] & (handling | governing | TWO_PEOPLE)


def test_who_does_a_dangerous_act_may_ask_for_its_approval():
    """Every role that may do an act that two people approve may also request that approval."""
    for action in TWO_PEOPLE:
        doing = [role for role in ROLES if decide(role, action).allowed]
        assert doing, action
        assert all(decide(role, "approval_request").allowed for role in doing), action
