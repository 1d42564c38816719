"""Withdraw: the consent ends at once, its data is erased, and what can be proven is certified, never more.

event and erasure-ledger row (one transaction, before the first delete) → rows deleted → keys destroyed → database
files cleaned → read back that no row is left and no key opens → ``complete`` or ``partial`` → certificate. Every step
may be repeated: a run that was cut off is finished by running the command again.

Small and true in this version: what a withdrawal keeps is named in the certificate with its ground (the consent's
own record and the sealed reference that demonstrate it, the log's commitments, the ε already spent).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fabnet_secure.access.decision import Grant
from fabnet_secure.audit import anchor
from fabnet_secure.compliance.erasure import ErasureFacts, build_erasure
from fabnet_secure.compliance.evidence import SignedEvidence, report_evidence, sign
from fabnet_secure.consent.append import withdrawn
from fabnet_secure.consent.record import ConsentRecord, IndicatedBy
from fabnet_secure.consent.state import standing
from fabnet_secure.crypto.envelope import PublicKey
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline import facts, holds, promises
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.pipeline.quarantine import sweep_held
from fabnet_secure.store import consents, erasures, keystore, models
from fabnet_secure.store.database import Connection, Opening, keystore_work, read_only
from fabnet_secure.store.states import ErasureState
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import ConsentId, Domain, ErasureId, KeyId, ModelId, new_id

_DECISION_WITHIN = timedelta(days=30)  # GDPR Article 12(3): one month


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """What a withdrawal did, or what a dry run would do."""

    erasure_id: ErasureId
    outcome: str  # complete, partial, dry_run
    already: bool
    keys_destroyed: int
    embeddings_removed: int
    tracklets_removed: int
    models_affected: tuple[ModelId, ...]
    certificate: Mapping[str, Any]


def withdraw(
    site: Site, consent_id: str, *, confirm: str | None, indicated_by: str = "subject", dry_run: bool = False
) -> Withdrawn:
    """Withdraw one consent and erase what was processed under it.

    Args:
        site: an open vault.
        consent_id: the consent.
        indicated_by: who asked for it: subject, guardian, representative, controller or authority.
        confirm: the same id again; a severe act wants it said twice.
        dry_run: count what would go, and change nothing.

    Raises:
        AccessDenied: the principal may not withdraw.
        NoEffectiveConsent: there is no such consent.
        UsageError: the confirmation does not match.
    """
    grant = authorize(site, "withdraw")
    try:
        asked_by = IndicatedBy(indicated_by)
    except ValueError:
        hint = "one of: " + ", ".join(IndicatedBy)
        raise UsageError(f"unknown asker: {indicated_by[:40]!r}", hint=hint, code="INDICATED_BY_INVALID") from None
    with site.reading() as connection:
        record, _ = find_consent(connection, consent_id)
        counts = erasures.remaining(connection, record.consent_id)
        done = next(iter(erasures.list_erasures(connection, consent_id=record.consent_id)), None)
        held = holds.in_force(site, connection, record.consent_id) is not None
    with read_only(site.keystore) as connection:
        left = sum(counts.values()) + len(keystore.keys_of_consent(connection, record.consent_id))
    if dry_run:
        return _rehearsed(site, record, {} if held else counts, held=held)
    if confirm != consent_id:
        hint = f"repeat the id: --confirm {record.consent_id}"
        raise UsageError("the withdrawal was not confirmed", hint=hint, code="NOT_CONFIRMED")
    if done is not None and done.state is ErasureState.COMPLETE and not left:
        return _said_before(done)
    erasure = done or _announce(site, record, grant, asked_by)
    return _erase(site, record, erasure)


def carry_out(site: Site, gone: anchor.Withdrawn) -> Withdrawn | None:
    """Withdraw and erase what was withdrawn once already: the anchor knows of it, a restored backup does not.

    The keys that were destroyed then are destroyed again, whatever else the backup knows of the consent. What allows it
    is the grant of the restore, which is recorded there.

    Returns:
        what was done; None where the backup knew it all, or does not know the consent.
    """
    consent_id = ConsentId(gone.consent_id)
    with site.reading() as connection:
        found = consents.get_consent(connection, consent_id)
        done = next(iter(erasures.list_erasures(connection, consent_id=consent_id)), None)
    carried_out = None
    if found is not None and (done is None or done.state is not ErasureState.COMPLETE):
        record, again = found[0], "replayed after a restore"
        erasure = done or _announce(site, record, None, IndicatedBy.SUBJECT, at=gone.at, method=again)
        carried_out = _erase(site, record, erasure)
    with site.reading() as connection:
        held = holds.in_force(site, connection, consent_id)
    if held is None:
        with keystore_work(site.keystore) as connection:
            keystore.destroy_keys(connection, [KeyId(key_id) for key_id in gone.key_ids], site.clock())
    return carried_out


def _announce(
    site: Site,
    record: ConsentRecord,
    grant: Grant | None,
    asked_by: IndicatedBy,
    *,
    at: datetime | None = None,
    method: str = "request",
) -> erasures.ErasureRow:
    """End the consent and write the erasure ledger: from here on nothing is done under it.

    Counted in the transaction that ends the consent: what an ingest committed just before is in the plan too, and of
    two withdrawals at once the second carries on with the first one's erasure.
    """
    with read_only(site.keystore) as connection:
        keys = [
            {"key_id": key.key_id, "domain": key.domain.value}
            for key in keystore.keys_of_consent(connection, record.consent_id)
        ]
    with site.work() as work:
        begun = erasures.list_erasures(work.connection, consent_id=record.consent_id)
        if begun:  # another process was faster
            work.log("consent.withdrawn_again", facts={})
            if grant is not None:
                record_grant(site, work, grant)
            return begun[0]
        counts = erasures.remaining(work.connection, record.consent_id)
        _, events = find_consent(work.connection, record.consent_id)
        if standing(events, site.clock()).state.value != "withdrawn":
            event = withdrawn(
                record,
                events,
                at=at or site.clock(),
                recorded_at=site.clock(),
                indicated_by=asked_by,
                actor=site.principal.name,
                method=method,
            )
            sound = not promises.unproven(site, work.connection, record.consent_id)
            consents.append_event(work.connection, record.consent_id, event)
            if sound:  # a changed one may be withdrawn; that makes it no sounder
                promises.mark(site, work.connection, record.consent_id)
        erasure = erasures.open_erasure(
            work.connection,
            erasure_id=ErasureId(new_id()),
            consent_id=record.consent_id,
            subject_id=record.subject_id,
            requested_at=at or site.clock(),
            planned={"rows": dict(counts), "keys": keys},
        )
        work.log(
            "consent.withdrawn",
            facts={"rows": dict(counts), "keys": len(keys)},
            subjects=(_commitment(site, record),),
        )
        if grant is not None:
            record_grant(site, work, grant, rows=sum(counts.values()))
        hold = holds.in_force(site, work.connection, record.consent_id)
        _remember(site, record.consent_id, [] if hold else keys)
    return erasure


def _remember(site: Site, consent_id: ConsentId, keys: Sequence[Mapping[str, Any]]) -> None:
    """Write the withdrawal where no backup of the databases can forget it, before it is committed and carried out."""
    site.anchor.append(anchor.WITHDRAWN, consent_id=consent_id, key_ids=[str(key["key_id"]) for key in keys])


def _commitment(site: Site, record: ConsentRecord) -> Opening:
    """Commit to the consent; where its keys went with its expiry, under a salt that nobody keeps."""
    with read_only(site.keystore) as connection:
        key = keystore.find_key(connection, record.subject_id, record.consent_id, Domain.EVIDENCE)
    return Opening(
        label="consent",
        value=record.consent_id,
        consent_id=record.consent_id,
        subject_id=record.subject_id,
        recipient=None if key is None else PublicKey(key.public),
    )


def carry_through(site: Site, erasure: erasures.ErasureRow) -> Withdrawn:
    """Carry out a withdrawal that waited for a legal hold, which nothing holds any more."""
    with site.reading() as connection:
        record, _ = find_consent(connection, erasure.consent_id)
    _remember(site, erasure.consent_id, erasure.planned["keys"])
    return _erase(site, record, erasure)


def _kept(site: Site, erasure: erasures.ErasureRow) -> Withdrawn:
    """End a withdrawal as far as a legal hold lets it: nothing is done any more, nothing is deleted yet."""
    certificate = _certificate(site, replace(erasure, finished_at=site.clock())).as_object()
    with site.work() as work:
        affected = _flag_models(site, work.connection, erasure.consent_id)
        erasures.finish_erasure(
            work.connection,
            erasure.erasure_id,
            state=ErasureState.PARTIAL,
            certificate=certificate,
            finished_at=site.clock(),
        )
        work.log("erasure.held", facts={"keys": len(erasure.planned["keys"]), "models": len(affected)})
    done = _withdrawn(erasure, ErasureState.PARTIAL, affected, certificate, already=False)
    return replace(done, keys_destroyed=0, embeddings_removed=0, tracklets_removed=0)


def _erase(site: Site, record: ConsentRecord, erasure: erasures.ErasureRow) -> Withdrawn:
    consent_id = record.consent_id
    with site.reading() as connection:
        hold = holds.in_force(site, connection, consent_id)
    if hold is not None:
        return _kept(site, erasure)
    with site.work() as work:
        holds.refuse_held(site, work.connection, consent_id)  # placed since
        erasures.delete_consent_artifacts(work.connection, census_of(site), consent_id)
        affected = _flag_models(site, work.connection, consent_id)
        work.log("erasure.rows_deleted", facts={"rows": dict(erasure.planned["rows"]), "models": len(affected)})
    key_ids = [KeyId(str(key["key_id"])) for key in erasure.planned["keys"]]
    with keystore_work(site.keystore) as connection:
        since = [key.key_id for key in keystore.keys_of_consent(connection, consent_id)]  # 'keys reencrypt' makes some
        keystore.destroy_keys(connection, [*key_ids, *since], site.clock())
    sweep_held(site)  # what waits in quarantine under this consent goes too
    checkpoint_wal(site.engine)
    checkpoint_wal(site.keystore)
    certificate = _certificate(site, replace(erasure, finished_at=site.clock())).as_object()
    outcome = ErasureState(certificate["evidence"]["body"]["outcome"])
    with site.work() as work:
        held = erasures.get_erasure(work.connection, erasure.erasure_id)
        if held is not None and held.state is ErasureState.COMPLETE:  # another process was faster, or data came back
            work.log("erasure.repeated", facts={"keys": len(key_ids)})
            return _withdrawn(erasure, outcome, affected, certificate, already=False)
        erasures.finish_erasure(
            work.connection, erasure.erasure_id, state=outcome, certificate=certificate, finished_at=site.clock()
        )
        work.log(f"erasure.{outcome}", facts={"keys": len(key_ids), "models": len(affected)})
    return _withdrawn(erasure, outcome, affected, certificate, already=False)


def _flag_models(site: Site, connection: Connection, consent_id: ConsentId) -> tuple[ModelId, ...]:
    affected = models.models_of_consent(connection, consent_id)
    for row in affected:
        models.flag_model(connection, row.model_id, decision_due=site.clock() + _DECISION_WITHIN)
    return tuple(row.model_id for row in affected)


def _certificate(site: Site, erasure: erasures.ErasureRow) -> SignedEvidence:
    """Sign what is found now: the certificate is the erasure report of this one erasure."""
    content = build_erasure(ErasureFacts(erasures=(facts.erasure_of(site, erasure),)))
    return sign(report_evidence(facts.header(site, "erasure"), content), site.report_signer)


def _rehearsed(site: Site, record: ConsentRecord, counts: Mapping[str, int], *, held: bool) -> Withdrawn:
    with read_only(site.keystore) as connection:
        keys = len(keystore.keys_of_consent(connection, record.consent_id))
    with site.reading() as connection:
        affected = tuple(row.model_id for row in models.models_of_consent(connection, record.consent_id))
    return Withdrawn(
        erasure_id=ErasureId(""),
        outcome="dry_run",
        already=False,
        keys_destroyed=0 if held else keys,
        embeddings_removed=counts.get("embeddings", 0),
        tracklets_removed=counts.get("tracklets", 0),
        models_affected=affected,
        certificate={},
    )


def _said_before(done: erasures.ErasureRow) -> Withdrawn:
    certificate = dict(done.certificate or {})
    (told,) = certificate["evidence"]["body"]["facts"]["erasures"]
    affected = tuple(ModelId(str(model["model_id"])) for model in told["models"])
    return _withdrawn(done, done.state, affected, certificate, already=True)


def _withdrawn(
    erasure: erasures.ErasureRow,
    outcome: str,
    affected: tuple[ModelId, ...],
    certificate: Mapping[str, Any],
    *,
    already: bool,
) -> Withdrawn:
    rows = erasure.planned["rows"]
    return Withdrawn(
        erasure_id=erasure.erasure_id,
        outcome=outcome,
        already=already,
        keys_destroyed=len(erasure.planned["keys"]),
        embeddings_removed=rows.get("embeddings", 0),
        tracklets_removed=rows.get("tracklets", 0),
        models_affected=affected,
        certificate=certificate,
    )
