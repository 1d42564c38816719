"""Sealed envelopes: the only form in which a person's data rests.

Guarantees: a :class:`Sealed` can be made only here, so a writer that takes ``Sealed`` cannot be given plaintext; it
opens only with its key and only in its own :class:`Context` (moving a ciphertext to another row, or changing any
byte, is found). Whoever holds just a :class:`PublicKey` can seal and can never open. Does not hide lengths, and does
not notice that a whole row is gone: that is the audit log's work.

Form of a stored blob, ``H = "FSE1" || kind`` (5 bytes), ``C`` the context's canonical JSON, ``S`` the key's secret:

* kind 1, ``H || Cobblestone-256(key = HKDF-SHA256(S, "fabnet-secure/seal/v1"), context = H || C)``;
* kind 2, ``H || W || Cobblestone-256(key = K, context = H || C)``, with ``K`` 32 fresh random bytes and ``W``
  (80 bytes) ``K`` sealed by HPKE base mode (RFC 9180, X25519, HKDF-SHA256, AES-256-GCM; info = ``C``) to the X25519 key
  whose private scalar is ``HKDF-SHA256(S, "fabnet-secure/hpke/v1")``;
* kind 3, for pages that are opened ten thousand at a time: ``H || N || V || AES-256-GCM(K, nonce = 0, no AAD)``, with
  ``N`` 32 fresh random bytes and ``K || V`` (32 bytes each) the 64 bytes of ``BLAKE2b(key = S, person =
  "fabnet-seal/v3", H || N || C)``: a key for this one message, and a commitment to it and to the context.

Source: C2SP chunked-encryption; RFC 9180; RFC 8785; after age (two verbs, two nouns) and Tink (mandatory context).
"""

import os
import re
from dataclasses import asdict, dataclass
from typing import Final, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.secret import SECRET_BYTES, Secret
from fabnet_secure.errors import IntegrityFailure, KeyProblem, UsageError
from fabnet_secure.types import canonical_json

