"""age: what leaves this machine as a backup is encrypted to public keys whose secret halves need not be here.

Guarantees: a stream of any length is encrypted or decrypted in pieces of 64 KiB, so no archive stands in memory; what
was cut off or changed in a single bit is an error and not a shorter file; an identity file that others could read is
refused. Does not say who wrote an archive: anybody who knows a recipient's public key can make one, so archives are
signed inside (``pipeline/archive.py``). Only X25519 keys (``age1…``) are taken: no passphrases, no SSH keys, no
plug-ins, which would be programs that a file's header names.

Form: https://age-encryption.org/v1 by ``pyrage`` (rage).
"""

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, final

import pyrage
from pyrage import x25519

from fabnet_secure.crypto.files import read_checked
from fabnet_secure.errors import IntegrityFailure, KeyProblem, UsageError

_LONGEST: Final = 65_536
_SECRET: Final = "AGE-SECRET-KEY-"  # noqa: S105  how a secret key begins
_ENCRYPTED: Final = ("age-encryption.org/", "-----BEGIN AGE")
_NOT_OURS: Final = "No matching keys found"


@final
@dataclass(frozen=True, slots=True)
class Recipient:
    """An age X25519 public key, as text in its one form; made by :func:`parse_recipient`."""

    text: str

    def __str__(self) -> str:
        return self.text


@final
class Identity:
    """An age X25519 secret key. Never printed, never pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: Any) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> "Identity":
        """Make a fresh secret key."""
        return cls(x25519.Identity.generate())

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        return Recipient(str(self._key.to_public()))

    def reveal(self) -> str:
        """Return the text ``AGE-SECRET-KEY-1…``: for a new identity file alone."""
        return str(self._key)

    def opened(self) -> Any:
        """Return what ``pyrage`` takes."""
        return self._key

    def __repr__(self) -> str:
        return f"<Identity of {self.recipient}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an Identity is never pickled or copied")


def parse_recipient(text: str) -> Recipient:
    """Read ``age1…``.

    Raises:
        UsageError: code ``RECIPIENT_INVALID``; ``RECIPIENT_SECRET`` for a secret key, which is not repeated.
    """
    if text.strip().upper().startswith(_SECRET):
        raise UsageError(
            "a secret key was given where a public one belongs",
            hint="the line above it in its file, '# public key: age1…', is the recipient; make a new pair",
            code="RECIPIENT_SECRET",
        )
    try:
        x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise UsageError(
            f"not an age public key: {text[:80]!r}",
            hint="'age-keygen -o backup.key' prints one: it starts with age1",
            code="RECIPIENT_INVALID",
        ) from None
    return Recipient(text.lower())


def load_identities(path: Path) -> tuple[Identity, ...]:
    """Read the secret keys in an identity file, as ``age-keygen`` writes it; mode and owner as for a key file.

    Raises:
        KeyProblem: (IDENTITY_MISSING, IDENTITY_UNREADABLE) it cannot be read; (IDENTITY_MODE, IDENTITY_OWNER) others
            may read it, or it is another account's; (IDENTITY_FORMAT) it holds anything else, or no key.
    """
    try:
        content = read_checked(path, lambda status: _check_guarded(path, status), _LONGEST)
    except FileNotFoundError:
        raise KeyProblem(
            f"no identity file at {path}", hint="give the age secret key's file: --identity", code="IDENTITY_MISSING"
        ) from None
    except OSError as error:
        raise _not_readable(path, error) from error
    return _parse_identities(path, content)


def encrypt(source: BinaryIO, target: BinaryIO, recipients: Sequence[Recipient]) -> None:
    """Encrypt a stream to every recipient.

    Raises:
        UsageError: code ``NO_RECIPIENTS``: it would open to nobody.
        OSError: reading or writing failed.
    """
    if not recipients:
        raise UsageError("a backup is encrypted to somebody", hint="give --recipient age1…", code="NO_RECIPIENTS")
    keys = [x25519.Recipient.from_str(one.text) for one in recipients]
    read_from, write_to = _Ear(source), _Ear(target)
    try:
        pyrage.encrypt_io(read_from, write_to, keys)
    except pyrage.EncryptError as error:  # it knows the streams' failures as text only
        raise read_from.failure or write_to.failure or _not_encrypted() from error


def decrypt(source: BinaryIO, target: BinaryIO, identities: Sequence[Identity]) -> None:
    """Decrypt a stream; what was written to ``target`` before an error must be thrown away.

    Raises:
        KeyProblem: code ``IDENTITY_WRONG``: encrypted to other keys.
        IntegrityFailure: code ``ARCHIVE_DAMAGED``: no age file, or changed, or cut off.
        OSError: reading or writing failed.
    """
    try:
        pyrage.decrypt_io(source, target, [one.opened() for one in identities])
    except pyrage.DecryptError as error:
        if _NOT_OURS in str(error):
            raise KeyProblem(
                "the identity does not open this archive",
                hint="give the file of one of the secret keys it was encrypted to: --identity",
                code="IDENTITY_WRONG",
            ) from error
        raise _damaged() from error
    except OSError as error:
        if error.errno is None:  # the format's own: a piece did not authenticate, or the last one is missing
            raise _damaged() from error
        raise


@contextmanager
def encrypting(target: BinaryIO, recipients: Sequence[Recipient]) -> Iterator[BinaryIO]:
    """Yield a stream to write to; when the block has ended well, ``target`` holds the whole archive.

    Raises:
        UsageError, OSError: as :func:`encrypt`.
    """
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as plain, os.fdopen(outlet, "wb") as writer:
        worker = _Worker(lambda: encrypt(plain, target, recipients), plain)
        with worker.beside(writer):
            yield writer


@contextmanager
def decrypting(source: BinaryIO, identities: Sequence[Identity]) -> Iterator[BinaryIO]:
    """Yield a stream to read from; only when the block has ended well was all of it what was encrypted.

    Raises:
        KeyProblem, IntegrityFailure, OSError: as :func:`decrypt`.
    """
    inlet, outlet = os.pipe()
    with os.fdopen(inlet, "rb") as reader, os.fdopen(outlet, "wb") as plain:
        worker = _Worker(lambda: decrypt(source, plain, identities), plain)
        with worker.beside(reader):
            yield reader
            while reader.read(1 << 16):  # the end must be reached for it to be authenticated
                pass


class _Ear:
    """A stream that remembers how it failed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        with self._listening():
            return self._stream.read(size)

    def write(self, blob: bytes) -> int:
        with self._listening():
            return self._stream.write(blob)

    def flush(self) -> None:
        with self._listening():
            self._stream.flush()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            raise


