"""Holding an opened vault against what is remembered outside it: its anchor and the witnesses' checkpoints.

Guarantees that a vault whose log is behind, or beside, a head that was remembered does not open; nor one under a clock
that was set back, nor one whose ledger lost budget that was spent. Reads a few tiles and one entry, whatever the size
of the log: that the rest of it holds is for ``audit verify`` to say. What crashed between the anchor's line and the
commit is told apart from what was committed (``AnchorState.uncertain``).
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fabnet_secure.audit.anchor import AnchorState, Head, broken
from fabnet_secure.audit.anchor_file import Anchor
from fabnet_secure.audit.checkpoint import open_checkpoint
from fabnet_secure.audit.log import root_at
from fabnet_secure.audit.verify import check_head
from fabnet_secure.audit.witness import check_continues, latest_note, rolled_back
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError
from fabnet_secure.store.database import Connection
from fabnet_secure.store.ledger import entry_ids
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.types import Clock, new_id, parse_rfc3339

TOLERANCE: Final = timedelta(seconds=300)
"""A clock that goes wrong by less is taken for one that is being set right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What is remembered outside the databases.

    Attributes:
        anchor: the anchor's state, read before the databases were; None where there cannot be one yet.
        witnesses: the files and folders with witnessed checkpoints.
    """

    anchor: AnchorState | None
    witnesses: Sequence[Path] = ()


def begin_anchor(path: Path, vault_id: str, clock: Clock) -> None:
    """Make a vault's first anchor, unless it is there already."""
    if not path.exists():
        Anchor.create(path, vault_id, clock)


def make_way(path: Path, *, chosen: bool) -> None:
    """Set an anchor that a vault no longer here left behind aside, so that a new vault can have its own.

    Args:
        path: where the new vault's anchor will lie.
        chosen: the place was named by a person; what lies there may be another vault's, and is left alone.

    Raises:
        UsageError: code ``ANCHOR_IN_USE``.
    """
    if not path.exists():
        return
    if chosen:
        hint = "give every vault an anchor of its own: set FABNET_ANCHOR to another path"
        raise UsageError("the anchor's place is taken", hint=hint, code="ANCHOR_IN_USE")
    set_aside(path)


def set_aside(path: Path) -> None:
    """Move an anchor out of the way; it is kept, for whoever wants to know what happened."""
    path.rename(path.with_name(f"{path.name}.set-aside-{new_id()}"))


def check_outside(outside: Outside, connection: Connection, vkey: str, now: datetime) -> Collection[str]:
    """Hold the databases against what is remembered; return the uncertain spending that the ledger does hold.

    Raises:
        IntegrityFailure: code ``ROLLED_BACK``, ``CLOCK_BACK``, ``BUDGET_REWOUND``, ``WITNESS_MISSING`` or
            ``ANCHOR_BROKEN``; ``LOG_BROKEN`` or ``CHECKPOINT_BROKEN`` where the log's own edge does not hold.
    """
    storage = SqlLogStorage(connection)
    # First the edge itself: else damage would look like a roll-back.
    check_head(storage, latest_checkpoint(connection), vkey, verify_signature)
    for path in outside.witnesses:
        check_continues(storage, latest_note(path), vkey, verify_signature)
    state = outside.anchor
    if state is None:
        return ()
    size = storage.size()
    if size < state.floor:
        raise rolled_back(size, state.floor, "anchor")
    if state.head is not None:
        _check_head(storage, size, state.head, vkey)
    times = [state.latest_at, *_last_time(storage, size)]
    check_clock(now, max(times))
    held = entry_ids(connection)
    check_budget(state, held)
    return state.uncertain & held


def check_clock(now: datetime, latest: datetime) -> None:
    """Refuse a clock that is behind the latest known time: consents, expiries and budgets are measured by it.

    Raises:
        IntegrityFailure: code ``CLOCK_BACK``.
    """
    if now + TOLERANCE < latest:
        raise IntegrityFailure(
            f"the clock says {now:%Y-%m-%dT%H:%M:%SZ}, but something was done at {latest:%Y-%m-%dT%H:%M:%SZ}",
            hint="set the clock right; if it was wrong before, wait until then, or accept the log's head as it is: "
            "'fabnet-secure audit anchor --accept SIZE:ROOT --confirm VAULT_ID'",
            code="CLOCK_BACK",
        )


def check_budget(state: AnchorState, held: Collection[str]) -> None:
    """Refuse a ledger that lacks budget that is known to have been spent.

    Raises:
        IntegrityFailure: code ``BUDGET_REWOUND``.
    """
    lost = len(state.owed.difference(held))
    if lost:
        raise IntegrityFailure(
            f"the privacy ledger lacks {lost} spendings that the vault's anchor remembers",
            hint="put the newest databases back; from a backup, only with 'fabnet-secure backup restore', which counts "
            "what was spent since",
            code="BUDGET_REWOUND",
        )


def check_start(anchor_size: int, size: int) -> None:
    """Refuse a unit of work on a log that is smaller than one that this process has seen.

    Raises:
        IntegrityFailure: code ``ROLLED_BACK``.
    """
    if size < anchor_size:
        raise rolled_back(size, anchor_size, "anchor")


def _check_head(storage: SqlLogStorage, size: int, head: Head, vkey: str) -> None:
    if head.note:
        try:
            open_checkpoint(head.note, vkey, verify_signature)
        except FabnetError as error:
            raise broken("its newest head is not signed by this log's key") from error
    if size < head.size or root_at(storage, head.size) != head.root:
        raise rolled_back(size, head.size, "anchor")


def _last_time(storage: SqlLogStorage, size: int) -> list[datetime]:
    """Return the newest entry's time; nothing where it cannot be read, which the log's check reports."""
    try:
        (entry,) = storage.read_entries(size - 1, size)
        return [parse_rfc3339(json.loads(entry)["at"])]
    except (ValueError, KeyError, TypeError, RecursionError, FabnetError):
        return []
