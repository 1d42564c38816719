"""``access``: who asked for what, why, when, and what was decided; and whether the log that says so is whole.

Guarantees that every decision handed in is listed, denials and gaps as well as permissions, and that a
broken log is the report's outcome. Does not know acts that went round the program.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from fabnet_secure.compliance.evidence import plain
from fabnet_secure.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDecision:
    """One decision: ``outcome`` is ``allow``, ``deny`` or ``gap``; ``rows`` what was handed out, None if unknown."""

    at: datetime
    decision_id: str
    principal: str
    action: str
    purpose: str
    outcome: str
    policy_id: str
    policy_sha256: str
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCheck:
    """A full check of the audit log: every entry, every tile, the root, the signed checkpoint."""

    size: int
    root: str
    ok: bool
    checked_at: datetime
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFacts:
    """Everything that the access report says."""

    decisions: tuple[AccessDecision, ...]
    log: LogCheck


def build_access(facts: AccessFacts) -> dict[str, Json]:
    """Return the report's content: decisions by time, totals by principal, and the log's state as the outcome."""
    ordered = sorted(facts.decisions, key=lambda decision: (decision.at, decision.decision_id))
    counts = Counter(decision.outcome for decision in ordered)
    return {
        "outcome": "log_whole" if facts.log.ok else "log_broken",
        "summary": {
            "decisions": len(ordered),
            "allow": counts["allow"],
            "deny": counts["deny"],
            "gap": counts["gap"],
            "rows": sum(decision.rows or 0 for decision in ordered),
            "principals": len({decision.principal for decision in ordered}),
        },
        "principals": [_totals(name, ordered) for name in sorted({decision.principal for decision in ordered})],
        "facts": {"decisions": plain(ordered), "log": cast("dict[str, Json]", plain(facts.log))},
    }


def _totals(principal: str, decisions: list[AccessDecision]) -> Json:
    own = [decision for decision in decisions if decision.principal == principal]
    return {
        "principal": principal,
        "decisions": len(own),
        "refused": sum(decision.outcome != "allow" for decision in own),
        "rows": sum(decision.rows or 0 for decision in own),
        "last_at": plain(own[-1].at),
    }
