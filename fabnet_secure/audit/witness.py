"""A witness: it remembers the largest checkpoint of a log that it has seen, and cosigns only what continues it.

Guarantees that what is remembered is replaced only by a head that begins with it, checked by a consistency proof (RFC
9162), in one rename, so that a crash or a refusal leaves what was there. Works on any log that can be read, a vault's
or an exported folder, so the host it runs on needs none of the vault's keys. Does not look at what the entries say. A
witness protects from whoever cannot reach it: keep it off the vault's host.
"""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fabnet_secure.audit.checkpoint import Checkpoint, Verify, open_checkpoint
from fabnet_secure.audit.cosign import CosignKey, cosign
from fabnet_secure.audit.log import LogReader, consistency_at, root_at
from fabnet_secure.audit.merkle import verify_consistency
from fabnet_secure.audit.whole_file import put
from fabnet_secure.errors import IntegrityFailure, StorageFailed

LATEST: Final = "latest"
_LONGEST: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What a witness did.

    Attributes:
        size, root: the head that it now remembers.
        before: the size that it remembered until now; None where it remembered nothing.
        note: the checkpoint with its cosignature.
        paths: the files written, the newest memory last.
    """

    size: int
    root: bytes
    before: int | None
    note: str
    paths: Sequence[Path]


def latest_note(path: Path) -> str:
    """Return the newest checkpoint kept at ``path``: a file, or a folder's file ``latest``.

    Raises:
        IntegrityFailure: code ``WITNESS_MISSING``: it is not there, or cannot be read.
    """
    try:
        with os.fdopen(_open_plain(memory_of(path)), "rb") as file:
            return file.read(_LONGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityFailure(
            f"the witnessed checkpoint at {path} cannot be read",
            hint="bring the witness's disk or mount back; [audit] witness in <vault>/fabnet.toml says where it is",
            code="WITNESS_MISSING",
        ) from error


def _open_plain(path: Path) -> int:
    """Open a plain file for reading; a pipe in its place is refused, not waited for (OSError)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return descriptor


def memory_of(path: Path) -> Path:
    """Return the file that holds the newest checkpoint: ``path`` itself, or ``latest`` in a folder."""
    return path / LATEST if path.is_dir() else path


def check_continues(storage: LogReader, note: str, vkey: str, verify: Verify) -> Checkpoint:
    """Check that a log begins with the one that a checkpoint remembers, and return the checkpoint.

    It believes the log's tiles: run it after :func:`fabnet_secure.audit.verify.check_log` or ``check_head``.

    Raises:
        IntegrityFailure: code ``ROLLED_BACK``: the log is smaller, or another one; ``CHECKPOINT_BROKEN``: the note is
            not this log's; ``LOG_BROKEN``: a tile is missing.
        UsageError: code ``VKEY_INVALID``.
    """
    old = open_checkpoint(note, vkey, verify)
    size = storage.size()
    continues = size >= old.size and verify_consistency(
        old=old.size,
        new=size,
        old_root=old.root,
        new_root=root_at(storage),
        proof=consistency_at(storage, old.size),
    )
    if not continues:
        raise rolled_back(size, old.size, "witness")
    return old


def rolled_back(size: int, remembered: int, where: str) -> IntegrityFailure:
    """Return the failure, code ``ROLLED_BACK``, for a log that ``where`` ("witness", "anchor") remembers otherwise."""
    return IntegrityFailure(
        f"the log of {size} entries is not a continuation of the {remembered} that the {where} remembers: "
        "an older or another copy of the database was put in its place",
        hint="put the newest databases back, or use 'fabnet-secure backup restore'; keep both copies",
        code="ROLLED_BACK",
    )


def remember(
    storage: LogReader, note: str, vkey: str, verify: Verify, *, out: Path, key: CosignKey, timestamp: int
) -> Witnessed:
    """Cosign the log's head and remember it at ``out``, when it continues what is remembered there.

    Args:
        storage: the log, already checked against ``note``.
        note: its checkpoint, signed by the log's key.
        vkey: the log's verifier key.
        verify: the Ed25519 check.
        out: a file, or a folder that gets one file a size and ``latest``.
        key: the witness's.
        timestamp: POSIX seconds.

    Raises:
        IntegrityFailure: as :func:`check_continues`; nothing was written.
        StorageFailed: code ``WITNESS_NOT_WRITTEN``.
    """
    head = open_checkpoint(note, vkey, verify, alone=True)
    memory = memory_of(out)
    before = check_continues(storage, latest_note(out), vkey, verify).size if os.path.lexists(memory) else None
    cosigned = cosign(note, key, timestamp)
    paths = [memory] if memory == out else [out / f"checkpoint-{head.size}", memory]
    try:
        for path in paths:
            put(path, cosigned.encode("utf-8"), replace=True, mode=0o644)  # a checkpoint is public
    except OSError as error:
        raise StorageFailed(
            f"the checkpoint could not be written: {error.strerror}",
            hint="name a file or an existing folder on a disk with room",
            code="WITNESS_NOT_WRITTEN",
        ) from error
    return Witnessed(size=head.size, root=head.root, before=before, note=cosigned, paths=paths)
