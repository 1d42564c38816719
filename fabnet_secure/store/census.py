"""Which pages of embeddings there are: keyed sums over all of them, kept in one row and checked at every unlock.

Guarantees that a page which was deleted, added, moved to another person or put back behind our back is noticed by
whoever reads any page, even one whose rows he may not open; and a track's entry, by whoever asks by tracks. A change of
one page costs the same whatever there is besides. Whoever holds the index key (every host that writes) can make the
sums; others cannot, and learn nothing of their terms. Does not notice that pages *and* this row together were set back
to an older moment: the log's anchor notices it of the whole database.

Source: Clarke, Devadas, van Dijk, Gassend, Suh, Incremental Multiset Hash Functions (ASIACRYPT 2003): MSet-Add-Hash,
here over four 64-bit lanes, with BLAKE2b (RFC 7693) keyed as the random function.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from fabnet_secure.crypto.digest import random_bytes
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store.meta import get_meta, set_meta
from fabnet_secure.types import Json, canonical_json

CENSUS: Final = "embeddings"
"""The key of the row in ``meta``."""
_DIGEST: Final = 32
_Sum = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many there are, and the sum of their terms (four lanes of 64 bits)."""

    count: int
    total: tuple[int, int, int, int]

    def __add__(self, other: "Tally") -> "Tally":
        """Return the sum over both."""
        lanes = np.array(self.total, np.uint64) + np.array(other.total, np.uint64)
        return Tally(count=self.count + other.count, total=_tuple(lanes))

    def __sub__(self, other: "Tally") -> "Tally":
        """Return the sum over what is left without ``other``."""
        lanes = np.array(self.total, np.uint64) - np.array(other.total, np.uint64)
        return Tally(count=self.count - other.count, total=_tuple(lanes))


NONE: Final = Tally(count=0, total=(0, 0, 0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What there is: the pages, and the entries that say which tracks packed pages hold."""

    pages: Tally
    tracks: Tally


@final
class Census:
    """Keeps the sum; stateless but for its key.

    Args:
        index_key: the vault's index key, 32 bytes.
    """

    __slots__ = ("_key", "_seal")

    def __init__(self, index_key: bytes) -> None:
        self._key = hashlib.blake2b(b"terms", key=index_key, digest_size=_DIGEST, person=b"fabnet-census/1").digest()
        self._seal = hashlib.blake2b(b"row", key=index_key, digest_size=_DIGEST, person=b"fabnet-census/1").digest()

    def first(self) -> tuple[str, str]:
        """Return key and value of the row of a vault without a page."""
        return CENSUS, self._write(Counted(pages=NONE, tracks=NONE))

    def tally(self, terms: Iterable[bytes]) -> Tally:
        """Return the sum over descriptions of pages, or of tracks' entries."""
        key = self._key
        digests = [hashlib.blake2b(term, key=key, digest_size=_DIGEST).digest() for term in terms]
        lanes = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 4)
        return Tally(count=len(digests), total=_tuple(lanes.sum(axis=0, dtype=np.uint64)))

    def read(self, connection: Connection) -> Counted:
        """Return what was counted last.

        Raises:
            IntegrityFailure: code ``EMBEDDINGS_CHANGED``: the row is gone, or not what this vault wrote.
        """
        held = get_meta(connection, CENSUS)
        try:
            body = json.loads(held or "")
            nonce, counts, blinded = bytes.fromhex(body["nonce"]), body["counts"], bytes.fromhex(body["sums"])
            proof = self._proof(nonce, counts, blinded)
            if len(blinded) == 2 * _DIGEST and hmac.compare_digest(proof, str(body["proof"])):
                lanes = (np.frombuffer(blinded, "<u8") - self._mask(nonce)).tolist()
                return Counted(
                    pages=Tally(count=counts[0], total=_four(lanes[:4])),
                    tracks=Tally(count=counts[1], total=_four(lanes[4:])),
                )
        except (ValueError, KeyError, TypeError, UsageError):
            pass
        raise changed("the count of stored embeddings is not what this vault wrote")

    def check(self, connection: Connection, pages: Iterable[bytes]) -> None:
        """Refuse to go on unless ``pages`` describe exactly the pages that were counted.

        Raises:
            IntegrityFailure: code ``EMBEDDINGS_CHANGED``.
        """
        if self.tally(pages) != self.read(connection).pages:
            raise changed("stored embeddings were removed, added or exchanged behind the vault's back")

    def check_tracks(self, connection: Connection, tracks: Iterable[bytes]) -> None:
        """Refuse to go on unless ``tracks`` describe exactly the tracks' entries that were counted.

        Raises:
            IntegrityFailure: code ``EMBEDDINGS_CHANGED``.
        """
        if self.tally(tracks) != self.read(connection).tracks:
            raise changed("which tracks were embedded was changed behind the vault's back")

    def change(
        self,
        connection: Connection,
        *,
        added: Iterable[bytes] = (),
        removed: Iterable[bytes] = (),
        tracks_added: Iterable[bytes] = (),
        tracks_removed: Iterable[bytes] = (),
    ) -> None:
        """Count pages and tracks' entries in and out; within the transaction that writes or deletes them.

        Raises:
            IntegrityFailure: as :meth:`read`.
        """
        more, fewer = self.tally(added), self.tally(removed)
        tracks_more, tracks_fewer = self.tally(tracks_added), self.tally(tracks_removed)
        if not (more.count or fewer.count or tracks_more.count or tracks_fewer.count):
            return
        held = self.read(connection)
        now = Counted(pages=held.pages + more - fewer, tracks=held.tracks + tracks_more - tracks_fewer)
        set_meta(connection, CENSUS, self._write(now))

    def adopt(self, connection: Connection, pages: Iterable[bytes]) -> Tally:
        """Take what is there for what there should be: of a vault older than the census, where nothing is packed."""
        found = self.tally(pages)
        set_meta(connection, CENSUS, self._write(Counted(pages=found, tracks=NONE)))
        return found

    def _write(self, counted: Counted) -> str:
        nonce = random_bytes(16)
        sums = np.array([*counted.pages.total, *counted.tracks.total], np.uint64)
        blinded = (sums + self._mask(nonce)).astype("<u8").tobytes()
        counts = [counted.pages.count, counted.tracks.count]
        body: dict[str, Json] = {
            "counts": counts,
            "nonce": nonce.hex(),
            "sums": blinded.hex(),
            "proof": self._proof(nonce, counts, blinded),
        }
        return canonical_json(body).decode()

    def _mask(self, nonce: bytes) -> _Sum:
        return np.frombuffer(hashlib.blake2b(b"mask" + nonce, key=self._seal, digest_size=2 * _DIGEST).digest(), "<u8")

    def _proof(self, nonce: bytes, counts: Json, blinded: bytes) -> str:
        told = canonical_json(["proof", nonce.hex(), counts, blinded.hex()])
        return hashlib.blake2b(told, key=self._seal, digest_size=_DIGEST).hexdigest()


def changed(what: str) -> IntegrityFailure:
    """Return the failure for pages that are not those that were counted."""
    return IntegrityFailure(
        what,
        hint="nothing was answered: run 'fabnet-secure audit verify', then restore a backup",
        code="EMBEDDINGS_CHANGED",
    )


def _tuple(lanes: _Sum) -> tuple[int, int, int, int]:
    return _four(lanes.tolist())


def _four(lanes: list[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = lanes
    return first, second, third, fourth
