"""Decisions: deny unless cleanly allowed, and say by which policy."""

import copy
import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabnet_secure.access import decision as module
from fabnet_secure.access.decision import ConsentClass, Decision, Denied, Grant, PolicySet, Principal, Request, Vault
from fabnet_secure.access.premises import Premises
from fabnet_secure.errors import AccessDenied, UsageError
from fabnet_secure.types import Purpose, is_id

POLICIES = Path(__file__).resolve().parents[3] / "policies" / "access"
AT = datetime(2026, 11, 23, 20, 0, 0, 123456, tzinfo=UTC)
TRAINER = Principal(name="alice", uid=1000, roles=("trainer",))
TRAIN = Request(
    principal=TRAINER,
    action="train_run",
    purpose=Purpose.TRAIN_MODEL,
    resource=ConsentClass(purposes=frozenset({Purpose.TRAIN_MODEL})),
    at=AT,
)
PERMIT_ALL = '@id("all") @title("Everything goes")\npermit (principal, action, resource);\n'
# Cedar's integers are 64 bits: this overflows, Cedar skips the policy, and the permit would stand.
BROKEN_FORBID = (
    '@id("broken") @title("Never at all")\nforbid (principal, action, resource)\n'
    "when { principal.uid + 9223372036854775807 > 0 };\n"
)


@pytest.fixture(scope="module")
def policies():
    return PolicySet.load(POLICIES)


@pytest.fixture
def custom(tmp_path):
    """Build a policy set out of the text of one file."""

    def build(text):
        (tmp_path / "schema.cedarschema").write_bytes((POLICIES / "schema.cedarschema").read_bytes())
        (tmp_path / "site.cedar").write_text(text, encoding="utf-8")
        return PolicySet.load(tmp_path)

    return build


def test_an_allowed_act_names_its_policy(policies):
    """An allow carries the permit's id and title, the digest of the policies, and an id of its own."""
    decision = policies.decide(TRAIN)
    assert decision.allowed
    assert (decision.policy_id, decision.reason) == ("trainer-train", "Trainers plan and run training")
    assert decision.policy_set_sha256 == policies.sha256
    assert is_id(decision.decision_id)
    assert decision.errors == ()


def test_an_error_is_a_denial_even_where_cedar_allows(custom):
    """A forbid that fails to evaluate is skipped by Cedar, which then says Allow: here it is a denial."""
    policies = custom(PERMIT_ALL + BROKEN_FORBID)
    decision = policies.decide(TRAIN)
    assert not decision.allowed
    assert decision.policy_id == ""
    assert decision.reason == "train_run could not be decided, so it is denied: the policy 'broken' did not evaluate"
    assert (decision.failed, len(decision.errors)) == (("broken",), 1)
    with pytest.raises(Denied):
        policies.require(TRAIN)


def test_cedar_itself_would_have_allowed_it(custom, monkeypatch):
    """The proof that the test above tests something: Cedar's own answer to it is Allow, with an error beside."""
    policies = custom(PERMIT_ALL + BROKEN_FORBID)
    answer = policies._ask(TRAIN, policies._loaded.policies)
    assert answer.allowed
    assert answer.diagnostics.errors


def test_a_permit_that_fails_is_a_denial(custom):
    """An error beside a good permit denies too: nobody knows what the failed policy would have said."""
    broken_permit = BROKEN_FORBID.replace("forbid", "permit")
    assert not custom(PERMIT_ALL + broken_permit).decide(TRAIN).allowed
    assert not custom(broken_permit).decide(TRAIN).allowed


@pytest.mark.parametrize("effect", ["permit", "forbid"])
@pytest.mark.parametrize(
    "condition",
    [
        'Principal::"Ada Lovelace".uid == 1',  # an attribute of somebody who is not there
        "principal.uid * 9223372036854775807 > 0",
        'context.at.offset(duration("9223372036854775807ms")) > context.at',
        "context.hour - 9223372036854775807 - 9223372036854775807 > 0",
    ],
)
def test_whatever_fails_to_evaluate_denies_and_is_named(custom, effect, condition):
    """A missing attribute, an overflow of numbers or times, in a permit or a forbid: denied, and the policy named."""
    text = f'@id("faulty") @title("Faulty")\n{effect} (principal, action, resource) when {{ {condition} }};\n'
    policies = custom(PERMIT_ALL + text)
    with pytest.raises(Denied) as caught:
        policies.require(TRAIN)
    decision = caught.value.decision
    assert (decision.allowed, decision.policy_id, decision.failed) == (False, "", ("faulty",))
    assert "'faulty'" in caught.value.message
    assert caught.value.exit_code == 21
    assert "Ada" not in f"{caught.value.message} {caught.value.hint} {decision.reason}"
    assert policies.matching(TRAIN).failed == ("faulty",)


