"""Proof that one entry is in the log, as a C2SP ``tlog-proof`` text file that is checked offline.

Guarantees that an accepted proof ties exactly these entry bytes, at this index, to a checkpoint that the log's
key signed, and that each proof has one byte form. Does not show that the log was shown to everybody the same
(that takes witnesses), nor that the entry is true; ``extra`` is carried along unauthenticated, as the
specification says.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fabnet_secure.audit.checkpoint import Checkpoint, Verify, open_checkpoint, read_checkpoint
from fabnet_secure.audit.log import LogReader, inclusion_at, root_at
from fabnet_secure.audit.merkle import leaf_hash, verify_inclusion
from fabnet_secure.audit.tiles import broken
from fabnet_secure.errors import IntegrityFailure

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
_MAX_PATH = 63
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """An entry shown to be in the log.

    Attributes:
        index: its place, from 0.
        checkpoint: the signed head it was shown under.
        extra: bytes that came with the proof; nobody vouches for them.
    """

    index: int
    checkpoint: Checkpoint
    extra: bytes


def make_proof(storage: LogReader, index: int, checkpoint_text: str, *, extra: bytes = b"") -> str:
    """Return the text of a ``.tlog-proof`` file for entry ``index`` under the given checkpoint of this log.

    Raises:
        UsageError: code ``LOG_RANGE``: the checkpoint's log has no such entry.
        IntegrityFailure: code ``CHECKPOINT_BROKEN`` or ``LOG_BROKEN``: the checkpoint is not one of this log.
    """
    head = read_checkpoint(checkpoint_text)
    path = inclusion_at(storage, index, head.size)
    if root_at(storage, head.size) != head.root:
        raise broken("the log does not hash to the checkpoint's root")
    lines = [HEADER, *([f"extra {_encode(extra)}"] if extra else []), f"index {index}", *map(_encode, path), ""]
    return "\n".join(lines) + "\n" + checkpoint_text


def check_proof(text: str, entry: bytes, vkey: str, verify: Verify) -> Proven:
    """Check that ``entry`` is in the log that the key ``vkey`` signs for.

    Args:
        text: what :func:`make_proof` (or another program) wrote; further signatures on its checkpoint are allowed.
        entry: the leaf's bytes, got from elsewhere.
        vkey: the log's verifier key.
        verify: the signature check.

    Raises:
        IntegrityFailure: code ``PROOF_BROKEN`` or ``CHECKPOINT_BROKEN``.
        UsageError: code ``VKEY_INVALID``.
    """
    head, _, checkpoint_text = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != HEADER:
        raise _broken("it is no tlog-proof of version 1")
    extra, rest = _take_extra(lines[1:])
    matched = _INDEX.match(rest[0]) if rest else None
    if matched is None:
        raise _broken("its index is malformed")
    index = int(matched[1])
    path = [_decode(line) for line in rest[1:]]
    checkpoint = open_checkpoint(checkpoint_text, vkey, verify)
    if len(path) > _MAX_PATH or not verify_inclusion(
        index=index, size=checkpoint.size, leaf=leaf_hash(entry), proof=path, root=checkpoint.root
    ):
        raise _broken("the entry is not in the log at that place")
    return Proven(index=index, checkpoint=checkpoint, extra=extra)


def _take_extra(lines: Sequence[str]) -> tuple[bytes, Sequence[str]]:
    """Return the extra bytes, if a line brings any, and the lines after it."""
    if lines and lines[0].startswith("extra "):
        return _decode(lines[0].removeprefix("extra ")), lines[1:]
    return b"", lines


def _encode(blob: bytes) -> str:
    return base64.b64encode(blob).decode("ascii")


def _decode(text: str) -> bytes:
    """Decode base64 in its one canonical form, not empty."""
    try:
        blob = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _broken("a line is not base64") from error
    if not blob or _encode(blob) != text:
        raise _broken("a line is not canonical base64")
    return blob


def _broken(why: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"the proof does not hold: {why}", hint="ask for a fresh proof of the same entry", code="PROOF_BROKEN"
    )