MAGIC: Final = b"FSE1"
_TO_KEY: Final = MAGIC + b"\x01"
_TO_PUBLIC: Final = MAGIC + b"\x02"
_BULK: Final = MAGIC + b"\x03"
_HEADER_BYTES: Final = len(_TO_KEY)
_WRAP_BYTES: Final = 32 + SECRET_BYTES + 16  # X25519 share, content key, GCM tag
_SHORTEST: Final = {
    _TO_KEY: _HEADER_BYTES + aead.OVERHEAD,
    _TO_PUBLIC: _HEADER_BYTES + _WRAP_BYTES + aead.OVERHEAD,
    _BULK: _HEADER_BYTES + aead.BULK_OVERHEAD,
}
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MINT: Final = object()
_ESCAPED: Final = re.compile(r'[\x00-\x1f"\\\x7f]')
_LARGEST_COUNT: Final = (1 << 53) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a ciphertext belongs: associated data that must be the same at sealing and unsealing.

    Args:
        format: what the plaintext is, with its version: ``"tracklet/1"``, ``"embeddings/1"``, ``"identity/1"``…
        subject: the pseudonym of the person, or "".
        consent: the consent's id, or "".
        track: the track's id, or "".
        model: the encoder's id, or "".
        page: the page's number within its track and model, from 0.
        n: how many items (crops, vectors) the plaintext holds.
        dim: the size of one item (vector length, crop side in pixels).
    """

    format: str
    subject: str = ""
    consent: str = ""
    track: str = ""
    model: str = ""
    page: int = 0
    n: int = 0
    dim: int = 0

    def __post_init__(self) -> None:
        """Refuse a context that names no format or counts below zero."""
        if not self.format or min(self.page, self.n, self.dim) < 0:
            raise UsageError("a sealing context needs a format and counts of at least 0", code="CONTEXT_INVALID")

    def encode(self) -> bytes:
        """Return the canonical JSON bytes (RFC 8785) of every field, empty ones too.

        Raises:
            UsageError: a count is above 2^53, or a text holds no valid Unicode.
        """
        texts = self.format + self.subject + self.consent + self.track + self.model
        if not texts.isascii() or _ESCAPED.search(texts) or max(self.page, self.n, self.dim) > _LARGEST_COUNT:
            return canonical_json(asdict(self))
        # The same bytes, twenty times as fast: ten thousand of these are made when a vault is unlocked.
        return (
            f'{{"consent":"{self.consent}","dim":{self.dim:d},"format":"{self.format}","model":"{self.model}",'
            f'"n":{self.n:d},"page":{self.page:d},"subject":"{self.subject}","track":"{self.track}"}}'
        ).encode()


@final
class PublicKey:
    """The public half of an :class:`Opener`: seals to its holder, opens nothing.

    Args:
        raw: the 32 bytes of an X25519 public key (RFC 7748).

    Raises:
        KeyProblem: (KEY_FORMAT) the length is wrong.
    """

    __slots__ = ("raw",)
    raw: bytes

    def __init__(self, raw: bytes) -> None:
        if len(raw) != SECRET_BYTES:
            raise KeyProblem(f"a public key has {SECRET_BYTES} bytes, not {len(raw)}", code="KEY_FORMAT")
        object.__setattr__(self, "raw", bytes(raw))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a PublicKey does not change: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.raw.hex()})"


class Opener(Secret):
    """A 256-bit secret that has a public half: others can seal to it, only it opens. Never printed, never pickled."""

    __slots__ = ()

    @property
    def public(self) -> PublicKey:
        """The public half, for hosts that may write and never read."""
        return PublicKey(_private_half(self).public_key().public_bytes_raw())


@final
class DataKey(Opener):
    """The random 256-bit key of one person's data in one domain.

    Nothing derives it, so destroying its (wrapped) bytes destroys all that it sealed, and its private X25519 half with
    it.
    """

    __slots__ = ()


@final
class Sealed:
    """Ciphertext, as it is stored. Made by :func:`seal` and its kin or :meth:`from_storage` only.

    Raises:
        TypeError: constructed directly, subclassed, changed, or pickled.
    """

    __slots__ = ("_blob",)
    _blob: bytes

    def __init__(self, blob: bytes, *, minted_by: object = None) -> None:
        if minted_by is not _MINT:
            raise TypeError("only crypto.seal, crypto.seal_to and Sealed.from_storage make a Sealed")
        object.__setattr__(self, "_blob", blob)

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Sealed has no subclasses")

    @property
    def blob(self) -> bytes:
        """The bytes to store."""
        return self._blob

    @classmethod
    def from_storage(cls, blob: bytes) -> "Sealed":
        """Read back stored bytes. Only their form is checked here; :func:`unseal` proves the rest.

        Raises:
            IntegrityFailure: (SEAL_MALFORMED) this is no envelope, or one of an unknown version.
        """
        blob = bytes(blob)
        if len(blob) < _SHORTEST.get(blob[:_HEADER_BYTES], len(blob) + 1):
            raise IntegrityFailure(
                "a stored value is not a sealed envelope of a known version",
                hint="the row was changed or cut short: run 'fabnet-secure audit verify'",
                code="SEAL_MALFORMED",
            )
        return cls(blob, minted_by=_MINT)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError(f"a Sealed does not change: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._blob == other.blob

    def __hash__(self) -> int:
        return hash(self._blob)

    def __repr__(self) -> str:
        return f"<Sealed: {len(self._blob)} bytes>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Sealed is stored by its blob, never pickled")


def seal(key: Opener, context: Context, plaintext: bytes) -> Sealed:
    """Encrypt ``plaintext`` under ``key``, bound to ``context``.

    Raises:
        KeyProblem: (KEY_WIPED) the key was wiped.
    """
    body = aead.encrypt(_seal_key(key), _TO_KEY + context.encode(), plaintext)
    return Sealed(_TO_KEY + body, minted_by=_MINT)


def seal_to(recipient: PublicKey, context: Context, plaintext: bytes) -> Sealed:
    """Encrypt ``plaintext`` to the holder of ``recipient``'s private half; who sealed it cannot open it again.

    Raises:
        KeyProblem: (KEY_FORMAT) the recipient's bytes are no usable X25519 key.
    """
    encoded, content_key = context.encode(), os.urandom(SECRET_BYTES)
    try:
        wrap = _SUITE.encrypt(content_key, X25519PublicKey.from_public_bytes(recipient.raw), info=encoded)
    except ValueError as error:  # a point of small order
        raise KeyProblem("the recipient's public key cannot be used", code="KEY_FORMAT") from error
    body = aead.encrypt(content_key, _TO_PUBLIC + encoded, plaintext)
    return Sealed(_TO_PUBLIC + wrap + body, minted_by=_MINT)


def unseal(key: Opener, context: Context, sealed: Sealed) -> bytes:
    """Return the plaintext of ``sealed``, whichever way it was sealed.

    Raises:
        IntegrityFailure: (SEAL_BROKEN) the key, the context or any byte is not the one used at sealing.
        KeyProblem: (KEY_WIPED) the key was wiped.
    """
    header, body = sealed.blob[:_HEADER_BYTES], sealed.blob[_HEADER_BYTES:]
    encoded = context.encode()
    if header == _TO_KEY:
        return aead.decrypt(_seal_key(key), header + encoded, body)
    if header == _BULK:
        return aead.decrypt_bulk(key.reveal(), header, encoded, body)
    content_key = _open_wrap(key, encoded, body[:_WRAP_BYTES])
    return aead.decrypt(content_key, header + encoded, body[_WRAP_BYTES:])


def seal_bulk(key: Opener, context: Context, plaintext: bytes) -> Sealed:
    """Encrypt as :func:`seal` does, in the form (kind 3) that is opened in half the time, straight into its place.

    Raises:
        KeyProblem: (KEY_WIPED) the key was wiped.
    """
    return Sealed(_BULK + aead.encrypt_bulk(key.reveal(), _BULK, context.encode(), plaintext), minted_by=_MINT)


def bulk_length(sealed: int) -> int:
    """Return how long the plaintext of a kind 3 envelope of ``sealed`` bytes is; below 0: there is no such envelope."""
    return sealed - _HEADER_BYTES - aead.BULK_OVERHEAD


def unseal_into(key: Opener, bound: bytes, sealed: memoryview, room: memoryview) -> int:
    """Open a kind 3 envelope straight into ``room``, and return how long the plaintext is; no copy is left elsewhere.

    Args:
        key: the key it was sealed under.
        bound: the encoded context that it was sealed to.
        sealed: the envelope's bytes, as they lie among others.
        room: writable bytes, at least as long as the plaintext.

    Raises:
        IntegrityFailure: (SEAL_MALFORMED) this is no envelope of kind 3, or ``room`` is too short for it;
            (SEAL_BROKEN) the key, the context or any byte is not the one used at sealing; what was written is zeroed.
        KeyProblem: (KEY_WIPED) the key was wiped.
    """
    length = len(sealed) - _HEADER_BYTES - aead.BULK_OVERHEAD
    if not 0 <= length <= len(room) or sealed[:_HEADER_BYTES] != _BULK:
        raise IntegrityFailure(
            "a stored value is not a sealed page of a known version",
            hint="the row was changed or cut short: run 'fabnet-secure audit verify'",
            code="SEAL_MALFORMED",
        )
    aead.decrypt_bulk_into(key.reveal(), _BULK, bound, sealed[_HEADER_BYTES:], room[:length])
    return length


def _open_wrap(key: Opener, encoded: bytes, wrap: bytes) -> bytes:
    """Open the HPKE part of a kind 2 envelope."""
    private = _private_half(key)
    try:
        return _SUITE.decrypt(wrap, private, info=encoded)
    except (InvalidTag, ValueError) as error:  # ValueError: a share of small order
        raise aead.broken() from error


def _seal_key(key: Opener) -> bytes:
    """Derive the Cobblestone key, so that one secret never serves two algorithms."""
    return aead.derive(key.reveal(), "fabnet-secure/seal/v1")


def _private_half(key: Opener) -> X25519PrivateKey:
    """Derive the X25519 private key that belongs to the secret."""
    return X25519PrivateKey.from_private_bytes(aead.derive(key.reveal(), "fabnet-secure/hpke/v1"))
