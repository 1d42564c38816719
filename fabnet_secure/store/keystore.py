"""The keystore's rows: wrapped epoch keys, wrapped data keys, wrapped secrets of the whole vault.

Guarantees that a destroyed key's bytes are overwritten with nothing and that it stays destroyed (the row remains, as
a tombstone); a CHECK constraint holds it to that. While data keys are exchanged (``keys reencrypt``) a second key is
beside the living one: first the one that is to take its place, then the one that made way. Kept in a database of its
own, never in the same backup set as the ciphertext. Does not wrap or open anything: that is ``crypto/keyring.py``. Run
``wipe.checkpoint_wal`` afterwards.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from fabnet_secure.crypto.epoch import KIND, Epoch
from fabnet_secure.crypto.keyring import WrappedKey, WrappedSecret
from fabnet_secure.errors import IntegrityFailure, UsageError, VaultLocked
from fabnet_secure.store.columns import CHUNK, in_chunks
from fabnet_secure.store.copy import fetch
from fabnet_secure.store.rows import change, count, put
from fabnet_secure.store.tables import data_key, epoch, epoch_key, secret
from fabnet_secure.types import ConsentId, Domain, KeyDomain, KeyId, SubjectId

_KEY_COLUMNS = (
    data_key.c.key_id,
    data_key.c.epoch,
    data_key.c.domain,
    data_key.c.subject_id,
    data_key.c.consent_id,
    data_key.c.wrapped,
    data_key.c.public,
)
_LIVING, _COMING, _GOING = 0, 1, 2
_KEY_TYPES = "text int4 text text text bytea bytea"
_DOMAINS = {domain.value: domain for domain in Domain}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """A wrapped epoch key; ``wrapped`` is empty once it is destroyed. Kind 1 is of an older program, without a time."""

    number: int
    kind: int
    wrapped: bytes
    created_at: datetime | None
    destroyed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """What is left of a destroyed data key; ``epoch`` is the last that wrapped it."""

    key_id: KeyId
    epoch: int
    domain: Domain
    subject_id: SubjectId
    consent_id: ConsentId | None
    destroyed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """The keys of a keystore whose epochs are of kind 1, with the columns that it had then.

    ``secrets`` is name → (wrapped, public half or empty).
    """

    epochs: Mapping[int, bytes]
    secrets: Mapping[str, tuple[bytes, bytes]]


def add_epoch(connection: Connection, made: Epoch, created_at: datetime) -> None:
    """Add a freshly made epoch and the public halves of its domain keys.

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: the number is taken, or nothing is wrapped.
    """
    put(
        connection,
        epoch,
        number=made.number,
        kind=KIND,
        wrapped=made.wrapped,
        created_at=created_at,
        destroyed_at=None,
    )
    halves = [{"epoch": made.number, "domain": domain, "public": half} for domain, half in made.public.items()]
    connection.execute(insert(epoch_key), halves)


def list_epochs(connection: Connection) -> dict[int, EpochRow]:
    """Return every epoch by number, destroyed ones too."""
    rows = connection.execute(select(epoch).order_by(epoch.c.number)).mappings()
    return {row["number"]: EpochRow(**{**row, "wrapped": bytes(row["wrapped"])}) for row in rows}


def living_epochs(connection: Connection) -> dict[int, EpochRow]:
    """Return the epochs that are not destroyed."""
    return {number: row for number, row in list_epochs(connection).items() if row.destroyed_at is None}


def public_halves(connection: Connection, number: int) -> dict[KeyDomain, bytes]:
    """Return the public half (32 bytes) of each domain key of an epoch."""
    rows = connection.execute(select(epoch_key).where(epoch_key.c.epoch == number)).mappings()
    return {row["domain"]: bytes(row["public"]) for row in rows}


def read_legacy(connection: Connection) -> Legacy | None:
    """Return the keys of a keystore of kind 1, whatever its schema's revision; None when its epochs are newer."""
    living = select(epoch.c.number, epoch.c.wrapped).where(epoch.c.destroyed_at.is_(None))
    newer = connection.dialect.has_table(connection, "epoch_key")
    if newer and any(row.kind == KIND for row in living_epochs(connection).values()):
        return None
    epochs = {row.number: bytes(row.wrapped) for row in connection.execute(living)}
    wanted = select(secret.c.name, secret.c.wrapped, secret.c.public)
    secrets = {row.name: (bytes(row.wrapped), bytes(row.public)) for row in connection.execute(wanted)}
    return Legacy(epochs=epochs, secrets=secrets)


