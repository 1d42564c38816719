"""Wrapped keys: found while they live, and gone for good once destroyed."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store import keystore as rows
from fabnet_secure.store.database import keystore_work, read_only
from fabnet_secure.store.tables import data_key
from fabnet_secure.types import Domain, new_id


def make_key(**changes):
    values = {
        "key_id": new_id(),
        "epoch": 1,
        "domain": Domain.TRACKLETS,
        "subject_id": new_id(),
        "consent_id": new_id(),
        "wrapped": b"w" * 80,
        "public": b"p" * 32,
    }
    return WrappedKey(**{**values, **changes})


@pytest.fixture
def connection(keystore):
    """A keystore transaction with epoch 1."""
    with keystore_work(keystore) as held:
        rows.add_epoch(held, 1, b"epoch one")
        yield held


def test_keys_are_found_by_subject_consent_and_domain(connection):
    """Each of the three narrows, and no consent matches only keys of none."""
    key = make_key()
    bare = make_key(subject_id=key.subject_id, consent_id=None, domain=Domain.IDENTITY)
    rows.add_keys(connection, [key, bare])
    assert rows.find_key(connection, key.subject_id, key.consent_id, Domain.TRACKLETS) == key
    assert rows.find_key(connection, key.subject_id, None, Domain.IDENTITY) == bare
    assert rows.find_key(connection, key.subject_id, None, Domain.TRACKLETS) is None
    assert rows.find_key(connection, key.subject_id, key.consent_id, Domain.EMBEDDINGS) is None
    assert rows.find_key(connection, new_id(), key.consent_id, Domain.TRACKLETS) is None
    assert rows.keys_of_consent(connection, key.consent_id) == [key]
    assert {held.key_id for held in rows.keys_of_subject(connection, key.subject_id)} == {key.key_id, bare.key_id}
    assert len(rows.list_keys(connection)) == 2


def test_destroyed_key_is_empty_tombstoned_and_not_found(connection, make):
    """Destroying leaves a tombstone without bytes; it counts once, and an unknown key is not destroyed."""
    key, other = make_key(), make_key()
    rows.add_keys(connection, [key, other])
    assert not rows.is_destroyed(connection, key.key_id)
    assert rows.destroy_keys(connection, [key.key_id, new_id()], make.at) == 1
    assert rows.destroy_keys(connection, [key.key_id], make.at) == 0
    assert rows.is_destroyed(connection, key.key_id)
    assert not rows.is_destroyed(connection, new_id())
    assert rows.find_key(connection, key.subject_id, key.consent_id, key.domain) is None
    assert rows.keys_of_consent(connection, key.consent_id) == []
    assert rows.list_keys(connection) == [other]
    (stone,) = rows.tombstones(connection, key.consent_id)
    assert (stone.key_id, stone.destroyed_at) == (key.key_id, make.at)
    assert rows.tombstones(connection, other.consent_id) == []
    held = connection.execute(sa.select(data_key).where(data_key.c.key_id == key.key_id)).one()
    assert (bytes(held.wrapped), bytes(held.public)) == (b"", b"")


def test_many_keys_are_destroyed_in_runs(connection, make):
    """More keys than fit one statement all go."""
    keys = [make_key() for _ in range(1100)]
    rows.add_keys(connection, keys)
    assert rows.destroy_keys(connection, [key.key_id for key in keys], make.at) == 1100
    assert rows.list_keys(connection) == []


@pytest.mark.parametrize("consent_id", [None, "11111111-1111-4111-8111-111111111111"])
def test_second_living_key_for_the_same_use_is_refused(keystore, consent_id):
    """Two living keys for one subject, consent and domain cannot be stored, with a consent and without."""
    key = make_key(consent_id=consent_id)
    with keystore_work(keystore) as connection:
        rows.add_epoch(connection, 1, b"epoch one")
    with pytest.raises(IntegrityFailure) as caught, keystore_work(keystore) as connection:
        rows.add_keys(connection, [key, replace(key, key_id=new_id())])
    assert caught.value.code == "ROW_REFUSED"


def test_new_key_after_destruction_is_accepted(connection, make):
    """A tombstone does not stand in the way of a fresh key for the same use."""
    key = make_key()
    rows.add_keys(connection, [key])
    rows.destroy_keys(connection, [key.key_id], make.at)
    fresh = replace(key, key_id=new_id())
    rows.add_keys(connection, [fresh])
    assert rows.find_key(connection, key.subject_id, key.consent_id, key.domain) == fresh


def test_destroyed_key_cannot_get_bytes_again(keystore, make):
    """The database itself refuses to put bytes into a destroyed key's row."""
    key = make_key()
    with keystore_work(keystore) as connection:
        rows.add_epoch(connection, 1, b"epoch one")
        rows.add_keys(connection, [key])
        rows.destroy_keys(connection, [key.key_id], make.at)
    with pytest.raises(UsageError), keystore_work(keystore) as connection:
        rows.replace_wraps(connection, [key])
    with pytest.raises(IntegrityFailure), keystore_work(keystore) as connection:
        connection.execute(sa.update(data_key).values(wrapped=b"again"))


def test_epochs_rotate(connection, make):
    """An epoch in use cannot be destroyed; after re-wrapping it can, once, and only the living ones open a keyring."""
    key = make_key()
    rows.add_keys(connection, [key])
    rows.add_epoch(connection, 2, b"epoch two")
    with pytest.raises(IntegrityFailure) as caught:
        rows.destroy_epoch(connection, 1, make.at)
    assert caught.value.code == "EPOCH_IN_USE"
    rows.replace_wraps(connection, [replace(key, epoch=2, wrapped=b"n" * 80)])
    rows.destroy_epoch(connection, 1, make.at)
    assert rows.living_epochs(connection) == {2: b"epoch two"}
    assert rows.list_epochs(connection)[1] == rows.EpochRow(number=1, wrapped=b"", destroyed_at=make.at)
    assert rows.find_key(connection, key.subject_id, key.consent_id, key.domain).epoch == 2
    with pytest.raises(UsageError):
        rows.destroy_epoch(connection, 1, make.at)


def test_secrets_are_replaced_in_place(connection):
    """A secret is stored under its name, with or without a public half, replaced, and deleted."""
    rows.put_secret(connection, "log", b"one", b"public")
    rows.put_secret(connection, "log", b"two", b"public")
    rows.put_secret(connection, "index", b"three")
    assert rows.get_secret(connection, "log") == rows.SecretRow(name="log", wrapped=b"two", public=b"public")
    assert rows.get_secret(connection, "index").public == b""
    assert rows.get_secret(connection, "none") is None
    assert [row.name for row in rows.list_secrets(connection)] == ["index", "log"]
    assert [rows.delete_secret(connection, "log") for _ in range(2)] == [1, 0]
    assert [row.name for row in rows.list_secrets(connection)] == ["index"]


def test_snapshot_of_the_keystore_cannot_write(keystore, make):
    """Keys cannot be destroyed through a read."""
    with pytest.raises(Exception, match="only be read"), read_only(keystore) as connection:
        rows.destroy_keys(connection, [new_id()], make.at)
