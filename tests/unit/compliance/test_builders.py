import math
from dataclasses import replace

import pytest

from fabnet_secure.compliance.access import AccessFacts, build_access
from fabnet_secure.compliance.dp import DpFacts, DpSpend, build_dp, guess_at_most
from fabnet_secure.compliance.erasure import ErasureFacts, build_erasure, outcome_of
from fabnet_secure.compliance.ropa import Party, RopaFacts, build_ropa


def test_an_erasure_is_complete_only_when_everything_is_gone(facts):
    """A row left, a key not destroyed or still opening, or no end: never ``complete``."""
    whole = facts["erasure"]()
    assert outcome_of(whole) == "complete"
    row, key = whole.stores[0], whole.keys[0]
    assert outcome_of(replace(whole, stores=(replace(row, after=1),))) == "partial"
    assert outcome_of(replace(whole, keys=(replace(key, opens=True),))) == "partial"
    assert outcome_of(replace(whole, keys=(replace(key, destroyed_at=None),))) == "partial"
    assert outcome_of(replace(whole, finished_at=None)) == "pending"


def test_the_worst_erasure_is_the_reports_outcome(facts):
    """One partial erasure among complete ones is what the head of the report says."""
    whole = facts["erasure"]()
    partial = replace(whole, stores=(replace(whole.stores[0], before=3, after=1),))
    body = build_erasure(ErasureFacts(erasures=(whole, partial)))
    assert body["outcome"] == "partial"
    assert [item["outcome"] for item in body["facts"]["erasures"]] == ["complete", "partial"]
    assert body["summary"]["rows_removed"] == 22
    assert body["summary"]["rows_left"] == 1
    assert build_erasure(ErasureFacts(erasures=()))["outcome"] == "none"


def test_reserved_budget_counts_as_spent(facts):
    """The worst person is the one with the most spent and reserved together."""
    summary = build_dp(facts["dp"]())["summary"]
    assert summary["worst_total"] == pytest.approx(7.97424)
    assert summary["worst_cap"] == 8.0
    assert summary["smallest_cap"] == 6.0
    assert (summary["persons"], summary["runs"]) == (2, 2)


def test_over_a_cap_or_refuted_is_what_the_report_says(facts):
    """A person above their cap, or an audit that contradicts a claim, is the outcome."""
    within = facts["dp"]()
    assert build_dp(within)["outcome"] == "within_cap"
    over = replace(within, spends=(DpSpend(spent=5.0, reserved=3.5, delta=0.0, cap=8.0),))
    assert build_dp(over)["outcome"] == "over_cap"
    assert build_dp(over)["summary"]["persons_over_cap"] == 1
    run = replace(within.runs[0], audit=replace(within.runs[0].audit, refuted=True))
    assert build_dp(replace(over, runs=(run,)))["outcome"] == "refuted"


def test_nothing_spent_is_even_odds():
    """Without any training nobody can guess better than 50 %."""
    body = build_dp(DpFacts(runs=(), entries=(), spends=()))
    assert body["outcome"] == "nothing_spent"
    assert body["summary"]["guess_at_most"] == 0.5


def test_single_spends_are_not_published(facts):
    """The report names the worst spend, not a list of persons."""
    assert "spends" not in build_dp(facts["dp"]())["facts"]


@pytest.mark.parametrize(("epsilon", "delta", "chance"), [(0, 0, 0.5), (math.log(3), 0, 0.75), (1, 1e-5, 0.7310612)])
def test_the_best_guess_follows_from_epsilon_and_delta(epsilon, delta, chance):
    """(e^ε + δ)/(e^ε + 1): even odds at ε = 0, three to one at ε = ln 3."""
    assert guess_at_most(epsilon, delta) == pytest.approx(chance, abs=1e-6)


def test_the_best_guess_never_passes_certainty():
    """A huge ε or a δ of one is certainty, not more."""
    assert guess_at_most(5000.0, 0.5) == 1.0
    assert guess_at_most(0.0, 1.0) == 1.0


def test_a_record_with_an_empty_field_is_incomplete(facts):
    """Each empty field that Article 30 asks for is named with its purpose; none is filled in silently."""
    whole = facts["ropa"]()
    assert build_ropa(whole)["outcome"] == "complete"
    bare = replace(whole.activities[0], retention=(), storage_locations=())
    body = build_ropa(replace(whole, activities=(bare,), controller=Party(name="x"), measures=()))
    assert body["outcome"] == "incomplete"
    assert {(item["purpose"], item["field"]) for item in body["missing"]} == {
        ("train_model", "retention"),
        ("train_model", "storage_locations"),
        ("", "controller"),
        ("", "measures"),
    }
    assert body["summary"]["missing"] == 4


def test_no_activity_at_all_is_a_gap_too(facts):
    """A record without activities is incomplete, not empty and fine."""
    whole = facts["ropa"]()
    nothing = RopaFacts(
        controller=whole.controller,
        activities=(),
        measures=whole.measures,
        holdings=(),
        persons=0,
        consents_effective=0,
    )
    assert build_ropa(nothing)["missing"] == [{"purpose": "", "field": "activities"}]


def test_every_decision_is_listed_in_order_with_totals(facts):
    """Permissions, denials and gaps all count, by time and by principal."""
    body = build_access(facts["access"]())
    assert body["summary"] == {"decisions": 4, "allow": 2, "deny": 1, "gap": 1, "rows": 1132, "principals": 2}
    times = [item["at"] for item in body["facts"]["decisions"]]
    assert times == sorted(times)
    suzuki = body["principals"][1]
    assert (suzuki["principal"], suzuki["decisions"], suzuki["refused"], suzuki["rows"]) == ("suzuki", 3, 2, 1012)


def test_a_broken_log_is_the_outcome(facts):
    """Whatever the decisions say, a log that does not hold is the report's outcome."""
    whole = facts["access"]()
    broken = replace(whole, log=replace(whole.log, ok=False, problem="tile 0/3"))
    assert build_access(broken)["outcome"] == "log_broken"
    assert build_access(AccessFacts(decisions=(), log=whole.log))["outcome"] == "log_whole"


def test_answers_with_noise_are_told_with_their_price_but_without_their_people(facts):
    """Entries without a run are summed up beside the runs; how many people an answer counts is not in the report."""
    plain = facts["dp"]()
    answers = tuple(
        replace(plain.entries[0], entry_id=name, run_id="", source="query", epsilon=0.5, persons=None) for name in "ab"
    )
    body = build_dp(replace(plain, entries=plain.entries + answers))
    assert (body["summary"]["answers"], body["summary"]["answers_epsilon"]) == (2, 1.0)
    assert [entry["persons"] for entry in body["facts"]["entries"]] == [120, 120, None, None]