def destroy_epoch(connection: Connection, number: int, at: datetime) -> None:
    """Destroy an epoch key, so that older copies of what it wrapped open nothing.

    Raises:
        IntegrityFailure: code ``EPOCH_IN_USE``: a living data key or a secret is still wrapped under it.
        UsageError: code ``NOT_FOUND``: no such epoch, or it is destroyed already.
    """
    living = (data_key.c.epoch == number) & data_key.c.destroyed_at.is_(None)
    used = select(func.count()).select_from(data_key).where(living)
    kept = select(func.count()).select_from(secret).where((secret.c.epoch == number) | secret.c.epoch.is_(None))
    if connection.execute(used).scalar_one() or connection.execute(kept).scalar_one():
        raise IntegrityFailure(
            f"epoch {number} still wraps living keys", hint="re-wrap them first", code="EPOCH_IN_USE"
        )
    place = (epoch.c.number == number) & epoch.c.destroyed_at.is_(None)
    change(connection, update(epoch).where(place).values(wrapped=b"", destroyed_at=at), "epoch")


def add_keys(connection: Connection, keys: Sequence[WrappedKey], *, pending: bool = False) -> None:
    """Add freshly minted data keys; ``pending`` ones are to take the living ones' places (``keys reencrypt``).

    Raises:
        IntegrityFailure: code ``ROW_REFUSED``: a living key for the same subject, consent and domain is there.
        VaultLocked: code ``EPOCH_CHANGED``: another process renewed the keys since these were minted.
    """
    if keys:
        _check_epoch(connection, {key.epoch for key in keys})
        connection.execute(
            insert(data_key), [asdict(key) | {"pending": _COMING if pending else _LIVING} for key in keys]
        )


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


def find_keys(
    connection: Connection, consent_ids: Sequence[ConsentId], domain: Domain, *, pending: bool = False
) -> dict[ConsentId, WrappedKey]:
    """Return the living keys of one domain of many consents at once; a consent without one is left out."""
    wanted = _living(pending=pending).where(data_key.c.domain == domain)
    if len(consent_ids) > CHUNK:
        return _many_keys(connection, frozenset(consent_ids), wanted.order_by(None))
    found = _keys(connection, wanted.where(data_key.c.consent_id.in_(sorted(set(consent_ids)))))
    return {key.consent_id: key for key in found if key.consent_id is not None}


def _many_keys(
    connection: Connection, consent_ids: frozenset[ConsentId], wanted: Select[Any]
) -> dict[ConsentId, WrappedKey]:
    """Read a whole domain's keys as plain rows: an unlock wants ten thousand."""
    found: dict[ConsentId, WrappedKey] = {}
    for key_id, epoch_number, word, subject_id, consent_id, wrapped, public in fetch(connection, wanted, _KEY_TYPES):
        if consent_id in consent_ids:
            found[consent_id] = WrappedKey(
                key_id=key_id,
                epoch=epoch_number,
                domain=_DOMAINS[word],
                subject_id=subject_id,
                consent_id=consent_id,
                wrapped=wrapped,
                public=public,
            )
    return found


def list_keys(connection: Connection, *, pending: bool = False) -> list[WrappedKey]:
    """Return every living key, in the order of their ids; with ``pending`` the second ones beside them instead."""
    return _keys(connection, _living(pending=pending))


def pending_key(connection: Connection, key: WrappedKey) -> WrappedKey | None:
    """Return the second key beside ``key`` (of its subject, consent and domain), or None."""
    wanted = _living(pending=True).where(
        data_key.c.subject_id == key.subject_id,
        data_key.c.consent_id.is_(None) if key.consent_id is None else data_key.c.consent_id == key.consent_id,
        data_key.c.domain == key.domain,
    )
    return next(iter(_keys(connection, wanted)), None)


def list_coming(connection: Connection) -> list[WrappedKey]:
    """Return the keys that are to take a living one's place, in the order of their ids."""
    return _keys(connection, _second(_COMING))


def pick_keys(connection: Connection, key_ids: Sequence[KeyId], *, pending: bool = False) -> list[WrappedKey]:
    """Return those of these keys that are living (or second ones)."""
    return [
        key
        for chunk in in_chunks(sorted(set(key_ids)))
        for key in _keys(connection, _living(pending=pending).where(data_key.c.key_id.in_(chunk)))
    ]


def still_living(connection: Connection, key_ids: Collection[KeyId]) -> list[WrappedKey]:
    """Return those of these keys that are not destroyed, second ones too."""
    return [
        key
        for chunk in in_chunks(sorted(key_ids))
        for key in _keys(connection, _living(pending=None).where(data_key.c.key_id.in_(chunk)))
    ]


def keys_beside(connection: Connection, keys: Sequence[WrappedKey], *, pending: bool) -> list[WrappedKey]:
    """Return the second keys (or with ``pending`` false the living ones) of the people whom these keys are about."""
    return [
        key
        for chunk in in_chunks(sorted({key.subject_id for key in keys}))
        for key in _keys(connection, _living(pending=pending).where(data_key.c.subject_id.in_(chunk)))
    ]


def list_going(connection: Connection) -> list[WrappedKey]:
    """Return the keys that made way and are not destroyed yet, in the order of their ids."""
    return _keys(connection, _second(_GOING))