def test_a_forbid_beside_an_error_is_still_named(custom):
    """Where one forbid matches and another fails, the one that matched is the reason, and the error is kept."""
    matching = '@id("closed") @title("The site is closed")\nforbid (principal, action, resource);\n'
    decision = custom(PERMIT_ALL + BROKEN_FORBID + matching).decide(TRAIN)
    assert (decision.allowed, decision.policy_id) == (False, "closed")
    assert decision.errors


def test_a_forbid_wins_over_every_permit_and_is_named(policies):
    """The denial of an act that a role permits says which forbid decided, in words."""
    denied = policies.decide(dataclasses.replace(TRAIN, resource=ConsentClass(purposes=frozenset({Purpose.EMBED}))))
    assert (denied.allowed, denied.policy_id) == (False, "consent-covers-purpose")
    assert denied.reason == (
        "train_run is forbidden by policy 'consent-covers-purpose': The consent covers the purpose of the act"
    )


def test_the_authors_order_decides_which_forbid_is_named(custom):
    """Of several matching forbids the first in the text is named, always the same one."""
    both = "".join(
        f'@id("{name}") @title("Number {name}")\nforbid (principal, action, resource);\n' for name in ("z", "a", "m")
    )
    policies = custom(PERMIT_ALL + both)
    assert {policies.decide(TRAIN).policy_id for _ in range(20)} == {"z"}


def test_nothing_permitted_is_denied_without_a_policy(policies):
    """The default is deny: no policy id, and the reason names the roles, never the person."""
    stranger = Principal(name="mallory", uid=666, roles=())
    decision = policies.decide(dataclasses.replace(TRAIN, principal=stranger))
    assert (decision.allowed, decision.policy_id) == (False, "")
    assert decision.reason == "no policy permits train_run for a principal with these roles: none"
    assert "mallory" not in decision.reason


@pytest.mark.parametrize(
    "change",
    [
        {"action": "fly"},
        {"action": "uses_consent"},
        {"action": ""},
        {"resource": Vault()},
        {"principal": Principal(name="alice", uid=1000, roles=("trainer", "wizard"))},
        {"principal": Principal(name="alice", uid=2**63, roles=("trainer",))},
        {"principal": Principal(name="\udcff", uid=1, roles=("trainer",))},
        {"purpose": "fun"},
        {"resource": ConsentClass(purposes=frozenset({"train_model", "fun"}))},
        {"at": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))},
        {"action": 7},
    ],
)
def test_a_question_that_makes_no_sense_is_denied(custom, change):
    """Unknown actions, roles and purposes, and acts on the wrong thing, are denied even where everything goes."""
    decision = custom(PERMIT_ALL).decide(dataclasses.replace(TRAIN, **change))
    assert not decision.allowed
    assert decision.errors
    assert decision.policy_id == ""


def test_a_denial_carries_its_decision(policies):
    """Whoever catches AccessDenied can write the decision down; its fields are fit for JSON."""
    with pytest.raises(AccessDenied) as caught:
        policies.require(dataclasses.replace(TRAIN, purpose=Purpose.EMOTION_INFERENCE))
    error = caught.value
    assert isinstance(error, Denied)
    assert isinstance(error.decision, Decision)
    assert not error.decision.allowed
    assert (error.exit_code, error.code) == (21, "ACCESS_DENIED")
    assert error.fields == {"decision_id": error.decision.decision_id, "policy_id": "no-emotion-inference"}
    assert "alice" not in f"{error.message} {error.hint}"


