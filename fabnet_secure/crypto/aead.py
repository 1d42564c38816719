"""Committing authenticated encryption of one message: C2SP chunked encryption, "Cobblestone-256".

Guarantees: the key, the context and every byte are bound together; a truncated, extended, reordered or altered message,
another context or another key is refused before any plaintext is returned. The 32-byte key commitment means no
ciphertext opens under two keys. Does not hide the message's length.

Source: C2SP chunked-encryption; ``cryptography.cobblestone``.
"""

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fabnet_secure.errors import IntegrityFailure

# 24 salt + 32 commitment + 16 tag of the (always present) last chunk.
OVERHEAD = 72


def encrypt(key: bytes, context: bytes, plaintext: bytes) -> bytes:
    """Encrypt ``plaintext`` (bytes, any length) under a 32-byte key, bound to ``context``.

    Returns the ciphertext: 72 bytes longer for a message below 16 KiB, 16 bytes more for each further 16 KiB.
    """
    encryptor = Cobblestone256Encryptor(key, context)
    return encryptor.update(plaintext) + encryptor.finalize()


def decrypt(key: bytes, context: bytes, ciphertext: bytes) -> bytes:
    """Decrypt what :func:`encrypt` made under the same key and context.

    Raises:
        IntegrityFailure: (SEAL_BROKEN) key, context or ciphertext is not the one that was used.
    """
    try:
        decryptor = Cobblestone256Decryptor(key, context)
        return decryptor.update(ciphertext) + decryptor.finalize()
    except InvalidTag as error:
        raise broken() from error


def derive(secret: bytes, label: str) -> bytes:
    """Derive 32 bytes from a random secret for the one use that ``label`` names (HKDF-SHA256, RFC 5869, no salt)."""
    return HKDF(SHA256(), 32, None, label.encode()).derive(secret)


def broken() -> IntegrityFailure:
    """Return the one error for everything that does not open; it never says which part was wrong."""
    return IntegrityFailure(
        "a sealed value does not open: the key, the row it belongs to or its bytes are not the original",
        hint="run 'fabnet-secure audit verify' and compare with a backup",
        code="SEAL_BROKEN",
    )
