"""``dp``: what differential privacy was spent, on whom, and what the audits measured (NIST SP 800-226).

Guarantees that the worst person's spend counts reserved budget as spent, that a refuted step audit or a
person over the cap is the report's outcome, and that the plain words are computed from the figures beside
them. Does not recompute ε: both accountants' figures are facts.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from fabnet_secure.compliance.evidence import plain
from fabnet_secure.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class DpAudit:
    """An empirical step audit (95 %, one-sided): what was measured beside what was claimed.

    ``mu_*`` is the ratio of one person's reach to the noise (C/σ_eff); ``epsilon_lower`` a lower bound on ε.
    """

    mu_lower: float
    mu_claimed: float
    epsilon_lower: float
    observations: int
    refuted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DpRun:
    """One training run, finished or not; what a crash left reserved counts."""

    run_id: str
    model_id: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    persons: int
    epsilon: float
    epsilon_check: float | None
    delta: float
    noise_multiplier: float
    clipping_norm: float
    sampling_probability: float
    steps: int
    steps_done: int
    audit: DpAudit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DpEntry:
    """One line of the privacy ledger; ``persons`` is how many it counts against.

    ``source`` is ``train``, ``query`` (an answer with noise) or ``restored``; without a run ``run_id`` is "". How many
    people an answer counts against is what its noise hides: ``persons`` is None then.
    """

    entry_id: str
    run_id: str
    state: str
    epsilon: float
    delta: float
    persons: int | None
    created_at: datetime
    source: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class DpSpend:
    """What one person (not named) has spent and has reserved, and the cap promised to them (None: none)."""

    spent: float
    reserved: float
    delta: float
    cap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DpFacts:
    """Everything that the privacy report says; the words are those of the deployment registry."""

    runs: tuple[DpRun, ...]
    entries: tuple[DpEntry, ...]
    spends: tuple[DpSpend, ...]
    privacy_unit: str = "person"
    adjacency: str = "add_or_remove_one"
    mechanism: str = "poisson_subsampled_gaussian"
    mechanism_answers: str = "thresholded_discrete_laplace"
    composition: str = "basic"
    trust_model: str = "central"
    data_source: str = "consented_face_tracklets"
    release: str = "models_on_premise"
    accountant: str = "dp-accounting PLD"
    accountant_check: str = "Opacus PRV"
    not_protected: tuple[str, ...] = ()


def build_dp(facts: DpFacts) -> dict[str, Json]:
    """Return the report's content: facts, summary with the plain words' figures, and the outcome.

    The outcome is ``refuted`` when an audit contradicts a claim, ``over_cap`` when a person's spend passes
    their cap, ``within_cap`` otherwise, ``nothing_spent`` when there is none. Single persons' spends are
    not listed.
    """
    worst = max(facts.spends, key=_total, default=DpSpend(spent=0.0, reserved=0.0, delta=0.0, cap=None))
    over = sum(spend.cap is not None and _total(spend) > spend.cap for spend in facts.spends)
    answers = [entry for entry in facts.entries if entry.source == "query"]
    body = cast("dict[str, Json]", plain(facts))
    del body["spends"]
    return {
        "outcome": _outcome(facts, over),
        "summary": {
            "persons": sum(_total(spend) > 0 for spend in facts.spends),
            "runs": len(facts.runs),
            "answers": len(answers),
            "answers_epsilon": math.fsum(entry.epsilon for entry in answers),
            "worst_total": _total(worst),
            "worst_spent": worst.spent,
            "worst_reserved": worst.reserved,
            "worst_delta": worst.delta,
            "worst_cap": worst.cap,
            "smallest_cap": min((spend.cap for spend in facts.spends if spend.cap is not None), default=None),
            "persons_over_cap": over,
            "audited_epsilon_lower": max((run.audit.epsilon_lower for run in facts.runs if run.audit), default=None),
            "guess_at_most": guess_at_most(_total(worst), worst.delta),
        },
        "facts": body,
    }


def guess_at_most(epsilon: float, delta: float) -> float:
    """Return the best chance of guessing right whether a person took part, from even odds.

    (e^ε + δ) / (e^ε + 1): the hypothesis-testing reading of (ε, δ) (Kairouz, Oh, Viswanath 2015).
    """
    odds = math.exp(-epsilon)
    return min(1.0, (1.0 + delta * odds) / (1.0 + odds))


def _total(spend: DpSpend) -> float:
    return spend.spent + spend.reserved


def _outcome(facts: DpFacts, over: int) -> str:
    if any(run.audit is not None and run.audit.refuted for run in facts.runs):
        return "refuted"
    if over:
        return "over_cap"
    return "within_cap" if facts.entries else "nothing_spent"
