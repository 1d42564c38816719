"""Committing encryption of one message."""

import pytest

from fabnet_secure.crypto import aead
from fabnet_secure.errors import IntegrityFailure

KEY = bytes(range(32))


@pytest.mark.parametrize("length", [0, 1, 16383, 16384, 16385, 70000])
def test_round_trip_and_length(length):
    """A message opens to itself, at the documented cost of 72 bytes and 16 more for each further 16 KiB."""
    plaintext = bytes(i % 251 for i in range(length))
    ciphertext = aead.encrypt(KEY, b"context", plaintext)
    assert aead.decrypt(KEY, b"context", ciphertext) == plaintext
    assert len(ciphertext) - length == aead.OVERHEAD + 16 * (length // 16384)


def test_truncation_at_a_chunk_border_is_found():
    """Cutting off whole chunks, which a naive chunked cipher misses, does not open."""
    ciphertext = aead.encrypt(KEY, b"context", bytes(3 * 16384))
    for cut in (56, 56 + 16400, 56 + 2 * 16400, 56 + 3 * 16400):
        with pytest.raises(IntegrityFailure):
            aead.decrypt(KEY, b"context", ciphertext[:cut])


def test_swapped_chunks_are_found():
    """Chunks cannot change places."""
    ciphertext = aead.encrypt(KEY, b"context", bytes(16384) + b"\x01" * 16384 + b"rest")
    head, first, second, rest = (
        ciphertext[:56],
        ciphertext[56 : 56 + 16400],
        ciphertext[56 + 16400 : 56 + 2 * 16400],
        ciphertext[56 + 2 * 16400 :],
    )
    assert aead.decrypt(KEY, b"context", head + first + second + rest)
    with pytest.raises(IntegrityFailure):
        aead.decrypt(KEY, b"context", head + second + first + rest)


def test_the_same_message_never_looks_the_same():
    """Each encryption has its own salt."""
    assert aead.encrypt(KEY, b"", b"message") != aead.encrypt(KEY, b"", b"message")


def test_derived_keys_depend_on_the_label():
    """One secret gives unrelated keys for different uses, and the same key for the same use."""
    assert aead.derive(KEY, "a") == aead.derive(KEY, "a")
    assert aead.derive(KEY, "a") != aead.derive(KEY, "b")
    assert aead.derive(KEY, "a") != KEY


def test_derive_is_hkdf_sha256():
    """The derivation is RFC 5869 without salt, worked out here with hmac alone."""
    import hmac

    extracted = hmac.digest(bytes(32), KEY, "sha256")
    assert aead.derive(KEY, "label") == hmac.digest(extracted, b"label\x01", "sha256")