def test_a_grant_says_what_was_granted(policies):
    """The grant repeats the request and the decision that allowed it."""
    grant = policies.require(TRAIN)
    assert (grant.principal, grant.action, grant.purpose) == (TRAINER, "train_run", Purpose.TRAIN_MODEL)
    assert (grant.request, grant.policy_id) == (TRAIN, "trainer-train")
    assert grant.decision_id == grant.decision.decision_id
    assert repr(grant) == "<Grant: train_run for train_model by trainer-train>"


def test_only_require_makes_a_grant(policies):
    """A grant cannot be constructed, changed, copied or unpickled."""
    grant = policies.require(TRAIN)
    with pytest.raises(TypeError):
        Grant(request=TRAIN, decision=grant.decision)
    with pytest.raises(TypeError):
        Grant(request=TRAIN, decision=grant.decision, minted_by=object())
    for change in (copy.copy, copy.deepcopy, pickle.dumps, lambda g: setattr(g, "request", None)):
        with pytest.raises(TypeError):
            change(grant)


def test_every_decision_has_an_id_of_its_own(policies):
    """The same question twice makes two records."""
    assert policies.decide(TRAIN).decision_id != policies.decide(TRAIN).decision_id


def test_policies_can_ask_for_the_hour(custom):
    """The moment of the act reaches the policies in UTC, whatever its offset."""
    policies = custom(
        '@id("by-day") @title("Only before noon UTC")\npermit (principal, action, resource)\n'
        'when { context.at.toTime() < duration("12h") };\n'
    )
    tokyo = timezone(timedelta(hours=9))
    assert policies.decide(dataclasses.replace(TRAIN, at=datetime(2026, 1, 1, 20, 59, tzinfo=tokyo))).allowed
    assert not policies.decide(dataclasses.replace(TRAIN, at=datetime(2026, 1, 1, 21, 0, tzinfo=tokyo))).allowed


def test_policies_can_ask_for_the_clock_on_the_wall(custom):
    """The hour, the weekday, the site and whether it is open reach the policies as the place's own clock shows them."""
    policies = custom(
        '@id("local") @title("Tuesdays at 5 in Tokyo, while it is open")\npermit (principal, action, resource)\n'
        'when { context.hour == 5 && context.weekday == 2 && context.site == "Tokyo" && context.open };\n'
    )
    tokyo = Premises(site="Tokyo", open_hours=(5, 6), zone=timezone(timedelta(hours=9)))
    assert policies.decide(dataclasses.replace(TRAIN, premises=tokyo)).allowed  # Monday 20:00 in UTC
    for change in ({"open_hours": (6, 5)}, {"zone": UTC}, {"site": ""}):
        assert not policies.decide(dataclasses.replace(TRAIN, premises=dataclasses.replace(tokyo, **change))).allowed


def test_every_matching_policy_is_told(custom):
    """All permits and all forbids that match are named, in the author's order, whichever of them decided."""
    text = "".join(
        f'@id("{name}") @title("{name}")\n{effect} (principal, action, resource);\n'
        for name, effect in (("z", "permit"), ("y", "forbid"), ("a", "permit"), ("b", "forbid"))
    )
    found = custom(text + BROKEN_FORBID).matching(TRAIN)
    assert [policy.policy_id for policy in found.permits] == ["z", "a"]
    assert [policy.policy_id for policy in found.forbids] == ["y", "b"]
    assert found.failed == ("broken",)
    nonsense = custom(text).matching(dataclasses.replace(TRAIN, action="fly"))
    assert (nonsense.permits, nonsense.forbids) == ((), ())


def test_a_policy_is_found_by_its_id(policies):
    """What a record names can be looked up, with the file it stands in."""
    found = policies.policy("trainer-train")
    assert (found.title, found.source, found.forbids) == ("Trainers plan and run training", "trainer.cedar", False)
    assert policies.policy("nothing") is None


