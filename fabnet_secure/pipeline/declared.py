"""The people a video was declared to show: every named consent looked up and required, now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fabnet_secure.consent.record import ConsentRecord
from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.errors import NoEffectiveConsent
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent, require_consent
from fabnet_secure.store.database import Connection
from fabnet_secure.types import ConsentId, Purpose, SubjectId

INGESTIBLE = (Purpose.TRAIN_MODEL, Purpose.EMBED)
"""The purposes that a video may be ingested for, the one that keeps crops first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person that a video was declared to show, with what their consents cover now."""

    consents: Mapping[Purpose, EffectiveConsent]
    consent_ids: tuple[ConsentId, ...]

    @property
    def purpose(self) -> Purpose:
        """What the person's tracks are kept for: training where a consent covers it."""
        return next(purpose for purpose in INGESTIBLE if purpose in self.consents)

    @property
    def binding(self) -> EffectiveConsent:
        """The consent that the tracks are bound to."""
        return self.consents[self.purpose]

    @property
    def record(self) -> ConsentRecord:
        """The record of the consent that the tracks are bound to."""
        return self.binding.record

    @property
    def ends(self) -> datetime | None:
        """When the binding consent ends."""
        return self.binding.valid_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Everybody a video was declared to show.

    Attributes:
        subjects: whose consents were named, in that order.
        people: those of them whose consent is in force; at least one.
        refusals: why the others' is not.
        subject_of: whose each named consent is.
    """

    subjects: tuple[SubjectId, ...]
    people: Mapping[SubjectId, Person]
    refusals: Mapping[SubjectId, NoEffectiveConsent]
    subject_of: Mapping[str, SubjectId]

    @property
    def consent_ids(self) -> tuple[ConsentId, ...]:
        """Every consent that is in force, in the order named."""
        return tuple(one for person in self.people.values() for one in person.consent_ids)


def declare(site: Site, connection: Connection, consent_ids: Sequence[str]) -> Declared:
    """Require every named consent for training or embedding.

    Raises:
        NoEffectiveConsent: no consent was named, one is unknown, or nobody's is in force. A person of several whose
            consent is not in force is told in ``refusals``: their tracks are dropped, the others' are not.
    """
    if not consent_ids:
        raise NoEffectiveConsent("no consent was named", hint="give --consent ID", code="CONSENT_MISSING")
    named: dict[SubjectId, list[str]] = {}
    for consent_id in dict.fromkeys(consent_ids):
        record, _ = find_consent(connection, consent_id)
        named.setdefault(record.subject_id, []).append(consent_id)
    people: dict[SubjectId, Person] = {}
    refusals: dict[SubjectId, NoEffectiveConsent] = {}
    for subject_id, ids in named.items():
        try:
            people[subject_id] = _person(site, connection, ids)
        except NoEffectiveConsent as refusal:
            refusals[subject_id] = refusal
    if not people:
        raise next(iter(refusals.values()))
    return Declared(
        subjects=tuple(named),
        people=people,
        refusals=refusals,
        subject_of={consent_id: subject_id for subject_id, ids in named.items() for consent_id in ids},
    )


def _person(site: Site, connection: Connection, consent_ids: Sequence[str]) -> Person:
    covered: dict[Purpose, EffectiveConsent] = {}
    refusals: list[NoEffectiveConsent] = []
    for consent_id in consent_ids:
        covered = _covered_by(site, connection, consent_id, refusals) | covered  # the consent named first counts
    if not covered:
        raise refusals[0]
    return Person(consents=covered, consent_ids=tuple(consent.consent_id for consent in covered.values()))


def _covered_by(
    site: Site, connection: Connection, consent_id: str, refusals: list[NoEffectiveConsent]
) -> dict[Purpose, EffectiveConsent]:
    minted: dict[Purpose, EffectiveConsent] = {}
    for purpose in INGESTIBLE:
        try:
            minted[purpose] = require_consent(site, connection, consent_id, purpose)
        except NoEffectiveConsent as refusal:
            if refusal.code != "PURPOSE_NOT_COVERED":
                raise  # one of a person's consents that is not in force refuses the person
            refusals.append(refusal)
    return minted
