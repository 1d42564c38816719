"""Signed checkpoints: the size and root of the log as a C2SP ``tlog-checkpoint`` signed note (Ed25519).

Guarantees that a checkpoint opens only under the key that was asked for and that each accepted checkpoint has
one byte form: base64 with stray bits, a size with leading zeroes or a line too many is refused. Does not sign or
verify by itself: :class:`NoteSigner` and :data:`Verify` come in (``crypto/`` has both). Extension lines, which
the specification advises against, are not accepted.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fabnet_secure.audit.merkle import HASH_SIZE
from fabnet_secure.errors import IntegrityFailure, UsageError

ED25519 = 1
PUBLIC_KEY_SIZE = 32
KEY_ID_SIZE = 4
_LINES = 3  # origin, size, root
_MAX_SIGNATURES = 100
DASH = "\u2014"
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


class NoteSigner(Protocol):
    """An Ed25519 key that signs notes."""

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""


Verify: TypeAlias = Callable[[bytes, bytes, bytes], bool]
"""``(public, message, signature)`` to whether the signature holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's head: which log, how many entries, and the root hash (32 bytes) over them."""

    origin: str
    size: int
    root: bytes


def key_id(origin: str, public: bytes) -> bytes:
    """Return the four bytes that name a key in a signature line (C2SP ``signed-note``)."""
    named = origin.encode("utf-8") + b"\n" + bytes([ED25519]) + public
    return hashlib.sha256(named).digest()[:KEY_ID_SIZE]


def vkey(origin: str, public: bytes) -> str:
    """Return the verifier key text, ``<origin>+<key id, hex>+<base64(0x01 || public)>``.

    Raises:
        UsageError: code ``ORIGIN_INVALID`` or ``VKEY_INVALID``.
    """
    _check_origin(origin)
    if len(public) != PUBLIC_KEY_SIZE:
        raise UsageError(f"an Ed25519 public key has {PUBLIC_KEY_SIZE} bytes", code="VKEY_INVALID")
    encoded = base64.b64encode(bytes([ED25519]) + public).decode("ascii")
    return f"{origin}+{key_id(origin, public).hex()}+{encoded}"


def parse_vkey(text: str) -> tuple[str, bytes, bytes]:
    """Return ``(origin, key id of 4 bytes, public key of 32 bytes)`` of a verifier key.

    Raises:
        UsageError: code ``VKEY_INVALID``: the text is none, or its key id belongs to another key.
    """
    origin, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    key = decode_base64(encoded)
    if len(key) == PUBLIC_KEY_SIZE + 1 and key[0] == ED25519 and is_origin(origin):
        public = key[1:]
        if vkey(origin, public) == text:
            return origin, key_id(origin, public), public
    raise UsageError(
        "this is not an Ed25519 verifier key",
        hint="it reads <origin>+<8 hex digits>+<base64>, as in the file vkey of an export",
        code="VKEY_INVALID",
    )


def sign_checkpoint(origin: str, size: int, root: bytes, signer: NoteSigner) -> str:
    """Return the signed note for the log's head. The caller must never sign two heads that do not extend each other.

    Raises:
        UsageError: code ``ORIGIN_INVALID``, or ``CHECKPOINT_INVALID`` for a negative size or a root not of 32 bytes.
    """
    _check_origin(origin)
    if size < 0 or len(root) != HASH_SIZE:
        raise UsageError("a checkpoint has a size and a root of 32 bytes", code="CHECKPOINT_INVALID")
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n"
    signature = signer.sign(body.encode("utf-8"))
    line = base64.b64encode(key_id(origin, signer.public) + signature).decode("ascii")
    return f"{body}\n{DASH} {origin} {line}\n"


def open_checkpoint(text: str, vkey: str, verify: Verify, *, alone: bool = False) -> Checkpoint:
    """Return the checkpoint when the key ``vkey`` signed it.

    Lines by other keys (witnesses' cosignatures) are passed over, as C2SP asks; with ``alone`` they are refused,
    so that no byte of ``text`` is left unchecked.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN``: malformed, another log's, or not signed by this key.
        UsageError: code ``VKEY_INVALID``.
    """
    origin, wanted, public = parse_vkey(vkey)
    checkpoint = read_checkpoint(text)
    if checkpoint.origin != origin:
        raise checkpoint_broken("it belongs to another log")
    body, _, block = text.partition("\n\n")
    ours: list[bytes] = []
    for name, blob in signatures(block):
        if name == origin and blob[:KEY_ID_SIZE] == wanted:
            ours.append(blob[KEY_ID_SIZE:])
        elif alone:
            raise checkpoint_broken("it bears a signature by another key")
    if len(ours) != 1:
        raise checkpoint_broken("the log's key did not sign it" if not ours else "the log's key signed it twice")
    if not verify(public, f"{body}\n".encode(), ours[0]):
        raise checkpoint_broken("the signature does not hold")
    return checkpoint


def read_checkpoint(text: str) -> Checkpoint:
    """Return what a checkpoint says WITHOUT checking who signed it; see :func:`open_checkpoint`.

    Raises:
        IntegrityFailure: code ``CHECKPOINT_BROKEN``: malformed.
    """
    body, divider, _ = text.partition("\n\n")
    lines = body.split("\n")
    if not divider or len(lines) != _LINES:
        raise checkpoint_broken("it is not three lines, an empty one and signatures")
    origin, size, root = lines[0], lines[1], decode_base64(lines[2])
    if not is_origin(origin) or not _SIZE.match(size) or len(root) != HASH_SIZE:
        raise checkpoint_broken("its origin, size or root is malformed")
    return Checkpoint(origin=origin, size=int(size), root=root)


def signatures(block: str) -> list[tuple[str, bytes]]:
    """Return ``(name, key id || signature)`` of each line of a note's signature block."""
    if not block.endswith("\n") or block.count("\n") > _MAX_SIGNATURES:
        raise checkpoint_broken("its signatures are malformed")
    found: list[tuple[str, bytes]] = []
    for line in block[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        blob = decode_base64(encoded)
        if dash != DASH or not is_origin(name) or len(blob) <= KEY_ID_SIZE:
            raise checkpoint_broken("a signature line is malformed")
        found.append((name, blob))
    return found


def decode_base64(text: str) -> bytes:
    """Decode standard base64 in its one canonical form; empty when it is anything else."""
    try:
        blob = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
    return blob if base64.b64encode(blob).decode("ascii") == text else b""


def is_origin(text: str) -> bool:
    """Tell whether ``text`` can name a key in a note: not empty, printable, no space, no plus."""
    return text != "" and text.isprintable() and "+" not in text and not any(map(str.isspace, text))


def _check_origin(origin: str) -> None:
    if not is_origin(origin):
        raise UsageError(
            "a log's origin has no spaces and no plus sign", hint="such as example.org/log", code="ORIGIN_INVALID"
        )


def checkpoint_broken(why: str) -> IntegrityFailure:
    """Return the failure, code ``CHECKPOINT_BROKEN``."""
    return IntegrityFailure(
        f"the log's checkpoint does not hold: {why}",
        hint="compare it with an earlier export or a witnessed checkpoint",
        code="CHECKPOINT_BROKEN",
    )
