"""Rekey: a new epoch takes the old one's place, and every older copy of the keystore opens nothing any more.

**What it protects from.** A data key destroyed by a withdrawal still stands, wrapped, in any older copy of the
keystore: a backup, a snapshot, a stolen disk. Rekeying wraps every *living* key anew under a fresh epoch and destroys
what the old wraps open with: the old seed in the keystore, and the old epoch's gate, which is in no copy of the
databases. From then on the old copy opens nothing, whoever holds the root or any keyring. **What it does not protect
from:** somebody who has unwrapped living data keys keeps them; only ``keys reencrypt`` makes those worthless.

In order: mark and entry in the vault → one transaction of the keystore (new epoch, every wrap, every holder's blob, old
seed destroyed), in which the new gate is on disk before anything is committed → write-ahead log emptied → old gate
overwritten → entry in the vault. Cut off anywhere, the vault opens, and the same command finishes. Gates change under
the keystore's write lock only. A process that has the vault open meanwhile has to open it again (EPOCH_CHANGED,
KEY_EPOCH_GONE); nothing that it wrote is lost.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from fabnet_secure.access.decision import Grant
from fabnet_secure.consent.duration import add_duration
from fabnet_secure.crypto.envelope import DataKey
from fabnet_secure.crypto.epoch import Epoch, EpochSeed, domain_keys, wrap_seed
from fabnet_secure.crypto.gate import Gate, check_gate, prepare_gate, read_gates, settle_gate
from fabnet_secure.crypto.holder import Holder, check_proof, seal_holding
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.keyring import Keyring, WrappedKey
from fabnet_secure.crypto.legacy import LegacyKeyring
from fabnet_secure.errors import KeyProblem, VaultLocked
from fabnet_secure.logs import LOGGER
from fabnet_secure.pipeline import holds
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.ended import check_newest, ended_ids, rolled_back
from fabnet_secure.pipeline.keyrings import EPOCH_MARKS, SECRET_DOMAINS, epoch_mark, epoch_name
from fabnet_secure.pipeline.workshop import clear_restores
from fabnet_secure.store import erasures, holders, keystore, meta
from fabnet_secure.store.database import Connection, keystore_work, read_only
from fabnet_secure.store.states import ErasureState
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import KeyDomain

_BEGUN: Final = "rekey_begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What rekeying did, or what a dry run would do.

    Attributes:
        epoch: the epoch in force afterwards.
        destroyed_epoch: the one that ended; None where it was not due.
        rewrapped: data keys wrapped anew, and secrets of the vault.
        holders: principals whose keyrings were renewed.
        due_at: when the next rotation is due.
    """

    epoch: int
    destroyed_epoch: int | None
    rewrapped: int
    holders: int
    due_at: datetime


def rekey(site: Site, *, if_due: bool = False, dry_run: bool = False) -> Rekeyed:
    """Renew the epoch, or finish a renewal that was cut off.

    Args:
        site: a vault opened by its root key.
        if_due: do nothing before the present epoch is as old as the policy's ``[keys] rotation_period``.
        dry_run: say what would be done, and change nothing.

    Raises:
        AccessDenied: the principal may not.
        KeyProblem: (KEY_NOT_ROOT) the key file is not the vault's root.
        IntegrityFailure: (HOLDER_FORGED) a holder was added, changed or put back by hand; (KEYSTORE_ROLLED_BACK) keys
            that were to be destroyed live; nothing was done.
        VaultLocked: (EPOCH_CHANGED) another process renewed the keys meanwhile.
    """
    grant = authorize(site, "key_rekey")
    require_root(site)
    begun, present = _begun(site), site.keyring.newest
    if begun is not None and begun[1] == present:
        return _rehearsed(site, ended=begun[0]) if dry_run else _finish(site, begun, grant)
    if if_due and rotation_due(site) > site.clock():
        return _counted(site, ended=None)
    _check_ended(site)
    if dry_run:
        return _rehearsed(site, ended=present)
    return renew(site, present, _Present(site.keyring), grant)


def rotation_due(site: Site) -> datetime:
    """Return when the present epoch is as old as the policy allows."""
    with read_only(site.keystore) as connection:
        row = keystore.living_epochs(connection)[site.keyring.newest]
    return add_duration(row.created_at or site.clock(), site.settings.keys.rotation_period)


