"""Evidence of discard: which files this process opened for writing while a video was being read.

Python reports every file that it opens to audit hooks (PEP 578), whatever library asked for it in Python. The count is
what ingest reports as «frames persisted». Small and true: files that C code opens by itself (SQLite's, inside the
vault) are not seen here; ``tests/journeys/test_no_trace.py`` searches the bytes of every file instead.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(slots=True)
class Watch:
    """The files seen so far."""

    paths: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many files were opened for writing."""
        return len(self.paths)


_watching: list[Watch] = []
_installed: list[bool] = []


@contextmanager
def watch_writes() -> Iterator[Watch]:
    """Count the files opened for writing inside the block; compiled Python and /dev are not a person's frames."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    seen = Watch()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or not _watching:
        return
    path, _, flags = arguments
    if isinstance(flags, int) and flags & _WRITES and isinstance(path, str | bytes):
        name = os.fsdecode(path)
        if "__pycache__" not in name and not name.startswith("/dev/"):
            for seen in _watching:
                seen.paths.append(name)
