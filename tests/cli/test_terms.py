"""ε, δ, steps and persons that no plan can be made of: status 2, or 22 where the money is gone."""

import pytest


@pytest.mark.parametrize("epsilon", ["0", "-1", "-0.0", "nan", "inf", "-inf", "1e-9", "1e9"])
def test_an_epsilon_that_cannot_be(shell, epsilon):
    """ε that is zero, negative, no number or out of range: status 2, nothing stored, by 'plan' and by 'run'."""
    for command in ("plan", "run"):
        terms = ("train", command, "--epsilon", epsilon, "--delta", "1e-2")
        shell.refused(*terms, status=2, code="EPSILON_INVALID")


@pytest.mark.parametrize(
    ("delta", "code"),
    [
        ("0", "DELTA_INVALID"),
        ("-0.1", "DELTA_INVALID"),
        ("nan", "DELTA_INVALID"),
        ("inf", "DELTA_INVALID"),
        ("1", "DELTA_INVALID"),
        ("0.5", "DELTA_TOO_LARGE"),
        ("0.34", "DELTA_TOO_LARGE"),
        ("1e-300", "DELTA_INVALID"),
    ],
)
def test_a_delta_that_cannot_be(shell, delta, code):
    """δ that is no probability, or not below one over the three persons: status 2."""
    shell.refused("train", "plan", "--epsilon", "4", "--delta", delta, status=2, code=code)


@pytest.mark.parametrize(
    "flags",
    [
        ("--epsilon", "four", "--delta", "1e-2"),
        ("--epsilon", "4", "--delta", "small"),
        ("--epsilon", "4"),
        ("--delta", "1e-2"),
        (),
        ("--epsilon", "4", "--delta", "1e-2", "--steps", "2.5"),
        ("--epsilon", "4", "--delta", "1e-2", "--nonsense"),
        ("--epsilon", "4", "--delta", "1e-2", "surplus"),
    ],
)
def test_terms_that_cannot_be_read(shell, flags):
    """Words for numbers, missing, unknown and surplus arguments: status 2."""
    shell.refused("train", "plan", *flags, status=2, code="USAGE")


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--steps", "0"), "PLAN_INVALID"),
        (("--steps", "-4"), "PLAN_INVALID"),
        (("--sampling-probability", "0"), "PLAN_INVALID"),
        (("--sampling-probability", "1.5"), "PLAN_INVALID"),
        (("--sampling-probability", "nan"), "PLAN_INVALID"),
        (("--tuples-per-person", "0"), "TUPLES_INVALID"),
    ],
)
def test_a_schedule_that_cannot_be(shell, flags, code):
    """No steps, a share that is no probability, no tuples: status 2."""
    shell.refused("train", "plan", "--epsilon", "4", "--delta", "1e-2", *flags, status=2, code=code)


def test_a_price_above_every_cap(shell):
    """A plan that costs more than was promised to anybody: status 22, nothing reserved."""
    said = shell.refused("train", "plan", "--epsilon", "9", "--delta", "1e-2", status=22, code="BUDGET_EXCEEDED")
    assert said["excluded"]["budget"] == 3
    assert "budget show" in said["hint"]


def test_a_plan_that_no_longer_fits(shell):
    """A member's later consent promises less than the plan costs them: the run is refused with 22, nothing reserved."""
    plan = shell.json("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1")["plan_id"]
    papers = ("--notice", "notice.txt", "--evidence", "evidence.txt")
    less = ("--purpose", "train_model", "--valid-for", "P1Y", "--dp-epsilon-cap", "4.5")
    shell.json("consent", "add", "--subject-ref", "person 1", *less, *papers)
    shell.refused("train", "run", "--plan", plan, status=22, code="BUDGET_EXCEEDED")


def test_a_plan_is_run_once(shell):
    """A plan that was run already: status 2."""
    shell.refused("train", "run", "--plan", shell.named["plan"], status=2, code="PLAN_USED")


def test_a_plan_and_terms_together(shell):
    """--plan beside terms of its own: status 2."""
    both = ("--plan", shell.named["plan"], "--epsilon", "4")
    shell.refused("train", "run", *both, status=2, code="USAGE")


def test_too_few_people(shell):
    """When two of three have withdrawn, one is left: status 2; a plan made before is stale: status 20."""
    plan = shell.json("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1")["plan_id"]
    first, second, third = shell.named["consents"]
    for consent in (first, second):
        shell.json("subject", "withdraw", consent, "--confirm", consent)
    said = shell.refused("train", "plan", "--epsilon", "1", "--delta", "1e-2", status=2, code="TOO_FEW_PERSONS")
    assert said["excluded"]["consent_withdrawn"] == 3
    shell.refused("train", "run", "--plan", plan, status=20, code="PLAN_STALE")
    shell.json("subject", "withdraw", third, "--confirm", third)
    shell.refused("train", "plan", "--epsilon", "1", "--delta", "1e-2", status=20, code="NOBODY_TO_TRAIN_ON")


def test_a_consent_for_embedding_alone_is_no_training(shell):
    """A person who consents to embedding only is embedded at once; no crop is kept and no plan counts them."""
    summary = shell.json("ingest", shell.clip("spare"), "--consent", shell.named["embed_only"])
    assert summary["tracks"]["bound"] == 1
    assert len(shell.rows()["tracklet"]) == 3
    assert len(shell.rows()["embedding_page"]) == 4
    assert shell.json("train", "plan", "--epsilon", "1", "--delta", "1e-2", "--steps", "1")["persons"] == 3