def require_root(site: Site) -> RootKey:
    """Return the vault's root key.

    Raises:
        KeyProblem: (KEY_NOT_ROOT) the vault was opened with a principal's key.
    """
    if site.root_key is None:
        raise KeyProblem(
            "this act needs the vault's root key",
            hint="give the vault's own key file (--key-file): a principal's key cannot hand out keys",
            code="KEY_NOT_ROOT",
        )
    return site.root_key


class _Present:
    """The keys of an epoch of today's form, opened for re-wrapping."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def open_key(self, key: WrappedKey) -> DataKey:
        return self._keyring.unwrap(key)

    def secrets(self, connection: Connection) -> Iterator[tuple[str, bytes, KeyDomain, bytes]]:
        for row in keystore.list_secrets(connection):
            yield row.name, self._keyring.unwrap_secret(row), row.domain, row.public


class Former:
    """The keys of an older program's keystore, opened for re-wrapping (``init``)."""

    def __init__(self, keyring: LegacyKeyring) -> None:
        self._keyring = keyring

    def open_key(self, key: WrappedKey) -> DataKey:
        """Open a data key."""
        return self._keyring.unwrap(key)

    def secrets(self, connection: Connection) -> Iterator[tuple[str, bytes, KeyDomain, bytes]]:
        """Open every secret; what has no duty of its own is a quarantined record's key."""
        old = keystore.read_legacy(connection)
        for name, (wrapped, public) in (old.secrets if old else {}).items():
            opened = self._keyring.unwrap_secret(name, wrapped)
            yield name, opened, SECRET_DOMAINS.get(name, KeyDomain.HOLD), public


def renew(site: Site, ended: int, source: _Present | Former, grant: Grant | None) -> Rekeyed:
    """Put a new epoch in the place of ``ended``, whose keys ``source`` opens."""
    root = require_root(site)
    check_gate(site.place.gate)
    with read_only(site.keystore) as connection:
        number = max(keystore.list_epochs(connection)) + 1
    seed = EpochSeed.generate()
    keys = domain_keys(seed)
    fresh = Keyring.of_epoch(number, keys)
    mark = epoch_mark(site.report_signer, site.vault_id, number, fresh.public_halves(number))
    with site.work() as work:
        meta.set_meta(work.connection, *mark)
        meta.set_meta(work.connection, _BEGUN, json.dumps([ended, number]))
        work.log("keys.rekey_begun", facts={"epoch": number, "ends": ended})
    with keystore_work(site.keystore) as connection:
        check_present(connection, ended)
        _refuse_ended(site, connection)
        secrets = list(source.secrets(connection))
        if ended in read_gates(site.place.gate):
            settle_gate(site.place.gate, ended)
        gate = prepare_gate(site.place.gate, number)
        wrapped = wrap_seed(seed, root=root, gate=gate, vault_id=site.vault_id, number=number)
        made = Epoch(number=number, wrapped=wrapped, public=fresh.public_halves(number))
        keystore.add_epoch(connection, made, site.clock())
        for name, secret, domain, public in secrets:
            keystore.put_secret(connection, fresh.wrap_secret(name, secret, domain, public))
        _rewrap(connection, source, fresh)
        _reseal(site, connection, root, fresh, gate)
        keystore.destroy_epoch(connection, ended, site.clock())
    seed.wipe()
    return _finish(site, (ended, number), grant)


def check_present(connection: Connection, number: int) -> None:
    """Refuse to go on with the keys of an epoch that is not the present one any more.

    Raises:
        VaultLocked: (EPOCH_CHANGED) another process renewed the keys meanwhile.
    """
    if list(keystore.living_epochs(connection)) != [number]:
        raise keystore.renewed_meanwhile()


def hand_out(connection: Connection, holder: Holder, keyring: Keyring, gate: Gate, vault_id: str) -> None:
    """Store the blob that gives a holder the newest epoch's keys of its domains."""
    number = keyring.newest
    sealed = seal_holding(holder, number, keyring.domain_keys(number), gate=gate, vault_id=vault_id)
    holders.put_holding(connection, holder.name, number, sealed)


def _rewrap(connection: Connection, source: _Present | Former, fresh: Keyring) -> None:
    living = keystore.list_keys(connection) + keystore.list_keys(connection, pending=True)
    keystore.replace_wraps(connection, [_anew(key, source, fresh) for key in living])


def _anew(key: WrappedKey, source: _Present | Former, fresh: Keyring) -> WrappedKey:
    opened = source.open_key(key)
    try:
        return fresh.wrap(key, opened)
    finally:
        opened.wipe()


