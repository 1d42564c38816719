"""A witness at work, and proofs to hand out: over an open vault, or over an exported folder without any key of ours.

Guarantees that a head is cosigned only when the whole log was recomputed and continues what the witness remembers, and
that a proof is checked from its files alone. Neither changes the vault, so neither leaves an entry: what attests to a
log does not make it grow.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fabnet_secure.audit.checkpoint import open_checkpoint
from fabnet_secure.audit.cosign import Cosigned, check_cosignature, cosigner_vkey, witness_name
from fabnet_secure.audit.export import open_export
from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.audit.log import LogReader
from fabnet_secure.audit.proof import Proven, check_proof, make_proof
from fabnet_secure.audit.verify import check_log
from fabnet_secure.audit.witness import Witnessed, check_continues, latest_note, memory_of, remember
from fabnet_secure.crypto.mldsa import verify_mldsa44
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.crypto.witness_key import create_witness_key, load_witness_key
from fabnet_secure.errors import FabnetError, StorageFailed, UsageError
from fabnet_secure.pipeline.authorize import authorize
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint

_LONGEST_TEXT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """A log whose every byte was checked: how to read it, its signed head, and its key."""

    storage: LogReader
    note: str
    vkey: str


@contextmanager
def of_vault(site: Site, action: str) -> Iterator[Readable]:
    """Check a vault's log and yield it, for ``audit_witness`` or ``audit_prove``.

    Raises:
        AccessDenied: the principal may not.
        IntegrityFailure: the log does not hold.
    """
    authorize(site, action)
    with site.reading() as connection:
        storage, note = SqlLogStorage(connection), latest_checkpoint(connection)
        check_log(storage, note, site.log_vkey, verify_signature)
        yield Readable(storage=storage, note=note, vkey=site.log_vkey)


def of_folder(directory: Path, vkey: str) -> Readable:
    """Check an exported log against the key as it was published and return it.

    Raises:
        IntegrityFailure: the export does not hold, or another key signed it.
        UsageError: code ``VKEY_INVALID`` or ``EXPORT_MISSING``.
    """
    storage, note = open_export(directory, verify_signature, vkey=vkey)
    return Readable(storage=storage, note=note, vkey=vkey)


def witness(
    log: Readable, *, out: Path, key_file: Path, now: Callable[[], datetime], forbidden: Sequence[Path] = ()
) -> tuple[Witnessed, str]:
    """Remember and cosign a log's head; return what was done and the witness's verifier key.

    Args:
        log: a checked log.
        out: a file, or an existing folder.
        key_file: the witness's own key; made on first use, with its public half in ``<key_file>.pub``.
        now: the clock.
        forbidden: folders that neither may lie in: the vault's, the export's.

    Raises:
        IntegrityFailure: code ``ROLLED_BACK``: the log does not continue what is remembered; nothing was written.
        UsageError: code ``WITNESS_INSIDE``.
        KeyProblem, StorageFailed: as the files.
    """
    for place in (out, key_file):
        if any(place.resolve().is_relative_to(folder.resolve()) for folder in forbidden):
            raise UsageError(
                "a witness keeps nothing inside the vault or the export that it watches",
                hint="name a place that whoever can change the log cannot change",
                code="WITNESS_INSIDE",
            )
    rehearse(log, out)
    key = load_witness_key(key_file) if os.path.lexists(key_file) else create_witness_key(key_file)
    vkey = cosigner_vkey(witness_name(key.public), key.public)
    _publish(key_file, vkey)
    timestamp = int(now().timestamp())
    done = remember(log.storage, log.note, log.vkey, verify_signature, out=out, key=key, timestamp=timestamp)
    return done, vkey


def rehearse(log: Readable, out: Path) -> int | None:
    """Check that the log continues what is remembered at ``out``; return the remembered size, None where nothing is.

    Raises:
        IntegrityFailure: code ``ROLLED_BACK`` or ``CHECKPOINT_BROKEN``.
    """
    if not os.path.lexists(memory_of(out)):
        return None
    return check_continues(log.storage, latest_note(out), log.vkey, verify_signature).size


def verify_against(log: Readable, path: Path, witness_keys: Sequence[str] = ()) -> int:
    """Check that a log continues a witnessed checkpoint, cosigned by each of ``witness_keys``; return its size.

    Raises:
        IntegrityFailure: code ``ROLLED_BACK``, ``CHECKPOINT_BROKEN``, ``COSIGNATURE_BROKEN`` or ``WITNESS_MISSING``.
        UsageError: code ``VKEY_INVALID``.
    """
    note = latest_note(path)
    for key in witness_keys:
        check_cosignature(note, key, verify_mldsa44)
    return check_continues(log.storage, note, log.vkey, verify_signature).size


def prove(log: Readable, index: int, *, under: Path | None = None) -> tuple[str, bytes]:
    """Return the text of a ``tlog-proof`` for one entry, and the entry's bytes.

    Args:
        log: a checked log.
        index: the entry's place, from 0.
        under: a witnessed checkpoint (file or folder) to prove it under, cosignatures included; None is the log's own
            newest.

    Raises:
        UsageError: code ``LOG_RANGE``: there is no such entry under that checkpoint.
        IntegrityFailure: as :func:`verify_against`.
    """
    note = log.note
    if under is not None:
        note = latest_note(under)
        check_continues(log.storage, note, log.vkey, verify_signature)
    text = make_proof(log.storage, index, note)
    return text, log.storage.read_entries(index, index + 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A proof that held: where the entry is, its act ("" where the entry is no leaf of ours), and who cosigned."""

    proven: Proven
    act: str
    cosigned: Sequence[Cosigned]


