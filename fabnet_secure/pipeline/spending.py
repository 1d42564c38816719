"""Spending privacy budget: one way for training, counting and whatever else costs a person ε.

Guarantees that what is spent is in the anchor, outside the databases, before the transaction that spends it can
commit, so that putting an older database back does not give budget back; and that an entry without a training run
leaves a log entry that binds its price, its mechanism and its people. Does not check a cap: the caller does, in the
same transaction.
"""

from collections.abc import Mapping, Sequence

from fabnet_secure.audit.anchor import SPENT
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import ledger
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.states import LedgerSource
from fabnet_secure.types import Json, RunId, SubjectId, canonical_json, new_id

ACT = "budget.spent"
"""The log entry of an entry that no training run caused."""


def reserve(
    site: Site,
    work: Work,
    *,
    run_id: RunId,
    dp_event: str,
    epsilon: float,
    delta: float,
    subject_ids: Sequence[SubjectId],
) -> None:
    """Reserve a training run's ε for each person; one reservation a run, under the run's id.

    Raises:
        UsageError: code ``LEDGER_EMPTY``: it names nobody.
        IntegrityFailure: the ledger or the anchor refuses it.
    """
    site.anchor.append(SPENT, entry_id=run_id, epsilon=epsilon, delta=delta)
    ledger.reserve(
        work.connection,
        entry_id=run_id,
        run_id=run_id,
        dp_event=dp_event,
        epsilon=epsilon,
        delta=delta,
        subject_ids=subject_ids,
        created_at=site.clock(),
    )


def spend(
    site: Site,
    work: Work,
    *,
    source: LedgerSource,
    dp_event: str,
    epsilon: float,
    delta: float,
    subject_ids: Sequence[SubjectId],
    facts: Mapping[str, Json],
    entry_id: str | None = None,
) -> str:
    """Spend ε for each person at once, without a training run, and log it; return the entry's id.

    Args:
        site: an open vault.
        work: the transaction that it is spent in.
        source: what spends it; not training.
        dp_event: the mechanism, as an event.
        epsilon: what it costs each person.
        delta: what it costs each person.
        subject_ids: who pays; a question may find nobody.
        facts: what the log says of it besides; nothing that depends on people's data without noise.
        entry_id: of an entry that was lost and is charged again (``pipeline/replay.py``); else a fresh one.

    Raises:
        UsageError: code ``LEDGER_EMPTY``: it names nobody and is no question's.
        IntegrityFailure: the ledger or the anchor refuses it.
    """
    entry_id = entry_id or new_id()
    site.anchor.append(SPENT, entry_id=entry_id, epsilon=epsilon, delta=delta)
    row = ledger.reserve(
        work.connection,
        entry_id=entry_id,
        run_id=None,
        source=source,
        dp_event=dp_event,
        epsilon=epsilon,
        delta=delta,
        subject_ids=subject_ids,
        created_at=site.clock(),
    )
    ledger.commit_entry(work.connection, entry_id)
    digest = entry_digest(row, subject_ids)
    work.log(ACT, facts={"entry": digest, "source": source.value, "epsilon": epsilon, "delta": delta, **facts})
    return entry_id


def entry_digest(row: ledger.LedgerRow, subject_ids: Sequence[SubjectId]) -> str:
    """Return what binds an entry to its price, mechanism and people; its random id keeps it from being guessed."""
    parts: list[Json] = [row.entry_id, str(row.source), row.dp_event, row.epsilon, row.delta, *sorted(set(subject_ids))]
    return sha256_bytes(canonical_json(parts))


def kept_digest(connection: Connection, row: ledger.LedgerRow) -> str:
    """Return :func:`entry_digest` of an entry as it is stored now."""
    return entry_digest(row, ledger.members_of_entry(connection, row.entry_id))
