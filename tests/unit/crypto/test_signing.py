"""Ed25519 signatures."""

import pickle

import pytest

from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.errors import KeyProblem

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize("vector", VECTORS)
def test_rfc_8032_vectors(vector):
    """Public key and signature are those of RFC 8032."""
    seed, public, message, signature = map(bytes.fromhex, vector)
    signer = Signer.from_seed(seed)
    assert signer.public == public
    assert signer.sign(message) == signature
    assert verify_signature(public, message, signature)


def test_a_signature_is_of_one_message_and_one_key():
    """Another message, another key, or any changed byte does not verify."""
    signer = Signer.generate()
    signature = signer.sign(b"checkpoint")
    assert verify_signature(signer.public, b"checkpoint", signature)
    assert not verify_signature(signer.public, b"checkpoinT", signature)
    assert not verify_signature(Signer.generate().public, b"checkpoint", signature)
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1
        assert not verify_signature(signer.public, b"checkpoint", bytes(changed))


@pytest.mark.parametrize(("public", "signature"), [(b"", bytes(64)), (bytes(31), bytes(64)), (bytes(32), b"")])
def test_malformed_input_is_false_not_a_crash(public, signature):
    """Wrong lengths verify as false."""
    assert verify_signature(public, b"message", signature) is False


def test_a_seed_makes_the_same_signer_again():
    """The seed is all that needs to be kept."""
    signer = Signer.generate()
    assert Signer.from_seed(signer.seed).public == signer.public
    with pytest.raises(KeyProblem):
        Signer.from_seed(bytes(31))


def test_a_signer_hides_its_seed():
    """Neither repr nor pickle gives the private half away."""
    signer = Signer.generate()
    assert signer.seed.hex() not in repr(signer)
    assert signer.public.hex() in repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)
