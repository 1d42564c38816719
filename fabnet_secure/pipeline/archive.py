"""The archive: a signed list of files and the files, as a plain tar inside age.

Guarantees that an archive is written whole under its name or not at all, and never over another file; that reading
one writes exactly the listed files, each with its listed size and SHA-256, into a folder of the caller's and nowhere
else, and never more bytes than the archive itself has. The list comes first and is signed with the vault's log key:
age says who can read an archive, the signature who made it. Does not check the signature: only an opened keystore
knows the key (``pipeline/unpacked.py``).

Form: age-encryption.org/v1 over tar (headers of 512 bytes, regular files only, no time, no owner): ``manifest.json``,
then each file that it names, in its order.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias

from fabnet_secure import __version__
from fabnet_secure.crypto.age import Identity, Recipient, decrypting, encrypting
from fabnet_secure.crypto.digest import sha256_file
from fabnet_secure.crypto.files import sync_directory
from fabnet_secure.errors import IntegrityFailure, NoVault, StorageFailed, UsageError
from fabnet_secure.pipeline.workshop import claim
from fabnet_secure.types import canonical_json

Kind: TypeAlias = Literal["vault", "keystore"]

FORMAT: Final = 1
_SIGNED_AS: Final = b"fabnet-secure/backup/v1\x00"
_FIRST: Final = "manifest.json"
_LONGEST_LIST: Final = 4 << 20
_BLOCK: Final = tarfile.BLOCKSIZE
_PIECE: Final = 1 << 20
_LARGEST_OLD: Final = 8 << 30
_PLACES: Final[Mapping[str, re.Pattern[str]]] = {
    "vault": re.compile(r"vault\.(?:db|json)|fabnet\.toml|(?:models|policies)(?:/[\w-][\w .+-]{0,98}){1,2}", re.ASCII),
    "keystore": re.compile(r"keystore\.db", re.ASCII),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of an archive."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself.

    Attributes:
        kind: whose copy it is: the vault's or the keystore's, never both.
        log_size, log_root, checkpoint: the log's head at the moment of the copy; the same moment for both archives
            that one command makes.
        epoch: the newest epoch of the keystore at that moment.
        schema: the database's revision; ``program`` the version that wrote it; ``database`` where it came from.
    """

    kind: Kind
    vault_id: str
    log_origin: str
    log_size: int
    log_root: str
    checkpoint: str
    epoch: int
    schema: str
    database: str
    created_at: str
    files: tuple[Entry, ...]
    program: str = __version__
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """Return the canonical JSON of all of it."""
        body = asdict(self)
        return canonical_json(body | {"files": list(body["files"])})

    def to_sign(self) -> bytes:
        """Return what the vault's log key signs."""
        return _SIGNED_AS + self.to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """An archive that was read whole: what it says, the signature that is yet to be checked, and its bytes' digest."""

    manifest: Manifest
    signature: bytes
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An archive that was written: where, and its bytes' digest and number."""

    path: Path
    sha256: str
    size: int


def describe(parts: Mapping[str, Path]) -> tuple[Entry, ...]:
    """Measure the files that are to go in, by their names in the archive.

    Raises:
        UsageError: code ``BACKUP_NAME``: a file's name is none that an archive may hold.
    """
    if odd := [name for name in parts if not (may_hold("vault", name) or may_hold("keystore", name))]:
        raise UsageError(
            f"a file in the vault has a name that no backup takes: {odd[0][:80]!r}",
            hint="give it a plain name: letters, digits, '_', '-', '.', '+' and spaces",
            code="BACKUP_NAME",
        )
    return tuple(
        Entry(name=name, size=path.stat().st_size, sha256=sha256_file(path)) for name, path in sorted(parts.items())
    )


def may_hold(kind: Kind, name: str) -> bool:
    """Tell whether an archive of this kind may hold a file of this name: no other is written or read."""
    return bool(_PLACES[kind].fullmatch(name))


