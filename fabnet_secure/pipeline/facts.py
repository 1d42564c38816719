"""What the reports say, read from the store: one function a report, each a snapshot turned into plain facts.

A report's builder (``compliance/``) decides outcomes; nothing here does. An erasure is read back *again* whenever its
facts are asked for, so a certificate that was true once cannot stay true by being old.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fabnet_secure import __version__
from fabnet_secure.audit.verify import check_log
from fabnet_secure.compliance.access import AccessDecision, AccessFacts, LogCheck
from fabnet_secure.compliance.dp import DpAudit, DpEntry, DpFacts, DpRun, DpSpend
from fabnet_secure.compliance.erasure import Erasure, ErasureFacts, KeyReadBack, ModelDecision, Retained, StoreCount
from fabnet_secure.compliance.evidence import Header
from fabnet_secure.compliance.ropa import Activity, Count, Measure, Party, RopaFacts
from fabnet_secure.consent.record import ConsentEvent, ConsentRecord, EventType, Scope
from fabnet_secure.consent.state import standing
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import FabnetError, IntegrityFailure
from fabnet_secure.pipeline import holds
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.horizon import keystore_copies
from fabnet_secure.pipeline.plan import check_ledger, people_in_ledger, promised, spends
from fabnet_secure.privacy.ledger import delta_spent, spent
from fabnet_secure.privacy.plan import DPPlan
from fabnet_secure.store import consents, decisions, erasures, keystore, ledger, models, tracks
from fabnet_secure.store.database import Connection, read_only
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.store.states import LedgerSource, LedgerState
from fabnet_secure.types import Purpose

RETAINED = (
    Retained(item="consent_record", ground="GDPR 7(1), 5(2)"),
    Retained(item="sealed_reference", ground="GDPR 7(1)"),
    Retained(item="track_rows", ground="GDPR 5(2)"),
    Retained(item="log_commitments", ground="GDPR 5(2)"),
    Retained(item="privacy_ledger", ground="NIST SP 800-226"),
)


def header(site: Site, kind: str) -> Header:
    """Return what stands at the head of every report of this site."""
    table = site.settings.site
    now = site.clock()
    with site.reading() as connection:
        checkpoint = latest_checkpoint(connection)
    return Header(
        kind=kind,
        period_start=None,
        period_end=now,
        controller_name=table.controller_name,
        controller_address=table.controller_address,
        controller_contact=table.controller_contact,
        dpo=table.dpo,
        generated_at=now,
        generator_version=__version__,
        policy_sha256=site.policy_sha256,
        log_checkpoint=checkpoint,
    )


def access(site: Site) -> AccessFacts:
    """Return every decision, and a full check of the log that records them."""
    with site.reading() as connection:
        rows = decisions.list_decisions(connection)
        storage, note = SqlLogStorage(connection), latest_checkpoint(connection)
        try:
            verified = check_log(storage, note, site.log_vkey, verify_signature)
            log = LogCheck(size=verified.size, root=verified.root.hex(), ok=True, checked_at=site.clock())
        except IntegrityFailure as broken:
            log = LogCheck(size=storage.size(), root="", ok=False, checked_at=site.clock(), problem=broken.message)
    listed = tuple(
        AccessDecision(
            at=row.at,
            decision_id=row.decision_id,
            principal=row.principal,
            action=row.action,
            purpose=row.purpose or "",
            outcome=row.outcome.value,
            policy_id=row.policy_id,
            policy_sha256=row.policy_sha256,
            rows=row.rows,
        )
        for row in rows
    )
    return AccessFacts(decisions=listed, log=log)


def dp(site: Site) -> DpFacts:
    """Return every run, the ledger, and each person's spend beside the cap that binds it."""
    with site.reading() as connection:
        check_ledger(connection)
        limits = promised(site, connection)
        subjects = sorted(set(limits) | people_in_ledger(connection))
        entries_of = ledger.entries_of(connection, subjects)
        entries = ledger.list_entries(connection)
        runs = tuple(_run(connection, row) for row in ledger.list_runs(connection))
    counted = Counter(row.entry_id for subject in subjects for row in entries_of[subject])
    people = tuple(
        DpSpend(
            spent=spent(spends(entries_of[subject], LedgerState.COMMITTED)),
            reserved=spent(spends(entries_of[subject], LedgerState.RESERVED)),
            delta=delta_spent(spends(entries_of[subject])),
            cap=limits.get(subject),
        )
        for subject in subjects
    )
    listed = tuple(
        DpEntry(
            entry_id=row.entry_id,
            run_id=row.run_id or "",
            state=row.state.value,
            epsilon=row.epsilon,
            delta=row.delta,
            persons=None if row.source is LedgerSource.QUERY else counted[row.entry_id],
            created_at=row.created_at,
            source=row.source.value,
        )
        for row in entries
    )
    return DpFacts(runs=runs, entries=listed, spends=people, not_protected=("person_count", "plan_values"))


