"""Registers: what is in the vault, by id, state and count; never a picture, a vector or a name."""

from typing import Any

from fabnet_secure.pipeline.authorize import authorize
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.plan import check_ledger, people_in_ledger, promised, spends
from fabnet_secure.privacy.ledger import spent
from fabnet_secure.store import ledger, models, tracks
from fabnet_secure.store.states import LedgerState
from fabnet_secure.types import TrackStatus, rfc3339


def list_tracks(site: Site) -> list[dict[str, Any]]:
    """Return every track with its state now; expiry is computed on read."""
    authorize(site, "track_list")
    now = site.clock()
    with site.reading() as connection:
        found = tracks.list_tracks(connection)
    return [
        {
            "track_id": row.track_id,
            "video_id": row.video_id,
            "subject_id": row.subject_id,
            "consent_id": row.consent_id,
            "frames": row.frames,
            "status": str(
                TrackStatus.EXPIRED
                if row.status == TrackStatus.BOUND and row.expires_at is not None and row.expires_at <= now
                else row.status
            ),
            "reason": row.reason,
            "expires_at": rfc3339(row.expires_at) if row.expires_at else None,
        }
        for row in found
    ]


def list_models(site: Site) -> list[dict[str, Any]]:
    """Return every model with its privacy figures and any decision that is due."""
    authorize(site, "model_read")
    with site.reading() as connection:
        found = models.list_models(connection)
    return [
        {
            "model_id": row.model_id,
            "kind": row.kind.value,
            "status": row.status.value,
            "epsilon": row.card["privacy"]["epsilon"],
            "delta": row.card["privacy"]["delta"],
            "persons": row.card["training_data"]["persons"],
            "weights_sha256": row.weights_sha256,
            "created_at": rfc3339(row.created_at),
            "decision_due": rfc3339(row.decision_due) if row.decision_due else None,
            "card": row.card,
        }
        for row in found
    ]


def budgets(site: Site) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return each person's ε spent, reserved and cap, and the site's default cap.

    What a crash left reserved counts as spent against the cap.
    """
    authorize(site, "budget_read")
    with site.reading() as connection:
        check_ledger(connection)
        limits = promised(site, connection)
        subjects = sorted(set(limits) | people_in_ledger(connection))
        entries = ledger.entries_of(connection, subjects)
    persons = [
        {
            "subject_id": subject,
            "spent": spent(spends(entries[subject], LedgerState.COMMITTED)),
            "reserved": spent(spends(entries[subject], LedgerState.RESERVED)),
            "cap": limits.get(subject, 0.0),
        }
        for subject in subjects
    ]
    return persons, {
        "default_cap": site.settings.train.default_epsilon_cap,
        "composition": "basic, over whole jobs",
    }
