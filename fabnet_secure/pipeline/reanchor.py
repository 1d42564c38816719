"""The anchor as a person sees it, and the one deliberate way to accept a head that it does not remember.

Guarantees that a head is accepted only when a person names its size and root, the whole log holds, it continues that
head, every configured witness agrees, and no budget that is known to be spent is missing; the log's entry about it
comes first. What the anchor knew of withdrawals and spending stays.
"""

import base64
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fabnet_secure.audit.anchor import ACCEPTED, HEAD, AnchorState
from fabnet_secure.audit.anchor_file import Anchor
from fabnet_secure.audit.log import root_at
from fabnet_secure.audit.verify import check_log
from fabnet_secure.audit.witness import check_continues, latest_note
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError
from fabnet_secure.pipeline.anchoring import Outside, check_budget, check_outside, set_aside
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store.database import Connection
from fabnet_secure.store.ledger import entry_ids
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The anchor beside the log.

    Attributes:
        remembered: the anchor's head; None where it names none or cannot be read.
        latest_at: the latest time that it names.
        size, root: the log's own head (32 bytes).
        problem: why the vault does not open; None when all is well.
        withdrawn, spent: how many withdrawn consents, and how many spendings, it remembers.
    """

    remembered: int | None
    latest_at: datetime | None
    size: int
    root: bytes
    problem: FabnetError | None
    withdrawn: int = 0
    spent: int = 0


def standing(site: Site) -> Standing:
    """Hold the anchor against the log and say what is found; nothing is changed.

    Raises:
        AccessDenied: the principal may not.
    """
    authorize(site, "audit_verify")
    state, problem = _read(site.anchor)
    witnesses = [Path(one) for one in site.settings.audit.witness]
    with site.reading() as connection:
        storage = SqlLogStorage(connection)
        size, root = storage.size(), root_at(storage)
        if problem is None:
            try:
                check_outside(Outside(anchor=state, witnesses=witnesses), connection, site.log_vkey, site.clock())
            except IntegrityFailure as failure:
                problem = failure
    if state is None:
        return Standing(remembered=None, latest_at=None, size=size, root=root, problem=problem)
    return Standing(
        remembered=state.head.size if state.head else None,
        latest_at=state.latest_at,
        size=size,
        root=root,
        problem=problem,
        withdrawn=len({one.consent_id for one in state.withdrawn} - {""}),
        spent=len(state.spent),
    )


def accept(site: Site, head: str, *, confirm: str, dry_run: bool = False) -> int:
    """Take the head that a person vouches for as the one to go on from; return its size.

    Args:
        site: a vault opened with ``anchored=False``.
        head: ``SIZE:ROOT``, the root in base64, as a witness, a report or an export showed it.
        confirm: the vault's id.
        dry_run: check everything, change nothing.

    Raises:
        UsageError: code ``HEAD_INVALID`` or ``CONFIRM``.
        IntegrityFailure: code ``ROLLED_BACK``: the log does not continue that head, or a witness's; ``BUDGET_REWOUND``;
            ``LOG_BROKEN`` or ``CHECKPOINT_BROKEN``: the log does not hold.
        AccessDenied: the principal may not.
    """
    size, root = _parse_head(head)
    if confirm != site.vault_id:
        raise UsageError(
            "accepting a head wants the vault's id",
            hint=f"look at both heads again, then add --confirm {site.vault_id}",
            code="CONFIRM",
        )
    grant = authorize(site, "backup_restore")
    state, _ = _read(site.anchor)
    with site.reading() as connection:
        _check(site, connection, size, root, state)
    if dry_run:
        return size
    lost = max(0, (state.head.size if state and state.head else 0) - size)
    with site.unanchored_work() as work:
        work.log("anchor.accepted", facts={"size": size, "root": head.partition(":")[2], "entries_lost": lost})
        record_grant(site, work, grant)
    if state is None:
        if os.path.lexists(site.anchor.path):  # damaged
            set_aside(site.anchor.path)
        Anchor.create(site.anchor.path, site.vault_id, site.clock)
    site.anchor.append(ACCEPTED, size=size, root=base64.b64encode(root).decode("ascii"))
    site.anchor.append(HEAD, checkpoint=work.note)
    return size


def _check(site: Site, connection: Connection, size: int, root: bytes, state: AnchorState | None) -> None:
    """Refuse a head that the log, a witness or the ledger contradicts."""
    storage, note = SqlLogStorage(connection), latest_checkpoint(connection)
    check_log(storage, note, site.log_vkey, verify_signature)
    if storage.size() < size or root_at(storage, size) != root:
        raise IntegrityFailure(
            f"the log of {storage.size()} entries does not continue that head",
            hint="'fabnet-secure audit anchor' shows the log's own; compare it with what a witness or a report shows",
            code="ROLLED_BACK",
        )
    for path in site.settings.audit.witness:
        check_continues(storage, latest_note(Path(path)), site.log_vkey, verify_signature)
    if state is not None:
        check_budget(state, entry_ids(connection))


def _read(anchor: Anchor) -> tuple[AnchorState | None, IntegrityFailure | None]:
    try:
        return anchor.state(), None
    except IntegrityFailure as failure:
        return None, failure


def _parse_head(text: str) -> tuple[int, bytes]:
    size, _, encoded = text.partition(":")
    try:
        root = base64.b64decode(encoded, validate=True)
    except ValueError:
        root = b""
    if not (size.isascii() and size.isdigit() and len(size) < 19 and len(root) == 32):
        hint = "write the number of entries, a colon, and the root in base64, as 'audit verify' prints them"
        raise UsageError("this is no head of a log", hint=hint, code="HEAD_INVALID")
    return int(size), root
