"""Plans, runs and the privacy ledger: what each person's budget was spent on.

Guarantees that privacy loss only grows: an entry is reserved before a run starts, may become committed, and is never
changed or deleted. Does not compute epsilon and holds no cap: that is ``privacy/``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from fabnet_secure.errors import UsageError
from fabnet_secure.store.columns import in_chunks
from fabnet_secure.store.rows import change, put
from fabnet_secure.store.states import LedgerSource, LedgerState, RunState
from fabnet_secure.store.tables import ledger_entry, ledger_member, plan, run
from fabnet_secure.types import DatasetId, PlanId, RunId, SubjectId

_ENDED = (RunState.COMPLETE, RunState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A training plan: ``body`` is ``privacy.plan.DPPlan.to_json()``."""

    plan_id: PlanId
    dataset_id: DatasetId
    body: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A training run; ``ended_at`` is None until it is complete or failed."""

    run_id: RunId
    plan_id: PlanId
    state: RunState
    steps_done: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One loss of privacy, the same for each member: ``dp_event`` is the serialised event that accounts for it.

    ``run_id`` is None for what no training run caused (``source``).
    """

    entry_id: str
    run_id: RunId | None
    dp_event: str
    epsilon: float
    delta: float
    state: LedgerState
    created_at: datetime
    source: LedgerSource = LedgerSource.TRAIN


def add_plan(connection: Connection, row: PlanRow) -> None:
    """Add a plan.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: its dataset is unknown, or the id is there already.
    """
    put(connection, plan, plan_id=row.plan_id, dataset_id=row.dataset_id, body=row.body, created_at=row.created_at)


def get_plan(connection: Connection, plan_id: PlanId) -> PlanRow | None:
    """Return one plan, or None."""
    row = connection.execute(select(plan).where(plan.c.plan_id == plan_id)).mappings().one_or_none()
    return None if row is None else PlanRow(**row)


def list_plans(connection: Connection) -> list[PlanRow]:
    """Return every plan, oldest first."""
    rows = connection.execute(select(plan).order_by(plan.c.created_at, plan.c.plan_id))
    return [PlanRow(**row) for row in rows.mappings()]


def add_run(connection: Connection, row: RunRow) -> None:
    """Add a run.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: its plan is unknown.
    """
    put(
        connection,
        run,
        run_id=row.run_id,
        plan_id=row.plan_id,
        state=row.state,
        steps_done=row.steps_done,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def get_run(connection: Connection, run_id: RunId) -> RunRow | None:
    """Return one run, or None."""
    row = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().one_or_none()
    return None if row is None else RunRow(**row)


def list_runs(connection: Connection) -> list[RunRow]:
    """Return every run, oldest first."""
    rows = connection.execute(select(run).order_by(run.c.started_at, run.c.run_id))
    return [RunRow(**row) for row in rows.mappings()]


def set_run_state(
    connection: Connection, run_id: RunId, *, state: RunState, steps_done: int, ended_at: datetime | None = None
) -> None:
    """Move a run on. Steps never go back, and a run that has ended stays ended.

    Raises:
        UsageError: code ``NOT_FOUND``: no such run, it has ended, or it had done more steps already.
    """
    place = (run.c.run_id == run_id) & run.c.state.not_in(_ENDED) & (run.c.steps_done <= steps_done)
    moved = update(run).where(place).values(state=state, steps_done=steps_done, ended_at=ended_at)
    change(connection, moved, "run")


def reserve(
    connection: Connection,
    *,
    entry_id: str,
    run_id: RunId | None,
    dp_event: str,
    epsilon: float,
    delta: float,
    created_at: datetime,
    subject_ids: Sequence[SubjectId],
    source: LedgerSource = LedgerSource.TRAIN,
) -> LedgerRow:
    """Set privacy loss aside for each of ``subject_ids``; it counts as spent from now on, whatever happens.

    Raises:
        UsageError: code ``LEDGER_EMPTY``: it names nobody, and is no question's (one that nobody pays for leaves the
            same entry, since to leave none would tell).
        IntegrityFailure: code ``ROW_REFUSED``: a person or the run is unknown, a figure is impossible, or training
            names no run.
    """
    if not subject_ids and source is not LedgerSource.QUERY:
        raise UsageError("a ledger entry names at least one person", code="LEDGER_EMPTY")
    values: dict[str, Any] = {
        "entry_id": entry_id,
        "run_id": run_id,
        "dp_event": dp_event,
        "epsilon": epsilon,
        "delta": delta,
        "state": LedgerState.RESERVED,
        "created_at": created_at,
        "source": source,
    }
    put(connection, ledger_entry, **values)
    rows = [{"entry_id": entry_id, "subject_id": subject_id} for subject_id in sorted(set(subject_ids))]
    if rows:
        connection.execute(insert(ledger_member), rows)
    return LedgerRow(**values)


def commit_entry(connection: Connection, entry_id: str) -> None:
    """Turn a reservation into a spend.

    Raises:
        UsageError: code ``NOT_FOUND``: no such entry, or it is committed already.
    """
    place = (ledger_entry.c.entry_id == entry_id) & (ledger_entry.c.state == LedgerState.RESERVED)
    change(connection, update(ledger_entry).where(place).values(state=LedgerState.COMMITTED), "reservation")


def entries_of(connection: Connection, subject_ids: Sequence[SubjectId]) -> dict[SubjectId, list[LedgerRow]]:
    """Return each person's entries, oldest first; an empty list for who has none."""
    found: dict[SubjectId, list[LedgerRow]] = {subject_id: [] for subject_id in subject_ids}
    for chunk in in_chunks(sorted(found)):
        wanted = (
            select(ledger_member.c.subject_id, ledger_entry)
            .join(ledger_entry, ledger_entry.c.entry_id == ledger_member.c.entry_id)
            .where(ledger_member.c.subject_id.in_(chunk))
            .order_by(ledger_entry.c.created_at, ledger_entry.c.entry_id)
        )
        for row in connection.execute(wanted).mappings():
            values = dict(row)
            found[values.pop("subject_id")].append(LedgerRow(**values))
    return found


def list_entries(connection: Connection) -> list[LedgerRow]:
    """Return every entry, oldest first."""
    rows = connection.execute(select(ledger_entry).order_by(ledger_entry.c.created_at, ledger_entry.c.entry_id))
    return [LedgerRow(**row) for row in rows.mappings()]


def entry_ids(connection: Connection) -> set[str]:
    """Return every entry's id."""
    return set(connection.execute(select(ledger_entry.c.entry_id)).scalars())


def members_of_entry(connection: Connection, entry_id: str) -> list[SubjectId]:
    """Return the people that an entry counts for."""
    wanted = select(ledger_member.c.subject_id).where(ledger_member.c.entry_id == entry_id)
    return [SubjectId(found) for found in connection.execute(wanted.order_by(ledger_member.c.subject_id)).scalars()]