def _run(connection: Connection, row: ledger.RunRow) -> DpRun:
    plan_row = ledger.get_plan(connection, row.plan_id)
    if plan_row is None:
        raise IntegrityFailure("a run has lost its plan", code="PLAN_BROKEN")
    plan = DPPlan.from_json(plan_row.body)
    model = next((one for one in models.list_models(connection) if one.run_id == row.run_id), None)
    privacy = model.card["privacy"] if model else {}
    return DpRun(
        run_id=row.run_id,
        model_id=model.model_id if model else "",
        state=row.state.value,
        started_at=row.started_at,
        ended_at=row.ended_at,
        persons=plan.persons,
        epsilon=plan.epsilon,
        epsilon_check=privacy.get("epsilon_check"),
        delta=plan.delta,
        noise_multiplier=plan.noise_multiplier,
        clipping_norm=plan.clipping_norm,
        sampling_probability=plan.sampling_probability,
        steps=plan.steps,
        steps_done=row.steps_done,
        audit=_audit(privacy.get("empirical_audit")),
    )


def _audit(body: dict[str, float] | None) -> DpAudit | None:
    if not body:
        return None
    return DpAudit(
        mu_lower=body["mu_lower"],
        mu_claimed=body["mu_claimed"],
        epsilon_lower=body["epsilon_lower"],
        observations=int(body["observations"]),
        refuted=bool(body["refuted"]),
    )


def erasure(site: Site) -> ErasureFacts:
    """Return every erasure, read back now."""
    with site.reading() as connection:
        rows = erasures.list_erasures(connection)
    return ErasureFacts(erasures=tuple(erasure_of(site, row) for row in rows))


def erasure_of(site: Site, row: erasures.ErasureRow) -> Erasure:
    """Return one erasure: what stood before, what is found now, and what each destroyed key still opens."""
    with site.reading() as connection:
        left = erasures.remaining(connection, row.consent_id)
        affected = models.models_of_consent(connection, row.consent_id)
        _, events = find_consent(connection, row.consent_id)
        hold = holds.in_force(site, connection, row.consent_id)
    before, copies = row.planned["rows"], keystore_copies(site, row.consent_id)
    return Erasure(
        erasure_id=row.erasure_id,
        consent_id=row.consent_id,
        subject_id=row.subject_id,
        requested_at=row.requested_at,
        indicated_by=_indicated_by(events),
        finished_at=row.finished_at,
        stores=tuple(
            StoreCount(store=store, before=before.get(store, 0), after=left.get(store, 0))
            for store in sorted(set(before) | set(left))
        ),
        keys=_keys(site, row),
        backups_until=copies.until,
        backups_note=copies.note,
        retained=(*RETAINED, *holds.retained(hold)),
        models=tuple(
            ModelDecision(
                model_id=model.model_id,
                kind=model.kind.value,
                epsilon=model.card["privacy"]["epsilon"],
                delta=model.card["privacy"]["delta"],
                decision="pending",
                due=model.decision_due,
            )
            for model in affected
        ),
        backups_closed=copies.closed_at,
        backups_period=site.settings.keys.rotation_period,
        backups_open_before=copies.open_before,
    )


def _indicated_by(events: Sequence[ConsentEvent]) -> str:
    return next((str(event.indicated_by) for event in reversed(events) if event.type is EventType.WITHDRAWN), "")


