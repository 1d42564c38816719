"""Explaining and testing the policies in force: nothing is done, and who asks about others must be allowed to."""

import dataclasses

import pytest

from fabnet_secure.access.decision import ROLES, ConsentClass, PolicySet
from fabnet_secure.config import policies_dir
from fabnet_secure.errors import AccessDenied, Gap, UsageError
from fabnet_secure.pipeline import explain, roles
from fabnet_secure.pipeline.explain import Asked
from fabnet_secure.types import Purpose

HEAD = "roles,action,purpose,decision,policy\n"


def as_role(site, *held):
    return dataclasses.replace(site, principal=dataclasses.replace(site.principal, roles=held))


def test_ones_own_act_is_explained_without_any_right(room, stranger):
    """Whoever is denied may always know why; nothing is written down."""
    before = room.acts(stranger)
    found = explain.explain(stranger, Asked(action="query_similar", purpose="query_internal"))
    assert found.sentence() == "no policy permits query_similar for a principal with these roles: none"
    assert found.otherwise() == "it would be allowed with the role analyst"
    own = explain.explain(stranger, Asked(action="withdraw", account="stranger"))
    assert not own.decision.allowed
    assert room.acts(stranger) == before
    assert room.decisions(stranger) == []


@pytest.mark.parametrize("asked", [Asked(action="init", account="bob"), Asked(action="init", roles=("operator",))])
def test_others_acts_need_the_right_to_read_policies(room, stranger, site, asked):
    """Asking about another account or a role is itself decided, and a denial of it is logged."""
    with pytest.raises(AccessDenied):
        explain.explain(stranger, asked)
    assert room.facts(stranger, "access.denied")["action"] == "policy_read"
    assert explain.explain(site, asked).request.action == "init"


def test_an_accounts_roles_are_those_that_it_was_given(room, site):
    """The explanation is of the roles in the vault; an account that was never given any has none."""
    roles.set_roles(site, "bob", ("analyst", "trainer"))
    found = explain.explain(site, Asked(action="embed", account="bob", purpose="embed"))
    assert (found.request.principal.roles, found.decision.policy_id) == (("analyst", "trainer"), "trainer-embed")
    assert found.request.principal.uid == -1
    assert explain.explain(site, Asked(action="embed", account="root", purpose="embed")).request.principal.uid == 0
    assert explain.explain(site, Asked(action="embed", account="n\0body")).request.principal.roles == ()


def test_the_explanation_is_the_decision(room, site):
    """What is explained is what happens: the same policy, on the same class, at the same time."""
    found = explain.explain(
        site, Asked(action="query_similar", purpose="query_internal", consents="embed,query_internal,employee")
    )
    assert found.request.resource == ConsentClass(
        purposes=frozenset({Purpose.EMBED, Purpose.QUERY_INTERNAL}), subject_category="employee"
    )
    assert found.decision.policy_id == site.policies.decide(found.request).policy_id == "analyst-query"
    assert found.request.at == site.clock()


def test_another_time(room, site):
    """A moment may be given; the hour is that of the settings' place."""
    access = site.settings.access.model_copy(update={"open_hours": (8, 9), "site": "Basel"})
    shut = dataclasses.replace(site, settings=site.settings.model_copy(update={"access": access}))
    decided = {}
    for hour in range(24):
        asked = Asked(action="embed", purpose="embed", at=f"2026-01-05T{hour:02}:30:00Z")
        found = explain.explain(shut, asked)
        decided[found.request.premises.at(found.request.at).hour] = found.decision.policy_id
    assert decided == {hour: "trainer-embed" if hour == 8 else "closed-hours" for hour in range(24)}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Asked(action="fly"), "ACTION_UNKNOWN"),
        (Asked(action="uses_consent"), "ACTION_UNKNOWN"),
        (Asked(action="init", roles=("king",)), "ROLE_UNKNOWN"),
        (Asked(action="init", roles=("dpo",), account="bob"), "USAGE"),
        (Asked(action="embed", purpose="fun"), "PURPOSE_INVALID"),
        (Asked(action="init", consents="embed"), "CLASS_INVALID"),
        (Asked(action="embed", consents="embed,alien"), "CLASS_INVALID"),
        (Asked(action="embed", consents="embed,child,adult"), "CLASS_INVALID"),
        (Asked(action="embed", at="yesterday"), "USAGE"),
        (Asked(action="embed", at="2026-01-01T00:00:00"), "USAGE"),
    ],
)
def test_words_that_are_none(site, asked, code):
    """An unknown act, role, purpose, class or time is the asker's mistake, not a denial."""
    with pytest.raises(UsageError) as caught:
        explain.explain(site, asked)
    assert caught.value.code == code


def test_a_class_in_words():
    """Purposes and at most one category, in any order; adults where none is named."""
    assert explain.read_class("") == ConsentClass(purposes=frozenset())
    assert explain.read_class("child, embed").subject_category == "child"
    assert explain.read_class("embed").subject_category == "adult"


def test_the_shipped_tables_need_no_vault():
    """They hold for the shipped policies, and leave nothing out."""
    verdict = explain.check_tables(None)
    assert (verdict.failures, verdict.untested, verdict.unasked) == ((), (), ())


def test_with_a_vault_the_policies_in_force_are_tested(room, site, tmp_path):
    """A site's own permit fails the shipped example that it contradicts, and its own table holds."""
    (tmp_path / "scores.cedar").write_text(
        '@id("our-scores") @title("Our analysts see scores")\n'
        'permit (principal in Role::"analyst", action == Action::"query_scores", resource);\n',
        "utf-8",
    )
    (tmp_path / "scores.csv").write_text(HEAD + "analyst,query_scores,query_internal,allow,our-scores\n", "utf-8")
    own = dataclasses.replace(site, policies=PolicySet.load(policies_dir() / "access", tmp_path))
    verdict = explain.check_tables(own)
    assert {one.example.request.action for one in verdict.failures} == {"query_scores"}
    assert verdict.untested == ("our-scores",)
    assert explain.check_tables(own, [str(tmp_path)]).failures == ()
    assert len(explain.check_tables(site, [str(tmp_path)]).failures) == 1
    both = explain.check_tables(own, ["shipped", str(tmp_path)])
    assert {one.example.request.principal.roles for one in both.failures} <= {("analyst",), ROLES}
    assert both.untested == ()


def test_policies_are_tried_before_they_are_adopted(tmp_path):
    """A folder of policies is tested beside the shipped ones without a vault; a faulty one is refused."""
    (tmp_path / "own.cedar").write_text(
        '@id("no-nights") @title("No nights")\nforbid (principal, action == Action::"embed", resource)\n'
        "when { context.hour < 6 };\n",
        "utf-8",
    )
    (tmp_path / "own.csv").write_text(
        "roles,action,purpose,hour,decision,policy\ntrainer,embed,embed,3,deny,no-nights\n", "utf-8"
    )
    verdict = explain.check_tables(None, ["shipped", str(tmp_path)], own=tmp_path)
    assert (verdict.failures, verdict.untested) == ((), ())
    (tmp_path / "own.cedar").write_text("forbid (", "utf-8")
    with pytest.raises(Gap):
        explain.check_tables(None, own=tmp_path)


def test_testing_a_vaults_policies_is_reading_them(room, stranger, site):
    """Without the right to read policies, a vault's are not tested."""
    with pytest.raises(AccessDenied):
        explain.check_tables(stranger)
    assert explain.check_tables(as_role(site, "auditor")).failures == ()
