"""Models and the datasets they were trained on: the lineage from a consent to every model it is in.

Guarantees that a dataset's members never change and that a model trained on people names its run. Weights are files
elsewhere; only their digest is here. Does not decide a model's fate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, Select, insert, select, update

from fabnet_secure.store.rows import change, put
from fabnet_secure.store.states import ModelKind, ModelStatus
from fabnet_secure.store.tables import dataset, dataset_member, model, plan, run
from fabnet_secure.types import ConsentId, DatasetId, Json, ModelId, RunId, SubjectId, TrackId

Member: TypeAlias = tuple[ConsentId, SubjectId, TrackId]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model; ``decision_due`` is set while it is flagged after a withdrawal."""

    model_id: ModelId
    kind: ModelKind
    run_id: RunId | None
    weights_sha256: str
    card: Mapping[str, Any]
    created_at: datetime
    status: ModelStatus
    decision_due: datetime | None


def add_model(connection: Connection, row: ModelRow) -> None:
    """Add a model.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: a ``dp`` model without a run, or a ``public`` one with one.
    """
    put(connection, model, **asdict(row))


def get_model(connection: Connection, model_id: ModelId) -> ModelRow | None:
    """Return one model, or None."""
    return next(iter(_models(connection, select(model).where(model.c.model_id == model_id))), None)


def list_models(connection: Connection) -> list[ModelRow]:
    """Return every model, oldest first."""
    return _models(connection, select(model))


def latest_model(connection: Connection, *, kind: ModelKind | None = None) -> ModelRow | None:
    """Return the newest model (of a kind) that is not retired, or None."""
    wanted = select(model).where(model.c.status != ModelStatus.RETIRED)
    found = _models(connection, wanted if kind is None else wanted.where(model.c.kind == kind))
    return found[-1] if found else None


def flag_model(connection: Connection, model_id: ModelId, *, decision_due: datetime) -> None:
    """Mark a model as awaiting a decision by ``decision_due``; an earlier date that is set already stays.

    Raises:
        UsageError: code ``NOT_FOUND``: no such model, or it is retired.
    """
    held = get_model(connection, model_id)
    due = decision_due if held is None or held.decision_due is None else min(held.decision_due, decision_due)
    place = (model.c.model_id == model_id) & (model.c.status != ModelStatus.RETIRED)
    flagged = update(model).where(place).values(status=ModelStatus.FLAGGED, decision_due=due)
    change(connection, flagged, "model")


def decide_model(connection: Connection, model_id: ModelId, status: ModelStatus) -> None:
    """Record a decision: back to active, or retired for good; nothing is due any longer.

    Raises:
        UsageError: code ``NOT_FOUND``: no such model, or it is retired.
    """
    place = (model.c.model_id == model_id) & (model.c.status != ModelStatus.RETIRED)
    change(connection, update(model).where(place).values(status=status, decision_due=None), "model")


def add_dataset(connection: Connection, dataset_id: DatasetId, body: Mapping[str, Json], created_at: datetime) -> None:
    """Add a dataset version; ``body`` is ``lineage.DatasetVersion.to_json()``."""
    put(connection, dataset, dataset_id=dataset_id, body=body, created_at=created_at)


def get_dataset(connection: Connection, dataset_id: DatasetId) -> dict[str, Any] | None:
    """Return a dataset version's body, or None."""
    wanted = select(dataset.c.body).where(dataset.c.dataset_id == dataset_id)
    body: dict[str, Any] | None = connection.execute(wanted).scalar_one_or_none()
    return body


def add_members(connection: Connection, dataset_id: DatasetId, members: Sequence[Member]) -> None:
    """Add the tracks of a dataset: (consent, subject, track) each.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: one of them is unknown or named twice.
    """
    names = ("consent_id", "subject_id", "track_id")
    rows = [{"dataset_id": dataset_id, **dict(zip(names, member, strict=True))} for member in members]
    if rows:
        connection.execute(insert(dataset_member), rows)


def members(connection: Connection, dataset_id: DatasetId) -> list[Member]:
    """Return the tracks of a dataset, ordered by subject and track."""
    wanted = (
        select(dataset_member.c.consent_id, dataset_member.c.subject_id, dataset_member.c.track_id)
        .where(dataset_member.c.dataset_id == dataset_id)
        .order_by(dataset_member.c.subject_id, dataset_member.c.track_id)
    )
    return [(ConsentId(row[0]), SubjectId(row[1]), TrackId(row[2])) for row in connection.execute(wanted)]


def models_of_consent(connection: Connection, consent_id: ConsentId) -> list[ModelRow]:
    """Return every model that a track under this consent was trained into, oldest first."""
    trained = (
        select(run.c.run_id)
        .join(plan, plan.c.plan_id == run.c.plan_id)
        .join(dataset_member, dataset_member.c.dataset_id == plan.c.dataset_id)
        .where(dataset_member.c.consent_id == consent_id)
    )
    return _models(connection, select(model).where(model.c.run_id.in_(trained)))


def _models(connection: Connection, wanted: Select[Any]) -> list[ModelRow]:
    ordered = wanted.order_by(model.c.created_at, model.c.model_id)
    return [ModelRow(**row) for row in connection.execute(ordered).mappings()]
