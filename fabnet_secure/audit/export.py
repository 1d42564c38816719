"""A log as plain files, in C2SP ``tlog-tiles`` layout, for programs and people who trust none of ours.

Guarantees that an export appears whole or not at all (written beside, then renamed), and that
:func:`check_export` accepts a directory only when it holds exactly the files that its checkpoint demands: none
missing, none extra, none a link, every byte recomputed. Does not vouch for the key inside the directory: whoever
can rewrite all files can put in a key of their own, so pass the ``vkey`` you already know. The files are not
flushed one by one; a copy torn by a power cut fails its check.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fabnet_secure.audit.checkpoint import Verify, open_checkpoint, parse_vkey, read_checkpoint
from fabnet_secure.audit.log import LogReader, root_at
from fabnet_secure.audit.merkle import HASH_SIZE
from fabnet_secure.audit.tiles import (
    MAX_ENTRY,
    TILE_WIDTH,
    broken,
    entries_path,
    pack_entries,
    tile_count,
    tile_path,
    tile_spans,
    tile_width,
    unpack_entries,
)
from fabnet_secure.audit.verify import Verified, check_log
from fabnet_secure.errors import StorageFailed, UsageError

_CHECKPOINT = "checkpoint"
_VKEY = "vkey"
_MAX_NOTE = 1 << 16
_MAX_DEPTH = 12
_MAX_BUNDLE = TILE_WIDTH * (2 + MAX_ENTRY)


def export_log(storage: LogReader, checkpoint_text: str, vkey: str, directory: Path) -> int:
    """Write ``checkpoint``, ``vkey``, all tiles and all entry bundles; return the number of entries.

    The directory is created with mode 0700, parents included, or filled when it is there and empty.

    Raises:
        UsageError: code ``EXPORT_EXISTS``: the directory is not empty, or no directory.
        IntegrityFailure: code ``LOG_BROKEN`` or ``CHECKPOINT_BROKEN``: storage and checkpoint disagree; nothing is
            written.
        StorageFailed: code ``EXPORT_FAILED``: the files could not be written; nothing is left.
    """
    target = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would follow a link at the end
    refuse_used(target)
    parse_vkey(vkey)
    head = read_checkpoint(checkpoint_text)
    if storage.size() != head.size or root_at(storage) != head.root:
        raise broken("the log and the checkpoint to export disagree")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))
        try:
            for path, content in _files(storage, checkpoint_text, vkey, head.size):
                place = staging / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise StorageFailed(
            f"the log could not be exported: {error.strerror}",
            hint="choose a new directory on a disk with room",
            code="EXPORT_FAILED",
        ) from error
    return head.size


def check_export(directory: Path, verify: Verify, *, vkey: str = "") -> Verified:
    """Check an exported log from its files alone.

    Args:
        directory: what :func:`export_log` wrote.
        verify: the signature check.
        vkey: the log's key as already known; without it the export only agrees with the key it brings along.

    Raises:
        IntegrityFailure: code ``LOG_BROKEN`` or ``CHECKPOINT_BROKEN``: a file is changed, missing, extra, a link, or
            the key is not ``vkey``.
        UsageError: code ``EXPORT_MISSING``: no such directory; ``VKEY_INVALID``.
    """
    storage, checkpoint_text, key = _open(directory, verify, vkey)
    return _checked(storage, checkpoint_text, key, verify)


def open_export(directory: Path, verify: Verify, *, vkey: str) -> tuple[LogReader, str]:
    """Check an exported log as :func:`check_export` does, and return it and its checkpoint for further questions.

    Raises:
        IntegrityFailure, UsageError: as :func:`check_export`; without a ``vkey``, code ``VKEY_INVALID``.
    """
    parse_vkey(vkey)
    storage, checkpoint_text, key = _open(directory, verify, vkey)
    _checked(storage, checkpoint_text, key, verify)
    return storage, checkpoint_text


def _checked(storage: LogReader, checkpoint_text: str, key: str, verify: Verify) -> Verified:
    try:
        return check_log(storage, checkpoint_text, key, verify)
    except OSError as error:
        raise broken("a file of the exported log cannot be read") from error


def _open(directory: Path, verify: Verify, vkey: str) -> tuple[LogReader, str, str]:
    """Read the note and the key, check the listing, and return the log, its checkpoint and its key."""
    if not directory.is_dir():
        raise UsageError("there is no exported log here", hint="name its directory", code="EXPORT_MISSING")
    try:
        found = set(_walk(directory, PurePosixPath()))
        key_file = _read_note(directory, found, _VKEY)
        key = key_file.removesuffix("\n")
        checkpoint_text = _read_note(directory, found, _CHECKPOINT)
        if f"{key}\n" != key_file or vkey not in ("", key):
            raise broken("the export was signed with another key than the one expected", file=_VKEY)
        size = open_checkpoint(checkpoint_text, _trusted(key), verify, alone=True).size
        _check_listing(found, size)
    except OSError as error:
        raise broken("a file of the exported log cannot be read") from error
    return _Files(directory, size), checkpoint_text, key


def _trusted(key: str) -> str:
    """Return the export's key when it is one; a malformed file is damage here, not a wrong argument."""
    try:
        parse_vkey(key)
    except UsageError as error:
        raise broken("the export's key file is malformed", file=_VKEY) from error
    return key


