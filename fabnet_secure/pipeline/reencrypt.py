"""Reencrypt: every data key is exchanged for a fresh one, and all that it sealed is sealed anew.

**What it protects from.** Somebody who unwrapped data keys (a principal who left, a machine that was broken into)
could open whatever ciphertext they come by later. After this the old keys open nothing that the vault holds. **What it
does not protect from:** what they copied before, ciphertext and keys together, stays readable to them; and old copies
of the keystore still open under the present epoch: run ``keys rekey`` besides, it costs seconds.

In order: fresh keys beside the living ones (*coming*) → in one unit of work a few keys' rows are sealed anew → in the
next, under the same write lock as every writer, nothing needs the old key any more, so they change places → when all
have, the old ones (*going*) are destroyed. Whoever reads meanwhile opens a row under the one or the other key. Cut off
anywhere, everything opens, and the same command finishes; a key that is withdrawn meanwhile takes its second key along.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from fabnet_secure.access.decision import Grant
from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, seal, unseal
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.errors import IntegrityFailure, VaultLocked
from fabnet_secure.logs import LOGGER
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.officer import key_mark, prove
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.pipeline.rekey import require_root
from fabnet_secure.progress import Progress, Silent
from fabnet_secure.store import consents, embeddings, keystore, meta, openings, tracks
from fabnet_secure.store.columns import in_chunks
from fabnet_secure.store.database import Connection, keystore_work, opening_context, read_only
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import ConsentId, Domain, KeyId, SubjectId

AT_ONCE: Final = 50
"""Keys whose rows are sealed anew in one unit of work."""
_MINTED_AT_ONCE: Final = 500
_BEGUN: Final = "reencrypt_begun"
_MINTING, _SEALING = "minting", "sealing"
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reencrypted:
    """What was exchanged, or would be: ``reencrypted`` data keys; ``rows`` sealed anew (0 for a dry run)."""

    reencrypted: int
    rows: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resting:
    """One sealed row: what it is bound to now and next, and how it is put back."""

    context: Context
    next_context: Context
    sealed: Sealed
    put: Callable[[Sealed], None]
    seal: Callable[[DataKey, Context, bytes], Sealed] = seal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A living key and the one that is to take its place, with both opened."""

    old: WrappedKey
    new: WrappedKey
    old_key: DataKey
    new_key: DataKey

    def wipe(self) -> None:
        self.old_key.wipe()
        self.new_key.wipe()


def reencrypt(site: Site, *, progress: Progress | None = None, dry_run: bool = False) -> Reencrypted:
    """Exchange every data key, or finish an exchange that was cut off.

    Args:
        site: a vault opened by its root key.
        progress: is told how far it is.
        dry_run: count the keys, and change nothing.

    Raises:
        AccessDenied: the principal may not.
        KeyProblem: (KEY_NOT_ROOT) the key file is not the vault's root.
        IntegrityFailure: (SEAL_BROKEN) a row opens under neither key: it was changed; what was done before stays done.
        VaultLocked: (EPOCH_CHANGED) the keys were renewed meanwhile.
    """
    grant = authorize(site, "key_reencrypt")
    require_root(site)
    if dry_run:
        with read_only(site.keystore) as connection:
            keys = len(keystore.list_keys(connection))
        return Reencrypted(reencrypted=keys, rows=0, epoch=site.keyring.newest)
    if _phase(site) != _SEALING:
        _mint(site)
    rows = _exchange(site, progress or Silent())
    return _end(site, grant, rows)


def _phase(site: Site) -> str | None:
    with site.reading() as connection:
        return meta.get_meta(connection, _BEGUN)


def _mint(site: Site) -> None:
    """Put a fresh key beside every living one, then the proofs that let writers use it."""
    with site.work() as work:
        meta.set_meta(work.connection, _BEGUN, _MINTING)
        work.log("keys.reencrypt_begun", facts={"epoch": site.keyring.newest})
    with read_only(site.keystore) as connection:
        wanted = [key.key_id for key in keystore.list_keys(connection)]
    for chunk in in_chunks(wanted, _MINTED_AT_ONCE):
        with keystore_work(site.keystore) as connection:
            living = keystore.pick_keys(connection, chunk)
            second = {_place(key) for key in keystore.keys_beside(connection, living, pending=True)}
            fresh = [_fresh(site, key) for key in living if _place(key) not in second]
            keystore.add_keys(connection, fresh, pending=True)
    with read_only(site.keystore) as connection:
        coming = keystore.list_coming(connection)
    with site.work() as work:
        for key in coming:
            prove(site, work.connection, key)
        meta.set_meta(work.connection, _BEGUN, _SEALING)
        work.log("keys.reencrypt_prepared", facts={"keys": len(coming)})


def _fresh(site: Site, key: WrappedKey) -> WrappedKey:
    return site.keyring.mint(domain=key.domain, subject_id=key.subject_id, consent_id=key.consent_id)


def _place(key: WrappedKey) -> tuple[SubjectId, ConsentId | None, Domain]:
    return key.subject_id, key.consent_id, key.domain


def _exchange(site: Site, progress: Progress) -> int:
    """Exchange every key that has one coming; return how many rows were sealed anew."""
    with read_only(site.keystore) as connection:
        coming = [key.key_id for key in keystore.list_coming(connection)]
    done = rows = 0
    for chunk in in_chunks(coming, AT_ONCE):
        while True:
            sealed, settled = _pass(site, chunk)
            rows += sealed
            if settled:
                break
        done += len(chunk)
        progress.advance("keys exchanged", done, len(coming))
    return rows


