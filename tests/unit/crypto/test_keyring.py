"""The keyring: root key, epochs, data keys, secrets of the vault."""

import dataclasses
import pickle

import pytest

from fabnet_secure.crypto.envelope import Context, DataKey, PublicKey, seal_to, unseal
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.keyring import Keyring
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.types import Domain, is_id

ROOT = RootKey(bytes(range(32)))
OTHER = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def epochs():
    return {1: Keyring.new_epoch(ROOT, 1)}


@pytest.fixture
def keyring(epochs):
    return Keyring.open(ROOT, epochs)


@pytest.fixture
def wrapped(keyring):
    return keyring.mint(domain=Domain.TRACKLETS, subject_id="subject", consent_id="consent")


def code_of(error, act, *arguments):
    with pytest.raises(error) as caught:
        act(*arguments)
    return caught.value.code


def test_a_minted_key_unwraps_to_its_public_half(keyring, wrapped):
    """The row says whose key it is, and its public half belongs to the wrapped secret."""
    assert keyring.unwrap(wrapped).public.raw == wrapped.public
    assert (wrapped.epoch, wrapped.domain) == (1, Domain.TRACKLETS)
    assert (wrapped.subject_id, wrapped.consent_id) == ("subject", "consent")
    assert is_id(wrapped.key_id)


def test_what_the_public_half_sealed_the_unwrapped_key_opens(keyring, wrapped):
    """An ingest host needs the stored public key only."""
    context = Context(format="tracklet/1")
    assert unseal(keyring.unwrap(wrapped), context, seal_to(PublicKey(wrapped.public), context, b"crop")) == b"crop"


def test_every_mint_is_another_random_key(keyring):
    """Two keys for the same person and domain have nothing in common: none is derived."""
    keys = [keyring.mint(domain=Domain.IDENTITY, subject_id="s", consent_id=None) for _ in range(5)]
    assert len({key.public for key in keys}) == len({key.key_id for key in keys}) == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_id", OTHER),
        ("domain", Domain.EMBEDDINGS),
        ("subject_id", "another"),
        ("consent_id", "another"),
        ("consent_id", None),
        ("public", DataKey(bytes(32)).public.raw),
    ],
)
def test_a_key_moved_to_another_row_does_not_open(keyring, wrapped, field, value):
    """Every field of the row is bound to the wrap."""
    assert code_of(IntegrityFailure, keyring.unwrap, dataclasses.replace(wrapped, **{field: value})) == "SEAL_BROKEN"


def test_a_key_moved_to_another_epoch_does_not_open(epochs):
    """The epoch's number is bound too, even where both epochs had one and the same key."""
    keyring = Keyring.open(ROOT, epochs)
    wrapped = keyring.mint(domain=Domain.TRACKLETS, subject_id="s", consent_id=None)
    keyring._epochs[2] = keyring._epochs[1]
    assert code_of(IntegrityFailure, keyring.unwrap, dataclasses.replace(wrapped, epoch=2)) == "SEAL_BROKEN"


def test_any_changed_byte_of_a_wrap_is_found(keyring, wrapped):
    """Each byte of the wrapped key counts."""
    for position in range(len(wrapped.wrapped)):
        changed = bytearray(wrapped.wrapped)
        changed[position] ^= 1
        assert code_of(IntegrityFailure, keyring.unwrap, dataclasses.replace(wrapped, wrapped=bytes(changed)))


def test_a_destroyed_key_says_so(keyring, wrapped):
    """An emptied row is destroyed, not broken."""
    gone = dataclasses.replace(wrapped, wrapped=b"", public=b"")
    assert code_of(KeyProblem, keyring.unwrap, gone) == "KEY_DESTROYED"


def test_another_root_key_opens_no_epoch(epochs):
    """The wrong key file is told apart: KEY_WRONG, exit status 12."""
    assert code_of(KeyProblem, Keyring.open, RootKey.generate(), epochs) == "KEY_WRONG"


