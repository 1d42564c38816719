"""Access decisions, allowed and denied: who asked for what, and which policy said so.

Rows are only added. Does not decide: that is ``access/``.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from fabnet_secure.store.rows import put
from fabnet_secure.store.states import Outcome
from fabnet_secure.store.tables import decision
from fabnet_secure.types import DecisionId


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One decision; ``purpose`` and ``policy_id`` are "" when there was none, ``rows`` how many rows it let out.

    ``answers`` is what it counts of the principal's answers a day; 0 for what is no question.
    """

    decision_id: DecisionId
    principal: str
    action: str
    purpose: str
    outcome: Outcome
    policy_id: str
    policy_sha256: str
    rows: int
    at: datetime
    answers: int = 0


def add_decision(connection: Connection, row: DecisionRow) -> None:
    """Add a decision.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the id is there already.
    """
    values = asdict(row)
    put(connection, decision, row_count=values.pop("rows"), **values)


def list_decisions(
    connection: Connection, *, since: datetime | None = None, until: datetime | None = None
) -> list[DecisionRow]:
    """Return the decisions with ``since <= at < until``, oldest first."""
    wanted = select(decision)
    if since is not None:
        wanted = wanted.where(decision.c.at >= since)
    if until is not None:
        wanted = wanted.where(decision.c.at < until)
    rows = [dict(row) for row in connection.execute(wanted.order_by(decision.c.at, decision.c.decision_id)).mappings()]
    return [DecisionRow(rows=row.pop("row_count"), **row) for row in rows]


def answers_since(connection: Connection, principal: str, *, since: datetime) -> dict[DecisionId, int]:
    """Return the decisions after ``since`` that gave a principal answers, each with how many."""
    wanted = select(decision.c.decision_id, decision.c.answers).where(
        (decision.c.principal == principal) & (decision.c.at > since) & (decision.c.answers > 0)
    )
    return {DecisionId(decision_id): answers for decision_id, answers in connection.execute(wanted)}
