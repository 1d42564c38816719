"""Ed25519 signatures (RFC 8032) for log checkpoints and reports.

Guarantees: a signature verifies only for the very bytes and the very key. Does not say when it was made, nor whose
key it is: pin the public key out of band.
"""

import os
from typing import NoReturn, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fabnet_secure.crypto.secret import Secret


@final
class Signer:
    """Holds one Ed25519 private key. Made by :meth:`generate` or :meth:`from_seed`."""

    __slots__ = ("_key", "_secret")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._key = Ed25519PrivateKey.from_private_bytes(secret.reveal())

    @classmethod
    def generate(cls) -> "Signer":
        """Return a signer with a fresh random key."""
        return cls.from_seed(os.urandom(32))

    @classmethod
    def from_seed(cls, seed: bytes) -> "Signer":
        """Return the signer of a 32-byte private seed.

        Raises:
            KeyProblem: (KEY_FORMAT) the seed does not have 32 bytes.
        """
        return cls(Secret(seed))

    @property
    def seed(self) -> bytes:
        """The private seed (32 bytes), for wrapping by the keyring only."""
        return self._secret.reveal()

    @property
    def public(self) -> bytes:
        """The raw public key (32 bytes)."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"<Signer: public {self.public.hex()}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Signer is never pickled or copied")


def verify_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` (64 bytes) over ``message`` is ``public``'s (raw, 32 bytes); malformed is false."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
