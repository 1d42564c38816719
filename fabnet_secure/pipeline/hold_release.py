"""Ending a legal hold, by two people; what had waited for it is done at once.

Order against crashes: the release and its log entry are one transaction. What follows (a withdrawal's deletions, an
expiry's) is carried out from the erasure ledger, and by any later command if this one was cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import holds
from fabnet_secure.pipeline.approvals import require
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.carry import carry_waiting
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent, opening
from fabnet_secure.pipeline.maintain import sweep
from fabnet_secure.store import erasures
from fabnet_secure.store import holds as rows
from fabnet_secure.store.database import Connection
from fabnet_secure.store.holds import HoldRow
from fabnet_secure.store.states import ErasureState
from fabnet_secure.types import ConsentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What a release did, or would do; ``erasure`` is the waiting withdrawal's outcome, "" where none waited."""

    hold: HoldRow
    erasure: str


def release(
    site: Site, consent_id: str, *, confirm: str | None, approvals: Sequence[Path], dry_run: bool = False
) -> Released:
    """End the hold on a consent, and carry through what waited for it.

    Args:
        site: an open vault.
        consent_id: the consent.
        confirm: the same id again; what is erased then cannot be had back.
        approvals: the approvals of two people.
        dry_run: say what would be done, and change nothing.

    Raises:
        AccessDenied: the principal may not release holds, or two people did not approve it.
        NoEffectiveConsent: code ``CONSENT_UNKNOWN``.
        UsageError: code ``NOT_HELD`` or ``NOT_CONFIRMED``.
        IntegrityFailure: code ``HOLDS_CHANGED``, or an approval's own.
    """
    grant = authorize(site, "hold_release")
    with site.reading() as connection:
        record, _ = find_consent(connection, consent_id)
        row = _living(site, connection, record.consent_id)
        waits = _waiting(connection, record.consent_id)
    if dry_run:
        return Released(hold=row, erasure="pending" if waits else "")
    if confirm != consent_id:
        hint = f"repeat the id: --confirm {record.consent_id}"
        raise UsageError("the release was not confirmed", hint=hint, code="NOT_CONFIRMED")
    params = {"consent": record.consent_id, "hold": row.hold_id}
    approved = require(site, "hold_release", params, approvals)
    with site.work() as work:
        row = _living(site, work.connection, record.consent_id)
        approved.use(work)
        now = site.clock()
        ended = holds.proven(site, replace(row, released_at=now))
        rows.release_hold(work.connection, row.hold_id, at=now, proof=ended.proof)
        work.log(
            "hold.released",
            facts={"hold": holds.mark(site, row.hold_id), **approved.facts},
            subjects=(opening(site, record, "consent", record.consent_id),),
        )
        record_grant(site, work, grant, rows=1)
    done = carry_waiting(site).get(record.consent_id)
    sweep(site)  # and where the consent has expired meanwhile
    return Released(hold=ended, erasure=done.outcome if done else "")


def _living(site: Site, connection: Connection, consent_id: ConsentId) -> HoldRow:
    row = holds.in_force(site, connection, consent_id)
    if row is None:
        raise UsageError("the consent is not held", hint="run 'fabnet-secure subject holds'", code="NOT_HELD")
    return row


def _waiting(connection: Connection, consent_id: ConsentId) -> bool:
    begun = erasures.list_erasures(connection, consent_id=consent_id)
    return any(row.state is not ErasureState.COMPLETE for row in begun)
