"""The gate of an epoch: a secret in a small file outside both databases, destroyed when the epoch ends.

Everything that opens an epoch (its seed under the root, the holders' blobs) stands behind the epoch's gate. The gate
alone opens nothing and needs no secrecy of its own; what counts is that it can be destroyed, because it is in no copy
of the databases. Guarantees: a new gate is on disk before anything is locked with it; the old one is overwritten in
place, flushed, and only then unlinked; a run that was cut off leaves both, and the next run finishes. Does not reach
copies of the file, nor what a journalling, copy-on-write or flash device keeps of overwritten bytes: copy it only to
where a later copy overwrites it.

Form of the file: three lines of ASCII: ``FABNET-SECURE-EPOCH-1``, the epoch's number, the base64 of 32 random bytes.
Only zero bytes stand where a gate was overwritten. ``NAME.next`` is the gate of an epoch that is being made.
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final, final

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.files import read_checked, sync_directory
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import IntegrityFailure, KeyProblem

_FIRST_LINE: Final = b"FABNET-SECURE-EPOCH-1"
_MAGIC: Final = b"FSG1"


@final
class Gate(Secret):
    """The 256-bit secret that every way into one epoch needs. Never printed, never pickled."""

    __slots__ = ()

    def close(self, bound: bytes, inner: bytes) -> bytes:
        """Put an already wrapped secret behind the gate, bound to ``bound``."""
        return _MAGIC + aead.encrypt(self._key(), _MAGIC + bound, inner)

    def open(self, bound: bytes, outer: bytes) -> bytes:
        """Return what :meth:`close` was given.

        Raises:
            IntegrityFailure: (EPOCH_BROKEN) another gate, another place, or changed bytes.
        """
        try:
            if not outer.startswith(_MAGIC):
                raise aead.broken()
            return aead.decrypt(self._key(), _MAGIC + bound, outer[len(_MAGIC) :])
        except IntegrityFailure as error:
            raise IntegrityFailure(
                "the keystore does not fit this vault's epoch file: it was changed, or is another vault's",
                hint="restore keystore.db from a backup made since the last 'keys rekey'",
                code="EPOCH_BROKEN",
            ) from error

    def _key(self) -> bytes:
        return aead.derive(self.reveal(), "fabnet-secure/gate/v1")


def read_gates(path: Path) -> dict[int, Gate]:
    """Return the gates that are there, by epoch: one, or two while an epoch is being made; overwritten ones are not.

    Raises:
        KeyProblem: (GATE_MODE) open to everybody; (GATE_FORMAT) no epoch file; (GATE_UNREADABLE).
    """
    found = (_read(one) for one in (_next(path), path))  # in this order: 'next' moves over the other
    return dict(gate for gate in found if gate is not None)


def check_gate(path: Path) -> None:
    """Refuse a present gate that could not be destroyed alone: asked before a new epoch is begun.

    Raises:
        KeyProblem: (GATE_LINKED) another name leads to it; (GATE_MODE) others may write it; (GATE_NOT_WRITTEN).
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise KeyProblem(
                f"the epoch file {path} is a link, or has a second name: it could not be destroyed alone",
                hint="put a file of its own there (cp, mv), or name its true place with FABNET_EPOCH_FILE",
                code="GATE_LINKED",
            )
        if status.st_mode & 0o022:
            raise KeyProblem(
                f"the epoch file {path} can be written by others than its owner",
                hint=f"run 'chmod go-w {path}'",
                code="GATE_MODE",
            )
        os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_written(path, error) from error


def prepare_gate(path: Path, epoch: int) -> Gate:
    """Make the gate of a new epoch and write it beside the present one (mode 0600, or as its group reads that one).

    One that was prepared before and never used is overwritten first.

    Raises:
        KeyProblem: (GATE_NOT_WRITTEN) the file cannot be written; (GATE_LINKED, GATE_MODE) as :func:`check_gate`.
    """
    check_gate(path)
    gate = Gate.generate()
    try:
        _destroy(_next(path))
        content = _FIRST_LINE + b"\n%d\n" % epoch + base64.b64encode(gate.reveal()) + b"\n"
        _write(_part(path), content, _next(path), shared_as=path)
    except OSError as error:
        raise _not_written(path, error) from error
    return gate


