"""Committing authenticated encryption of one message: C2SP chunked encryption, "Cobblestone-256", and one for bulk.

Guarantees: the key, the context and every byte are bound together; a truncated, extended, reordered or altered message,
another context or another key is refused before any plaintext is returned. The 32-byte key commitment means no
ciphertext opens under two keys. Does not hide the message's length.

Source: C2SP chunked-encryption; ``cryptography.cobblestone``.
"""

import hashlib
import hmac
import os
from typing import Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fabnet_secure.errors import IntegrityFailure

# 24 salt + 32 commitment + 16 tag of the (always present) last chunk.
OVERHEAD = 72
_SALT_BYTES: Final = 32
_HEAD_BYTES: Final = _SALT_BYTES + 32
BULK_OVERHEAD: Final = _HEAD_BYTES + 16
_PERSON: Final = b"fabnet-seal/v3"
_NONCE: Final = bytes(12)  # each key serves one message


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


def encrypt_bulk(secret: bytes, label: bytes, context: bytes, plaintext: bytes) -> bytes:
    """Encrypt one whole message under a key of its own, made of a 32-byte secret, fresh salt and the context.

    Returns:
        salt (32 bytes), commitment (32 bytes), AES-256-GCM ciphertext with its 16-byte tag.
    """
    salt = os.urandom(_SALT_BYTES)
    key, commitment = _message_key(secret, label, salt, context)
    return salt + commitment + AESGCM(key).encrypt(_NONCE, plaintext, None)


def decrypt_bulk(secret: bytes, label: bytes, context: bytes, ciphertext: bytes) -> bytes:
    """Decrypt what :func:`encrypt_bulk` made.

    Raises:
        IntegrityFailure: (SEAL_BROKEN) secret, context or ciphertext is not the one that was used.
    """
    out = bytearray(len(ciphertext) - BULK_OVERHEAD)
    decrypt_bulk_into(secret, label, context, memoryview(ciphertext), memoryview(out))
    return bytes(out)


def decrypt_bulk_into(secret: bytes, label: bytes, context: bytes, ciphertext: memoryview, out: memoryview) -> None:
    """Decrypt as :func:`decrypt_bulk`, straight into ``out``, which has exactly ``BULK_OVERHEAD`` bytes fewer.

    Raises:
        IntegrityFailure: (SEAL_BROKEN) as :func:`decrypt_bulk`; then ``out`` is zeroed.
    """
    key, commitment = _message_key(secret, label, ciphertext[:_SALT_BYTES], context)
    if not hmac.compare_digest(commitment, ciphertext[_SALT_BYTES:_HEAD_BYTES]):
        raise broken()
    try:
        AESGCM(key).decrypt_into(_NONCE, ciphertext[_HEAD_BYTES:], None, out)
    except InvalidTag as error:
        out[:] = bytes(len(out))
        raise broken() from error


def _message_key(secret: bytes, label: bytes, salt: bytes | memoryview, context: bytes) -> tuple[bytes, bytes]:
    """Return the key and the commitment of one message; the salt has one length, so where the context begins is plain.

    Source: BLAKE2 in keyed mode (RFC 7693).
    """
    both = hashlib.blake2b(b"".join((label, salt, context)), key=secret, person=_PERSON).digest()
    return both[:32], both[32:]


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
