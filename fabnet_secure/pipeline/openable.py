"""Does what is sealed still open? Asked of a restored copy, row by row, with the keys that came with it.

Guarantees that a row counts as opened only when its own key opened it in its own place, and that every kind of sealed
row is asked. A row whose key was destroyed (an erasure was under way) is counted apart: it is meant to stay shut. Needs
a keyring of every domain, the vault's root; keeps nothing of what it opens.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, unseal
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.errors import FabnetError, IntegrityFailure
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.quarantine import reopens
from fabnet_secure.store import consents, embeddings, keystore, openings, quarantine, tracks
from fabnet_secure.store.database import Connection, opening_context, read_only
from fabnet_secure.store.states import QuarantineState
from fabnet_secure.types import ConsentId, Domain, SubjectId

_T = TypeVar("_T")
_Owner: TypeAlias = tuple[SubjectId, ConsentId | None, Domain]


@dataclass(frozen=True, slots=True, kw_only=True)
class Openable:
    """What was asked and what opened.

    Attributes:
        rows: sealed rows of each kind.
        opened: rows that opened.
        shut: rows whose key was destroyed.
        sampled: only some of the rows were asked.
    """

    rows: dict[str, int]
    opened: int
    shut: int
    sampled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One sealed row: whose it is, what it is bound to."""

    subject_id: SubjectId
    consent_id: ConsentId | None
    domain: Domain
    context: Context
    sealed: Sealed


def check_openable(site: Site, sample: int | None = None) -> Openable:
    """Open the sealed rows, and throw what they held away.

    Args:
        site: an open copy whose keyring has every domain.
        sample: about how many rows of each kind to ask, spread evenly; None asks them all.

    Raises:
        IntegrityFailure: code ``BACKUP_UNOPENABLE``: a row does not open, or its key was never there.
        KeyProblem: code ``KEY_DOMAIN``: the keyring does not open a domain.
    """
    rows: dict[str, int] = {}
    tally: Counter[str] = Counter()
    keys = _Keys(site)
    with site.reading() as connection:
        for kind, found in _KINDS.items():
            verdicts = Counter(keys.verdict(one) for one in found(connection, sample))
            rows[kind] = verdicts.total()
            tally += verdicts
    rows["quarantine"] = _held(site, tally, sample)
    if tally["failed"]:
        raise IntegrityFailure(
            f"{tally['failed']} sealed rows of the backup do not open with its keystore",
            hint="use another pair of archives, best of one 'backup create'",
            code="BACKUP_UNOPENABLE",
        )
    return Openable(rows=rows, opened=tally["opened"], shut=tally["shut"], sampled=sample is not None)


class _Keys:
    """The keys by whom and what they are for, unwrapped as they are asked for, and wiped after each use.

    An owner has two while 'keys reencrypt' is under way: a row opens under the one or the other.
    """

    def __init__(self, site: Site) -> None:
        self._keyring = site.keyring
        self._owned: dict[_Owner, list[WrappedKey]] = {}
        with read_only(site.keystore) as connection:
            for key in (*keystore.list_keys(connection), *keystore.list_keys(connection, pending=True)):
                self._owned.setdefault((key.subject_id, key.consent_id, key.domain), []).append(key)
            stones = keystore.tombstones(connection)
        self._destroyed = {(stone.subject_id, stone.consent_id, stone.domain) for stone in stones}

    def verdict(self, row: _Row) -> str:
        """Return ``opened``, ``shut`` (its key was destroyed) or ``failed``."""
        owner = (row.subject_id, row.consent_id, row.domain)
        keys = self._owned.get(owner, [])
        if not keys and owner in self._destroyed:
            return "shut"
        return "opened" if any(self._opens(key, row) for key in keys) else "failed"

    def _opens(self, wrapped: WrappedKey, row: _Row) -> bool:
        key: DataKey = self._keyring.unwrap(wrapped)
        try:
            unseal(key, row.context, row.sealed)
        except IntegrityFailure:
            return False
        finally:
            key.wipe()
        return True


def _identities(connection: Connection, sample: int | None) -> Iterator[_Row]:
    for subject in _thinned(consents.list_subjects(connection), sample):
        sealed = consents.get_sealed_reference(connection, subject.subject_id)
        if sealed is not None:
            context = Context(format="identity/1", subject=subject.subject_id)
            yield _Row(
                subject_id=subject.subject_id, consent_id=None, domain=Domain.IDENTITY, context=context, sealed=sealed
            )


def _tracklets(connection: Connection, sample: int | None) -> Iterator[_Row]:
    for track_id in _thinned(sorted(tracks.count_crops(connection)), sample):  # read one by one: they are large
        owner, row = tracks.get_track(connection, track_id), tracks.get_tracklet(connection, track_id)
        if owner is None or row is None or owner.subject_id is None or owner.consent_id is None:
            raise IntegrityFailure("a row of crops belongs to nobody", code="BACKUP_UNOPENABLE")
        context = Context(
            format="tracklet/1",
            subject=owner.subject_id,
            consent=owner.consent_id,
            track=row.track_id,
            n=row.n,
            dim=row.size,
        )
        yield _Row(
            subject_id=owner.subject_id,
            consent_id=owner.consent_id,
            domain=Domain.TRACKLETS,
            context=context,
            sealed=row.sealed,
        )


def _pages(connection: Connection, sample: int | None) -> Iterator[_Row]:
    for record, _ in _thinned(consents.list_consents(connection), sample):
        for page in _thinned(embeddings.pages_of_consent(connection, record.consent_id), None if sample is None else 1):
            yield _Row(
                subject_id=record.subject_id,
                consent_id=record.consent_id,
                domain=Domain.EMBEDDINGS,
                context=page.context,
                sealed=page.sealed,
            )


def _openings(connection: Connection, sample: int | None) -> Iterator[_Row]:
    for row in _thinned(openings.list_openings(connection), sample):
        if row.subject_id is None:
            continue
        context = opening_context(
            leaf_index=row.leaf_index, position=row.position, subject_id=row.subject_id, consent_id=row.consent_id
        )
        yield _Row(
            subject_id=row.subject_id,
            consent_id=row.consent_id,
            domain=Domain.EVIDENCE,
            context=context,
            sealed=row.sealed,
        )


_KINDS: dict[str, Callable[[Connection, int | None], Iterator[_Row]]] = {
    "identities": _identities,
    "tracklets": _tracklets,
    "embedding_pages": _pages,
    "log_openings": _openings,
}


def _held(site: Site, tally: Counter[str], sample: int | None) -> int:
    with site.reading() as connection:
        rows = _thinned(quarantine.list_quarantine(connection, state=QuarantineState.HELD), sample)
    for row in rows:
        try:
            reopens(site, row)
            tally["opened"] += 1
        except FabnetError:
            tally["failed"] += 1
    return len(rows)


def _thinned(rows: Sequence[_T], sample: int | None) -> Sequence[_T]:
    """Return every row, or about ``sample`` of them, spread evenly from the first to the last."""
    if sample is None or sample >= len(rows):
        return rows
    return [rows[number * (len(rows) - 1) // max(1, sample - 1)] for number in range(sample)]