def settle_gate(path: Path, epoch: int) -> tuple[int, ...]:
    """Destroy every gate but this epoch's, which then stands at ``path``; return the epochs that were closed for ever.

    Safe to repeat after a crash.

    Raises:
        KeyProblem: (GATE_NOT_WRITTEN) a file cannot be changed; (GATE_MISSING) this epoch's gate is not there.
    """
    waiting, present = _read(_next(path)), _read(path)
    kept = [one for one in (waiting, present) if one is not None and one[0] == epoch]
    if not kept:
        raise missing(path)
    closed = tuple(one[0] for one in (waiting, present) if one is not None and one[0] != epoch)
    try:
        if present is None or present[0] != epoch:
            _overwrite(path)
            _next(path).rename(path)
        else:
            _destroy(_next(path))
        _destroy(_part(path))
        sync_directory(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    return closed


def copy_gate(source: Path, place: Path) -> None:
    """Copy an epoch file whole (mode 0600, on disk when this returns), under a name that the next epoch clears.

    Raises:
        KeyProblem: (GATE_NOT_WRITTEN, GATE_UNREADABLE).
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise _unreadable(source, error) from error
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(_part(place), content, place)
    except OSError as error:
        raise _not_written(place, error) from error


def destroy_gates(path: Path) -> None:
    """Overwrite and remove a copy of an epoch file that the program made for a while, and all that lies beside it.

    Raises:
        KeyProblem: (GATE_NOT_WRITTEN).
    """
    try:
        for one in (path, _next(path), _part(path)):
            _destroy(one)
    except OSError as error:
        raise _not_written(path, error) from error


def missing(path: Path) -> KeyProblem:
    """Return the error for an epoch file that is not there, or is an older one."""
    return KeyProblem(
        f"the epoch file {path} is missing or not this vault's newest",
        hint="put back the newest copy of it, or name its place with FABNET_EPOCH_FILE; without it nothing opens",
        code="GATE_MISSING",
    )


def _next(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _part(path: Path) -> Path:
    """Return where an epoch file is written before it has its name."""
    return path.with_name(path.name + ".next.part")


def _read(path: Path) -> tuple[int, Gate] | None:
    try:
        content = read_checked(path, lambda status: _check_guarded(path, status))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return None if not content.strip(b"\0") else _parse(path, content)


def _parse(path: Path, content: bytes) -> tuple[int, Gate]:
    lines = content.split(b"\n")
    try:
        if len(lines) != 4 or lines[0] != _FIRST_LINE or lines[3] or not lines[1].isdigit():
            raise _no_gate(path)
        return int(lines[1]), Gate(base64.b64decode(lines[2], validate=True))
    except (binascii.Error, KeyProblem, ValueError) as error:
        raise _no_gate(path) from error


def _check_guarded(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _no_gate(path)
    if status.st_mode & 0o007:
        raise KeyProblem(
            f"the epoch file {path} is open to everybody: it may have been copied",
            hint=f"run 'chmod o= {path}', then 'fabnet-secure keys rekey'",
            code="GATE_MODE",
        )


def _write(temporary: Path, content: bytes, place: Path, *, shared_as: Path | None = None) -> None:
    """Write a file of mode 0600 and give it its name when it is whole; ``shared_as``: whose group may read it too."""
    _destroy(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if shared_as is not None:
            _share_as(shared_as, file.fileno())
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(place)
    sync_directory(place.parent)


def _share_as(path: Path, descriptor: int) -> None:
    """Let the group that reads the present gate read the next one: a rekey must not lock other accounts out."""
    if path.exists() and path.stat().st_mode & stat.S_IRGRP:
        os.fchown(descriptor, -1, path.stat().st_gid)
        os.fchmod(descriptor, 0o640)


def _overwrite(path: Path) -> None:
    """Write zeros over a file's own bytes, and flush them."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _destroy(path: Path) -> None:
    _overwrite(path)
    path.unlink(missing_ok=True)


def _no_gate(path: Path) -> KeyProblem:
    return KeyProblem(f"{path} is not an epoch file", hint="put back the newest copy of it", code="GATE_FORMAT")


def _unreadable(path: Path, error: OSError) -> KeyProblem:
    return KeyProblem(f"the epoch file {path} cannot be read", hint=str(error.strerror), code="GATE_UNREADABLE")


def _not_written(path: Path, error: OSError) -> KeyProblem:
    return KeyProblem(f"the epoch file {path} cannot be written", hint=str(error.strerror), code="GATE_NOT_WRITTEN")
