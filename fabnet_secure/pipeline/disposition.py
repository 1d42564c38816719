"""What becomes of a video's file once the video is ingested: it is kept, or exactly that file is deleted.

Guarantees: a file is unlinked only under the policy ``delete``, only when something of its video is committed (or its
quarantine has ended), only while no other video of the same bytes waits in quarantine, and only if it is still the
file that was read: same device, inode, size and time of change, one name, no symbolic link. Where any of that is open
the file stays, and the video says ``delete_failed`` and why. A symbolic link is left alone, and so is its target: the
program was told of a name, and neither is surely what the name's owner meant. The entry says how much was deleted and
on which kind of file system, never a path.

Does not guarantee that the bytes are gone from the medium: docs/threat-model.md says what unlinking cannot reach.
"""

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.errors import FabnetError, IntegrityFailure, UnreadableSource
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.prints import content_of
from fabnet_secure.pipeline.source import Outcome
from fabnet_secure.store import quarantine, videos
from fabnet_secure.store.database import Connection, Work
from fabnet_secure.store.states import Disposition, QuarantineState
from fabnet_secure.types import Json, VideoId, rfc3339

_CODES = {
    errno.ENOENT: "gone",
    errno.ENOTDIR: "gone",
    errno.ELOOP: "symlink",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "read_only",
}
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which file it was that was read: another file of the same name is another file."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of_open(cls, descriptor: int) -> "Identity":
        """Look at the file behind an open descriptor, whatever its name leads to by now."""
        return cls._from(os.fstat(descriptor))

    @classmethod
    def of(cls, path: Path) -> "Identity":
        """Look at the file behind ``path``, as the reader does (symbolic links are followed).

        Raises:
            UnreadableSource: code ``SOURCE_GONE``: it is not there, or no plain file.
        """
        try:
            found = path.stat()
        except (OSError, ValueError) as error:
            raise _gone() from error
        if not stat.S_ISREG(found.st_mode):
            raise _gone()
        return cls._from(found)

    @classmethod
    def _from(cls, found: os.stat_result) -> "Identity":
        return cls(device=found.st_dev, inode=found.st_ino, size=found.st_size, modified_ns=found.st_mtime_ns)


class _Stays(Exception):
    """The file is left where it is, for this reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def dispose(site: Site, outcome: Outcome, identity: Identity) -> Outcome:
    """Do with the file of a committed video what the policy says; what fails is recorded, and tried again another time.

    Args:
        site: an open vault.
        outcome: of the committed (or skipped, being committed before) video.
        identity: the file as it was when it was read.

    Returns:
        the outcome with the file's ``disposition``: ``keep``, ``deleted``, ``delete_failed``, or ``delete_due`` while
        another video of the same bytes waits in quarantine.

    Raises:
        IntegrityFailure: the video is not in the vault.
    """
    path = outcome.source.path
    if path is None or not deletes(site):
        return outcome
    with site.work() as work:
        row = videos.get_video(work.connection, VideoId(outcome.video_id))
        if row is None:
            raise IntegrityFailure("a video that was to be disposed of is not in the vault", code="VIDEO_UNKNOWN")
        if why := _must_stay(work.connection, row):
            disposition = Disposition.DELETE_DUE if why == "same_bytes_held" else Disposition.KEEP
            videos.set_disposition(work.connection, row.video_id, disposition)
            work.log("source.kept", facts={"video": named(row.video_id), "code": why})
        else:
            disposition = _remove(site, work, row.video_id, path, identity)
    return replace(outcome, disposition=disposition.value)


def dispose_unreleased(site: Site, video_id: VideoId, path: Path, content: str) -> Disposition:
    """Do with the file of a video whose quarantine ends without release what the policy says.

    Args:
        site: an open vault.
        video_id: the quarantined video.
        path: where its file was.
        content: what its bytes are named by (``prints.content_of``).
    """
    if not deletes(site):
        return Disposition.KEEP
    try:
        identity = Identity.of(path)
        code = "" if content_of(site, path) == content else "changed"
    except FabnetError:
        identity, code = None, "gone"
    with site.work() as work:
        if quarantine.holds_content(work.connection, content, beside=video_id):
            work.log("source.kept", facts={"video": named(video_id), "code": "same_bytes_held"})
            return Disposition.KEEP
        if identity is None or code:
            return _failed(work, video_id, path, code)
        return _remove(site, work, video_id, path, identity)


def deletes(site: Site) -> bool:
    """Tell whether the policy in force deletes what was ingested."""
    return site.settings.ingest.source_disposition == "delete"


def named(video_id: VideoId) -> str:
    """Name a video in an entry: a digest that who holds the vault's rows can match, and nobody can turn round."""
    return sha256_bytes(video_id.encode())