def test_an_epoch_is_bound_to_its_number(epochs):
    """A wrapped epoch key does not open under another number, nor after a change."""
    assert code_of(KeyProblem, Keyring.open, ROOT, {2: epochs[1]}) == "KEY_WRONG"
    assert code_of(KeyProblem, Keyring.open, ROOT, {1: epochs[1][:-1]}) == "KEY_WRONG"
    assert code_of(KeyProblem, Keyring.open, ROOT, {1: b""}) == "KEY_WRONG"


def test_a_keystore_without_epochs_is_a_key_problem():
    """A keyring holds at least one epoch."""
    assert code_of(KeyProblem, Keyring.open, ROOT, {}) == "KEY_NO_EPOCH"


def test_new_keys_are_wrapped_under_the_newest_epoch(epochs):
    """The highest number is the newest, whatever the order."""
    keyring = Keyring.open(ROOT, {3: Keyring.new_epoch(ROOT, 3), **epochs})
    assert keyring.newest == 3
    assert keyring.mint(domain=Domain.EVIDENCE, subject_id="s", consent_id=None).epoch == 3


def test_rekeying_keeps_the_key_and_frees_it_from_its_epoch(epochs, wrapped, keyring):
    """A re-wrapped key opens without the old epoch; the old wrap does not open without it."""
    second = {2: Keyring.new_epoch(ROOT, 2)}
    rewrapped = Keyring.open(ROOT, {**epochs, **second}).rewrap(wrapped)
    only_new = Keyring.open(ROOT, second)
    assert only_new.unwrap(rewrapped) == keyring.unwrap(wrapped)
    assert (rewrapped.key_id, rewrapped.public) == (wrapped.key_id, wrapped.public)
    assert code_of(KeyProblem, only_new.unwrap, wrapped) == "KEY_EPOCH_GONE"


def test_secrets_of_the_vault_round_trip_by_name(keyring):
    """A secret of any length opens under its own name, and only under it."""
    for secret in (b"", b"seed" * 8, bytes(1000)):
        stored = keyring.wrap_secret("log-signing-seed", secret)
        assert keyring.unwrap_secret("log-signing-seed", stored) == secret
        assert code_of(IntegrityFailure, keyring.unwrap_secret, "report-signing-seed", stored) == "SEAL_BROKEN"


def test_a_changed_or_foreign_secret_is_found(keyring, wrapped):
    """Any changed byte, a cut, or a data key's wrap in a secret's place is an integrity failure."""
    stored = keyring.wrap_secret("name", b"secret")
    for position in range(len(stored)):
        changed = bytearray(stored)
        changed[position] ^= 1
        with pytest.raises((IntegrityFailure, KeyProblem)):
            keyring.unwrap_secret("name", bytes(changed))
    assert code_of(IntegrityFailure, keyring.unwrap_secret, "name", stored[:-1]) == "SEAL_BROKEN"
    assert code_of(IntegrityFailure, keyring.unwrap_secret, "name", stored[:79]) == "SEAL_MALFORMED"
    assert code_of(IntegrityFailure, keyring.unwrap_secret, "name", wrapped.wrapped) == "SEAL_MALFORMED"
    assert code_of(IntegrityFailure, keyring.unwrap_secret, "name", b"") == "SEAL_MALFORMED"


def test_a_secret_of_a_destroyed_epoch_says_so(keyring):
    """The stored secret itself tells which epoch it needs."""
    stored = keyring.wrap_secret("name", b"secret")
    later = Keyring.open(ROOT, {2: Keyring.new_epoch(ROOT, 2)})
    assert code_of(KeyProblem, later.unwrap_secret, "name", stored) == "KEY_EPOCH_GONE"


def test_a_wiped_keyring_opens_nothing(keyring, wrapped):
    """After wipe no key unwraps."""
    keyring.wipe()
    assert code_of(KeyProblem, keyring.unwrap, wrapped) == "KEY_WIPED"


def test_a_keyring_is_not_shown_or_pickled(keyring):
    """It shows epoch numbers only and refuses pickling."""
    assert repr(keyring) == "<Keyring: epochs [1]>"
    with pytest.raises(TypeError):
        pickle.dumps(keyring)
