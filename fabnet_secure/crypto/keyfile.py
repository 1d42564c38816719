"""The key file: the one secret that is kept outside every database, and how such a file is read, made and replaced.

Guarantees: a new file is made with mode 0600, never over an existing file, is whole or not there even after kill -9 or
a power cut, and is on disk before the call returns; a file that others could read, or that somebody else owns, is
refused. What a kill leaves beside it is a private temporary file, removed by the next one that is written there. Does
not guard against whoever is root. The plain form here does not encrypt the key: put it on storage whose loss you have
planned for, or protect it (``crypto/provider.py``).

Plain form: two lines of ASCII, ``FABNET-SECURE-KEY-1`` and the base64 of 32 random bytes. A protected form has a first
line of its own, a line of canonical JSON (RFC 8785) that says how, and the base64 of the wrapped key.
"""

import base64
import binascii
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from fabnet_secure.crypto.envelope import Opener
from fabnet_secure.crypto.files import read_checked, sync_directory
from fabnet_secure.errors import FabnetError, KeyProblem
from fabnet_secure.types import canonical_json

PLAIN: Final = b"FABNET-SECURE-KEY-1"
_LONGEST: Final = 4096


@final
class RootKey(Opener):
    """What a key file opens to: the vault's root, or one principal's own key. Never printed, never pickled."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """The parts of a protected key file.

    Attributes:
        first: the first line: which form it is.
        header: the second line, parsed.
        binding: the first two lines, each with its line feed: what the wrap is bound to.
        wrapped: the wrapped key.
    """

    first: bytes
    header: Mapping[str, Any]
    binding: bytes
    wrapped: bytes


def create_key_file(path: Path) -> RootKey:
    """Make a fresh key and write it, in the plain form, to a new file at ``path`` (mode 0600, flushed to disk).

    Raises:
        KeyProblem: as :func:`write_new`.
    """
    root = RootKey.generate()
    write_new(path, plain_content(root))
    return root


def load_key_file(path: Path) -> RootKey:
    """Read the plain key at ``path``.

    Raises:
        KeyProblem: (KEY_FORMAT) not a plain key file; and as :func:`read_guarded`.
    """
    return parse_plain(path, read_guarded(path))


def plain_content(root: RootKey) -> bytes:
    """Return the content of a plain key file."""
    return PLAIN + b"\n" + base64.b64encode(root.reveal()) + b"\n"


def parse_plain(path: Path, content: bytes) -> RootKey:
    """Read the two lines of a plain key file, and nothing but them.

    Raises:
        KeyProblem: (KEY_FORMAT) they are not there.
    """
    lines = content.split(b"\n")
    if len(lines) != 3 or lines[0] != PLAIN or lines[2]:
        raise no_key_file(path)
    try:
        return RootKey(base64.b64decode(lines[1], validate=True))
    except (binascii.Error, KeyProblem) as error:
        raise no_key_file(path) from error


def binding_of(first: bytes, header: Mapping[str, Any]) -> bytes:
    """Return the first two lines of a protected key file."""
    return first + b"\n" + canonical_json(dict(header)) + b"\n"


def protected_content(binding: bytes, wrapped: bytes) -> bytes:
    """Return the content of a protected key file."""
    return binding + base64.b64encode(wrapped) + b"\n"


def parse_protected(path: Path, content: bytes) -> Protected:
    """Read the three lines of a protected key file, and nothing but them; what the header means is its form's to say.

    Raises:
        KeyProblem: (KEY_FORMAT) they are not there, or the header is not canonical JSON.
    """
    lines = content.split(b"\n")
    if len(lines) != 4 or lines[3]:
        raise no_key_file(path)
    try:
        header = json.loads(lines[1].decode("utf-8"))
        wrapped = base64.b64decode(lines[2], validate=True)
        canonical = isinstance(header, dict) and binding_of(lines[0], header) == lines[0] + b"\n" + lines[1] + b"\n"
    except (ValueError, TypeError, RecursionError, FabnetError) as error:  # binascii.Error is a ValueError
        raise no_key_file(path) from error
    if not canonical:
        raise no_key_file(path)
    return Protected(first=lines[0], header=header, binding=b"\n".join(lines[:2]) + b"\n", wrapped=wrapped)


def read_guarded(path: Path, *, kind: str = "key") -> bytes:
    """Read a private file; mode and owner are checked on the open file, so it cannot be swapped in between.

    Args:
        path: the file; at most its first 4,096 bytes are read.
        kind: what is in it, for messages and codes: ``key`` or ``passphrase``.

    Raises:
        KeyProblem: (KEY_MISSING) no such file; (KEY_MODE) open to group or others; (KEY_OWNER) owned by neither us
            nor root; (KEY_FORMAT) no plain file; (KEY_UNREADABLE) the system refuses to read it. For another kind the
            codes begin with that.
    """
    try:
        return read_checked(path, lambda status: _check_guarded(path, kind, status), _LONGEST)
    except FileNotFoundError as error:
        hint = f"give its path with --{kind}-file or FABNET_{kind.upper()}_FILE"
        raise KeyProblem(f"no {kind} file at {path}", hint=hint, code=f"{kind.upper()}_MISSING") from error
    except OSError as error:
        raise _not_readable(path, kind, error) from error


def refuse_existing(path: Path) -> None:
    """Refuse a path at which something is already, before anybody is asked for a passphrase.

    Raises:
        KeyProblem: (KEY_EXISTS).
    """
    if os.path.lexists(path):
        raise _exists(path)


def write_new(path: Path, content: bytes) -> None:
    """Write a new private file: whole and on disk, or not at all.

    Raises:
        KeyProblem: (KEY_EXISTS) something is there already; (KEY_NOT_WRITTEN) the file cannot be written, and
            nothing of it is left behind.
    """
    refuse_existing(path)
    linked = False
    try:
        with _temporary(path, content) as temporary:
            os.link(temporary, path, follow_symlinks=False)  # never over anything, and never half
            linked = True
            sync_directory(path.parent)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        if linked:
            path.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def replace_content(path: Path, old: bytes, new: bytes) -> None:
    """Put a new content in the place of a private file's old one, in one step; then overwrite the old bytes.

    What a file system, a flash disk or a backup copied of the old content stays there.

    Raises:
        KeyProblem: (KEY_CHANGED) the file does not hold ``old`` any more; (KEY_LINKED) it has a second name, whose
            content would be lost; (KEY_NOT_WRITTEN); and as :func:`read_guarded`. In each case it is as it was.
    """
    path = path.resolve()
    try:
        _remove_stale(path)
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        status = os.fstat(descriptor)
        _check_guarded(path, "key", status)
        if os.read(descriptor, _LONGEST) != old:
            raise KeyProblem(f"the key file {path} was changed meanwhile", hint="run it again", code="KEY_CHANGED")
        if status.st_nlink != 1:
            hint = "find its other name with 'find -samefile', and remove that one first"
            raise KeyProblem(f"the key file {path} has a second name (hard link)", hint=hint, code="KEY_LINKED")
        with _temporary(path, new) as temporary:
            temporary.replace(path)
            sync_directory(path.parent)
        os.pwrite(descriptor, os.urandom(len(old)), 0)
        os.fsync(descriptor)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        os.close(descriptor)


def no_key_file(path: Path) -> KeyProblem:
    """Return the error for what is no key file of a known form; it repeats nothing of the contents."""
    return KeyProblem(
        f"{path} is not a fabnet-secure key file",
        hint="its first line must be FABNET-SECURE-KEY-1 or that of a protected form; restore it from a copy",
        code="KEY_FORMAT",
    )


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    """Lend a private file with this content, on disk, in the same directory; it is gone afterwards."""
    _remove_stale(path)
    temporary = path.parent / (_stale_prefix(path) + os.urandom(8).hex())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # says to another process that this one is no leftover
        os.fchmod(descriptor, 0o600)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.fsync(descriptor)
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        os.close(descriptor)


def _stale_prefix(path: Path) -> str:
    return f".fabnet-key-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"


def _remove_stale(path: Path) -> None:
    """Remove what a killed process left; only the name: the file may be the key file itself, linked but not tidied."""
    for found in path.parent.iterdir():
        if not found.name.startswith(_stale_prefix(path)):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.unlink()
            finally:
                os.close(descriptor)


def _check_guarded(path: Path, kind: str, status: os.stat_result) -> None:
    """Refuse what is no plain file, what another account owns, and what others may touch."""
    code = kind.upper()
    if not stat.S_ISREG(status.st_mode):
        if kind == "key":
            raise no_key_file(path)
        raise KeyProblem(f"{path} is not a plain file", hint="use '-' for a pipe", code=f"{code}_FORMAT")
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyProblem(
            f"the {kind} file {path} belongs to another account",
            hint=f"its owner is uid {status.st_uid}: run as that account, or make a copy of your own",
            code=f"{code}_OWNER",
        )
    if status.st_mode & 0o077:
        raise KeyProblem(
            f"the {kind} file {path} is open to other accounts (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"run 'chmod 600 {path}', and ask who may have read it",
            code=f"{code}_MODE",
        )


def _exists(path: Path) -> KeyProblem:
    return KeyProblem(
        f"a file is already at {path}", hint="a key file is never overwritten: name another path", code="KEY_EXISTS"
    )


def _not_readable(path: Path, kind: str, error: OSError) -> KeyProblem:
    code = f"{kind.upper()}_UNREADABLE"
    return KeyProblem(f"the {kind} file {path} cannot be read", hint=str(error.strerror), code=code)


def _not_written(path: Path, error: OSError) -> KeyProblem:
    hint = str(error.strerror)
    if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
        hint += "; a file system without hard links (FAT) cannot hold it"
    return KeyProblem(f"the key file {path} cannot be written", hint=hint, code="KEY_NOT_WRITTEN")
