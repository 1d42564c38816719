"""Raising the ε that a person was promised at most: by their own fresh evidence, and by two people.

The promise stands frozen in the consent's record; a raise is a row after it, never a change of it. What was spent stays
spent: a raise gives room, it forgives nothing. Guarantees that a raise that was written or changed behind the program's
back is refused (``CAP_CHANGED``, exit 30); one that was taken out lets the smaller, earlier promise bind again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fabnet_secure.consent.record import ConsentRecord
from fabnet_secure.crypto.digest import fingerprint, sha256_bytes
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.applications import read_small
from fabnet_secure.pipeline.approvals import require
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import opening, require_consent
from fabnet_secure.store import holds
from fabnet_secure.store.consents import get_consent
from fabnet_secure.store.database import Connection
from fabnet_secure.store.holds import RaiseRow
from fabnet_secure.types import ConsentId, Json, Purpose, canonical_json, rfc3339

MOST = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """One raise: the promise before and after, and the digest of the evidence."""

    consent_id: ConsentId
    before: float
    cap: float
    evidence_sha256: str
    dry_run: bool = False


def raise_cap(
    site: Site,
    consent_id: str,
    *,
    cap: float,
    evidence: Path,
    confirm: str | None,
    approvals: Sequence[Path],
    dry_run: bool = False,
) -> Raised:
    """Raise the ε cap of one consent to ``cap``.

    Args:
        site: an open vault.
        consent_id: a consent to training that is in force.
        cap: the new cap, above the present one and at most 1000.
        evidence: what shows that the person agreed to it, such as a signed form; its digest is kept.
        confirm: the consent's id again.
        approvals: the approvals of two people.
        dry_run: say what would be done, and change nothing.

    Raises:
        AccessDenied: the principal may not raise caps, or two people did not approve it.
        NoEffectiveConsent: the consent does not cover training now.
        UsageError: code ``CAP_NOT_HIGHER``, ``EPSILON_INVALID``, ``EVIDENCE_NOT_FRESH``, ``NOT_CONFIRMED`` …
        IntegrityFailure: code ``CAP_CHANGED``, or an approval's own.
    """
    grant = authorize(site, "budget_raise")
    digest = sha256_bytes(read_small(evidence, "evidence"))
    with site.reading() as connection:
        planned = _planned(site, connection, consent_id, cap, digest)
    if dry_run:
        return replace(planned, dry_run=True)
    if confirm != consent_id:
        hint = f"repeat the id: --confirm {planned.consent_id}"
        raise UsageError("the raise was not confirmed", hint=hint, code="NOT_CONFIRMED")
    params: dict[str, Json] = {"consent": planned.consent_id, "cap": cap, "evidence": digest}
    approved = require(site, "budget_raise", params, approvals)
    with site.work() as work:
        planned = _planned(site, work.connection, consent_id, cap, digest)
        record = require_consent(site, work.connection, consent_id, Purpose.TRAIN_MODEL).record
        approved.use(work)
        row = RaiseRow(
            consent_id=record.consent_id,
            position=holds.next_raise(work.connection, record.consent_id),
            cap=cap,
            evidence_sha256=digest,
            at=site.clock(),
            proof="",
        )
        holds.add_raise(work.connection, _proven(site, row))
        work.log(
            "budget.cap_raised",
            facts={"cap": cap, "before": planned.before, "evidence": digest, **approved.facts},
            subjects=(opening(site, record, "consent", record.consent_id),),
        )
        record_grant(site, work, grant, rows=1)
    return planned


def raised(site: Site, connection: Connection) -> dict[ConsentId, float]:
    """Return the cap of every consent whose cap was raised.

    Raises:
        IntegrityFailure: code ``CAP_CHANGED``.
    """
    rows = holds.list_raises(connection)
    if any(row != _proven(site, row) for row in rows):
        raise IntegrityFailure(
            "a raised cap is not the one that two people approved",
            hint="restore the database; no budget is spent until then",
            code="CAP_CHANGED",
        )
    return {row.consent_id: row.cap for row in rows}  # in order: the last one counts


def cap_of(record: ConsentRecord, raises: Mapping[ConsentId, float]) -> float | None:
    """Return the ε promised at most under one consent: the last raise, else what its record says; None: no training."""
    scope = record.scope(Purpose.TRAIN_MODEL)
    if scope is None:
        return None
    return raises.get(record.consent_id, scope.dp_epsilon_cap or 0.0)


def _planned(site: Site, connection: Connection, consent_id: str, cap: float, digest: str) -> Raised:
    record = require_consent(site, connection, consent_id, Purpose.TRAIN_MODEL).record
    before = cap_of(record, raised(site, connection)) or 0.0
    if not 0 < cap <= MOST:
        raise UsageError("the ε cap cannot be used", hint="a positive number up to 1000", code="EPSILON_INVALID")
    if cap <= before:
        hint = f"the cap is {before:g}; record a new consent to promise less"
        raise UsageError("a raise is to a higher cap", hint=hint, code="CAP_NOT_HIGHER")
    if digest in _shown(connection, record.consent_id):
        hint = "a person agrees to a higher cap anew: give what shows it"
        raise UsageError("this evidence was used for this consent before", hint=hint, code="EVIDENCE_NOT_FRESH")
    return Raised(consent_id=record.consent_id, before=before, cap=cap, evidence_sha256=digest)


def _shown(connection: Connection, consent_id: ConsentId) -> set[str]:
    """Return the digests of the evidence that this consent rests on already."""
    found = get_consent(connection, consent_id)
    given = {event.evidence_sha256 for event in found[1]} if found else set()
    return given | {row.evidence_sha256 for row in holds.list_raises(connection) if row.consent_id == consent_id}


def _proven(site: Site, row: RaiseRow) -> RaiseRow:
    number = canonical_json(row.cap).decode()
    parts = ["cap", row.consent_id, str(row.position), number, row.evidence_sha256, rfc3339(row.at)]
    return replace(row, proof=fingerprint(site.index_key, parts))
