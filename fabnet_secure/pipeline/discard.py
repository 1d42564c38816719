"""Evidence of discard: what was done while a video was read so that no frame could rest, and what was seen of it.

Python reports every file that it opens to audit hooks (PEP 578), whatever library asked for it in Python. The count is
what ingest reports as «frames persisted». Small and true: files that C code opens by itself (SQLite's, inside the
vault) are not seen here; ``tests/journeys/test_no_trace.py`` searches the bytes of every file and traces the system
calls instead.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fabnet_secure.errors import Gap, IntegrityFailure
from fabnet_secure.logs import LOGGER
from fabnet_secure.memory import Swap, harden, swap_state
from fabnet_secure.pipeline.context import Site
from fabnet_secure.types import Json
from fabnet_secure.video.detect import DETECTOR_NAME, Detector
from fabnet_secure.video.observe import Observation

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(slots=True)
class Watch:
    """The files seen so far; ``ours`` names the one that other acts of this program may write meanwhile."""

    paths: list[str] = field(default_factory=list)
    ours: str = ""

    @property
    def count(self) -> int:
        """How many files were opened for writing."""
        return len(self.paths)


_watching: list[Watch] = []
_installed: list[bool] = []


@contextmanager
def watch_writes(*, ours: Path | None = None) -> Iterator[Watch]:
    """Count the files opened for writing inside the block; compiled Python and /dev are not a person's frames.

    Args:
        ours: a vault's anchor: an act of another thread, such as a withdrawal, notes its head there.
    """
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    seen = Watch(ours="" if ours is None else str(ours))
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
                if name != seen.ours:
                    seen.paths.append(name)


def require_none(writes: Watch) -> None:
    """Refuse to keep anything of a video during whose reading a file was opened for writing.

    Raises:
        IntegrityFailure: code ``FRAMES_PERSISTED``.
    """
    if writes.count:
        raise IntegrityFailure(
            "a file was opened for writing while a video was read; nothing of the video was kept",
            hint="run with --debug; no plug-in may write frames",
            code="FRAMES_PERSISTED",
        )


def require_memory_stays(site: Site) -> None:
    """Switch core dumps off, and refuse or warn where memory may be paged out to a disk in the clear.

    Raises:
        Gap: code ``SWAP_IN_THE_CLEAR``: the policy refuses to ingest beside unencrypted swap.
    """
    harden()
    if swap_state() is not Swap.UNENCRYPTED:
        return
    if site.settings.ingest.unencrypted_swap == "refuse":
        raise Gap(
            "this machine pages memory out to an unencrypted disk",
            hint="run 'swapoff -a', encrypt the swap, or set ingest.unencrypted_swap = \"warn\" in fabnet.toml",
            code="SWAP_IN_THE_CLEAR",
        )
    LOGGER.warning("this machine has unencrypted swap: frames are locked in memory, copies made by libraries are not")


def evidence(observation: Observation, detector: Detector, interval: int, writes: Watch) -> dict[str, Json]:
    """Write down how one video was read: what the ``ingest`` report shows as evidence of discard."""
    hardening = harden()
    shape = (observation.width, observation.height)
    return {
        "passes": 1,
        "core_dumps": "off" if hardening.core_dumps_off else "on",
        "traceable": not hardening.not_dumpable,
        "buffers_locked": observation.locked,
        "swap": swap_state().value,
        "sqlite_temp": "memory",
        "writes_seen": writes.count,
        "frames_detected": observation.frames_detected,
        "detector": {
            "name": DETECTOR_NAME,
            "interval": interval,
            "factor": detector.factor(*shape),
            "smallest_face_px": round(detector.smallest_face(*shape)),
        },
    }
