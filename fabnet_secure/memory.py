"""Memory that must not reach a disk: locked pages, no core dumps, and what is known of the swap.

Guarantees: a buffer of :func:`locked_zeros` is page-aligned, zero, its own (no other object shares its pages), left
out of core dumps, empty in a forked child, and, where the answer says so, never swapped out. After :func:`harden` the
kernel writes no core of this process and no other process of the same account may trace it. Does not guarantee
anything about copies that libraries make elsewhere; nor about hibernation, snapshots of a virtual machine, or root.

Sources: mlock(2), madvise(2), prctl(2), core(5), proc_swaps(5); Linux Documentation/ABI/stable/sysfs-block-dm.
"""

import contextlib
import ctypes
import math
import mmap
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_MADV_WIPEONFORK = 18  # not among mmap's constants; Linux 4.14
_HUGE_PAGE = 2 << 20
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardening:
    """What :func:`harden` achieved.

    Attributes:
        core_dumps_off: a crash of this process, or of one it starts, leaves no core file.
        not_dumpable: the kernel dumps it to no pipe either, and lets no other process of the account look into it.
    """

    core_dumps_off: bool
    not_dumpable: bool


class Swap(StrEnum):
    """Where this machine may write pages that were not locked."""

    NONE = "none"
    ENCRYPTED = "encrypted"
    UNENCRYPTED = "unencrypted"
    UNKNOWN = "unknown"


def lock(array: npt.NDArray[Any]) -> bool:
    """Keep the pages of ``array`` in RAM and out of core dumps, until they are unmapped.

    Returns:
        True when the kernel locked them; False where it refuses (RLIMIT_MEMLOCK) or is not Linux.
    """
    if not _LINUX or array.nbytes == 0:
        return False
    low, high = np.lib.array_utils.byte_bounds(array)
    start = low - low % mmap.PAGESIZE
    length = -(-(high - start) // mmap.PAGESIZE) * mmap.PAGESIZE
    return _lock_pages(start, length)


def locked_zeros(shape: tuple[int, ...] | int, dtype: npt.DTypeLike = np.uint8) -> tuple[npt.NDArray[Any], bool]:
    """Make an array of zeros on pages of its own, locked if the kernel allows.

    The pages live as long as the array and its views. Whoever fills the array zeroes it before letting go: the
    kernel zeroes pages only before it hands them to somebody else.

    Args:
        shape: as of ``numpy.zeros``.
        dtype: of the elements; no Python objects.

    Returns:
        The array, and whether :func:`lock` succeeded.
    """
    array = unlocked_zeros(shape, dtype)
    return array, lock(array)


def unlocked_zeros(shape: tuple[int, ...] | int, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    """Make what :func:`locked_zeros` makes, for a caller who calls :func:`lock` before anything is written there.

    Locking makes the kernel find and zero every page, 0.1 s a gigabyte; another thread can do it meanwhile.
    """
    dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
    kind = np.dtype(dtype)
    length = math.prod(dimensions) * kind.itemsize
    pages = mmap.mmap(-1, max(1, length), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _LINUX:
        for advice in (_MADV_WIPEONFORK, *([mmap.MADV_HUGEPAGE] if length >= _HUGE_PAGE else [])):
            with contextlib.suppress(OSError):
                pages.madvise(advice)
    return np.frombuffer(pages, kind, math.prod(dimensions)).reshape(dimensions)


def harden() -> Hardening:
    """Turn off core dumps and tracing of this process; safe to call again, and by every process that is started."""
    with contextlib.suppress(OSError, ValueError):  # whether it worked is told below, by looking
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _LINUX:
        _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return Hardening(
        core_dumps_off=resource.getrlimit(resource.RLIMIT_CORE)[0] == 0,
        not_dumpable=_LINUX and _libc().prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0,
    )


def swap_state(root: Path = Path("/")) -> Swap:
    """Tell whether this machine can swap pages to a disk, and whether that disk's swap is encrypted.

    Compressed swap in RAM (zram) without a backing device reaches no disk and counts as none. A swap file, or a
    partition, counts as encrypted only when it lies on a dm-crypt device itself; anything that cannot be told is
    not called encrypted.

    Args:
        root: where ``proc`` and ``sys`` are; another one only in tests.
    """
    try:
        lines = (root / "proc/swaps").read_text(errors="replace").splitlines()[1:]
    except OSError:
        return Swap.UNKNOWN
    states = {_area_state(root, line.split()[0]) for line in lines if line.strip()}
    for worst in (Swap.UNENCRYPTED, Swap.UNKNOWN, Swap.ENCRYPTED):
        if worst in states:
            return worst
    return Swap.NONE


def _lock_pages(start: int, length: int) -> bool:
    """Leave whole pages out of core dumps, and lock them."""
    address, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
    _libc().madvise(address, size, mmap.MADV_DONTDUMP)
    return bool(_libc().mlock(address, size) == 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _area_state(root: Path, area: str) -> Swap:
    """Judge one line of /proc/swaps by its first field, a device or a swap file."""
    path = _unescape(area)
    source = path if path.startswith("/dev/") else _mounted_on(root, path)
    if source is None:
        return Swap.UNKNOWN
    name = (root / source.lstrip("/")).resolve().name
    device = root / "sys/class/block" / name
    if not device.exists():
        return Swap.UNKNOWN
    if name.startswith("zram"):
        return _zram_state(root, device)
    return Swap.ENCRYPTED if _is_encrypted(root, name) else Swap.UNENCRYPTED


def _zram_state(root: Path, device: Path) -> Swap:
    """Compressed RAM reaches a disk only through a backing device."""
    try:
        backing = (device / "backing_dev").read_text().strip()
    except FileNotFoundError:
        return Swap.NONE  # a kernel without CONFIG_ZRAM_WRITEBACK
    except OSError:
        return Swap.UNKNOWN
    if backing in {"", "none"}:
        return Swap.NONE
    return Swap.ENCRYPTED if _is_encrypted(root, Path(backing).name) else Swap.UNENCRYPTED


def _is_encrypted(root: Path, name: str) -> bool:
    """Tell whether a block device is dm-crypt, or lies (LVM, RAID) on nothing but dm-crypt."""
    device = root / "sys/class/block" / name
    try:
        if (device / "dm/uuid").read_text().startswith("CRYPT-"):
            return True
    except OSError:
        pass  # no device-mapper target: what it lies on decides
    below = sorted(path.name for path in (device / "slaves").glob("*"))
    return bool(below) and all(_is_encrypted(root, part) for part in below)


def _mounted_on(root: Path, path: str) -> str | None:
    """Return the device of the file system that holds ``path``, by the longest mount point; None if not told."""
    best, device = "", None
    for point, source in _mounts(root):
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, device = point, source
    return device if device is not None and device.startswith("/dev/") else None


def _mounts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (mount point, source) of /proc/self/mountinfo, in mounting order."""
    try:
        lines = (root / "proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        before, dash, after = line.partition(" - ")
        if dash:
            yield _unescape(before.split()[4]), _unescape(after.split()[1])


def _unescape(text: str) -> str:
    r"""Read a path as the kernel writes it: a space as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
