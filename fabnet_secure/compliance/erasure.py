"""``erasure``: what was erased after each withdrawal, what was read back, and what was kept and why (GDPR 17).

Guarantees that an erasure is called complete only when it is finished, no row is left, and every key was
destroyed and opened nothing when read back; whatever the caller believes. Does not reach copies outside
this program: their horizon is a stated fact.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from fabnet_secure.compliance.evidence import plain
from fabnet_secure.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCount:
    """Rows of one store under the consent, before the first delete and when read back."""

    store: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReadBack:
    """One data key: when it was destroyed (None: it was not), and whether it still opened anything afterwards."""

    key_id: str
    domain: str
    destroyed_at: datetime | None
    opens: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """Something kept, and the ground for keeping it."""

    item: str
    ground: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDecision:
    """A model that learned from the person: ``keep_if_dp``, ``retrain``, ``retire``, or ``pending`` until ``due``."""

    model_id: str
    kind: str
    epsilon: float | None
    delta: float | None
    decision: str
    due: datetime | None
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One withdrawal and what followed.

    Copies of the keystore from before the erasure open until their epoch is destroyed: ``backups_closed`` is when that
    was done, ``backups_until`` when it is due, by a policy that renews the keys every ``backups_period``; neither where
    it is overdue. ``backups_open_before``: copies from before this time open with the root key, and no renewal ends
    that (an older program made them); then neither of the two is said.
    """

    erasure_id: str
    consent_id: str
    subject_id: str
    requested_at: datetime
    indicated_by: str
    finished_at: datetime | None
    stores: tuple[StoreCount, ...]
    keys: tuple[KeyReadBack, ...]
    backups_until: datetime | None
    backups_note: str
    retained: tuple[Retained, ...]
    models: tuple[ModelDecision, ...]
    backups_closed: datetime | None = None
    backups_period: str = ""
    backups_open_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureFacts:
    """Everything that the erasure report says."""

    erasures: tuple[Erasure, ...]


def outcome_of(erasure: Erasure) -> str:
    """Return ``complete``, ``partial`` or ``pending`` (not finished) for one erasure, from its facts alone."""
    if erasure.finished_at is None:
        return "pending"
    rows_gone = all(store.after == 0 for store in erasure.stores)
    keys_gone = all(key.destroyed_at is not None and not key.opens for key in erasure.keys)
    return "complete" if rows_gone and keys_gone else "partial"


def build_erasure(facts: ErasureFacts) -> dict[str, Json]:
    """Return the report's content: each erasure with its outcome, and the worst of them as the report's."""
    outcomes = [outcome_of(erasure) for erasure in facts.erasures]
    items: list[Json] = [
        cast("dict[str, Json]", plain(erasure)) | {"outcome": outcome}
        for erasure, outcome in zip(facts.erasures, outcomes, strict=True)
    ]
    keys = [key for erasure in facts.erasures for key in erasure.keys]
    models = [model for erasure in facts.erasures for model in erasure.models]
    return {
        "outcome": next((word for word in ("partial", "pending", "complete") if word in outcomes), "none"),
        "summary": {
            "erasures": len(outcomes),
            "complete": outcomes.count("complete"),
            "rows_removed": sum(row.before - row.after for each in facts.erasures for row in each.stores),
            "rows_left": sum(row.after for each in facts.erasures for row in each.stores),
            "keys_destroyed": sum(key.destroyed_at is not None and not key.opens for key in keys),
            "decisions_pending": sum(model.decision == "pending" for model in models),
        },
        "facts": {"erasures": items},
    }
