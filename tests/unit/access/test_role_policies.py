"""The policies that the program ships, as one table: every role, every action, every purpose."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fabnet_secure.access.decision import (
    ACTIONS,
    CONSENT_ACTIONS,
    ROLES,
    VAULT_ACTIONS,
    ConsentClass,
    PolicySet,
    Principal,
    Request,
    Vault,
)
from fabnet_secure.types import Purpose

POLICIES = PolicySet.load(Path(__file__).resolve().parents[3] / "policies" / "access")
AT = datetime(2026, 11, 23, tzinfo=UTC)
EVERY_PURPOSE = frozenset(Purpose)

# role → action → the permitting policy. What is not here is denied.
PERMITTED = {
    "ingestor": {
        "ingest": "ingestor-ingest",
        "track_list": "ingestor-read",
        "quarantine_list": "ingestor-quarantine",
        "quarantine_release": "ingestor-quarantine",
    },
    "trainer": {
        "train_plan": "trainer-train",
        "train_run": "trainer-train",
        "embed": "trainer-embed",
        "track_list": "trainer-read",
        "model_read": "trainer-read",
        "budget_read": "trainer-read",
    },
    "analyst": {"query_similar": "analyst-query", "track_list": "analyst-read", "model_read": "analyst-read"},
    "dpo": {
        "consent_add": "dpo-consent",
        "consent_read": "dpo-consent",
        "withdraw": "dpo-consent",
        "report": "dpo-account",
        "audit_verify": "dpo-account",
        "audit_export": "dpo-account",
        "track_list": "dpo-read",
        "model_read": "dpo-read",
        "budget_read": "dpo-read",
        "quarantine_list": "dpo-quarantine",
        "quarantine_destroy": "dpo-quarantine",
    },
    "auditor": {
        "audit_verify": "auditor-check",
        "audit_export": "auditor-check",
        "report": "auditor-check",
        "model_read": "auditor-read",
        "budget_read": "auditor-read",
    },
    "operator": {
        "init": "operator-run",
        "role_grant": "operator-run",
        "key_rekey": "operator-run",
        "audit_verify": "operator-check",
        "quarantine_list": "operator-quarantine",
        "quarantine_destroy": "operator-quarantine",
    },
}

# action → the purposes it may be done for, and the forbid that names every other (but the two that have their own).
PURPOSES = {
    "ingest": ({Purpose.TRAIN_MODEL, Purpose.EMBED}, "ingest-for-its-purpose"),
    "train_plan": ({Purpose.TRAIN_MODEL}, "train-for-its-purpose"),
    "train_run": ({Purpose.TRAIN_MODEL}, "train-for-its-purpose"),
    "embed": ({Purpose.EMBED}, "embed-for-its-purpose"),
    "query_similar": ({Purpose.QUERY_INTERNAL}, "query-for-its-purpose"),
}
NEVER = {
    Purpose.EMOTION_INFERENCE: "no-emotion-inference",
    Purpose.IDENTITY_MATCHING: "no-identity-matching",
}


def decide(role, action, purpose=None, covered=EVERY_PURPOSE):
    roles = (role,) if isinstance(role, str) else role
    return POLICIES.decide(
        Request(
            principal=Principal(name="p", uid=1, roles=roles),
            action=action,
            purpose=purpose,
            resource=ConsentClass(purposes=covered) if action in CONSENT_ACTIONS else Vault(),
            at=AT,
        )
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", VAULT_ACTIONS)
def test_acts_on_the_vault(role, action):
    """Each role may do its own acts on the vault by its own policy, and nothing else."""
    decision = decide(role, action)
    expected = PERMITTED[role].get(action)
    assert (decision.allowed, decision.policy_id) == (expected is not None, expected or "")
    assert not decision.errors


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", CONSENT_ACTIONS)
@pytest.mark.parametrize("purpose", Purpose)
def test_acts_on_persons(role, action, purpose):
    """Each role may do its own acts on persons' data, for the act's own purpose only; a forbid names the rest."""
    decision = decide(role, action, purpose)
    fitting, forbid = PURPOSES[action]
    if purpose in NEVER:
        expected = (False, NEVER[purpose])
    elif purpose not in fitting:
        expected = (False, forbid)
    else:
        permit = PERMITTED[role].get(action, "")
        expected = (bool(permit), permit)
    assert (decision.allowed, decision.policy_id) == expected
    assert not decision.errors


@pytest.mark.parametrize("action", CONSENT_ACTIONS)
@pytest.mark.parametrize("purpose", Purpose)
def test_a_consent_that_does_not_cover_the_purpose(action, purpose):
    """Even with every role, an act is forbidden on consents that lack its purpose, whatever else they cover."""
    decision = decide(ROLES, action, purpose, covered=EVERY_PURPOSE - {purpose})
    assert not decision.allowed
    assert decision.policy_id == (
        NEVER.get(purpose) or ("consent-covers-purpose" if purpose in PURPOSES[action][0] else PURPOSES[action][1])
    )


@pytest.mark.parametrize("action", CONSENT_ACTIONS)
def test_an_act_on_persons_names_its_purpose(action):
    """Without a purpose the act is forbidden by name, with every role."""
    decision = decide(ROLES, action)
    assert (decision.allowed, decision.policy_id) == (False, "purpose-named")


@pytest.mark.parametrize("action", VAULT_ACTIONS)
@pytest.mark.parametrize("purpose", NEVER)
def test_the_two_forbidden_purposes_hold_for_every_act(action, purpose):
    """Emotion inference and identity matching are forbidden on the vault too, with every role."""
    decision = decide(ROLES, action, purpose)
    assert (decision.allowed, decision.policy_id) == (False, NEVER[purpose])


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_without_a_role_does_anything(action):
    """A principal without roles is denied every act, by default and not by a forbid."""
    fitting = next(iter(PURPOSES[action][0])) if action in PURPOSES else None
    decision = decide((), action, fitting)
    assert (decision.allowed, decision.policy_id) == (False, "")


@pytest.mark.parametrize("action", ACTIONS)
def test_someone_may_do_every_act(action):
    """No action is out of everybody's reach."""
    fitting = next(iter(PURPOSES[action][0])) if action in PURPOSES else None
    assert decide(ROLES, action, fitting).allowed


