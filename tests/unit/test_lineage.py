"""Facts about lineage.py."""

import json
from datetime import UTC, datetime

import pytest

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.lineage import DatasetVersion, Member, model_card
from fabnet_secure.types import canonical_json

DATASET = DatasetVersion(
    dataset_id="dataset",
    created_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    members=(
        Member(consent_id="consent-1", subject_id="subject-1", track_id="track-1"),
        Member(consent_id="consent-1", subject_id="subject-1", track_id="track-2"),
        Member(consent_id="consent-2", subject_id="subject-2", track_id="track-3"),
    ),
    consent_snapshot_sha256="ab" * 32,
    exclusions={"budget": 1},
)


def card(**change):
    fields = {
        "model_id": "model",
        "run_id": "run",
        "plan": {"plan_id": "plan", "delta": 1e-2, "noise_multiplier": 1.4, "image_size": 64},
        "dataset": DATASET,
        "epsilon": 8.0,
        "epsilon_check": 8.01,
        "steps": 40,
        "audit": {"mu_lower": 0.5, "refuted": False},
        "weights_sha256": "cd" * 32,
        "created_at": "2026-01-02T03:04:05.000000Z",
    }
    return model_card(**fields | change)


def test_dataset_round_trip():
    """A dataset survives JSON exactly, with its hash, persons and consents."""
    again = DatasetVersion.from_json(json.loads(json.dumps(DATASET.to_json())))
    assert again == DATASET
    assert again.sha256() == DATASET.sha256()
    assert again.subjects == {"subject-1", "subject-2"}
    assert again.consents == {"consent-1", "consent-2"}


@pytest.mark.parametrize(
    "change",
    [{"members": [{"consent_id": "c"}]}, {"created_at": "yesterday"}, {"created_at": None}, {"exclusions": []}],
)
def test_dataset_broken(change):
    """A damaged dataset is an integrity failure."""
    with pytest.raises(IntegrityFailure) as caught:
        DatasetVersion.from_json({**DATASET.to_json(), **change})
    assert caught.value.code == "DATASET_BROKEN"


def test_card_counts_persons_and_names_nobody():
    """A card counts persons, not tracks, and holds no id of a person, consent or track."""
    text = canonical_json(card()).decode()
    assert card()["training_data"]["persons"] == 2
    assert card()["training_data"]["tracks"] == 3
    for hidden in ("subject-", "consent-1", "track-"):
        assert hidden not in text


def test_card_states_the_claim():
    """Unit, adjacency, ε twice, δ, mechanism, steps and what is not protected are all in the card."""
    privacy = card()["privacy"]
    assert privacy["unit"] == "person"
    assert (privacy["epsilon"], privacy["epsilon_check"], privacy["delta"]) == (8.0, 8.01, 1e-2)
    assert privacy["steps"] == 40
    assert privacy["not_protected"]
    assert privacy["empirical_audit"]["refuted"] is False


def test_card_is_pure():
    """The same facts give the same bytes; a withdrawal before release shows."""
    assert canonical_json(card()) == canonical_json(card())
    assert card(withdrawn_since=1)["training_data"]["consents_withdrawn_before_release"] == 1
    assert any("2 persons" in caveat for caveat in card()["caveats"])
