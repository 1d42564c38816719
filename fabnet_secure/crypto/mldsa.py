"""ML-DSA-44 signatures (FIPS 204), which a quantum computer does not forge: for a witness's cosignatures.

Guarantees: a signature verifies only for the very bytes and the very key. Does not say when it was made; the message
that is signed carries a time.
"""

from typing import Final, NoReturn, Self, final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from fabnet_secure.crypto.secret import Secret

PUBLIC_BYTES: Final = 1312
SIGNATURE_BYTES: Final = 2420


@final
class Cosigner:
    """Holds one ML-DSA-44 private key."""

    __slots__ = ("_key", "_secret")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._key = MLDSA44PrivateKey.from_seed_bytes(secret.reveal())

    @classmethod
    def generate(cls) -> Self:
        """Return a cosigner with a fresh random key."""
        return cls(Secret.generate())

    @property
    def seed(self) -> bytes:
        """The private seed (32 bytes; xi of FIPS 204), for the witness's key file only."""
        return self._secret.reveal()

    @property
    def public(self) -> bytes:
        """The raw public key (1312 bytes)."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 2420-byte signature of ``message`` (pure ML-DSA, empty context)."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "<Cosigner>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Cosigner is never pickled or copied")


def verify_mldsa44(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` over ``message`` is ``public``'s (raw, 1312 bytes); malformed is false."""
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