def check(text: str, entry: bytes, vkey: str, witness_keys: Sequence[str] = ()) -> Checked:
    """Check a ``tlog-proof`` from its text alone.

    Raises:
        IntegrityFailure: code ``PROOF_BROKEN``, ``CHECKPOINT_BROKEN`` or ``COSIGNATURE_BROKEN``.
        UsageError: code ``VKEY_INVALID``.
    """
    proven = check_proof(text, entry, vkey, verify_signature)
    note = text.partition("\n\n")[2]
    cosigned = [check_cosignature(note, key, verify_mldsa44) for key in witness_keys]
    try:
        act = read_leaf(entry).act
    except FabnetError:
        act = ""
    return Checked(proven=proven, act=act, cosigned=cosigned)


def witness_age(path: Path, vkey: str, now: datetime) -> tuple[int, timedelta]:
    """Return the size that a witness remembers, and how long ago its file was written.

    Raises:
        IntegrityFailure: code ``WITNESS_MISSING`` or ``CHECKPOINT_BROKEN``.
    """
    size = open_checkpoint(latest_note(path), vkey, verify_signature).size
    written = datetime.fromtimestamp(memory_of(path).stat().st_mtime, UTC)
    return size, max(timedelta(), now - written)


def read_key(text: str) -> str:
    """Return a verifier key: the text itself, or the first line of the file that it names.

    Raises:
        UsageError: code ``VKEY_INVALID``: the file cannot be read.
    """
    if "+" in text or not text:
        return text
    return read_text(Path(text), "the key's file", code="VKEY_INVALID").split("\n", 1)[0]


def read_text(path: Path, what: str, *, code: str) -> str:
    """Read a small text file.

    Raises:
        UsageError: ``code``: it cannot be read, is too long, or no text.
    """
    try:
        return read_bytes(path, what, code=code).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is no text", hint="name another file", code=code) from error


def read_bytes(path: Path, what: str, *, code: str) -> bytes:
    """Read a small file.

    Raises:
        UsageError: ``code``: it cannot be read, or is too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_TEXT + 1)
    except OSError as error:
        raise UsageError(f"{what} cannot be read", hint=str(error.strerror), code=code) from error
    if len(content) > _LONGEST_TEXT:
        raise UsageError(f"{what} is too long", hint="name another file", code=code)
    return content


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError: code ``OUT_EXISTS``.
        StorageFailed: code ``OUT_NOT_WRITTEN``; nothing is left.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError("a file is there already", hint="name a new one", code="OUT_EXISTS") from error
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StorageFailed(f"a file cannot be written: {error.strerror}", code="OUT_NOT_WRITTEN") from error


def _publish(key_file: Path, vkey: str) -> None:
    """Write the witness's public key beside its private one, unless it is there."""
    public = key_file.with_name(f"{key_file.name}.pub")
    if not public.exists():
        write_new(public, f"{vkey}\n".encode())
