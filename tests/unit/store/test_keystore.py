"""Wrapped keys: found while they live, and gone for good once destroyed."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from fabnet_secure.crypto.epoch import KIND, Epoch
from fabnet_secure.crypto.keyring import WrappedKey, WrappedSecret
from fabnet_secure.errors import IntegrityFailure, UsageError, VaultLocked
from fabnet_secure.store import keystore as rows
from fabnet_secure.store.database import keystore_work, read_only
from fabnet_secure.store.tables import data_key, epoch, secret
from fabnet_secure.types import Domain, KeyDomain, new_id


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


def an_epoch(number):
    return Epoch(number=number, wrapped=b"epoch %d" % number, public=dict.fromkeys(KeyDomain, b"p" * 32))


@pytest.fixture
def connection(keystore, make):
    """A keystore transaction with epoch 1."""
    with keystore_work(keystore) as held:
        rows.add_epoch(held, an_epoch(1), make.at)
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
def test_second_living_key_for_the_same_use_is_refused(keystore, make, consent_id):
    """Two living keys for one subject, consent and domain cannot be stored, with a consent and without."""
    key = make_key(consent_id=consent_id)
    with keystore_work(keystore) as connection:
        rows.add_epoch(connection, an_epoch(1), make.at)
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
        rows.add_epoch(connection, an_epoch(1), make.at)
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
    rows.add_epoch(connection, an_epoch(2), make.at)
    with pytest.raises(IntegrityFailure) as caught:
        rows.destroy_epoch(connection, 1, make.at)
    assert caught.value.code == "EPOCH_IN_USE"
    rows.replace_wraps(connection, [replace(key, epoch=2, wrapped=b"n" * 80)])
    rows.destroy_epoch(connection, 1, make.at)
    second = rows.EpochRow(number=2, kind=KIND, wrapped=b"epoch 2", created_at=make.at, destroyed_at=None)
    assert rows.living_epochs(connection) == {2: second}
    ended = rows.EpochRow(number=1, kind=KIND, wrapped=b"", created_at=make.at, destroyed_at=make.at)
    assert rows.list_epochs(connection)[1] == ended
    assert rows.public_halves(connection, 2) == an_epoch(2).public
    assert rows.find_key(connection, key.subject_id, key.consent_id, key.domain).epoch == 2
    with pytest.raises(UsageError):
        rows.destroy_epoch(connection, 1, make.at)


def a_secret(name, wrapped=b"w", public=b"", number=1):
    return WrappedSecret(name=name, epoch=number, domain=KeyDomain.LOG, wrapped=wrapped, public=public)


def test_secrets_are_replaced_in_place(connection):
    """A secret is stored under its name, with or without a public half, replaced, and deleted."""
    rows.put_secret(connection, a_secret("log", b"one", b"public"))
    rows.put_secret(connection, a_secret("log", b"two", b"public"))
    rows.put_secret(connection, a_secret("index", b"three"))
    assert rows.get_secret(connection, "log") == a_secret("log", b"two", b"public")
    assert rows.get_secret(connection, "index").public == b""
    assert rows.get_secret(connection, "none") is None
    assert [row.name for row in rows.list_secrets(connection)] == ["index", "log"]
    assert [rows.delete_secret(connection, "log") for _ in range(2)] == [1, 0]
    assert [row.name for row in rows.list_secrets(connection)] == ["index"]


def test_what_an_ended_epoch_wrapped_is_not_taken_in(keystore, make):
    """A key or secret of a process that opened the vault before a renewal is refused: it could never be opened."""
    with keystore_work(keystore) as connection:
        rows.add_epoch(connection, an_epoch(1), make.at)
        rows.add_epoch(connection, an_epoch(2), make.at)
        rows.destroy_epoch(connection, 1, make.at)
    for late in (
        lambda held: rows.add_keys(held, [make_key(epoch=2), make_key(epoch=1)]),
        lambda held: rows.put_secret(held, a_secret("late")),
    ):
        with pytest.raises(VaultLocked) as caught, keystore_work(keystore) as connection:
            late(connection)
        assert caught.value.code == "EPOCH_CHANGED"
    with read_only(keystore) as connection:
        assert rows.list_keys(connection) == []
        assert rows.list_secrets(connection) == []


def test_an_epoch_that_wraps_a_secret_is_not_destroyed(connection, make):
    """Secrets of the vault keep their epoch alive, as data keys do."""
    rows.put_secret(connection, a_secret("log"))
    with pytest.raises(IntegrityFailure) as caught:
        rows.destroy_epoch(connection, 1, make.at)
    assert caught.value.code == "EPOCH_IN_USE"


def test_keys_are_exchanged_in_two_steps(connection, make):
    """A coming key is beside the living one, takes its place once, and the former stays until it is destroyed."""
    key = make_key()
    fresh = replace(key, key_id=new_id(), wrapped=b"n" * 80)
    rows.add_keys(connection, [key])
    rows.add_keys(connection, [fresh], pending=True)
    assert rows.find_key(connection, key.subject_id, key.consent_id, key.domain) == key
    assert (rows.list_keys(connection), rows.list_keys(connection, pending=True)) == ([key], [fresh])
    assert rows.pending_key(connection, key) == fresh
    assert rows.pending_key(connection, make_key()) is None
    assert (rows.list_coming(connection), rows.list_going(connection)) == ([fresh], [])
    assert {one.key_id for one in rows.keys_of_consent(connection, key.consent_id)} == {key.key_id, fresh.key_id}
    rows.exchange_keys(connection, [(key.key_id, fresh.key_id)])
    assert rows.find_key(connection, key.subject_id, key.consent_id, key.domain) == fresh
    assert (rows.list_coming(connection), rows.list_going(connection)) == ([], [key])
    assert rows.pending_key(connection, fresh) == key
    with pytest.raises(UsageError):
        rows.exchange_keys(connection, [(key.key_id, fresh.key_id)])
    rows.add_keys(connection, [replace(key, key_id=new_id())], pending=True)
    assert rows.destroy_keys(connection, [key.key_id], make.at) == 1
    assert rows.list_going(connection) == []


def test_two_keys_cannot_wait_for_one_place(keystore, make):
    """Two processes that begin the same exchange cannot both keep their key."""
    key = make_key()
    with keystore_work(keystore) as connection:
        rows.add_epoch(connection, an_epoch(1), make.at)
        rows.add_keys(connection, [key])
        rows.add_keys(connection, [replace(key, key_id=new_id())], pending=True)
    with pytest.raises(IntegrityFailure) as caught, keystore_work(keystore) as connection:
        rows.add_keys(connection, [replace(key, key_id=new_id())], pending=True)
    assert caught.value.code == "ROW_REFUSED"


def test_keys_of_many_consents_are_found_at_once(connection):
    """More consents than fit one statement; those without a key of the domain are left out."""
    keys = [make_key() for _ in range(600)]
    other = make_key(domain=Domain.EMBEDDINGS)
    rows.add_keys(connection, [*keys, other])
    found = rows.find_keys(connection, [key.consent_id for key in [*keys, other]], Domain.TRACKLETS)
    assert found == {key.consent_id: key for key in keys}


def test_an_older_keystore_is_told_by_its_epochs(connection):
    """Only where every living epoch is of kind 1 are its wraps read in the old way."""
    assert rows.read_legacy(connection) is None
    rows.put_secret(connection, a_secret("log", b"one", b"public"))
    connection.execute(sa.update(epoch).values(kind=1))
    connection.execute(sa.update(secret).values(epoch=None, domain=None))
    assert rows.read_legacy(connection) == rows.Legacy(epochs={1: b"epoch 1"}, secrets={"log": (b"one", b"public")})
    with pytest.raises(IntegrityFailure) as caught:
        rows.get_secret(connection, "log")
    assert caught.value.code == "KEY_CHANGED"


def test_snapshot_of_the_keystore_cannot_write(keystore, make):
    """Keys cannot be destroyed through a read."""
    with pytest.raises(Exception, match="only be read"), read_only(keystore) as connection:
        rows.destroy_keys(connection, [new_id()], make.at)
