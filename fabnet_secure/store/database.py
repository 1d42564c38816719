"""The front door: open a database, migrate it, read a snapshot, and change things in a unit of work.

Guarantees that a change and its audit entry are one transaction: what a unit of work wrote, its leaf, the sealed
openings and the freshly signed checkpoint are committed together or not at all, and leaving it without an entry is
refused. One writer at a time. Does not decide whether an act may happen.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, insert

from fabnet_secure.audit.checkpoint import NoteSigner, sign_checkpoint, vkey
from fabnet_secure.audit.leaf import build_leaf, commit
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.verify import check_head
from fabnet_secure.crypto.digest import random_bytes
from fabnet_secure.crypto.envelope import Context, PublicKey, Sealed, seal_to
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store.engine import (
    allow_commit,
    kept_open,
    lock_table,
    open_keystore,
    open_vault_database,
    read_only,
    sqlite_url,
    write_locked,
)
from fabnet_secure.store.log_storage import LockedLogStorage, lock_head, store_checkpoint
from fabnet_secure.store.schema import check_revision, migrate
from fabnet_secure.store.tables import log_opening
from fabnet_secure.types import Clock, ConsentId, Json, SubjectId, canonical_json

__all__ = [
    "Connection",
    "Engine",
    "Opening",
    "Scribe",
    "Work",
    "check_revision",
    "kept_open",
    "keystore_work",
    "migrate",
    "open_keystore",
    "open_vault_database",
    "opening_context",
    "read_only",
    "sqlite_url",
    "unit_of_work",
]

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Who writes the log: its name, its signing key, the acting role or commitment, and the clock."""

    origin: str
    signer: NoteSigner
    actor: str
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a leaf commits to about one person, and who may open the commitment later.

    Attributes:
        label: a short lower-case word such as ``consent``; repeated labels are numbered (``consent.2``).
        value: what is committed to, such as an id.
        consent_id: the opening is deleted with this consent's artefacts.
        subject_id: whom it is about.
        recipient: the public key that salt and value are sealed to; None throws the salt away.
    """

    label: str
    value: str
    consent_id: ConsentId | None
    subject_id: SubjectId | None
    recipient: PublicKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    position: int
    opening: Opening
    sealed: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    leaf: bytes
    openings: tuple[_Kept, ...]


class Work:
    """An open unit of work: its connection, and the log entries that will be committed with it."""

    def __init__(self, connection: Connection, scribe: Scribe) -> None:
        self._connection = connection
        self._scribe = scribe
        self._storage = LockedLogStorage(connection)
        self._start = self._storage.size()
        self._drafts: list[_Draft] = []
        self._open = True
        self._note = ""

    @property
    def start(self) -> int:
        """How many entries the log had when this unit of work began."""
        return self._start

    @property
    def note(self) -> str:
        """The checkpoint that was signed when the unit of work ended; "" before."""
        return self._note

    @property
    def connection(self) -> Connection:
        """The write transaction's connection."""
        return self._connection

    def log(self, act: str, *, facts: Mapping[str, Json], subjects: Sequence[Opening] = ()) -> int:
        """Add an entry to the log and return its leaf index; it is written when the unit of work ends.

        Args:
            act: a short lower-case word such as ``ingest.completed``.
            facts: counts, hashes and versions; never a name or a raw id.
            subjects: what to commit to, under fresh 32-byte salts.

        Raises:
            UsageError: code ``LEAF_REFUSED`` or ``LEAF_TOO_LARGE``; ``UNIT_CLOSED`` after the unit has ended.
        """
        if not self._open:
            raise UsageError("this unit of work has ended", code="UNIT_CLOSED")
        index = self._start + len(self._drafts)
        salted = [(label, one, random_bytes(_SALT_BYTES)) for label, one in _numbered(subjects)]
        leaf = build_leaf(
            act=act,
            at=self._scribe.clock(),
            actor=self._scribe.actor,
            facts=facts,
            commitments={label: commit(salt, one.value) for label, one, salt in salted},
        )
        openings = tuple(
            _keep(one, one.recipient, {"label": label, "value": one.value, "salt": salt.hex()}, (index, position))
            for position, (label, one, salt) in enumerate(salted)
            if one.recipient is not None
        )
        self._drafts.append(_Draft(leaf=leaf, openings=openings))
        return index

    def finish(self) -> None:
        """Write the entries, their openings and a new checkpoint; called once, when the block has ended well.

        Raises:
            IntegrityFailure: code ``ACT_WITHOUT_ENTRY``: nothing was logged; ``LOG_BROKEN`` or ``CHECKPOINT_BROKEN``:
                the log's edge is not what was signed last.
        """
        self._open = False
        if not self._drafts:
            raise IntegrityFailure(
                "an act left no audit entry, so it was undone", hint="report this", code="ACT_WITHOUT_ENTRY"
            )
        self._check_edge()
        log = Log(self._storage)
        first = log.append([draft.leaf for draft in self._drafts])
        self._store_openings(first)
        self._note = sign_checkpoint(self._scribe.origin, log.size, log.root(), self._scribe.signer)
        store_checkpoint(self._connection, self._note)

    def _check_edge(self) -> None:
        """Refuse to sign on top of a log whose edge was changed since it was signed."""
        if before := self._storage.checkpoint:
            key = vkey(self._scribe.origin, self._scribe.signer.public)
            check_head(self._storage, before, key, verify_signature)
        elif self._storage.size():
            raise IntegrityFailure("the log has entries but no checkpoint", code="LOG_BROKEN")

    def _store_openings(self, first: int) -> None:
        rows = [
            {
                "leaf_index": leaf_index,
                "position": kept.position,
                "subject_id": kept.opening.subject_id,
                "consent_id": kept.opening.consent_id,
                "sealed": kept.sealed,
            }
            for leaf_index, draft in enumerate(self._drafts, first)
            for kept in draft.openings
        ]
        if rows:
            self._connection.execute(insert(log_opening), rows)


