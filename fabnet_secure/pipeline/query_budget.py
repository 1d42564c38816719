"""How many answers a principal gets in 24 hours: many answers together would give a vector away.

Guarantees that an answer is counted in the transaction that gives it, from the log's own entries, proven against its
signed root: two processes that ask at once cannot both take the last one, a refusal is written down, and a decision
that was changed or taken out gives nothing back but stops every further answer. An answer is one list of ranks for one
track or clip (of at most 1,000), or one table of counts; a list with scores counts as :data:`SCORES_COST`, since a
score tells more than a place (scores rounded to 0.1 gave a vector back after some thousands of them). Does not stop
principals who put their answers together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.audit.recent import entries_since
from fabnet_secure.crypto.digest import fingerprint, sha256_bytes
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import BudgetExceeded, IntegrityFailure
from fabnet_secure.pipeline.anchoring import TOLERANCE
from fabnet_secure.pipeline.authorize import record_refusal
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store.database import Connection
from fabnet_secure.store.decisions import answers_since
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.types import Purpose

WINDOW = timedelta(hours=24)
SCORES_COST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a principal may still ask: answers, in any 24 hours."""

    principal: str
    daily_budget: int
    used: int

    @property
    def left(self) -> int:
        """Answers that are left now."""
        return max(0, self.daily_budget - self.used)

    def to_json(self) -> dict[str, str | int]:
        """Return the fields that ``budget show`` prints."""
        return {
            "principal": self.principal,
            "daily_budget": self.daily_budget,
            "used": self.used,
            "left": self.left,
            "window_hours": int(WINDOW.total_seconds() // 3600),
        }


def cost_of(questions: int, *, scores: bool = False) -> int:
    """Return how many answers so many questions count as."""
    return questions * (SCORES_COST if scores else 1)


def allowance(site: Site, connection: Connection) -> Allowance:
    """Return what is left for the principal who asks, as ``connection`` sees it."""
    return Allowance(
        principal=site.principal.name,
        daily_budget=site.settings.query.daily_budget,
        used=_used(site, connection, site.clock() - WINDOW),
    )


def _used(site: Site, connection: Connection, since: datetime) -> int:
    """Count the answers that the log says were given after ``since``, and hold the decisions against it.

    Raises:
        IntegrityFailure: code ``DECISIONS_CHANGED``; ``LOG_BROKEN``: the log's entries are not what was signed.
    """
    before = since - TOLERANCE  # a decision's own time is a little before its entry's
    rows = answers_since(connection, site.principal.name, since=before)
    if site.secrets.index_key is None:
        return 0  # this keyring writes no entry, so it was never given an answer
    logged = _logged(site, connection, since)
    kept = {sha256_bytes(decision_id.encode()): answers for decision_id, answers in rows.items()}
    lost = any(kept.get(digest) != answers for digest, answers, at in logged if at > since)
    if lost or kept.keys() - {digest for digest, _, _ in logged}:
        raise IntegrityFailure(
            "the decisions of the last 24 hours are not those that the log records: one was changed or taken out",
            hint="restore the database: fabnet-secure backup restore; the log has the answers that were given",
            code="DECISIONS_CHANGED",
        )
    return sum(answers for _, answers, at in logged if at > since)


def _logged(site: Site, connection: Connection, since: datetime) -> list[tuple[str, int, datetime]]:
    """Return each entry about answers to this principal: the decision's digest, how many answers, and when."""
    actor = fingerprint(site.index_key, ["actor", site.principal.name])
    entries = entries_since(
        SqlLogStorage(connection),
        latest_checkpoint(connection),
        site.log_vkey,
        verify_signature,
        since=since - TOLERANCE,
        slack=TOLERANCE,
    )
    mine = (read_leaf(one) for one in entries if b'"answers":' in one and actor.encode() in one)
    return [
        (str(leaf.facts["decision"]), int(str(leaf.facts["answers"])), leaf.at)
        for leaf in mine
        if leaf.actor == actor and {"decision", "answers"} <= leaf.facts.keys()
    ]


def require_answers(site: Site, connection: Connection, cost: int) -> int:
    """Require that ``cost`` more answers are left, and return how many are left after them.

    Raises:
        BudgetExceeded: code ``QUERY_BUDGET``.
        IntegrityFailure: code ``DECISIONS_CHANGED`` or ``LOG_BROKEN``.
    """
    found = allowance(site, connection)
    if cost > found.left:
        raise BudgetExceeded(
            f"this question counts as {cost} answers, and {found.left} of {found.daily_budget} are left in 24 hours",
            hint="ask again later, or have query.daily_budget raised in <vault>/fabnet.toml; "
            "'fabnet-secure budget show' counts them",
            code="QUERY_BUDGET",
            left=found.left,
        )
    return found.left - cost


@contextmanager
def refusals_logged(site: Site, action: str, purpose: Purpose) -> Iterator[None]:
    """Write down, in a transaction of its own, that a question inside the block was refused for want of answers."""
    try:
        yield
    except BudgetExceeded as refusal:
        record_refusal(site, action, purpose, refusal.code)
        raise
