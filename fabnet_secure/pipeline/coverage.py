"""Which consents cover a purpose now: asked when an act begins and again inside the transaction that commits it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fabnet_secure.consent.record import ConsentEvent, ConsentRecord
from fabnet_secure.consent.state import EffectiveConsent, require
from fabnet_secure.crypto.digest import fingerprint
from fabnet_secure.crypto.envelope import PublicKey
from fabnet_secure.errors import IntegrityFailure, NoEffectiveConsent
from fabnet_secure.pipeline import promises
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.officer import check_proof
from fabnet_secure.store import consents, erasures, keystore, meta
from fabnet_secure.store.database import Connection, Opening, read_only
from fabnet_secure.types import ConsentId, Domain, Purpose, is_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The consents that cover one purpose, and why the others do not (error code → count)."""

    effective: Mapping[ConsentId, EffectiveConsent]
    excluded: Mapping[ConsentId, str]

    def records(self) -> list[ConsentRecord]:
        """Return the records of the effective consents."""
        return [consent.record for consent in self.effective.values()]

    def reasons(self) -> dict[str, int]:
        """Count the exclusions by reason, in lower case as reports name them."""
        return dict(Counter(code.lower() for code in self.excluded.values()))


def find_consent(connection: Connection, consent_id: str) -> tuple[ConsentRecord, tuple[ConsentEvent, ...]]:
    """Read one consent with its events.

    Raises:
        NoEffectiveConsent: there is none under this id, or the text is no id at all.
    """
    found = consents.get_consent(connection, ConsentId(consent_id)) if is_id(consent_id) else None
    if found is None:
        # What is no id may be anything, a person's name from a shifted column too: it is not repeated.
        told = f"no consent has the id {consent_id}" if is_id(consent_id) else "what was given is no consent's id"
        raise NoEffectiveConsent(
            told, hint="run 'fabnet-secure consent list'; an id is given in full", code="CONSENT_UNKNOWN"
        )
    return found


def require_consent(site: Site, connection: Connection, consent_id: str, purpose: Purpose) -> EffectiveConsent:
    """Mint the effective consent for ``purpose`` as of now, from the events that ``connection`` sees.

    Raises:
        NoEffectiveConsent: unknown, withdrawn, expired, not yet valid, or the purpose is not in its scope.
    """
    record, events = find_consent(connection, consent_id)
    consent = require(record, events, purpose, site.clock())
    if erasures.list_erasures(connection, consent_id=record.consent_id):
        raise _erased(record)  # its withdrawal was taken out of the events behind our back
    promises.check(site, connection, record.consent_id)
    return consent


def _erased(record: ConsentRecord) -> NoEffectiveConsent:
    """Refuse a consent whose erasure was begun, whatever its events say by now."""
    return NoEffectiveConsent(
        f"consent {record.consent_id} was withdrawn",
        hint=f"run 'fabnet-secure consent show {record.consent_id}'",
        code="CONSENT_WITHDRAWN",
    )


def covering(site: Site, connection: Connection, purpose: Purpose) -> Coverage:
    """Fold every consent for ``purpose`` at the present time."""
    effective: dict[ConsentId, EffectiveConsent] = {}
    excluded: dict[ConsentId, str] = {}
    now = site.clock()
    erased = {row.consent_id for row in erasures.list_erasures(connection)}
    for record, events in consents.list_consents(connection):
        try:
            consent = require(record, events, purpose, now)
            if record.consent_id in erased:
                raise _erased(record)
            effective[record.consent_id] = consent
        except NoEffectiveConsent as refusal:
            excluded[record.consent_id] = refusal.code
    if forged := promises.unproven(site, connection) & effective.keys():
        raise promises.changed(min(forged))
    return Coverage(effective=effective, excluded=excluded)


def recipient(site: Site, record: ConsentRecord, domain: Domain) -> PublicKey:
    """Return the public key that seals this consent's data of one domain: writing needs no secret.

    Raises:
        IntegrityFailure: (KEY_LOST) the keystore holds no living key for it; (KEY_CHANGED) or one that nobody signed
            for who makes keys here (``pipeline/officer.py``).
        NoEffectiveConsent: (KEY_DESTROYED) two people had the key destroyed (``keys destroy``).
    """
    with read_only(site.keystore) as connection:
        key = keystore.find_key(connection, record.subject_id, record.consent_id, domain)
    with site.reading() as connection:
        if was_destroyed(site, connection, record.consent_id, domain):
            raise NoEffectiveConsent(
                "the key of this data was destroyed: nothing more is sealed under this consent",
                hint=f"run 'fabnet-secure consent show {record.consent_id}'; to go on, record a new consent",
                code="KEY_DESTROYED",
            )
        if key is None:
            raise IntegrityFailure(
                "the keystore holds no key for a consent that is in force",
                hint="run 'fabnet-secure doctor'; the keystore may be older than the vault",
                code="KEY_LOST",
            )
        check_proof(site, connection, key)
    if site.keyring.opens(domain) and key.epoch in site.keyring.epochs:
        site.keyring.unwrap(key).wipe()  # whoever can, sees for itself: the public half is the wrapped key's own
    return PublicKey(key.public)


def destroyed_mark(site: Site, consent_id: ConsentId, domain: Domain) -> tuple[str, str]:
    """Return what the vault's database keeps of a key that two people had destroyed: a name, and the proof under it."""
    proof = fingerprint(site.index_key, ["key_destroyed", consent_id, domain.value])
    return f"destroyed/{consent_id}/{domain.value}", proof


def was_destroyed(site: Site, connection: Connection, consent_id: ConsentId, domain: Domain) -> bool:
    """Tell whether two people had this key destroyed; a key that is gone for no reason is damage."""
    name, proof = destroyed_mark(site, consent_id, domain)
    return meta.get_meta(connection, name) == proof


def opening(site: Site, record: ConsentRecord, label: str, value: str) -> Opening:
    """Describe a commitment in a log entry that only this consent's evidence key can open."""
    return Opening(
        label=label,
        value=value,
        consent_id=record.consent_id,
        subject_id=record.subject_id,
        recipient=recipient(site, record, Domain.EVIDENCE),
    )
