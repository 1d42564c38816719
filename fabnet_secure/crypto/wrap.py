"""Wrapping small secrets (keys, seeds) under a key whose own derivations are made once.

Guarantees: a wrap opens only under its key and with the very bytes it was bound to; whoever holds just the public half
can wrap and can never open. Does not say what the bound bytes mean: each caller binds its whole row.

Form of a wrap, ``B`` the bound bytes, ``S`` the key's secret:

* kind 1, ``H = "FSW1" 01``: ``H || N || AES-256-GCM(HKDF-SHA256(S, "fabnet-secure/wrap/v1"), N, AAD = H || B)`` with 12
  random bytes ``N`` (NIST SP 800-38D, 8.2.2: up to 2^32 wraps under one key; an epoch has far fewer). Not committing:
  nobody but the key's holder chooses what it opens;
* kind 2, ``H = "FSW1" 02``: ``H || HPKE(X25519, HKDF-SHA256, AES-256-GCM; info = H || B)`` to the X25519 key whose
  private scalar is ``HKDF-SHA256(S, "fabnet-secure/hpke/v1")``: the same public half as ``envelope.Opener.public``.

Source: NIST SP 800-38D; RFC 9180; RFC 5869.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.envelope import PublicKey
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import IntegrityFailure, KeyProblem

_BY_KEY: Final = b"FSW1\x01"
_BY_PUBLIC: Final = b"FSW1\x02"
_HEADER_BYTES: Final = len(_BY_KEY)
_NONCE_BYTES: Final = 12
_SEALED: Final = _HEADER_BYTES + _NONCE_BYTES
_SHORTEST: Final = {_BY_KEY: _HEADER_BYTES + _NONCE_BYTES + 16, _BY_PUBLIC: _HEADER_BYTES + 32 + 16}
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class WrapKey(Secret):
    """A 256-bit key that wraps other keys. Never printed, never pickled."""

    __slots__ = ("_cipher", "_private", "_public")

    def __init__(self, octets: bytes) -> None:
        super().__init__(octets)
        self._cipher: AESGCM | None = AESGCM(aead.derive(octets, "fabnet-secure/wrap/v1"))
        self._private: X25519PrivateKey | None = None
        self._public: PublicKey | None = None

    @property
    def public(self) -> PublicKey:
        """The public half, for whoever may wrap and never open."""
        if self._public is None:
            self._public = PublicKey(self._half().public_key().public_bytes_raw())
        return self._public

    def wrap(self, bound: bytes, plaintext: bytes) -> bytes:
        """Wrap ``plaintext``, bound to ``bound`` (kind 1).

        Raises:
            KeyProblem: (KEY_WIPED) the key was wiped.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return _BY_KEY + nonce + self._symmetric().encrypt(nonce, plaintext, _BY_KEY + bound)

    def unwrap(self, bound: bytes, wrapped: bytes) -> bytes:
        """Open a wrap of either kind.

        Raises:
            IntegrityFailure: (SEAL_MALFORMED) this is no wrap; (SEAL_BROKEN) key, bound bytes or wrap are not the ones.
            KeyProblem: (KEY_WIPED) the key was wiped.
        """
        header = wrapped[:_HEADER_BYTES]
        if len(wrapped) < _SHORTEST.get(header, len(wrapped) + 1):
            raise IntegrityFailure(
                "a stored key is not a wrapped key of a known version",
                hint="the row was changed or cut short: restore keystore.db",
                code="SEAL_MALFORMED",
            )
        try:
            if header == _BY_KEY:
                return self._symmetric().decrypt(wrapped[_HEADER_BYTES:_SEALED], wrapped[_SEALED:], header + bound)
            return _SUITE.decrypt(wrapped[_HEADER_BYTES:], self._half(), info=header + bound)
        except (InvalidTag, ValueError) as error:  # ValueError: a share of small order
            raise aead.broken() from error

    def wipe(self) -> None:
        """Overwrite the key, and let go of what was derived of it (OpenSSL overwrites its own)."""
        super().wipe()
        self._cipher = None
        self._private = None

    def _symmetric(self) -> AESGCM:
        if self._cipher is None:
            raise KeyProblem("this key was wiped from memory", hint="open the keyring again", code="KEY_WIPED")
        return self._cipher

    def _half(self) -> X25519PrivateKey:
        if self._private is None:
            self._private = X25519PrivateKey.from_private_bytes(aead.derive(self.reveal(), "fabnet-secure/hpke/v1"))
        return self._private


def wrap_to(recipient: PublicKey, bound: bytes, plaintext: bytes) -> bytes:
    """Wrap ``plaintext`` to the holder of ``recipient``'s private half (kind 2).

    Raises:
        KeyProblem: (KEY_FORMAT) the recipient's bytes are no usable X25519 key.
    """
    try:
        public = X25519PublicKey.from_public_bytes(recipient.raw)
        return _BY_PUBLIC + _SUITE.encrypt(plaintext, public, info=_BY_PUBLIC + bound)
    except ValueError as error:  # a point of small order
        raise KeyProblem("the recipient's public key cannot be used", code="KEY_FORMAT") from error


def by_public(wrapped: bytes) -> bool:
    """Tell whether a wrap was made with a public half only: then nobody vouches for what is in it."""
    return wrapped.startswith(_BY_PUBLIC)
