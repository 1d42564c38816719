"""The anchor's file: one file outside the databases, appended to under a lock.

Guarantees that lines of several processes never mix, that a line cut off by a crash is removed before the next is
written, that what must not be forgotten (a withdrawal, spending, a restore) is on disk before the call returns, and
that a file that is gone is never silently made anew. Heads are not flushed: after a power cut the anchor may be a few
heads behind, never wrong. Old heads are dropped when the file has grown by 1 MiB.
"""

import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fabnet_secure.audit.anchor import (
    BEGUN,
    FORMAT,
    HEAD,
    SPENT,
    AnchorState,
    Line,
    broken,
    build,
    compact,
    fold,
    parse,
)
from fabnet_secure.audit.whole_file import put
from fabnet_secure.errors import IntegrityFailure, StorageFailed
from fabnet_secure.types import Clock, Json, canonical_json

GROWTH: Final = 1 << 20
_LONGEST: Final = 1 << 30


class Anchor:
    """One vault's anchor file.

    Args:
        path: the file.
        vault_id: whose it must be.
        clock: gives each line its time.
    """

    def __init__(self, path: Path, vault_id: str, clock: Clock) -> None:
        self.path = path
        self._vault_id = vault_id
        self._clock = clock
        self._spent: list[str] = []
        self._found: list[str] = []
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._size = 0

    @classmethod
    def create(cls, path: Path, vault_id: str, clock: Clock) -> "Anchor":
        """Make the file (mode 0600, on disk when this returns); it must not exist.

        Raises:
            StorageFailed: code ``ANCHOR_NOT_WRITTEN``: it exists, or cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, build(BEGUN, clock(), vault_id=vault_id, format=FORMAT), replace=False)
        except OSError as error:
            raise _not_written(error) from error
        return cls(path, vault_id, clock)

    def state(self) -> AnchorState:
        """Read the file and add it up.

        Raises:
            IntegrityFailure: code ``ANCHOR_MISSING`` or ``ANCHOR_BROKEN`` (another vault's, too).
        """
        state = fold(self.lines())
        self._latest = state.latest_at
        self._size = max(state.floor, state.head.size if state.head else 0)
        return state

    def lines(self) -> list[Line]:
        """Read every line.

        Raises:
            IntegrityFailure: code ``ANCHOR_MISSING`` or ``ANCHOR_BROKEN`` (another vault's, too).
        """
        descriptor = self._open(os.O_RDONLY)
        try:
            with os.fdopen(descriptor, "rb") as file:
                lines = parse(file.read(_LONGEST))
        except OSError as error:
            raise broken("it cannot be read") from error
        if lines[0]["vault_id"] != self._vault_id:
            raise broken("it belongs to another vault")
        return lines

    @property
    def size(self) -> int:
        """The largest log size that this object has read or written."""
        return self._size

    @property
    def latest_at(self) -> datetime:
        """The latest time that this object has read or written; long ago before that."""
        return self._latest

    def begin(self) -> None:
        """Start a unit of work: the file must be there and take lines; spending noted before belongs to none.

        Raises:
            IntegrityFailure: code ``ANCHOR_MISSING`` or ``ANCHOR_BROKEN``.
        """
        self._spent = list(self._found)
        os.close(self._open(os.O_WRONLY | os.O_APPEND))

    def found(self, entry_ids: Collection[str]) -> None:
        """Say which uncertain spending the ledger holds after all; the next head confirms it."""
        self._found = sorted(entry_ids)

    def append(self, kind: str, **fields: Json) -> None:
        """Add one line. A ``spent`` line within a unit of work is confirmed by the ``head`` line that ends it.

        Raises:
            UsageError: code ``ANCHOR_LINE``: no such kind or field.
            IntegrityFailure: code ``ANCHOR_MISSING`` or ``ANCHOR_BROKEN``.
            StorageFailed: code ``ANCHOR_NOT_WRITTEN``: the disk refuses it.
        """
        if kind == HEAD and self._spent:
            fields["spent"] = sorted(self._spent)
        at = self._clock()
        line = build(kind, at, **fields)
        try:
            with self._locked() as descriptor:
                end = _mend(descriptor)
                _write(descriptor, line)
                if kind != HEAD:
                    os.fsync(descriptor)
                if end + len(line) > GROWTH:
                    self._compact(descriptor, end + len(line))
        except OSError as error:
            raise _not_written(error) from error
        if kind == SPENT:
            self._spent.append(str(fields["entry_id"]))
        elif kind == HEAD:
            self._spent, self._found = [], []
            self._size = max(self._size, int(str(fields["checkpoint"]).split("\n", 2)[1]))
        self._latest = max(at, self._latest)

    def _open(self, flags: int) -> int:
        try:
            return os.open(self.path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise missing(self.path) from error
        except OSError as error:
            raise broken(f"it cannot be opened ({error.strerror})") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Yield the open file, locked against other writers; the file behind the path, not one it has replaced."""
        while True:
            descriptor = self._open(os.O_RDWR | os.O_APPEND)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                here, there = os.fstat(descriptor), self._status()
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _status(self) -> os.stat_result:
        try:
            return self.path.lstat()
        except FileNotFoundError as error:
            raise missing(self.path) from error

    def _compact(self, descriptor: int, size: int) -> None:
        """Write the file anew without old heads, once it has grown by 1 MiB since the last time; as shared as it was.

        An account of the vault's group that may not write beside the vault leaves it to one that may.
        """
        if not os.access(self.path.parent, os.W_OK):
            return
        first = os.pread(descriptor, 4096, 0).split(b"\n", 1)[0]
        if size <= int(parse(first + b"\n")[0].get("bytes", 0)) + GROWTH:
            return
        lines = compact(parse(os.pread(descriptor, size, 0)))
        body = b"".join(canonical_json(line) + b"\n" for line in lines[1:])
        start = canonical_json({**lines[0], "bytes": len(body)}) + b"\n"
        held = os.fstat(descriptor)
        put(self.path, start + body, replace=True, mode=stat.S_IMODE(held.st_mode), group=held.st_gid)


def missing(path: Path) -> IntegrityFailure:
    """Return the failure, code ``ANCHOR_MISSING``."""
    return IntegrityFailure(
        f"the vault's anchor is not at {path}: whether its databases were put back cannot be told",
        hint="bring <vault>.anchor along when you move a vault (FABNET_ANCHOR names another place); if it is lost, "
        "check the log's head against a witness and run 'fabnet-secure audit anchor --accept SIZE:ROOT --confirm "
        "VAULT_ID'",
        code="ANCHOR_MISSING",
    )


def _mend(descriptor: int) -> int:
    """Cut off a last line without its end, and return where the next begins."""
    end = os.fstat(descriptor).st_size
    at = end
    while at and os.pread(descriptor, 1, at - 1) != b"\n":
        back = max(0, at - 4096)
        at = back + os.pread(descriptor, at - back, back).rfind(b"\n") + 1
    if at != end:
        os.ftruncate(descriptor, at)
    return at


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _not_written(error: OSError) -> StorageFailed:
    return StorageFailed(
        f"the vault's anchor cannot be written: {error.strerror}",
        hint="free some space, or see who may write beside the vault; what the log holds stays",
        code="ANCHOR_NOT_WRITTEN",
    )