def _must_stay(connection: Connection, row: videos.VideoRow) -> str:
    """Say why this video's file may not be deleted; "" when it may."""
    held = quarantine.get_quarantine(connection, row.video_id)
    if held is not None and held.state is QuarantineState.HELD:
        return "held"
    if row.bound == 0:
        return "nothing_bound"
    return "same_bytes_held" if quarantine.holds_content(connection, row.content, beside=row.video_id) else ""


def _remove(site: Site, work: Work, video_id: VideoId, path: Path, identity: Identity) -> Disposition:
    """Unlink inside the unit of work that records it: where the vault cannot be written, nothing is deleted."""
    filesystem = filesystem_of(path)
    try:
        _unlink(path, identity)
    except _Stays as stays:
        return _failed(work, video_id, path, stays.code)
    found: dict[str, Json] = {"bytes": identity.size, "how": "unlink", "filesystem": filesystem}
    videos.set_disposition(work.connection, video_id, Disposition.DELETED, {**found, "at": rfc3339(site.clock())})
    work.log("source.deleted", facts={"video": named(video_id), **found})
    return Disposition.DELETED


def _failed(work: Work, video_id: VideoId, path: Path, code: str) -> Disposition:
    found: dict[str, Json] = {"code": code, "filesystem": filesystem_of(path)}
    videos.set_disposition(work.connection, video_id, Disposition.DELETE_FAILED, found)
    work.log("source.delete_failed", facts={"video": named(video_id), **found})
    return Disposition.DELETE_FAILED


def _unlink(path: Path, identity: Identity) -> None:
    """Delete the one name of the file that was read, and wait until its directory rests without it."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _Stays(_code(error)) from error
    try:
        _check(os.stat(path.name, dir_fd=folder, follow_symlinks=False), identity)
        os.unlink(path.name, dir_fd=folder)
    except OSError as error:
        raise _Stays(_code(error)) from error
    else:
        _settle(folder)
    finally:
        os.close(folder)


def _check(found: os.stat_result, identity: Identity) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _Stays("symlink")
    if not stat.S_ISREG(found.st_mode) or Identity._from(found) != identity:  # noqa: SLF001  its own module
        raise _Stays("changed")
    if found.st_nlink != 1:
        raise _Stays("hard_linked")  # its bytes would stay under the other name


def _settle(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        raise _Stays("not_synced") from error


def _code(error: Exception) -> str:
    return _CODES.get(getattr(error, "errno", None) or 0, "system")


def filesystem_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that holds ``path``'s directory (``ext4``, ``btrfs``…), or ``unknown``.

    Source: proc(5), ``/proc/[pid]/mountinfo``; of the mount points above the directory the deepest counts, and of
    those at one place the last mounted.
    """
    try:
        folder = os.fsencode(path.parent.resolve(strict=True))
        lines = mounts.read_bytes().splitlines()
    except (OSError, RuntimeError, ValueError):
        return "unknown"
    best, kind = -1, "unknown"
    for line in lines:
        before, _, after = line.partition(b" - ")
        point = _unescaped(before.split()[4]) if before.count(b" ") >= 5 else b"?"
        inside = folder == point or folder.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= best:
            best, kind = len(point), after.split(b" ")[0].decode("ascii", "replace")[:40]
    return kind


def _unescaped(point: bytes) -> bytes:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    for char in (b" ", b"\t", b"\n", b"\\"):
        point = point.replace(b"\\%03o" % char[0], char)
    return point


def _gone() -> UnreadableSource:
    return UnreadableSource(
        "the video is not there any more, or is no plain file", hint="put it back and run it again", code="SOURCE_GONE"
    )