def _pass(site: Site, chunk: Sequence[KeyId]) -> tuple[int, bool]:
    """Seal anew what is not yet; where nothing was left to do, let the keys change places.

    The rows' commit always precedes the exchange, and both happen under the write lock under which every writer asks
    which key it is to use: no row is ever left to a key that goes.
    """
    sealed = 0
    with site.work() as work:
        pairs = _pairs(site, chunk)
        try:
            for pair in pairs:
                sealed += sum(_anew(row, pair) for row in _rows(site, work.connection, pair.old))
        finally:
            for pair in pairs:
                pair.wipe()
        if not sealed:
            with keystore_work(site.keystore) as connection:
                keystore.exchange_keys(connection, [(pair.old.key_id, pair.new.key_id) for pair in pairs])
        work.log("keys.resealed" if sealed else "keys.exchanged", facts={"keys": len(pairs), "rows": sealed})
    return sealed, not sealed


def _pairs(site: Site, chunk: Sequence[KeyId]) -> list[_Pair]:
    """Open the pairs that are still to be exchanged; a withdrawal may have taken some."""
    with read_only(site.keystore) as connection:
        coming = keystore.pick_keys(connection, chunk, pending=True)
        living = {_place(key): key for key in keystore.keys_beside(connection, coming, pending=False)}
    return [
        _Pair(
            old=living[_place(key)],
            new=key,
            old_key=site.keyring.unwrap(living[_place(key)]),
            new_key=site.keyring.unwrap(key),
        )
        for key in coming
        if _place(key) in living
    ]


def _anew(row: _Resting, pair: _Pair) -> bool:
    """Seal a row under the coming key, unless it is."""
    try:
        plain = bytearray(unseal(pair.old_key, row.context, row.sealed))
    except IntegrityFailure:
        unseal(pair.new_key, row.context, row.sealed)  # or it opens under neither: SEAL_BROKEN
        return False
    row.put(row.seal(pair.new_key, row.next_context, bytes(plain)))
    plain[:] = bytes(len(plain))
    return True


def _rows(site: Site, connection: Connection, key: WrappedKey) -> Iterator[_Resting]:
    """Return every row that rests under a key's person, consent and domain."""
    if key.domain is Domain.IDENTITY:
        return _references(connection, key.subject_id)
    if key.consent_id is None:
        return iter(())
    if key.domain is Domain.TRACKLETS:
        return _tracklets(connection, key.consent_id)
    if key.domain is Domain.EMBEDDINGS:
        return _pages(site, connection, key.consent_id)
    return _openings(connection, key.consent_id)


def _references(connection: Connection, subject_id: SubjectId) -> Iterator[_Resting]:
    sealed = consents.get_sealed_reference(connection, subject_id)
    if sealed is not None:
        place = Context(format="identity/1", subject=subject_id)
        yield _same(place, sealed, lambda anew: consents.replace_sealed_reference(connection, subject_id, anew))


def _tracklets(connection: Connection, consent_id: ConsentId) -> Iterator[_Resting]:
    for row in tracks.list_tracks(connection, consent_id=consent_id):
        tracklet = tracks.get_tracklet(connection, row.track_id)
        if tracklet is not None:
            place = Context(
                format="tracklet/1",
                subject=str(row.subject_id),
                consent=consent_id,
                track=row.track_id,
                n=tracklet.n,
                dim=tracklet.size,
            )
            yield _same(place, tracklet.sealed, _putting(connection, tracks.replace_tracklet, row.track_id))


def _pages(site: Site, connection: Connection, consent_id: ConsentId) -> Iterator[_Resting]:
    census = census_of(site)
    for page in embeddings.pages_of_consent(connection, consent_id):

        def put(anew: Sealed, page: embeddings.StoredPage = page) -> None:
            embeddings.replace_page(connection, census, page, anew)

        yield _Resting(
            context=page.context, next_context=page.next_context, sealed=page.sealed, put=put, seal=page.seal_with
        )


def _openings(connection: Connection, consent_id: ConsentId) -> Iterator[_Resting]:
    for row in openings.list_openings(connection, consent_id=consent_id):
        place = opening_context(
            leaf_index=row.leaf_index, position=row.position, subject_id=row.subject_id, consent_id=row.consent_id
        )
        yield _same(place, row.sealed, _putting(connection, openings.replace_opening, row))


def _same(place: Context, sealed: Sealed, put: Callable[[Sealed], None]) -> _Resting:
    return _Resting(context=place, next_context=place, sealed=sealed, put=put)


def _putting(
    connection: Connection, replace: Callable[[Connection, _Row, Sealed], None], row: _Row
) -> Callable[[Sealed], None]:
    return lambda anew: replace(connection, row, anew)


def _end(site: Site, grant: Grant, rows: int) -> Reencrypted:
    """Destroy what made way, and say so; safe to repeat."""
    with site.work() as work:
        with keystore_work(site.keystore) as connection:
            going = keystore.list_going(connection)
            keystore.destroy_keys(connection, [key.key_id for key in going], site.clock())
        for key in going:
            meta.delete_meta(work.connection, key_mark(key))
        meta.delete_meta(work.connection, _BEGUN)
        facts = {"keys": len(going), "rows": rows, "epoch": site.keyring.newest}
        work.log("keys.reencrypted", facts=facts)
        record_grant(site, work, grant, rows=rows)
    for engine in (site.engine, site.keystore):
        try:
            checkpoint_wal(engine)
        except VaultLocked as busy:
            LOGGER.warning("%s", busy.message)
    return Reencrypted(reencrypted=len(going), rows=rows, epoch=site.keyring.newest)