def write_archive(
    path: Path,
    manifest: Manifest,
    parts: Mapping[str, Path],
    *,
    recipients: Sequence[Recipient],
    sign: Callable[[bytes], bytes],
) -> Written:
    """Write an archive at ``path``, where nothing may be yet; what fails, or a kill, leaves no such file.

    Raises:
        UsageError: codes ``ARCHIVE_EXISTS``, ``NO_RECIPIENTS``.
        IntegrityFailure: code ``FILE_CHANGED``: a file is not what it was when it was measured.
        OSError: the disk is full, or refuses.
    """
    part = path.with_name(f".{path.name}.part")
    signed = {
        "manifest": json.loads(manifest.to_bytes()),
        "signature": base64.b64encode(sign(manifest.to_sign())).decode(),
    }
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        claim(descriptor)
        with os.fdopen(descriptor, "wb") as file:
            target = _Digesting(file)
            with encrypting(target, recipients) as tar:  # type: ignore[arg-type]  # it writes, and no more is asked
                _write_bytes(tar, _FIRST, canonical_json(signed))
                for entry in manifest.files:
                    _write_file(tar, entry, parts[entry.name])
                tar.write(bytes(2 * _BLOCK))
            file.flush()
            os.fsync(file.fileno())
        _name(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Written(path=path, sha256=target.digest.hexdigest(), size=target.size)


def read_archive(path: Path, identities: Sequence[Identity], *, kind: Kind, into: Path) -> Unpacked:
    """Read an archive whole and write its files into the folder ``into``; on an error they are to be thrown away.

    Raises:
        UsageError: (ARCHIVE_MISSING) no such file; (ARCHIVE_KIND) it is of the other kind.
        KeyProblem: (IDENTITY_WRONG) it is encrypted to others.
        NoVault: (VAULT_NEWER) a newer program wrote it.
        IntegrityFailure: (ARCHIVE_DAMAGED) changed or cut off; (ARCHIVE_FORMAT) not an archive of this program, or
            not what its list says; (ARCHIVE_UNSAFE) a name that leads elsewhere, or something that is no plain file;
            (ARCHIVE_TOO_LARGE) its list promises more than it can hold.
        StorageFailed: (STORAGE_FULL) no room for what it holds.
    """
    try:
        source = path.open("rb")
        status = os.fstat(source.fileno())
    except OSError as error:
        hint = "give an archive that 'backup create' wrote"
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=hint, code="ARCHIVE_MISSING") from error
    heard = _Digesting(source)
    with source, decrypting(heard, identities) as tar:  # type: ignore[arg-type]  # it reads, and no more is asked
        try:
            manifest, signature = _read_list(tar, kind, status.st_size)
            _read_files(tar, manifest, into)
        except IntegrityFailure:
            while tar.read(_PIECE):  # damage, which only the end may show, is told before what it made of the contents
                pass
            raise
    return Unpacked(manifest=manifest, signature=signature, sha256=heard.digest.hexdigest(), size=heard.size)


def _read_files(tar: BinaryIO, manifest: Manifest, into: Path) -> None:
    if shutil.disk_usage(into).free < sum(entry.size for entry in manifest.files):
        raise StorageFailed("there is no room for what the archive holds", hint=f"in {into}", code="STORAGE_FULL")
    for entry in manifest.files:
        _extract(tar, entry, into)
    if tar.read(2 * _BLOCK + 1) != bytes(2 * _BLOCK):
        raise _not_an_archive("it goes on after its last file")


