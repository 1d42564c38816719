"""The keystore's rows: wrapped epoch keys, wrapped data keys, wrapped secrets of the whole vault.

Guarantees that a destroyed key's bytes are overwritten with nothing and that it stays destroyed (the row remains, as
a tombstone); a CHECK constraint holds it to that. Kept in a database of its own, never in the same backup set as the
ciphertext. Does not wrap or open anything: that is ``crypto/keyring.py``. Run ``wipe.checkpoint_wal`` afterwards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store.columns import in_chunks
from fabnet_secure.store.rows import change, count, put
from fabnet_secure.store.tables import data_key, epoch, secret
from fabnet_secure.types import ConsentId, Domain, KeyId, SubjectId

_KEY_COLUMNS = (
    data_key.c.key_id,
    data_key.c.epoch,
    data_key.c.domain,
    data_key.c.subject_id,
    data_key.c.consent_id,
    data_key.c.wrapped,
    data_key.c.public,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """A wrapped epoch key; ``wrapped`` is empty once it is destroyed."""

    number: int
    wrapped: bytes
    destroyed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """What is left of a destroyed data key."""

    key_id: KeyId
    domain: Domain
    subject_id: SubjectId
    consent_id: ConsentId | None
    destroyed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow:
    """A wrapped secret of the whole vault, and its public half where it has one (else empty)."""

    name: str
    wrapped: bytes
    public: bytes


def add_epoch(connection: Connection, number: int, wrapped: bytes) -> None:
    """Add a wrapped epoch key (``Keyring.new_epoch``).

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the number is taken, or nothing is wrapped.
    """
    put(connection, epoch, number=number, wrapped=wrapped, destroyed_at=None)


def list_epochs(connection: Connection) -> dict[int, EpochRow]:
    """Return every epoch by number, destroyed ones too."""
    rows = connection.execute(select(epoch).order_by(epoch.c.number)).mappings()
    return {row["number"]: EpochRow(**{**row, "wrapped": bytes(row["wrapped"])}) for row in rows}


def living_epochs(connection: Connection) -> dict[int, bytes]:
    """Return the wrapped keys of the epochs that are not destroyed: what ``Keyring.open`` takes."""
    return {number: row.wrapped for number, row in list_epochs(connection).items() if row.destroyed_at is None}


def destroy_epoch(connection: Connection, number: int, at: datetime) -> None:
    """Destroy an epoch key, so that older copies of what it wrapped open nothing.

    Raises:
        IntegrityFailure: code ``EPOCH_IN_USE``: a living data key is still wrapped under it.
        UsageError: code ``NOT_FOUND``: no such epoch, or it is destroyed already.
    """
    if any(key.epoch == number for key in list_keys(connection)):
        raise IntegrityFailure(
            f"epoch {number} still wraps living keys", hint="re-wrap them first", code="EPOCH_IN_USE"
        )
    place = (epoch.c.number == number) & epoch.c.destroyed_at.is_(None)
    change(connection, update(epoch).where(place).values(wrapped=b"", destroyed_at=at), "epoch")


def add_keys(connection: Connection, keys: Sequence[WrappedKey]) -> None:
    """Add freshly minted data keys.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: a living key for the same subject, consent and domain is there.
    """
    if keys:
        connection.execute(insert(data_key), [asdict(key) for key in keys])


def find_key(
    connection: Connection, subject_id: SubjectId, consent_id: ConsentId | None, domain: Domain
) -> WrappedKey | None:
    """Return the living key of a subject, consent and domain, or None; no consent matches only keys of none."""
    wanted = _living().where(
        data_key.c.subject_id == subject_id,
        data_key.c.consent_id.is_(None) if consent_id is None else data_key.c.consent_id == consent_id,
        data_key.c.domain == domain,
    )
    return next(iter(_keys(connection, wanted)), None)


def list_keys(connection: Connection) -> list[WrappedKey]:
    """Return every living key, in the order of their ids."""
    return _keys(connection, _living())


def keys_of_consent(connection: Connection, consent_id: ConsentId) -> list[WrappedKey]:
    """Return the living keys that live and die with a consent."""
    return _keys(connection, _living().where(data_key.c.consent_id == consent_id))


def keys_of_subject(connection: Connection, subject_id: SubjectId) -> list[WrappedKey]:
    """Return the living keys of a subject, of every consent and of none."""
    return _keys(connection, _living().where(data_key.c.subject_id == subject_id))


def replace_wraps(connection: Connection, keys: Sequence[WrappedKey]) -> None:
    """Store re-wrapped keys (``Keyring.rewrap``) in place of their older wraps.

    Raises:
        UsageError: code ``NOT_FOUND``: one of them is unknown or destroyed; nothing of the act is kept.
    """
    for key in keys:
        place = (data_key.c.key_id == key.key_id) & data_key.c.destroyed_at.is_(None)
        change(connection, update(data_key).where(place).values(epoch=key.epoch, wrapped=key.wrapped), "key")


def destroy_keys(connection: Connection, key_ids: Sequence[KeyId], at: datetime) -> int:
    """Overwrite these keys with nothing and return how many were living; the rows stay as tombstones."""
    destroyed = 0
    for chunk in in_chunks(sorted(set(key_ids))):
        place = data_key.c.key_id.in_(chunk) & data_key.c.destroyed_at.is_(None)
        emptied = update(data_key).where(place).values(wrapped=b"", public=b"", destroyed_at=at)
        destroyed += count(connection, emptied)
    return destroyed


def is_destroyed(connection: Connection, key_id: KeyId) -> bool:
    """Read back whether a key is there, marked destroyed, and without a byte left. An unknown key is not."""
    wanted = select(data_key.c.wrapped, data_key.c.public, data_key.c.destroyed_at)
    row = connection.execute(wanted.where(data_key.c.key_id == key_id)).one_or_none()
    return row is not None and row.destroyed_at is not None and not row.wrapped and not row.public


def tombstones(connection: Connection, consent_id: ConsentId | None = None) -> list[Tombstone]:
    """Return what is left of destroyed keys (of a consent): what a restored backup must replay."""
    wanted = select(
        data_key.c.key_id,
        data_key.c.domain,
        data_key.c.subject_id,
        data_key.c.consent_id,
        data_key.c.destroyed_at,
    ).where(data_key.c.destroyed_at.is_not(None))
    if consent_id is not None:
        wanted = wanted.where(data_key.c.consent_id == consent_id)
    ordered = wanted.order_by(data_key.c.destroyed_at, data_key.c.key_id)
    return [Tombstone(**row) for row in connection.execute(ordered).mappings()]


def put_secret(connection: Connection, name: str, wrapped: bytes, public: bytes = b"") -> None:
    """Store a wrapped secret under a name, in place of any before."""
    place = secret.c.name == name
    if not count(connection, update(secret).where(place).values(wrapped=wrapped, public=public)):
        put(connection, secret, name=name, wrapped=wrapped, public=public)


def get_secret(connection: Connection, name: str) -> SecretRow | None:
    """Return a wrapped secret, or None."""
    return next(iter(_secrets(connection, select(secret).where(secret.c.name == name))), None)


def list_secrets(connection: Connection) -> list[SecretRow]:
    """Return every wrapped secret, by name."""
    return _secrets(connection, select(secret).order_by(secret.c.name))


def _secrets(connection: Connection, wanted: Select[Any]) -> list[SecretRow]:
    rows = connection.execute(wanted).mappings()
    return [SecretRow(name=row["name"], wrapped=bytes(row["wrapped"]), public=bytes(row["public"])) for row in rows]


def delete_secret(connection: Connection, name: str) -> int:
    """Delete a wrapped secret, and with it all that only it opens; return how many rows went (0 or 1)."""
    return count(connection, delete(secret).where(secret.c.name == name))


def _living() -> Select[Any]:
    return select(*_KEY_COLUMNS).where(data_key.c.destroyed_at.is_(None)).order_by(data_key.c.key_id)


def _keys(connection: Connection, wanted: Select[Any]) -> list[WrappedKey]:
    return [
        WrappedKey(**{**row, "wrapped": bytes(row["wrapped"]), "public": bytes(row["public"])})
        for row in connection.execute(wanted).mappings()
    ]