def exchange_keys(connection: Connection, pairs: Sequence[tuple[KeyId, KeyId]]) -> None:
    """Let keys that were coming (second of each pair) take the living ones' places; those stay for a while, going.

    Raises:
        UsageError: code ``NOT_FOUND``: a living one is destroyed already, or the other was not coming.
    """
    for old, new in pairs:
        for key_id, before, after in ((old, _LIVING, _GOING), (new, _COMING, _LIVING)):
            place = (data_key.c.key_id == key_id) & data_key.c.destroyed_at.is_(None) & (data_key.c.pending == before)
            change(connection, update(data_key).where(place).values(pending=after), "key")


def keys_of_consent(connection: Connection, consent_id: ConsentId) -> list[WrappedKey]:
    """Return the living keys that live and die with a consent, pending ones too: all that must go with it."""
    return _keys(connection, _living(pending=None).where(data_key.c.consent_id == consent_id))


def replace_wraps(connection: Connection, keys: Sequence[WrappedKey]) -> None:
    """Store re-wrapped keys (``Keyring.wrap``) in place of their older wraps.

    Raises:
        UsageError: code ``NOT_FOUND``: one of them is unknown or destroyed; nothing of the act is kept.
    """
    changed = (
        update(data_key)
        .where(data_key.c.key_id == bindparam("which"), data_key.c.destroyed_at.is_(None))
        .values(epoch=bindparam("number"), wrapped=bindparam("blob"))
    )
    rows = [{"which": key.key_id, "number": key.epoch, "blob": key.wrapped} for key in keys]
    if rows and connection.execute(changed, rows).rowcount != len(rows):
        raise UsageError("there is no such key, or not in a state for this", code="NOT_FOUND")


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
        data_key.c.epoch,
        data_key.c.domain,
        data_key.c.subject_id,
        data_key.c.consent_id,
        data_key.c.destroyed_at,
    ).where(data_key.c.destroyed_at.is_not(None))
    if consent_id is not None:
        wanted = wanted.where(data_key.c.consent_id == consent_id)
    ordered = wanted.order_by(data_key.c.destroyed_at, data_key.c.key_id)
    return [Tombstone(**row) for row in connection.execute(ordered).mappings()]


def put_secret(connection: Connection, row: WrappedSecret) -> None:
    """Store a wrapped secret, in place of any before of its name.

    Raises:
        VaultLocked: code ``EPOCH_CHANGED``: another process renewed the keys since it was wrapped.
    """
    _check_epoch(connection, {row.epoch})
    if not count(connection, update(secret).where(secret.c.name == row.name).values(**asdict(row))):
        put(connection, secret, **asdict(row))


def get_secret(connection: Connection, name: str) -> WrappedSecret | None:
    """Return a wrapped secret, or None."""
    return next(iter(_secrets(connection, select(secret).where(secret.c.name == name))), None)


def list_secrets(connection: Connection) -> list[WrappedSecret]:
    """Return every wrapped secret, by name."""
    return _secrets(connection, select(secret).order_by(secret.c.name))


def _secrets(connection: Connection, wanted: Select[Any]) -> list[WrappedSecret]:
    rows = connection.execute(wanted).mappings().all()
    if any(row["epoch"] is None or row["domain"] is None for row in rows):
        hint = "restore keystore.db from a backup"
        raise IntegrityFailure("a secret in the keystore names no epoch", hint=hint, code="KEY_CHANGED")
    return [WrappedSecret(**{**row, "wrapped": bytes(row["wrapped"]), "public": bytes(row["public"])}) for row in rows]


def delete_secret(connection: Connection, name: str) -> int:
    """Delete a wrapped secret, and with it all that only it opens; return how many rows went (0 or 1)."""
    return count(connection, delete(secret).where(secret.c.name == name))


def _check_epoch(connection: Connection, numbers: set[int]) -> None:
    """Refuse what was wrapped under an epoch that has ended meanwhile: it could never be opened."""
    newest = connection.execute(select(func.max(epoch.c.number)).where(epoch.c.destroyed_at.is_(None))).scalar()
    if numbers != {newest}:
        raise renewed_meanwhile()


def renewed_meanwhile() -> VaultLocked:
    """Return the refusal, code ``EPOCH_CHANGED``, for work with the keys of an epoch that has ended since."""
    return VaultLocked(
        "another process renewed the vault's keys meanwhile", hint="run the command again", code="EPOCH_CHANGED"
    )


def _living(*, pending: bool | None = False) -> Select[Any]:
    wanted = select(*_KEY_COLUMNS).where(data_key.c.destroyed_at.is_(None)).order_by(data_key.c.key_id)
    if pending is None:
        return wanted
    return wanted.where(data_key.c.pending != _LIVING if pending else data_key.c.pending == _LIVING)


def _second(turn: int) -> Select[Any]:
    return _living(pending=True).where(data_key.c.pending == turn)


def _keys(connection: Connection, wanted: Select[Any]) -> list[WrappedKey]:
    return [
        WrappedKey(
            key_id=row.key_id,
            epoch=row.epoch,
            domain=row.domain,
            subject_id=row.subject_id,
            consent_id=row.consent_id,
            wrapped=bytes(row.wrapped),
            public=bytes(row.public),
        )
        for row in connection.execute(wanted)
    ]
