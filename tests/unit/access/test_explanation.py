"""Explanations: the same answer as the decision, and ways out that really are ways out."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabnet_secure.access.decision import (
    ACTIONS,
    CONSENT_ACTIONS,
    ROLES,
    ConsentClass,
    PolicySet,
    Principal,
    Request,
    Vault,
)
from fabnet_secure.access.explanation import Change, _changed, explain
from fabnet_secure.access.premises import Premises
from fabnet_secure.types import Purpose

SHIPPED = Path(__file__).resolve().parents[3] / "policies" / "access"
POLICIES = PolicySet.load(SHIPPED)
AT = datetime(2026, 11, 23, 20, tzinfo=UTC)
CLOSED = Premises(open_hours=(8, 18), zone=UTC)


def ask(action, *roles, purpose=None, covers=None, premises=None):
    own = frozenset() if purpose is None else frozenset({purpose})
    return Request(
        principal=Principal(name="p", uid=1, roles=roles),
        action=action,
        purpose=purpose,
        resource=ConsentClass(purposes=own if covers is None else frozenset(covers))
        if action in CONSENT_ACTIONS
        else Vault(),
        at=AT,
        premises=premises or Premises(zone=UTC),
    )


def ways(found):
    return [tuple(map(str, way)) for way in found.ways]


def test_what_is_allowed_is_explained_by_its_policy():
    """One sentence: the act, the policy and its title; nothing would have to be different."""
    found = explain(POLICIES, ask("train_run", "trainer", purpose=Purpose.TRAIN_MODEL))
    assert found.sentence() == "train_run is allowed by policy 'trainer-train': Trainers plan and run training"
    assert (found.otherwise(), found.ways) == ("", ())
    assert [policy.policy_id for policy in found.matches.permits] == ["trainer-train"]


def test_an_act_that_two_people_approve_says_so():
    """The permit alone is not enough for a dangerous act, and the sentence does not pretend it is."""
    found = explain(POLICIES, ask("vector_export", "analyst"))
    assert found.two_people
    assert found.sentence().endswith("and two people have to approve it besides")


def test_nobody_permits_it():
    """The act that is nobody's: no policy, no way, and who could make one."""
    found = explain(POLICIES, ask("query_scores", "analyst", purpose=Purpose.QUERY_INTERNAL))
    assert found.sentence() == "no policy permits query_scores for a principal with these roles: analyst"
    assert (found.ways, found.matches.permits, found.matches.forbids) == ((), (), ())
    assert "a policy of the site's own" in found.otherwise()


def test_a_role_that_is_missing_is_named():
    """Every role that would do is a way of its own."""
    found = explain(POLICIES, ask("quarantine_destroy", "analyst"))
    assert ways(found) == [("with the role dpo",), ("with the role operator",)]
    assert found.otherwise() == "it would be allowed with the role dpo, or with the role operator"


def test_a_purpose_that_is_another_acts():
    """The purpose that would do is named, the class following it; so are the forbid that wins and the permit."""
    found = explain(POLICIES, ask("query_similar", "analyst", purpose=Purpose.EMBED))
    assert "forbidden by policy 'query-for-its-purpose'" in found.sentence()
    assert [policy.policy_id for policy in found.matches.forbids] == ["query-for-its-purpose"]
    assert [policy.policy_id for policy in found.matches.permits] == ["analyst-query"]
    assert ways(found) == [("for the purpose query_internal",)]


def test_a_consent_that_does_not_cover_it():
    """Given consents that cover something else, the way is one that covers the purpose."""
    found = explain(POLICIES, ask("embed", "trainer", purpose=Purpose.EMBED, covers={Purpose.TRAIN_MODEL}))
    assert ways(found) == [("on consents that cover embed",)]


def test_closed():
    """Outside the open hours the way is to come back."""
    found = explain(POLICIES, ask("embed", "trainer", purpose=Purpose.EMBED, premises=CLOSED))
    assert found.decision.policy_id == "closed-hours"
    assert ways(found) == [("during the site's open hours",)]


def test_two_and_three_things_at_once():
    """Where one change is not enough, the smallest number of them is told together."""
    found = explain(POLICIES, ask("query_similar", "trainer", purpose=Purpose.EMBED))
    assert ways(found) == [("with the role analyst", "for the purpose query_internal")]
    found = explain(POLICIES, ask("query_similar", purpose=Purpose.EMOTION_INFERENCE, premises=CLOSED))
    assert ways(found) == [("with the role analyst", "for the purpose query_internal", "during the site's open hours")]
    assert "with the role analyst and for the purpose query_internal and during" in found.otherwise()


def test_a_policy_that_does_not_evaluate(tmp_path):
    """The faulty policy is named; no change of the request is promised to help."""
    (tmp_path / "faulty.cedar").write_text(
        '@id("faulty") @title("Faulty")\nforbid (principal, action, resource)\n'
        "when { principal.uid + 9223372036854775807 > 0 };\n",
        encoding="utf-8",
    )
    found = explain(PolicySet.load(SHIPPED, tmp_path), ask("train_run", "trainer", purpose=Purpose.TRAIN_MODEL))
    assert not found.decision.allowed
    assert "'faulty' did not evaluate" in found.sentence()
    assert found.otherwise() == "the policy that did not evaluate has to be mended first"
    assert (found.ways, found.matches.failed) == ((), ("faulty",))


@settings(max_examples=60, deadline=None)
@given(
    roles=st.sets(st.sampled_from(ROLES), max_size=2),
    action=st.sampled_from(ACTIONS),
    purpose=st.sampled_from([None, *Purpose]),
    covers=st.none() | st.sets(st.sampled_from(Purpose), max_size=2),
    shut=st.booleans(),
)
def test_every_way_out_is_one(roles, action, purpose, covers, shut):
    """The explanation says what the decision says, and after each way's changes the act is allowed."""
    request = ask(action, *sorted(roles), purpose=purpose, covers=covers, premises=CLOSED if shut else None)
    found = explain(POLICIES, request)
    decision = POLICIES.decide(request)
    assert (found.decision.allowed, found.decision.policy_id) == (decision.allowed, decision.policy_id)
    assert all(POLICIES.decide(_changed(request, way)).allowed for way in found.ways)
    assert not (decision.allowed and found.ways)
    assert len({len(way) for way in found.ways}) <= 1
    assert found.sentence()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (Change(what="role", value="dpo"), "principal"),
        (Change(what="hours"), "premises"),
        (Change(what="consent", value="embed"), "resource"),
    ],
)
def test_a_change_changes_one_thing(change, field):
    """Nothing else about the request is different."""
    before = ask("embed", "trainer", purpose=Purpose.EMBED, covers={Purpose.TRAIN_MODEL}, premises=CLOSED)
    after = _changed(before, (change,))
    assert dataclasses.replace(after, **{field: getattr(before, field)}) == before
    assert after != before
