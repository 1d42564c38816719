"""Cosignatures by a witness: ML-DSA-44 over a checkpoint, as C2SP ``tlog-cosignature`` lays them out.

A cosignature says: at this time, this was the largest head of this log that I had seen, and it continued all that I
had seen before. Guarantees that it holds only for the log, size, root, time and witness that it names, and that each
has one byte form. Does not sign or verify by itself: the key and the check come in. Ed25519 cosignatures (type 4) are
not made and are passed over: the specification wants ML-DSA for new witnesses.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from fabnet_secure.audit.checkpoint import (
    DASH,
    KEY_ID_SIZE,
    Checkpoint,
    decode_base64,
    is_origin,
    read_checkpoint,
    signatures,
)
from fabnet_secure.errors import IntegrityFailure, UsageError

ML_DSA_44: Final = 6
PUBLIC_SIZE: Final = 1312
SIGNATURE_SIZE: Final = 2420
_LABEL: Final = b"subtree/v1\n\0"
_TIME_BYTES: Final = 8
_MAX_TIME: Final = (1 << 63) - 1
_MAX_NAME: Final = 255

VerifyCosignature: TypeAlias = Callable[[bytes, bytes, bytes], bool]
"""``(public, message, signature)`` to whether the ML-DSA-44 signature holds."""


class CosignKey(Protocol):
    """An ML-DSA-44 key that signs."""

    @property
    def public(self) -> bytes:
        """The raw public key, 1312 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the 2420-byte signature of ``message``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """A cosignature that held: the witness's name and the time it states (POSIX seconds)."""

    name: str
    timestamp: int


def witness_name(public: bytes) -> str:
    """Return the name that a witness of this program goes by: it follows from its key."""
    return f"fabnet-secure/witness/{hashlib.sha256(public).hexdigest()[:16]}"


def cosigner_id(name: str, public: bytes) -> bytes:
    """Return the four bytes that name the key in a signature line."""
    named = name.encode("utf-8") + b"\n" + bytes([ML_DSA_44]) + public
    return hashlib.sha256(named).digest()[:KEY_ID_SIZE]


def cosigner_vkey(name: str, public: bytes) -> str:
    """Return the verifier key text, ``<name>+<key id, hex>+<base64(0x06 || public)>``.

    Raises:
        UsageError: code ``VKEY_INVALID``.
    """
    if not is_origin(name) or len(name.encode("utf-8")) > _MAX_NAME or len(public) != PUBLIC_SIZE:
        raise _no_vkey()
    encoded = base64.b64encode(bytes([ML_DSA_44]) + public).decode("ascii")
    return f"{name}+{cosigner_id(name, public).hex()}+{encoded}"


def parse_cosigner_vkey(text: str) -> tuple[str, bytes]:
    """Return ``(name, public key of 1312 bytes)`` of a witness's verifier key.

    Raises:
        UsageError: code ``VKEY_INVALID``: the text is none, or its key id belongs to another key.
    """
    name, _, rest = text.partition("+")
    key = decode_base64(rest.partition("+")[2])
    if len(key) == PUBLIC_SIZE + 1 and key[0] == ML_DSA_44 and cosigner_vkey(name, key[1:]) == text:
        return name, key[1:]
    raise _no_vkey()


def cosigned_message(name: str, timestamp: int, head: Checkpoint) -> bytes:
    """Return what is signed: the ``cosigned_message`` structure for a whole tree (``start`` is 0)."""
    return b"".join(
        (
            _LABEL,
            _opaque(name),
            timestamp.to_bytes(_TIME_BYTES, "big"),
            _opaque(head.origin),
            bytes(8),
            head.size.to_bytes(8, "big"),
            head.root,
        )
    )


def cosign(note: str, key: CosignKey, timestamp: int) -> str:
    """Return the note with one signature line more.

    Args:
        note: a checkpoint, checked by the caller to continue everything the witness has seen.
        key: the witness's.
        timestamp: POSIX seconds.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN``: the note is malformed.
        UsageError: code ``TIMESTAMP_INVALID``.
    """
    if not 0 < timestamp <= _MAX_TIME:
        raise UsageError("a cosignature's time lies after 1970", hint="set the clock", code="TIMESTAMP_INVALID")
    head = read_checkpoint(note)
    name = witness_name(key.public)
    signature = key.sign(cosigned_message(name, timestamp, head))
    blob = cosigner_id(name, key.public) + timestamp.to_bytes(_TIME_BYTES, "big") + signature
    return f"{note}{DASH} {name} {base64.b64encode(blob).decode('ascii')}\n"


def check_cosignature(note: str, vkey: str, verify: VerifyCosignature) -> Cosigned:
    """Check that the witness ``vkey`` cosigned this checkpoint.

    Raises:
        IntegrityFailure: code ``COSIGNATURE_BROKEN``: it did not, or not this; ``CHECKPOINT_BROKEN``: malformed.
        UsageError: code ``VKEY_INVALID``.
    """
    name, public = parse_cosigner_vkey(vkey)
    head = read_checkpoint(note)
    wanted = cosigner_id(name, public)
    block = note.partition("\n\n")[2]
    found = [blob[KEY_ID_SIZE:] for named, blob in signatures(block) if named == name and blob[:KEY_ID_SIZE] == wanted]
    if len(found) != 1:
        raise _broken("the witness did not cosign it" if not found else "the witness cosigned it twice")
    blob = found[0]
    timestamp = int.from_bytes(blob[:_TIME_BYTES], "big")
    if len(blob) != _TIME_BYTES + SIGNATURE_SIZE or not 0 < timestamp <= _MAX_TIME:
        raise _broken("the cosignature is malformed")
    if not verify(public, cosigned_message(name, timestamp, head), blob[_TIME_BYTES:]):
        raise _broken("the cosignature does not hold")
    return Cosigned(name=name, timestamp=timestamp)


def _opaque(text: str) -> bytes:
    """Write a text behind its length in one byte (RFC 8446, section 3.4)."""
    encoded = text.encode("utf-8")
    if not 1 <= len(encoded) <= _MAX_NAME:
        raise UsageError(f"a log's origin and a witness's name have 1 to {_MAX_NAME} bytes", code="ORIGIN_INVALID")
    return bytes([len(encoded)]) + encoded


def _no_vkey() -> UsageError:
    return UsageError(
        "this is not a witness's verifier key",
        hint="it reads <name>+<8 hex digits>+<base64>, as 'audit witness' writes it beside its key (.pub)",
        code="VKEY_INVALID",
    )


def _broken(why: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"the checkpoint is not witnessed: {why}",
        hint="ask the witness for its newest checkpoint, and compare its key",
        code="COSIGNATURE_BROKEN",
    )
