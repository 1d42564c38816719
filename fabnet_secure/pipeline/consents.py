"""Recording consents: one at a time or from a file, all or nothing.

The person's reference (a name, an e-mail) is sealed under an identity key of its own the moment it arrives. To find
the same person again the vault keeps a keyed hash of the reference; everything else uses the random ``subject_id``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fabnet_secure.consent.append import given
from fabnet_secure.consent.record import (
    ConsentEvent,
    ConsentRecord,
    Controller,
    ModelFate,
    Scope,
)
from fabnet_secure.consent.state import Standing, standing
from fabnet_secure.crypto.digest import blind_index
from fabnet_secure.crypto.envelope import Context, PublicKey, seal_to
from fabnet_secure.pipeline import promises
from fabnet_secure.pipeline.applications import Application, Checked, check
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent
from fabnet_secure.pipeline.holds import in_force
from fabnet_secure.pipeline.officer import prove
from fabnet_secure.pipeline.raise_cap import raised
from fabnet_secure.store import consents, keystore
from fabnet_secure.store.database import Opening, Work, keystore_work
from fabnet_secure.store.holds import HoldRow
from fabnet_secure.types import ConsentId, Domain, Purpose, SubjectId, new_id

_DATA_DOMAINS = (Domain.TRACKLETS, Domain.EMBEDDINGS, Domain.EVIDENCE)
_CATEGORIES = {
    Purpose.TRAIN_MODEL: ("face crops", "facial-attribute gradients"),
    Purpose.EMBED: ("facial-attribute embeddings",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The identifiers that a consent was given under."""

    consent_id: ConsentId
    subject_id: SubjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One consent with its state now."""

    record: ConsentRecord
    events: tuple[ConsentEvent, ...]
    standing: Standing
    hold: HoldRow | None = None
    raised_cap: float | None = None


def add(site: Site, applications: Sequence[Application]) -> tuple[Recorded, ...]:
    """Record every application in one transaction.

    Raises:
        AccessDenied: the principal may not record consents.
        UsageError: a field cannot be used; nothing was recorded.
    """
    grant = authorize(site, "consent_add")
    checked = [check(application, at=site.clock()) for application in applications]
    with site.work() as work:
        recorded = tuple(_add_one(site, work, one) for one in checked)
        record_grant(site, work, grant, rows=len(recorded))
    return recorded


def rehearse(site: Site, applications: Sequence[Application]) -> int:
    """Find every application good and return how many people would be new; nothing is changed.

    Raises:
        AccessDenied, UsageError: as :func:`add`.
    """
    authorize(site, "consent_add")
    checked = [check(application, at=site.clock()) for application in applications]
    people = {blind_index(site.index_key, one.application.subject_ref) for one in checked}
    with site.reading() as connection:
        return sum(consents.find_subject_by_index(connection, index) is None for index in people)


def show(site: Site, consent_id: str) -> Listed:
    """Return one consent with its state now.

    Raises:
        NoEffectiveConsent: there is none under this id.
    """
    authorize(site, "consent_read")
    with site.reading() as connection:
        record, events = find_consent(connection, consent_id)
        promises.check(site, connection, record.consent_id)
        hold = in_force(site, connection, record.consent_id)
        cap = raised(site, connection).get(record.consent_id)
    now = standing(events, site.clock())
    return Listed(record=record, events=events, standing=now, hold=hold, raised_cap=cap)


def listing(site: Site, subject_ref: str | None = None) -> tuple[Listed, ...]:
    """Return every consent (of the person whom the site calls ``subject_ref``) with its state now, oldest first."""
    authorize(site, "consent_read")
    now = site.clock()
    with site.reading() as connection:
        promises.check(site, connection)
        found = consents.list_consents(connection)
        if subject_ref is not None:
            subject_id = consents.find_subject_by_index(connection, blind_index(site.index_key, subject_ref))
            found = [(record, events) for record, events in found if record.subject_id == subject_id]
    return tuple(Listed(record=record, events=events, standing=standing(events, now)) for record, events in found)


def _add_one(site: Site, work: Work, checked: Checked) -> Recorded:
    subject_id = _subject(site, work, checked)
    record = _record(site, checked, subject_id)
    # The keys exist before the row that needs them: a crash in between leaves keys that open nothing.
    keys = [
        site.keyring.mint(domain=domain, subject_id=subject_id, consent_id=record.consent_id)
        for domain in _DATA_DOMAINS
    ]
    with keystore_work(site.keystore) as connection:
        keystore.add_keys(connection, keys)
    for key in keys:
        prove(site, work.connection, key)
    evidence_key = next(key for key in keys if key.domain is Domain.EVIDENCE)
    event = given(
        record,
        at=record.created_at,
        valid_for=checked.application.valid_for,
        evidence_sha256=checked.evidence_sha256,
        actor=site.principal.name,
        indicated_by=checked.application.indicated_by,
    )
    consents.add_notice(work.connection, checked.notice, checked.notice_text)
    consents.add_consent(work.connection, record)
    consents.append_event(work.connection, record.consent_id, event)
    promises.mark(site, work.connection, record.consent_id)
    work.log(
        "consent.given",
        facts={
            "purposes": list(record.purposes),
            "notice": checked.notice.sha256,
            "evidence": checked.evidence_sha256,
            "valid_for": checked.application.valid_for,
        },
        subjects=(
            Opening(
                label="consent",
                value=record.consent_id,
                consent_id=record.consent_id,
                subject_id=subject_id,
                recipient=PublicKey(evidence_key.public),
            ),
        ),
    )
    return Recorded(consent_id=record.consent_id, subject_id=subject_id)


def _subject(site: Site, work: Work, checked: Checked) -> SubjectId:
    index = blind_index(site.index_key, checked.application.subject_ref)
    known = consents.find_subject_by_index(work.connection, index)
    if known is not None:
        return known
    subject_id = SubjectId(new_id())
    key = site.keyring.mint(domain=Domain.IDENTITY, subject_id=subject_id, consent_id=None)
    with keystore_work(site.keystore) as connection:
        keystore.add_keys(connection, [key])
    reference = checked.application.subject_ref.strip().encode()
    consents.add_subject(
        work.connection,
        subject_id=subject_id,
        blind_index=index,
        sealed_reference=seal_to(PublicKey(key.public), Context(format="identity/1", subject=subject_id), reference),
        category=checked.category,
        created_at=site.clock(),
    )
    return subject_id


def _record(site: Site, checked: Checked, subject_id: SubjectId) -> ConsentRecord:
    table = site.settings.site
    jurisdictions = checked.application.jurisdictions or table.jurisdictions
    return ConsentRecord(
        consent_id=ConsentId(new_id()),
        schema_version="1",
        subject_id=subject_id,
        subject_category=checked.category,
        controller=Controller(
            name=table.controller_name,
            address=table.controller_address,
            contact=table.controller_contact,
            role="controller",
        ),
        jurisdictions=jurisdictions,
        applicable_laws=tuple(_LAWS[name] for name in jurisdictions if name in _LAWS),
        collection_method="recorded by an operator from signed evidence",
        created_at=site.clock(),
        notice=checked.notice,
        scopes=tuple(_scope(site, checked, purpose) for purpose in checked.purposes),
        supersedes=None,
    )


_OPERATIONS = {
    Purpose.TRAIN_MODEL: ("train",),
    Purpose.EMBED: ("encode",),
    Purpose.QUERY_INTERNAL: ("query",),
}
_LAWS = {"EU": "GDPR", "JP": "APPI", "US-IL": "BIPA"}


def _cap(site: Site, checked: Checked, purpose: Purpose) -> float | None:
    """Freeze the promise in the record: a setting that changes later cannot change what a person was promised."""
    if purpose is not Purpose.TRAIN_MODEL:
        return None
    named = checked.application.dp_epsilon_cap
    return site.settings.train.default_epsilon_cap if named is None else named


def _scope(site: Site, checked: Checked, purpose: Purpose) -> Scope:
    valid_for = checked.application.valid_for
    return Scope(
        purpose=purpose,
        data_categories=_CATEGORIES.get(purpose, ("facial-attribute embeddings",)),
        necessity="the purpose cannot be met without the person's own video",
        operations=("collect", "store", *_OPERATIONS.get(purpose, ()), "erase"),
        storage_location="on premise",
        retention=site.settings.ingest.tracklet_retention if purpose is Purpose.TRAIN_MODEL else valid_for,
        deletion_grace="P1D",
        recipients=(),
        transfer="none",
        dp_epsilon_cap=_cap(site, checked, purpose),
        dp_delta_cap=None,
        model_fate_on_withdrawal=ModelFate.KEEP_IF_DP,
    )