def refuse_used(target: Path) -> None:
    """Refuse a target that holds anything, or is no plain directory.

    Raises:
        UsageError: code ``EXPORT_EXISTS``.
    """
    with contextlib.suppress(FileNotFoundError):
        plain = stat.S_ISDIR(target.lstat().st_mode)
        if not plain or any(target.iterdir()):
            raise UsageError(
                "the export's directory is not empty" if plain else "the export's place is taken",
                hint="name a new directory",
                code="EXPORT_EXISTS",
            )


def _files(storage: LogReader, checkpoint_text: str, vkey: str, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file of the export."""
    for level, index, width in tile_spans(size):
        path = tile_path(level, index, width)
        hashes = storage.read_tile(level, index)
        if hashes is None or len(hashes) != width * HASH_SIZE:
            raise broken(f"the tile {path} is missing or has the wrong length", tile=path)
        yield path, hashes
        if level == 0:
            start = index * TILE_WIDTH
            entries = storage.read_entries(start, start + width)
            if len(entries) != width:
                raise broken(f"entries from {start} on are missing", entry=start)
            yield entries_path(index, width), pack_entries(entries)
    yield _VKEY, f"{vkey}\n".encode()
    yield _CHECKPOINT, checkpoint_text.encode()


def _walk(root: Path, inner: PurePosixPath) -> Iterator[str]:
    """Yield the path of every file and, ending in a slash, of every directory; links and devices are refused."""
    with os.scandir(root / inner) as listing:
        for item in listing:
            path = inner / item.name
            if item.is_dir(follow_symlinks=False):
                if len(path.parts) > _MAX_DEPTH:
                    raise broken("the exported log holds folders without end", file=ascii(str(path)))
                yield f"{path}/"
                yield from _walk(root, path)
            elif item.is_file(follow_symlinks=False):
                yield str(path)
            else:
                raise broken("the exported log holds a link or a device", file=ascii(str(path)))


def _check_listing(found: set[str], size: int) -> None:
    """Refuse a listing other than the one that the size demands; the count comes first, as a size may be absurd."""
    expected_count = 2 + tile_count(size) + -(-size // TILE_WIDTH)
    if sum(not path.endswith("/") for path in found) != expected_count:
        raise broken(f"the exported log has not the {expected_count} files that {size} entries take")
    expected = {_VKEY, _CHECKPOINT}
    for level, index, width in tile_spans(size):
        expected.add(tile_path(level, index, width))
        if level == 0:
            expected.add(entries_path(index, width))
    folders = {f"{folder}/" for path in expected for folder in PurePosixPath(path).parents if folder.name}
    for path in sorted(found ^ (expected | folders)):
        fault = "holds a file too many" if path in found else "lacks a file"
        raise broken(f"the exported log {fault}: {path!a}", file=ascii(path))


def _read_file(root: Path, path: str, longest: int) -> bytes:
    """Read a file of at most ``longest`` bytes without following a link."""
    descriptor = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(longest + 1)
    if len(content) > longest:
        raise broken(f"the exported file {path} is too long", file=path)
    return content


def _read_note(root: Path, found: set[str], name: str) -> str:
    """Read the checkpoint or the key, as text."""
    if name not in found:
        raise broken(f"the exported log lacks the file {name}", file=name)
    try:
        return _read_file(root, name, _MAX_NOTE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken(f"the exported file {name} is no text", file=name) from error


class _Files:
    """An export's files, read as a log of ``size`` entries (a :class:`~fabnet_secure.audit.log.LogReader`)."""

    def __init__(self, root: Path, size: int) -> None:
        self._root = root
        self._size = size

    def size(self) -> int:
        """Return the number of entries that the checkpoint names."""
        return self._size

    def read_tile(self, level: int, index: int) -> bytes | None:
        """Return the tile's file; ``None`` beyond the edge, where the listing showed none."""
        width = tile_width(self._size, level, index)
        if not width:
            return None
        return _read_file(self._root, tile_path(level, index, width), width * HASH_SIZE)

    def read_entries(self, start: int, stop: int) -> list[bytes]:
        """Return the stored entries ``start <= i < stop`` from their bundles."""
        entries: list[bytes] = []
        for index in range(start // TILE_WIDTH, -(-min(stop, self._size) // TILE_WIDTH)):
            width = tile_width(self._size, 0, index)
            bundle = _read_file(self._root, entries_path(index, width), _MAX_BUNDLE)
            entries += unpack_entries(bundle, width)
        offset = start % TILE_WIDTH
        return entries[offset : offset + stop - start]
