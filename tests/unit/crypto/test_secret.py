"""Secrets do not leak by accident."""

import copy
import pickle

import pytest

from fabnet_secure.crypto.envelope import DataKey
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import KeyProblem

OCTETS = bytes(range(32))


@pytest.mark.parametrize("kind", [Secret, DataKey, RootKey])
def test_a_secret_is_never_shown(kind):
    """Neither repr nor str nor formatting shows any of a secret's bytes."""
    shown = f"{kind(OCTETS)!r} {kind(OCTETS)} {[kind(OCTETS)]}"
    assert OCTETS.hex() not in shown
    assert repr(OCTETS)[2:-1] not in shown
    assert "hidden" in shown


@pytest.mark.parametrize("kind", [Secret, DataKey, RootKey])
def test_a_secret_is_never_pickled_or_copied(kind):
    """Pickling and copying raise TypeError, and there is no instance dictionary to reach it by."""
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, vars, hash):
        with pytest.raises(TypeError):
            attempt(kind(OCTETS))


def test_a_wiped_secret_opens_nothing():
    """After wipe the bytes are overwritten in place and reveal refuses."""
    secret = Secret(OCTETS)
    buffer = secret._octets
    secret.wipe()
    assert buffer == bytes(32)
    with pytest.raises(KeyProblem) as caught:
        secret.reveal()
    assert caught.value.code == "KEY_WIPED"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_another_length_is_refused(length):
    """Only 32 bytes make a key."""
    with pytest.raises(KeyProblem) as caught:
        Secret(bytes(length))
    assert caught.value.code == "KEY_FORMAT"


def test_secrets_compare_by_content_and_kind():
    """Equal bytes are equal keys of one kind; a data key is never equal to a root key."""
    assert Secret(OCTETS) == Secret(OCTETS)
    assert Secret(OCTETS) != Secret(bytes(32))
    assert DataKey(OCTETS) != RootKey(OCTETS)


def test_generated_secrets_differ():
    """Every generated secret is another one, of the class that was asked."""
    keys = [DataKey.generate() for _ in range(50)]
    assert len({key.reveal() for key in keys}) == 50
    assert all(isinstance(key, DataKey) for key in keys)