@contextmanager
def unit_of_work(engine: Engine, scribe: Scribe) -> Iterator[Work]:
    """Yield a :class:`Work` that holds the vault's write lock; commit it with its log entries, or undo it all.

    Args:
        engine: the vault database.
        scribe: who signs the log.

    Raises:
        VaultLocked: another process kept the write lock beyond the timeout.
        IntegrityFailure: code ``ACT_WITHOUT_ENTRY``: nothing was logged; ``ROW_REFUSED``: a row breaks the schema.
        StorageFailed: the disk or database refused a write (``STORAGE_FULL``, ``STORAGE_IO``, ``STORAGE_READONLY``).
    """
    with write_locked(engine, lock_head) as connection:
        work = Work(connection, scribe)
        yield work
        work.finish()
        allow_commit(connection)


@contextmanager
def keystore_work(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to the keystore that holds its write lock; commit when the block ends well.

    Key changes are logged by the vault's unit of work around them; the keystore itself holds no log.

    Raises:
        VaultLocked: another process kept the write lock beyond the timeout.
        StorageFailed, IntegrityFailure: as :func:`unit_of_work`.
    """
    with write_locked(engine, lock_table("epoch")) as connection:
        yield connection
        allow_commit(connection)


def opening_context(
    *, leaf_index: int, position: int, subject_id: SubjectId | None, consent_id: ConsentId | None
) -> Context:
    """Return what a sealed opening is bound to: its leaf (``page``), its place there (``n``) and its person."""
    return Context(format="opening/1", subject=subject_id or "", consent=consent_id or "", page=leaf_index, n=position)


def _numbered(subjects: Sequence[Opening]) -> list[tuple[str, Opening]]:
    seen: dict[str, int] = {}
    labelled: list[tuple[str, Opening]] = []
    for one in subjects:
        count = seen[one.label] = seen.get(one.label, 0) + 1
        labelled.append((one.label if count == 1 else f"{one.label}.{count}", one))
    return labelled


def _keep(one: Opening, recipient: PublicKey, body: Mapping[str, Json], place: tuple[int, int]) -> _Kept:
    leaf_index, position = place
    context = opening_context(
        leaf_index=leaf_index, position=position, subject_id=one.subject_id, consent_id=one.consent_id
    )
    return _Kept(position=position, opening=one, sealed=seal_to(recipient, context, canonical_json(body)))