class _Worker:
    """The other end of a pipe, in a thread of its own: ``pyrage`` pulls and pushes by itself."""

    def __init__(self, act: Callable[[], None], end: BinaryIO) -> None:
        self._act = act
        self._end = end
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="age")

    def _run(self) -> None:
        try:
            self._act()
        except Exception as error:  # noqa: BLE001  told to whoever holds the other end
            self._failure = error
        finally:
            with contextlib.suppress(OSError):
                self._end.close()

    @contextmanager
    def beside(self, ours: BinaryIO) -> Iterator[None]:
        """Run beside the block, which holds the pipe's end ``ours``; tell what went wrong first."""
        self._thread.start()
        try:
            yield
        except BaseException as error:
            self._join(ours)
            cause = self._cause()
            if cause is not None and isinstance(error, Exception):
                raise cause from error
            raise
        self._join(ours)
        if self._failure is not None:
            raise self._failure

    def _join(self, ours: BinaryIO) -> None:
        with contextlib.suppress(OSError, ValueError):
            ours.close()  # the worker's read ends, or its write breaks
        self._thread.join()

    def _cause(self) -> Exception | None:
        """Return the worker's own failure; that its pipe broke is only what our leaving did to it."""
        return None if isinstance(self._failure, BrokenPipeError) else self._failure


def _check_guarded(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _no_identity(path)
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyProblem(
            f"the identity file {path} belongs to another account",
            hint="run as that account, or make a copy of your own",
            code="IDENTITY_OWNER",
        )
    if status.st_mode & 0o077:
        raise KeyProblem(
            f"the identity file {path} is open to other accounts (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"run 'chmod 600 {path}', and ask who may have read it",
            code="IDENTITY_MODE",
        )


def _parse_identities(path: Path, content: bytes) -> tuple[Identity, ...]:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise _no_identity(path) from None
    if text.startswith(_ENCRYPTED):
        raise KeyProblem(
            f"{path} is itself encrypted",
            hint="decrypt it first ('age -d'), into a file of mode 0600 that you remove afterwards",
            code="IDENTITY_FORMAT",
        )
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    try:
        found = tuple(Identity(x25519.Identity.from_str(line)) for line in keys)
    except pyrage.IdentityError:
        raise _no_identity(path) from None
    if not found:
        raise _no_identity(path)
    return found


def _no_identity(path: Path) -> KeyProblem:
    return KeyProblem(
        f"{path} is not a file of age secret keys",
        hint="'age-keygen -o FILE' makes one: comments, and lines that start with AGE-SECRET-KEY-1",
        code="IDENTITY_FORMAT",
    )


def _not_readable(path: Path, error: OSError) -> KeyProblem:
    return KeyProblem(f"the identity file {path} cannot be read", hint=str(error.strerror), code="IDENTITY_UNREADABLE")


def _not_encrypted() -> OSError:
    return OSError("the archive could not be encrypted")


def _damaged() -> IntegrityFailure:
    return IntegrityFailure(
        "the archive is damaged, cut off, or no age archive at all",
        hint="use another copy of this backup; nothing of this one was kept",
        code="ARCHIVE_DAMAGED",
    )