class _Digesting:
    """A file that counts and digests what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        return self._seen(self._file.read(size))

    def write(self, blob: bytes) -> int:
        self._seen(bytes(blob))
        return self._file.write(blob)

    def flush(self) -> None:
        self._file.flush()

    def _seen(self, blob: bytes) -> bytes:
        self.digest.update(blob)
        self.size += len(blob)
        return blob


def _write_bytes(tar: BinaryIO, name: str, blob: bytes) -> None:
    tar.write(_head(name, len(blob)) + blob + _padding(len(blob)))


def _write_file(tar: BinaryIO, entry: Entry, path: Path) -> None:
    tar.write(_head(entry.name, entry.size))
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            tar.write(piece)
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise IntegrityFailure("a file changed while it was backed up", hint="try again", code="FILE_CHANGED")
    tar.write(_padding(size))


def _head(name: str, size: int) -> bytes:
    told = tarfile.TarInfo(name)
    told.size, told.mode = size, 0o600
    # One block in either form: the older has room for our longest names, the newer for files of 8 GiB and more.
    return told.tobuf(tarfile.USTAR_FORMAT if size < _LARGEST_OLD else tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _name(part: Path, path: Path) -> None:
    """Give a finished file its name, unless something has it."""
    try:
        os.link(part, path)
    except OSError:  # something has it, or the file system has no hard links
        if os.path.lexists(path):
            raise UsageError(
                f"{path} is there already", hint="a backup is never overwritten", code="ARCHIVE_EXISTS"
            ) from None
        part.rename(path)
    sync_directory(path.parent)


def _read_list(tar: BinaryIO, kind: Kind, most: int) -> tuple[Manifest, bytes]:
    size = _read_head(tar, _FIRST)
    if size > _LONGEST_LIST:
        raise _too_large()
    blob = _exactly(tar, size)
    _exactly(tar, len(_padding(size)))
    try:
        body = json.loads(blob)
        if body["manifest"]["format"] != FORMAT:
            raise NoVault("a newer program wrote this archive", hint="restore it with that one", code="VAULT_NEWER")
        manifest = _manifest(body["manifest"])
        signature = base64.b64decode(body["signature"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _not_an_archive("its list cannot be read") from error
    if manifest.kind != kind:
        raise UsageError(
            f"this is the {'keystore' if kind == 'vault' else 'vault'}'s archive, not the {kind}'s",
            hint="--vault-archive takes vault-….age, --keystore-archive keystore-….age",
            code="ARCHIVE_KIND",
        )
    if sum(entry.size for entry in manifest.files) > most:
        raise _too_large()
    return manifest, signature


def _manifest(told: Any) -> Manifest:
    """Read a list; ValueError, KeyError or TypeError where it is none."""
    files = tuple(Entry(**one) for one in told["files"])
    manifest = Manifest(**(told | {"files": files}))
    texts = ("vault_id", "log_origin", "log_root", "checkpoint", "schema", "database", "created_at", "program")
    counts = [manifest.log_size, manifest.epoch, *(entry.size for entry in files)]
    words = [one for entry in files for one in (entry.name, entry.sha256)]
    sound = (
        manifest.kind in ("vault", "keystore")
        and all(isinstance(getattr(manifest, name), str) for name in texts)
        and all(type(one) is int and one >= 0 for one in counts)
        and all(isinstance(one, str) for one in words)
        and len({entry.name for entry in files}) == len(files)
    )
    if not sound:
        raise ValueError("a field is not what it should be")
    for entry in files:
        if not may_hold(manifest.kind, entry.name):
            raise _unsafe()
    return manifest


def _extract(tar: BinaryIO, entry: Entry, into: Path) -> None:
    if _read_head(tar, entry.name) != entry.size:
        raise _not_an_archive("a file has not its listed size")
    path = into / entry.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), entry.size
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while left:
            piece = _exactly(tar, min(left, _PIECE))
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != entry.sha256:
        raise _not_an_archive("a file is not what its list says")
    _exactly(tar, len(_padding(entry.size)))


def _read_head(tar: BinaryIO, name: str) -> int:
    """Read one header, which must be that of the regular file ``name``, and return its size."""
    try:
        told = tarfile.TarInfo.frombuf(_exactly(tar, _BLOCK), "utf-8", "strict")
    except (tarfile.TarError, ValueError) as error:
        raise _not_an_archive("it holds no such file list") from error
    if told.type != tarfile.REGTYPE or told.name.startswith("/") or ".." in told.name.split("/"):
        raise _unsafe()
    if told.name != name or told.size < 0:
        raise _not_an_archive("its files are not the listed ones")
    return told.size


def _exactly(tar: BinaryIO, size: int) -> bytes:
    blob = tar.read(size) if size else b""
    if len(blob) != size:
        raise _not_an_archive("it ends early")
    return blob


def _not_an_archive(why: str) -> IntegrityFailure:
    return IntegrityFailure(f"not a sound backup: {why}", hint="use another copy of it", code="ARCHIVE_FORMAT")


def _unsafe() -> IntegrityFailure:
    return IntegrityFailure(
        "the archive holds something that is no plain file of a vault, or a name that leads elsewhere",
        hint="this program writes no such archive: find out who made it",
        code="ARCHIVE_UNSAFE",
    )


def _too_large() -> IntegrityFailure:
    return IntegrityFailure(
        "the archive promises more than it can hold", hint="use another copy of it", code="ARCHIVE_TOO_LARGE"
    )