def _keys(site: Site, row: erasures.ErasureRow) -> tuple[KeyReadBack, ...]:
    """Try every planned key, and any that came since: it is not enough that a column says it was destroyed."""
    with read_only(site.keystore) as connection:
        living = {key.key_id: key for key in keystore.keys_of_consent(connection, row.consent_id)}
        gone = {
            stone.key_id: stone
            for stone in keystore.tombstones(connection, row.consent_id)
            if keystore.is_destroyed(connection, stone.key_id)
        }
    known = {str(planned["key_id"]) for planned in row.planned["keys"]}
    since = tuple(
        KeyReadBack(key_id=key.key_id, domain=key.domain.value, destroyed_at=None, opens=_opens(site, key))
        for key in living.values()
        if key.key_id not in known
    )
    return since + tuple(
        KeyReadBack(
            key_id=str(planned["key_id"]),
            domain=str(planned["domain"]),
            destroyed_at=gone[planned["key_id"]].destroyed_at if planned["key_id"] in gone else None,
            opens=_opens(site, living.get(planned["key_id"])),
        )
        for planned in row.planned["keys"]
    )


def _opens(site: Site, key: WrappedKey | None) -> bool:
    if key is None:
        return False
    try:
        site.keyring.unwrap(key).wipe()
    except FabnetError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """One purpose as one consent describes it."""

    record: ConsentRecord
    scope: Scope
    valid: bool


def ropa(site: Site) -> RopaFacts:
    """Return the processing activities as the consents on file describe them."""
    now = site.clock()
    with site.reading() as connection:
        found = consents.list_consents(connection)
        holdings = _holdings(connection)
        size = SqlLogStorage(connection).size()
    uses: defaultdict[Purpose, list[_Use]] = defaultdict(list)
    for record, events in found:
        valid = standing(events, now).valid
        for scope in record.scopes:
            uses[scope.purpose].append(_Use(record=record, scope=scope, valid=valid))
    table = site.settings.site
    contact = " ".join(part for part in (table.controller_address, table.controller_contact) if part)
    return RopaFacts(
        controller=Party(name=table.controller_name, contact=contact),
        activities=tuple(_activity(purpose, uses[purpose]) for purpose in sorted(uses)),
        measures=_measures(site, size),
        holdings=holdings,
        persons=len({record.subject_id for record, _ in found}),
        consents_effective=_effective(site, found),
    )


def _effective(site: Site, found: Sequence[tuple[ConsentRecord, tuple[ConsentEvent, ...]]]) -> int:
    return sum(standing(events, site.clock()).valid for _, events in found)


def _holdings(connection: Connection) -> tuple[Count, ...]:
    kinds = Counter(row.status.value for row in tracks.list_tracks(connection))
    return tuple(Count(name=f"tracks_{name}", count=count) for name, count in sorted(kinds.items()))


def _activity(purpose: Purpose, uses: Sequence[_Use]) -> Activity:
    def every(name: str) -> tuple[str, ...]:
        return tuple(sorted({str(item) for use in uses for item in getattr(use.scope, name)}))

    def one(name: str) -> tuple[str, ...]:
        return tuple(sorted({str(getattr(use.scope, name)) for use in uses} - {"", "none"}))

    persons = {use.record.subject_id: str(use.record.subject_category) for use in uses}
    return Activity(
        purpose=str(purpose),
        legal_basis=one("legal_basis"),
        special_category=any(use.scope.special_category for use in uses),
        subject_categories=tuple(
            Count(name=name, count=count) for name, count in sorted(Counter(persons.values()).items())
        ),
        data_categories=every("data_categories"),
        operations=every("operations"),
        recipients=every("recipients"),
        transfers=one("transfer"),
        retention=one("retention"),
        storage_locations=one("storage_location"),
        persons=len(persons),
        consents_effective=sum(use.valid for use in uses),
        consents_ended=sum(not use.valid for use in uses),
    )


def _measures(site: Site, log_size: int) -> tuple[Measure, ...]:
    with read_only(site.keystore) as connection:
        living, destroyed = len(keystore.list_keys(connection)), len(keystore.tombstones(connection))
    return (
        Measure(name="encryption", detail="Cobblestone-256, HPKE (X25519)"),
        Measure(name="keys_apart", detail=f"keystore.db: {living}, † {destroyed}"),
        Measure(name="access_control", detail=f"Cedar, SHA-256 {site.policies.sha256}"),
        Measure(name="audit_log", detail=f"RFC 6962, n = {log_size}"),
        Measure(name="pseudonymisation", detail="random_ids"),
        Measure(name="retention", detail=f"≤ {site.settings.ingest.tracklet_retention}"),
    )