_CONDITIONS = (
    "true", "context.hour > 12", "!context.open", "principal.uid + 9223372036854775807 > 0",
    'resource.category == "adult"', 'context has purpose && context.purpose == Purpose::"train_model"',
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    role=st.sampled_from(["", *module.ROLES]),
    action=st.sampled_from(module.CONSENT_ACTIONS),
    purpose=st.sampled_from([None, *Purpose]),
    permits=st.booleans(),
    scope=st.sampled_from(["principal", 'principal in Role::"trainer"', 'principal in Role::"analyst"']),
    condition=st.sampled_from(_CONDITIONS),
)
def test_a_further_forbid_never_allows(custom, role, action, purpose, permits, scope, condition):
    """Whatever forbid a site adds, even one that fails to evaluate: what was denied stays denied."""
    shipped = "".join(path.read_text("utf-8") for path in sorted(POLICIES.glob("*.cedar")))
    before = custom(shipped + (PERMIT_ALL if permits else ""))
    forbid = (
        f'@id("more") @title("More")\nforbid ({scope}, action in Action::"uses_consent", resource)\n'
        f"when {{ {condition} }};\n"
    )
    after = custom(shipped + (PERMIT_ALL if permits else "") + forbid)
    request = Request(
        principal=Principal(name="p", uid=1, roles=(role,) if role else ()),
        action=action,
        purpose=purpose,
        resource=ConsentClass(purposes=frozenset() if purpose is None else frozenset({purpose})),
        at=AT,
        premises=Premises(zone=UTC),
    )
    assert before.decide(request).allowed or not after.decide(request).allowed


def test_policies_can_ask_for_the_account_and_the_category(custom):
    """The principal's uid and the class's category reach the policies."""
    policies = custom(
        '@id("one") @title("Account 1000 on adults")\npermit (principal, action in Action::"uses_consent", resource)\n'
        'when { principal.uid == 1000 && resource.category == "adult" };\n'
    )
    assert policies.decide(TRAIN).allowed
    child = ConsentClass(purposes=TRAIN.resource.purposes, subject_category="child")
    assert not policies.decide(dataclasses.replace(TRAIN, resource=child)).allowed
    other = dataclasses.replace(TRAINER, uid=1001)
    assert not policies.decide(dataclasses.replace(TRAIN, principal=other)).allowed


def test_a_name_cannot_smuggle_policy_text(policies):
    """A principal's name is data: quotes and Cedar in it change nothing."""
    for name in ('x" in Role::"dpo', 'a"}},{"uid":', "line\nbreak", "", "アリス"):
        principal = Principal(name=name, uid=1, roles=("analyst",))
        assert not policies.decide(dataclasses.replace(TRAIN, principal=principal)).allowed
        trainer = Principal(name=name, uid=1, roles=("trainer",))
        assert policies.decide(dataclasses.replace(TRAIN, principal=trainer)).allowed


def test_a_moment_without_offset_is_refused():
    """A naive time could be any of several moments."""
    with pytest.raises(UsageError) as caught:
        dataclasses.replace(TRAIN, at=datetime(2026, 1, 1))  # noqa: DTZ001 - the naive time is the point
    assert caught.value.code == "TIME_WITHOUT_OFFSET"


def test_the_words_of_the_program_and_of_the_schema_are_the_same():
    """Roles, purposes and actions stand in the schema as in the program: none is missing on either side."""
    import json
    import re

    text = re.sub(r"//.*", "", (POLICIES / "schema.cedarschema").read_text(encoding="utf-8"))

    def enumerated(name):
        return json.loads("[" + re.search(rf"entity {name} enum \[(.*?)\]", text, re.DOTALL)[1] + "]")

    def actions(resource):
        return re.search(rf"action ([\w, \n]*?)(?: in \[\w+\])?\s+appliesTo [^;]*resource: {resource},", text)[1]

    assert enumerated("Role") == list(module.ROLES)
    assert enumerated("Purpose") == [purpose.value for purpose in Purpose]
    assert re.findall(r"\w+", actions("Vault")) == list(module.VAULT_ACTIONS)
    assert re.findall(r"\w+", actions("ConsentClass")) == list(module.CONSENT_ACTIONS)


def test_many_principals_do_not_pile_up(policies):
    """What was parsed is remembered for a while only, and never for somebody else."""
    for number in range(module._MOST_PARSED + 5):
        principal = Principal(name=f"p{number}", uid=number, roles=("trainer",) if number % 2 else ())
        assert policies.decide(dataclasses.replace(TRAIN, principal=principal)).allowed == bool(number % 2)
    assert len(policies._parsed) <= module._MOST_PARSED
