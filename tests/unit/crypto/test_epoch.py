"""Epoch seeds behind the root and the gate."""

import pytest

from fabnet_secure.crypto.epoch import EpochSeed, domain_keys, make_epoch, open_seed, wrap_seed
from fabnet_secure.crypto.gate import Gate
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.types import KeyDomain

ROOT, GATE, SEED = RootKey(bytes(range(32))), Gate(bytes(32)), EpochSeed(bytes(range(1, 33)))
PLACE = {"root": ROOT, "gate": GATE, "vault_id": "vault", "number": 1}


def code_of(error, **changes):
    with pytest.raises(error) as caught:
        open_seed(wrap_seed(SEED, **PLACE), **PLACE | changes)
    return caught.value.code


def test_root_and_gate_together_open_a_seed():
    """Both, and the very epoch of the very vault."""
    assert open_seed(wrap_seed(SEED, **PLACE), **PLACE) == SEED


def test_the_wrong_root_and_the_wrong_gate_are_told_apart():
    """A wrong key file is a key problem; a keystore that does not fit its epoch file was changed, or is another's."""
    assert code_of(KeyProblem, root=RootKey(bytes(32))) == "KEY_WRONG"
    assert code_of(IntegrityFailure, gate=Gate(bytes(range(32)))) == "EPOCH_BROKEN"
    assert code_of(IntegrityFailure, number=2) == "EPOCH_BROKEN"
    assert code_of(IntegrityFailure, vault_id="another") == "EPOCH_BROKEN"


def test_any_changed_byte_is_found():
    """Of the whole blob, and its length."""
    wrapped = wrap_seed(SEED, **PLACE)
    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(IntegrityFailure):
            open_seed(bytes(changed), **PLACE)
    for cut in (b"", wrapped[:-1], wrapped + b"\0"):
        with pytest.raises(IntegrityFailure):
            open_seed(cut, **PLACE)


def test_every_domain_has_a_key_of_its_own():
    """The same for the same seed, and all different."""
    keys = domain_keys(SEED)
    assert keys.keys() == set(KeyDomain)
    assert len({key.reveal() for key in keys.values()}) == len(KeyDomain)
    assert domain_keys(SEED) == keys
    assert SEED.reveal() not in {key.reveal() for key in keys.values()}


def test_a_made_epoch_opens_to_its_domain_keys():
    """What is stored of it is the wrapped seed and every public half."""
    made, keys = make_epoch(7, root=ROOT, gate=GATE, vault_id="vault")
    assert made.number == 7
    assert made.public == {domain: key.public.raw for domain, key in keys.items()}
    assert domain_keys(open_seed(made.wrapped, **PLACE | {"number": 7})) == keys
    assert make_epoch(7, root=ROOT, gate=GATE, vault_id="vault")[1] != keys