def test_duties_are_apart():
    """Who brings in or opens pixels cannot give consent, roles or keys, and who keeps the vault opens no person."""
    handling = {"ingest", "quarantine_release", "train_run", "embed", "query_similar"}
    governing = {"consent_add", "withdraw", "role_grant", "key_rekey"}
    for role, acts in PERMITTED.items():
        assert not (handling & acts.keys() and governing & acts.keys()), role
    assert {role for role, acts in PERMITTED.items() if "query_similar" in acts} == {"analyst"}
    for role, acts in PERMITTED.items():
        assert not {"quarantine_release", "quarantine_destroy"} <= acts.keys(), role


def test_two_roles_have_the_rights_of_both():
    """Roles add up; a forbid still wins."""
    assert decide(("trainer", "analyst"), "query_similar", Purpose.QUERY_INTERNAL).allowed
    assert decide(("trainer", "analyst"), "train_run", Purpose.TRAIN_MODEL).allowed
    assert not decide(("trainer", "analyst"), "ingest", Purpose.EMBED).allowed


def test_every_shipped_policy_decides_something():
    """No policy is dead: each is the named one of some decision in these tables."""
    named = {policy for acts in PERMITTED.values() for policy in acts.values()}
    named |= {forbid for _, forbid in PURPOSES.values()} | set(NEVER.values())
    named |= {"purpose-named", "consent-covers-purpose"}
    assert {policy.policy_id for policy in POLICIES.policies} == named
