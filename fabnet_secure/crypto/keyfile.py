"""The key file: the one secret that is kept outside every database.

Guarantees: a new file is made with mode 0600, never over an existing file, and is on disk before the call returns; a
file that others could read, or that somebody else owns, is refused. Does not guard against whoever is root, nor does
it encrypt the key: put the file on storage whose loss you have planned for.

Form: two lines of ASCII, ``FABNET-SECURE-KEY-1`` and the base64 of 32 random bytes.
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final, final

from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import KeyProblem

_FIRST_LINE: Final = b"FABNET-SECURE-KEY-1"
_LONGEST: Final = 4096


@final
class RootKey(Secret):
    """The 256-bit key that opens the epoch keys. Never printed, never pickled."""

    __slots__ = ()


def create_key_file(path: Path) -> RootKey:
    """Make a fresh key and write it to a new file at ``path`` (mode 0600, flushed to disk).

    Raises:
        KeyProblem: (KEY_EXISTS) something is there already; (KEY_NOT_WRITTEN) the file cannot be written, and
            nothing of it is left behind.
    """
    root = RootKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise KeyProblem(
            f"a file is already at {path}", hint="a key file is never overwritten: name another path", code="KEY_EXISTS"
        ) from error
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(_FIRST_LINE + b"\n" + base64.b64encode(root.reveal()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _not_written(path, error) from error
    return root


def load_key_file(path: Path) -> RootKey:
    """Read the key at ``path``; mode and owner are checked on the open file, so it cannot be swapped in between.

    Raises:
        KeyProblem: (KEY_MISSING) no such file; (KEY_MODE) open to group or others; (KEY_OWNER) owned by neither us
            nor root; (KEY_FORMAT) not a key file; (KEY_UNREADABLE) the system refuses to read it.
    """
    try:
        # Non-blocking, so that a FIFO at this path cannot make the program wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise KeyProblem(
            f"no key file at {path}",
            hint="give its path with --key-file or FABNET_KEY_FILE",
            code="KEY_MISSING",
        ) from error
    except OSError as error:
        raise _not_readable(path, error) from error
    try:
        _check_guarded(path, os.fstat(descriptor))
        return _parse(path, os.read(descriptor, _LONGEST))
    except OSError as error:
        raise _not_readable(path, error) from error
    finally:
        os.close(descriptor)


def _check_guarded(path: Path, status: os.stat_result) -> None:
    """Refuse what is no plain file, what another account owns, and what others may touch."""
    if not stat.S_ISREG(status.st_mode):
        raise _no_key_file(path)
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyProblem(
            f"the key file {path} belongs to another account",
            hint=f"its owner is uid {status.st_uid}: run as that account, or make a copy of your own",
            code="KEY_OWNER",
        )
    if status.st_mode & 0o077:
        raise KeyProblem(
            f"the key file {path} is open to other accounts (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"run 'chmod 600 {path}', and ask who may have read it",
            code="KEY_MODE",
        )


def _parse(path: Path, content: bytes) -> RootKey:
    """Read the two lines, and nothing but them."""
    lines = content.split(b"\n")
    if len(lines) != 3 or lines[0] != _FIRST_LINE or lines[2]:
        raise _no_key_file(path)
    try:
        octets = base64.b64decode(lines[1], validate=True)
    except binascii.Error as error:
        raise _no_key_file(path) from error
    try:
        return RootKey(octets)
    except KeyProblem as error:
        raise _no_key_file(path) from error


def _sync_directory(directory: Path) -> None:
    """Make the new name itself durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_key_file(path: Path) -> KeyProblem:
    return KeyProblem(
        f"{path} is not a fabnet-secure key file",
        hint="its first line must be FABNET-SECURE-KEY-1, its second the key in base64",
        code="KEY_FORMAT",
    )


def _not_readable(path: Path, error: OSError) -> KeyProblem:
    return KeyProblem(f"the key file {path} cannot be read", hint=str(error.strerror), code="KEY_UNREADABLE")


def _not_written(path: Path, error: OSError) -> KeyProblem:
    return KeyProblem(f"the key file {path} cannot be written", hint=str(error.strerror), code="KEY_NOT_WRITTEN")
