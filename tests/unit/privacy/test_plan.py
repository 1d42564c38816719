"""Facts about privacy/plan.py."""

import json

import pytest

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.privacy.accountant import epsilon_of
from fabnet_secure.privacy.plan import DPPlan, make_plan, suggested_sampling_probability


@pytest.fixture(scope="module")
def plan() -> DPPlan:
    return make_plan(plan_id="p", dataset_id="d", persons=8, epsilon=8, delta=1e-2)


def test_plan_names_its_own_epsilon(plan):
    """A plan's ε is that of its own event, at most the target; its divisor is q times the persons."""
    assert plan.epsilon == epsilon_of(plan.dp_event(), plan.delta)
    assert 0.99 * 8 <= plan.epsilon <= 8
    assert plan.expected_batch_size == 4


def test_fewer_steps_cost_less(plan):
    """The event of a run that stopped early costs less than the plan."""
    assert epsilon_of(plan.dp_event(steps=10), plan.delta) < plan.epsilon


def test_plan_json_round_trip(plan):
    """A plan survives JSON exactly and keeps its hash; another plan has another hash."""
    again = DPPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.sha256() == plan.sha256()
    assert DPPlan.from_json({**plan.to_json(), "steps": 41}).sha256() != plan.sha256()


@pytest.mark.parametrize(
    "change",
    [
        {"privacy_unit": "frame"},
        {"steps": "40"},
        {"steps": 40.5},
        {"steps": True},
        {"epsilon": "8"},
        {"epsilon": float("nan")},
        {"plan_id": 3},
    ],
)
def test_plan_broken(plan, change):
    """A changed type, or another privacy unit, is an integrity failure."""
    with pytest.raises(IntegrityFailure) as caught:
        DPPlan.from_json({**plan.to_json(), **change})
    assert caught.value.code == "PLAN_BROKEN"


def test_plan_missing_field(plan):
    """A missing field is an integrity failure."""
    body = plan.to_json()
    del body["noise_multiplier"]
    with pytest.raises(IntegrityFailure):
        DPPlan.from_json(body)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"persons": 1}, "TOO_FEW_PERSONS"),
        ({"delta": 0.2}, "DELTA_TOO_LARGE"),
        ({"epsilon": 0}, "EPSILON_INVALID"),
        ({"clipping_norm": 0}, "PLAN_INVALID"),
        ({"learning_rate": float("inf")}, "PLAN_INVALID"),
        ({"steps": 0}, "PLAN_INVALID"),
    ],
)
def test_plan_refused(change, code):
    """A plan that cannot be kept is not made."""
    fields = {"plan_id": "p", "dataset_id": "d", "persons": 8, "epsilon": 8, "delta": 1e-2, **change}
    with pytest.raises(UsageError) as caught:
        make_plan(**fields)
    assert caught.value.code == code


def test_sampling_probability_falls_with_size():
    """The public q is one half for a handful and falls as the site grows."""
    shares = [suggested_sampling_probability(n) for n in (2, 20, 21, 100, 1000, 100_000)]
    assert shares[0] == shares[1] == 0.5
    assert shares == sorted(shares, reverse=True)