def _reseal(site: Site, connection: Connection, root: RootKey, fresh: Keyring, gate: Gate) -> None:
    """Give every holder the new epoch's keys; one that the root did not make stops it all."""
    kept = holders.list_holders(connection, revoked=False)
    ended = ended_ids(site.anchor.state()) if kept else frozenset[str]()
    with site.reading() as rows:
        for holder in kept:
            check_proof(root, site.vault_id, holder)
            check_newest(rows, holder, ended)
    holders.drop_holdings(connection)
    for holder in kept:
        hand_out(connection, holder, fresh, gate, site.vault_id)


def _check_ended(site: Site) -> None:
    with read_only(site.keystore) as connection:
        _refuse_ended(site, connection)


def _refuse_ended(site: Site, connection: Connection) -> None:
    """Refuse to wrap anew what is to be destroyed: it would outlive every older copy; a legal hold keeps it, though."""
    ended = ended_ids(site.anchor.state())
    with site.reading() as rows:
        over = {row.consent_id for row in erasures.list_erasures(rows) if row.state is ErasureState.COMPLETE}
        kept = holds.held(site, rows)
    living = keystore.list_keys(connection) + keystore.list_keys(connection, pending=True)
    named = [key for key in living if (key.key_id in ended or key.consent_id in over) and key.consent_id not in kept]
    if named:
        raise rolled_back(named)


def _finish(site: Site, begun: tuple[int, int], grant: Grant | None) -> Rekeyed:
    """Destroy the gate of what has ended, and say so; safe to repeat."""
    ended, number = begun
    try:
        checkpoint_wal(site.keystore)
    except VaultLocked as busy:  # the old seed may be in the log's file still; its gate goes all the same
        LOGGER.warning("%s", busy.message)
    clear_restores(site.root.resolve().parent)  # a killed restore left a copy of the gate
    with keystore_work(site.keystore) as connection:
        living = max(keystore.living_epochs(connection))
        settle_gate(site.place.gate, living)
        mark = epoch_name(number, keystore.public_halves(connection, number))
    done = _counted(site, ended=ended)
    with site.work() as work:
        _forget_marks(work.connection, number, mark)
        if _read_begun(work.connection) == begun:
            meta.delete_meta(work.connection, _BEGUN)
        facts = {"epoch": number, "destroyed": ended, "rewrapped": done.rewrapped, "holders": done.holders}
        work.log("keys.rekeyed", facts=facts)
        if grant is not None:
            record_grant(site, work, grant, rows=done.rewrapped)
    return done


def _forget_marks(connection: Connection, number: int, kept: str) -> None:
    """Delete the marks of epochs that have ended, and of one of this number that never began."""
    for name in meta.list_meta(connection):
        if name.startswith(EPOCH_MARKS) and name != kept and int(name.split("/")[1]) <= number:
            meta.delete_meta(connection, name)


def _begun(site: Site) -> tuple[int, int] | None:
    with site.reading() as connection:
        return _read_begun(connection)


def _read_begun(connection: Connection) -> tuple[int, int] | None:
    """Return the renewal that was begun and not ended: the old epoch and the new one."""
    body = meta.get_meta(connection, _BEGUN)
    if body is None:
        return None
    ended, number = json.loads(body)
    return int(ended), int(number)


def _counted(site: Site, *, ended: int | None) -> Rekeyed:
    with read_only(site.keystore) as connection:
        row = max(keystore.living_epochs(connection).values(), key=lambda one: one.number)
        keys = keystore.list_keys(connection) + keystore.list_keys(connection, pending=True)
        secrets, held = keystore.list_secrets(connection), holders.list_holders(connection, revoked=False)
    began = row.created_at or site.clock()
    return Rekeyed(
        epoch=row.number,
        destroyed_epoch=ended,
        rewrapped=0 if ended is None else len(keys) + len(secrets),
        holders=0 if ended is None else len(held),
        due_at=add_duration(began, site.settings.keys.rotation_period),
    )


def _rehearsed(site: Site, *, ended: int) -> Rekeyed:
    """Say what would be done; the epoch that would follow is due a full period from now."""
    would = _counted(site, ended=ended)
    due_at = add_duration(site.clock(), site.settings.keys.rotation_period)
    return replace(would, epoch=max(would.epoch, ended + 1), due_at=due_at)
