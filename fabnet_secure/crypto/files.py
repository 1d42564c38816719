"""Small private files: what is checked is what is read, and a new name is made to last.

Guarantees that the file that was looked at is the one that is read, so that none is put in its place in between, and
that a FIFO makes nobody wait. What is refused, and in which words, is each caller's to say.
"""

import os
from collections.abc import Callable
from pathlib import Path


def read_checked(path: Path, check: Callable[[os.stat_result], None], longest: int = 4096) -> bytes:
    """Open a file, let ``check`` refuse what it is, and return at most its first ``longest`` bytes.

    Raises:
        OSError: there is none (FileNotFoundError), or the system refuses to read it; and whatever ``check`` raises.
    """
    # Non-blocking, so that a FIFO at this path cannot make the program wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check(os.fstat(descriptor))
        return os.read(descriptor, longest)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable.

    Raises:
        OSError: the system refuses.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
