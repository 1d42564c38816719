"""The one person a video was declared to show: every named consent required, now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fabnet_secure.consent.record import ConsentRecord
from fabnet_secure.consent.state import EffectiveConsent
from fabnet_secure.errors import Gap, NoEffectiveConsent
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import find_consent, require_consent
from fabnet_secure.store.database import Connection
from fabnet_secure.types import ConsentId, Purpose, SubjectId

INGESTIBLE = (Purpose.TRAIN_MODEL, Purpose.EMBED)
"""The purposes that a video may be ingested for, the one that keeps crops first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The one person a video was declared to show, with what their consents cover."""

    consents: Mapping[Purpose, EffectiveConsent]
    consent_ids: tuple[ConsentId, ...]

    @property
    def record(self) -> ConsentRecord:
        """The record that the tracks are bound to: the one for training where there is one."""
        return next(self.consents[purpose].record for purpose in INGESTIBLE if purpose in self.consents)

    @property
    def ends(self) -> datetime | None:
        """When the binding consent ends."""
        return next(self.consents[purpose].valid_until for purpose in INGESTIBLE if purpose in self.consents)


def declare(site: Site, connection: Connection, consent_ids: Sequence[str]) -> Declared:
    """Require every named consent; together they must be one person's and cover training or embedding."""
    if not consent_ids:
        raise NoEffectiveConsent("no consent was named", hint="give --consent ID", code="CONSENT_MISSING")
    covered: dict[Purpose, EffectiveConsent] = {}
    refusals: list[NoEffectiveConsent] = []
    subjects: set[SubjectId] = set()
    for consent_id in dict.fromkeys(consent_ids):
        record, _ = find_consent(connection, consent_id)
        subjects.add(record.subject_id)
        covered = _covered_by(site, connection, consent_id, refusals) | covered  # the consent named first counts
    if len(subjects) > 1:
        raise Gap(
            "the consents belong to several people",
            hint="name the consents of one person a video; who is who cannot be decided here",
            code="SEVERAL_SUBJECTS",
        )
    if not covered:
        raise refusals[0]
    return Declared(consents=covered, consent_ids=tuple(consent.consent_id for consent in covered.values()))


def _covered_by(
    site: Site, connection: Connection, consent_id: str, refusals: list[NoEffectiveConsent]
) -> dict[Purpose, EffectiveConsent]:
    minted: dict[Purpose, EffectiveConsent] = {}
    for purpose in INGESTIBLE:
        try:
            minted[purpose] = require_consent(site, connection, consent_id, purpose)
        except NoEffectiveConsent as refusal:
            if refusal.code != "PURPOSE_NOT_COVERED":
                raise  # one consent that is not in force refuses the whole video
            refusals.append(refusal)
    return minted
