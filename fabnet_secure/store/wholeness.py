"""Rows that were taken out behind the program's back, as far as the other rows tell.

Guarantees that a row which another row names, a track of a video, the crops of a bound track, an event in the middle
of a consent's history, a member of a dataset, the record of a quarantined video, a model's flag after a withdrawal and
a data key that the vault's database has a proof of are missed. Nearly every table only ever grows, so that most of what
is missing was never deleted by this program. Does not know how many rows there were:
:mod:`fabnet_secure.pipeline.wholeness` asks the log.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, exists, func, select
from sqlalchemy.sql import and_

from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.metadata import VAULT
from fabnet_secure.store.states import ErasureState, ModelStatus, VideoStatus
from fabnet_secure.store.tables import (
    consent_event,
    data_key,
    dataset,
    dataset_member,
    decision,
    erasure,
    meta,
    model,
    plan,
    quarantine,
    run,
    secret,
    track,
    tracklet,
    video,
)
from fabnet_secure.types import TrackStatus

KEY_MARK: Final = "key/"
"""What the names of the proofs of data keys begin with (``pipeline/coverage.py``)."""
OF_QUARANTINE: Final = "quarantine/"


def missing_rows(connection: Connection) -> Counter[str]:
    """Count what other rows of the vault's database say must be there and is not, by the table it lay in."""
    missing: Counter[str] = Counter()
    for table in VAULT.sorted_tables:
        for constraint in table.foreign_key_constraints:
            parent = constraint.referred_table
            ours = [one.parent for one in constraint.elements]
            joined = and_(*(one.parent == one.column for one in constraint.elements))
            orphans = select(func.count()).select_from(table).where(*(one.is_not(None) for one in ours))
            missing[parent.name] += _count(connection, orphans.where(~exists().where(joined).select_from(parent)))
    missing["track"] += _lost_tracks(connection)
    cropped = (track.c.status == TrackStatus.BOUND) & track.c.expires_at.is_not(None)  # embedded at once: no crops
    missing["tracklet"] += _count(connection, _without(track, cropped, tracklet))
    missing["quarantine"] += _count(connection, _without(video, video.c.status == VideoStatus.QUARANTINED, quarantine))
    missing["consent_event"] += _lost_events(connection)
    missing["dataset_member"] += _lost_members(connection)
    missing["model"] += _unflagged(connection)
    return +missing


def check_pages(connection: Connection) -> None:
    """Read every page of an SQLite file: tables, indexes and free pages fit one another (PostgreSQL sees to its own).

    Raises:
        IntegrityFailure: code ``STORE_CORRUPT``.
    """
    if connection.dialect.name != "sqlite":
        return
    if connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one() != "ok":
        raise IntegrityFailure(
            "pages of a database file do not fit one another: one was cut off, changed or is of another time",
            hint="restore a backup: fabnet-secure backup restore",
            code="STORE_CORRUPT",
        )


def missing_keys(connection: Connection, keys: Connection) -> Counter[str]:
    """Count the keys that the vault's database says were made and the keystore does not hold, destroyed or not."""
    kept = {f"{KEY_MARK}{key_id}" for key_id in keys.execute(select(data_key.c.key_id)).scalars()}
    marks = connection.execute(select(meta.c.key).where(meta.c.key.startswith(KEY_MARK, autoescape=True))).scalars()
    held = connection.execute(select(quarantine.c.video_id).where(quarantine.c.sealed.is_not(None))).scalars()
    secrets = set(keys.execute(select(secret.c.name)).scalars())
    return +Counter(
        {
            "data_key": sum(mark not in kept for mark in marks),
            "secret": sum(f"{OF_QUARANTINE}{video_id}" not in secrets for video_id in held),
        }
    )


def count_rows(connection: Connection, name: str, **equal: str) -> int:
    """Return how many rows a table of the vault has, or those whose columns are equal to what is given."""
    table = VAULT.tables[name]
    return _count(
        connection, select(func.count()).select_from(table).where(*(table.c[k] == v for k, v in equal.items()))
    )


def decision_ids(connection: Connection) -> list[str]:
    """Return the id of every access decision."""
    return list(connection.execute(select(decision.c.decision_id)).scalars())


def _count(connection: Connection, statement: Select[Any]) -> int:
    found: int = connection.execute(statement).scalar_one()
    return found


def _without(table: Table, where: Any, other: Table) -> Select[Any]:
    """Return the statement that counts the rows of ``table`` whose row in ``other`` (of the same key) is gone."""
    (key,) = other.primary_key
    gone = ~exists().where(key == table.c[key.name]).select_from(other)
    return select(func.count()).select_from(table).where(where, gone)


def _lost_tracks(connection: Connection) -> int:
    found: Mapping[str, int] = {
        row[0]: row[1] for row in connection.execute(select(track.c.video_id, func.count()).group_by(track.c.video_id))
    }
    told = connection.execute(select(video.c.video_id, video.c.detected))
    return sum(max(0, detected - found.get(video_id, 0)) for video_id, detected in told)


def _lost_events(connection: Connection) -> int:
    position = consent_event.c.position
    gaps = func.max(position) + 1 - func.count()
    found = connection.execute(select(gaps).group_by(consent_event.c.consent_id)).scalars()
    return sum(max(0, gap) for gap in found)


def _unflagged(connection: Connection) -> int:
    """Count the models in use that learned from somebody whose withdrawal was carried out: each awaits a decision."""
    learned = (
        select(func.count(model.c.model_id.distinct()))
        .join(run, run.c.run_id == model.c.run_id)
        .join(plan, plan.c.plan_id == run.c.plan_id)
        .join(dataset_member, dataset_member.c.dataset_id == plan.c.dataset_id)
        .join(erasure, erasure.c.consent_id == dataset_member.c.consent_id)
    )
    gone = (erasure.c.state != ErasureState.PENDING) & (model.c.status == ModelStatus.ACTIVE)
    return _count(connection, learned.where(gone))


def _lost_members(connection: Connection) -> int:
    each = select(dataset_member.c.dataset_id, func.count()).group_by(dataset_member.c.dataset_id)
    found = {row[0]: row[1] for row in connection.execute(each)}
    told = connection.execute(select(dataset.c.dataset_id, dataset.c.body))
    return sum(max(0, len(body.get("members", ())) - found.get(dataset_id, 0)) for dataset_id, body in told)
