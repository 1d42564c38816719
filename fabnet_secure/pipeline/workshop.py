"""A private folder for work in progress: a snapshot before it is encrypted, a restore before it is whole.

Guarantees that the folder is its owner's alone and is gone when the work ends: by success, by an error, by Ctrl-C and
by SIGTERM. What a SIGKILL or a power cut leaves is removed by the next work of the kind in the same place; a folder
in which somebody still works is not touched. Of what it removes it overwrites the copy of an epoch file only: the
rest that matters is sealed.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from fabnet_secure.crypto.gate import destroy_gates
from fabnet_secure.errors import KeyProblem

WORK: Final = ".backup-"
"""How the folders in a vault begin in which snapshots and trial restores lie for a moment."""
GATE: Final = "epoch"
"""How the copy of the epoch file is called in such a folder."""
_MARK: Final = ".lock"


@contextmanager
def workshop(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield an empty folder ``<prefix>…`` (mode 0700) in ``parent``, for this block alone."""
    clear_leftovers(parent, prefix)
    with _termination_is_an_interrupt():
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            with _held(folder):
                yield folder
        finally:
            _remove(folder)


def clear_leftovers(parent: Path, prefix: str) -> int:
    """Remove the folders that killed work left, and return how many."""
    removed = 0
    for folder in parent.glob(f"{prefix}*"):
        if folder.is_symlink() or not folder.is_dir() or not _abandoned(folder / _MARK):
            continue
        _remove(folder)
        removed += 1
    return removed


def clear_restores(parent: Path) -> None:
    """Remove what killed restores left beside a vault, under whatever name it was to have."""
    clear_leftovers(parent, ".*.restoring-")


def clear_parts(parent: Path) -> int:
    """Remove the unfinished archives that killed work left in a folder, and return how many."""
    left = [path for path in parent.glob(".*.part") if path.is_file() and _abandoned(path)]
    for path in left:
        with suppress(OSError):
            path.unlink()
    return len(left)


def claim(descriptor: int) -> None:
    """Say that somebody works on this open file; the claim ends with the process, however it ends."""
    with suppress(OSError):  # a file system without locks: nothing is cleared there either
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove(folder: Path) -> None:
    """Remove a folder; a copy of an epoch file in it is overwritten first, because it must end with its epoch."""
    with suppress(KeyProblem):
        destroy_gates(folder / GATE)
    shutil.rmtree(folder, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    """Tell whether nobody holds the lock on a file; a folder whose mark was never made is a moment old, or nobody's."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _MARK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        claim(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _termination_is_an_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the block as Ctrl-C does, so that what it made is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
