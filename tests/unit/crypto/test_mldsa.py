"""ML-DSA-44: what a witness signs with."""

import pickle

import pytest

from fabnet_secure.crypto.mldsa import PUBLIC_BYTES, SIGNATURE_BYTES, Cosigner, verify_mldsa44
from fabnet_secure.crypto.secret import Secret


def test_a_signature_holds_for_its_message_and_key_alone():
    """Another message, another key or a changed byte is refused, and so is what is malformed."""
    ours, theirs = Cosigner.generate(), Cosigner.generate()
    signature = ours.sign(b"head")
    assert (len(ours.public), len(signature)) == (PUBLIC_BYTES, SIGNATURE_BYTES)
    assert verify_mldsa44(ours.public, b"head", signature)
    assert not verify_mldsa44(ours.public, b"tail", signature)
    assert not verify_mldsa44(theirs.public, b"head", signature)
    assert not verify_mldsa44(ours.public, b"head", signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not verify_mldsa44(ours.public, b"head", b"")
    assert not verify_mldsa44(b"short", b"head", signature)


def test_the_seed_gives_the_key_again():
    """32 bytes are the whole key."""
    ours = Cosigner.generate()
    assert Cosigner(Secret(ours.seed)).public == ours.public


def test_it_shows_and_pickles_nothing():
    """Neither repr nor pickle takes the key out."""
    ours = Cosigner.generate()
    assert repr(ours) == "<Cosigner>"
    with pytest.raises(TypeError):
        pickle.dumps(ours)
