"""Lineage: which consents a dataset holds, and what a model says about itself.

Guarantees that a dataset version is frozen, names every member's consent, person and track, and survives JSON exactly;
and that a model card is a pure function of what it is given, in the sections of Mitchell et al. 2019, «Model cards for
model reporting» (arXiv 1810.03993). A card holds counts and hashes only: no id of a person, a consent or a track.
Does not store anything.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.types import (
    ConsentId,
    DatasetId,
    Json,
    SubjectId,
    TrackId,
    canonical_json,
    parse_rfc3339,
    rfc3339,
)

CARD_SCHEMA = "fabnet-secure/model-card/v1"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Member:
    """One track in a dataset, and the consent it is there under."""

    consent_id: ConsentId
    subject_id: SubjectId
    track_id: TrackId


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """Who was in a dataset when it was frozen.

    Attributes:
        dataset_id: its id.
        created_at: when it was frozen.
        members: its tracks.
        consent_snapshot_sha256: hash over the consents it rests on.
        exclusions: how many tracks or persons were left out, by reason.
    """

    dataset_id: DatasetId
    created_at: datetime
    members: tuple[Member, ...]
    consent_snapshot_sha256: str
    exclusions: Mapping[str, int]

    @property
    def subjects(self) -> frozenset[SubjectId]:
        """The persons in it: what privacy is counted by."""
        return frozenset(member.subject_id for member in self.members)

    @property
    def consents(self) -> frozenset[ConsentId]:
        """The consents it rests on."""
        return frozenset(member.consent_id for member in self.members)

    def to_json(self) -> dict[str, Json]:
        """Return the version as JSON fields."""
        return {
            "dataset_id": self.dataset_id,
            "created_at": rfc3339(self.created_at),
            "members": [asdict(member) for member in self.members],
            "consent_snapshot_sha256": self.consent_snapshot_sha256,
            "exclusions": dict(self.exclusions),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            IntegrityFailure: a field is missing or of another type (code ``DATASET_BROKEN``).
        """
        try:
            return cls(
                dataset_id=DatasetId(str(body["dataset_id"])),
                created_at=parse_rfc3339(body["created_at"]),
                members=tuple(Member(**member) for member in body["members"]),
                consent_snapshot_sha256=str(body["consent_snapshot_sha256"]),
                exclusions={str(reason): int(count) for reason, count in body["exclusions"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise IntegrityFailure("a stored dataset cannot be read", code="DATASET_BROKEN") from error

    def sha256(self) -> str:
        """Return the hash of the version's canonical JSON, in hex."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()


def model_card(
    *,
    model_id: str,
    run_id: str,
    plan: Mapping[str, Json],
    dataset: DatasetVersion,
    epsilon: float,
    epsilon_check: float,
    steps: int,
    audit: Mapping[str, Json],
    weights_sha256: str,
    created_at: str,
    withdrawn_since: int = 0,
) -> dict[str, Json]:
    """Build the card of a privately trained model.

    Args:
        model_id: the model.
        run_id: the run that made it.
        plan: ``DPPlan.to_json()``.
        dataset: what it was trained on.
        epsilon: ε of the run (PLD).
        epsilon_check: ε of the recorded steps by the second accountant (PRV).
        steps: noisy steps taken.
        audit: ``StepAudit.to_json()``.
        weights_sha256: digest of the weights file.
        created_at: RFC 3339.
        withdrawn_since: consents of the dataset no longer in force when the model was released.
    """
    return {
        "schema": CARD_SCHEMA,
        "model_details": {
            "model_id": model_id,
            "run_id": run_id,
            "created_at": created_at,
            "weights_sha256": weights_sha256,
            "weights_format": "safetensors",
            "architecture": "FAb-Net encoder and flow decoder with group normalisation",
            "image_size": plan.get("image_size"),
            "width": plan.get("width"),
            "embedding_dim": plan.get("embedding_dim"),
        },
        "intended_use": {
            "primary": "embedding facial attributes (pose, expression) of consenting persons; search among them",
            "out_of_scope": [
                "identifying persons",
                "inferring emotions",
                "decisions about a person",
            ],
        },
        "training_data": _training_data(dataset, withdrawn_since),
        "privacy": _privacy(plan, epsilon, epsilon_check, steps, audit),
        "evaluation": {"done": False, "reason": "no labels of persons are held"},
        "caveats": _caveats(len(dataset.subjects)),
    }


def _training_data(dataset: DatasetVersion, withdrawn_since: int) -> dict[str, Json]:
    return {
        "dataset_sha256": dataset.sha256(),
        "frozen_at": rfc3339(dataset.created_at),
        "consent_snapshot_sha256": dataset.consent_snapshot_sha256,
        "persons": len(dataset.subjects),
        "tracks": len(dataset.members),
        "excluded": dict(dataset.exclusions),
        "consents_withdrawn_before_release": withdrawn_since,
        "labels": "none",
    }


def _privacy(
    plan: Mapping[str, Json],
    epsilon: float,
    epsilon_check: float,
    steps: int,
    audit: Mapping[str, Json],
) -> dict[str, Json]:
    """Return the fields that NIST SP 800-226 asks of a differential privacy claim."""
    kept = ("delta", "noise_multiplier", "clipping_norm", "sampling_probability", "tuples_per_person")
    return {
        "unit": "person",
        "adjacency": "add or remove one person with everything they contributed",
        "mechanism": "Gaussian on the Poisson-sampled sum of one clipped gradient a person",
        "trust_model": "central: the site holds the consented crops, encrypted",
        "epsilon": epsilon,
        "epsilon_check": epsilon_check,
        "accountants": ["PLD (dp-accounting)", "PRV (Opacus)"],
        "steps": steps,
        **{name: plan.get(name) for name in kept},
        "plan_id": plan.get("plan_id"),
        "not_protected": ["the number of persons in the dataset, which the plan publishes"],
        "empirical_audit": dict(audit),
    }


def _caveats(persons: int) -> list[Json]:
    caveats: list[Json] = [
        "ε bounds what the weights give away about any one person; embeddings made with them are personal data still.",
        "The audit bounds leaks from below with one canary; it cannot prove that there are none.",
    ]
    if persons < 100:
        caveats.append(
            f"Trained on {persons} persons: with so few, the noise outweighs what can be learned, and δ is weak."
        )
    return caveats
