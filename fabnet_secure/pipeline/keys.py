"""Who holds which keys: grant a principal a keyring of its own, revoke it, list them, destroy one key for good.

A grant gives the domain keys of the account's roles to the public half of its own key file; the vault's root alone can.
Guarantees that nobody is handed more domains than its roles need, and that a holder which the root did not make, or
which is not its account's newest grant, is told apart (``pipeline/ended.py``). What a revoked principal copied before
opens what it held until the next ``keys rekey``; unwrapped data keys that it kept, until ``keys reencrypt``. What a
keyring may be used *for* is the access policies' to say: the roles that count are those that the account has there
(``policy grant``) and that its keyring was granted for, both.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fabnet_secure.access.decision import ROLES
from fabnet_secure.audit.anchor import WITHDRAWN
from fabnet_secure.crypto.digest import fingerprint
from fabnet_secure.crypto.gate import Gate, missing, read_gates
from fabnet_secure.crypto.holder import Holder, check_proof, forged, holder_proof
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.approvals import require
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.coverage import destroyed_mark, find_consent, was_destroyed
from fabnet_secure.pipeline.ended import REVOKED, check_newest, ended_ids, grant_id, holder_mark
from fabnet_secure.pipeline.holds import refuse_held
from fabnet_secure.pipeline.keyrings import domains_of
from fabnet_secure.pipeline.rekey import Rekeyed, check_present, hand_out, rekey, require_root, rotation_due
from fabnet_secure.store import holders, keystore, meta, principals
from fabnet_secure.store.database import Connection, keystore_work, read_only
from fabnet_secure.store.keystore import EpochRow
from fabnet_secure.store.wipe import checkpoint_wal
from fabnet_secure.types import ConsentId, Domain, Json, KeyId

_ACCOUNT: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\Z")
_PUBLIC_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A keyring that was granted; ``missing_roles`` do not count until the access policies know them too."""

    holder: Holder
    epoch: int
    missing_roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A keyring that opens nothing any more."""

    name: str
    already: bool
    rekeyed: Rekeyed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One holder; ``proven`` is None where only the root could tell, and False where it was forged or put back."""

    holder: Holder
    proven: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Every holder, every epoch, and when the present one is to end."""

    holders: tuple[Held, ...]
    epochs: tuple[EpochRow, ...]
    due_at: datetime
    rotation_period: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDestroyed:
    """What destroying a consent's key did, or what a dry run would do."""

    consent_id: ConsentId
    domain: Domain
    keys: int
    dry_run: bool = False


def grant(
    site: Site, account: str, roles: Sequence[str], public: bytes | Callable[[], bytes], *, dry_run: bool = False
) -> Granted:
    """Give an account a keyring for its roles, in place of any that it had.

    Args:
        site: a vault opened by its root key.
        account: the operating-system account that alone may use the keyring.
        roles: what it is for; they decide which domains it opens.
        public: the public half (32 bytes) of the account's own key file (``keys new``, ``keys public``), or what makes
            one, asked only when nothing else is in the way.
        dry_run: say what would be granted, and change nothing.

    Raises:
        AccessDenied: the principal may not grant keys.
        KeyProblem: (KEY_NOT_ROOT) the key file is not the vault's root.
        UsageError: code ``ACCOUNT_INVALID``, ``ROLE_UNKNOWN``, ``PUBLIC_KEY_INVALID``, ``PUBLIC_KEY_TAKEN``.
    """
    decision = authorize(site, "key_grant")
    root = require_root(site)
    _check(account, roles)
    known = public if isinstance(public, bytes) else b"" if dry_run else public()
    if known or not dry_run:
        _check_half(site, root, account, known)
    holder = Holder(
        name=account,
        public=known,
        roles=tuple(sorted(set(roles))),
        domains=domains_of(roles),
        proof="",
        created_at=site.clock(),
    )
    done = Granted(holder=holder, epoch=site.keyring.newest, missing_roles=_missing(site, holder))
    if dry_run:
        return done
    with site.work() as work:  # said before it is done: a keyring that nobody wrote down cannot be there
        _end(site, work.connection, root, account)
        ended = ended_ids(site.anchor.state())
        holder = _numbered(site, root, holder, ended)
        meta.set_meta(work.connection, holder_mark(account), holder.proof)
        facts: dict[str, Json] = {"holder": _named(site, account), "roles": list(holder.roles), "epoch": done.epoch}
        work.log("keys.granted", facts=facts | {"domains": [domain.value for domain in holder.domains]})
        record_grant(site, work, decision)
    with keystore_work(site.keystore) as connection:
        check_present(connection, done.epoch)
        with site.reading() as rows:
            check_newest(rows, holder, ended)  # of two grants at once the later one counts
        gate = _gate(site)
        holders.put_holder(connection, holder)
        hand_out(connection, holder, site.keyring, gate, site.vault_id)
    return replace(done, holder=holder)


def revoke(site: Site, account: str, *, rekeyed: bool = False, dry_run: bool = False) -> Revoked:
    """Take an account's keyring away; with ``rekeyed`` renew the epoch at once, so that what it copied opens nothing.

    Raises:
        AccessDenied: the principal may not.
        KeyProblem: (KEY_NOT_ROOT) the key file is not the vault's root.
        UsageError: code ``HOLDER_UNKNOWN``: the account has no keyring.
    """
    decision = authorize(site, "key_grant")
    root = require_root(site)
    with read_only(site.keystore) as connection:
        found = {holder.name: holder for holder in holders.list_holders(connection)}
    if account not in found:
        raise UsageError(
            f"account {account[:40]!r} holds no keyring", hint="run 'fabnet-secure keys list'", code="HOLDER_UNKNOWN"
        )
    already = found[account].revoked_at is not None
    if dry_run:
        return Revoked(name=account, already=already, rekeyed=rekey(site, dry_run=True) if rekeyed else None)
    with site.work() as work:
        _end(site, work.connection, root, account)
        work.log("keys.revoked", facts={"holder": _named(site, account), "already": already})
        record_grant(site, work, decision)
    return Revoked(name=account, already=already, rekeyed=rekey(site) if rekeyed else None)


def overview(site: Site) -> Overview:
    """Say who holds what, and how old the epoch is; opened by the root, every holder's proof is checked, too.

    Raises:
        AccessDenied: the principal may not look at it.
    """
    authorize(site, "key_list")
    with read_only(site.keystore) as connection:
        found = holders.list_holders(connection)
        epochs = keystore.list_epochs(connection)
    ended = ended_ids(site.anchor.state())
    return Overview(
        holders=tuple(Held(holder=holder, proven=_proven(site, holder, ended)) for holder in found),
        epochs=tuple(epochs.values()),
        due_at=rotation_due(site),
        rotation_period=site.settings.keys.rotation_period,
    )


def destroy(
    site: Site,
    consent_id: str,
    domain: Domain,
    *,
    confirm: str | None,
    approvals: Sequence[Path],
    dry_run: bool = False,
) -> KeyDestroyed:
    """Destroy the key of one consent and domain outside a withdrawal, as two people approved: nothing brings it back.

    What it sealed stays where it is, unreadable; what is older than the next ``keys rekey`` opens it until then.

    Args:
        site: an open vault.
        consent_id: the consent.
        domain: the kind of data.
        confirm: the consent's id again.
        approvals: the approvals of two people (``approval request key_destroy``).
        dry_run: count the keys, and change nothing.

    Raises:
        AccessDenied: the principal may not, or two people did not approve exactly this.
        NoEffectiveConsent: code ``CONSENT_UNKNOWN``.
        UsageError: code ``NOT_CONFIRMED``; ``KEY_NOT_LIVING``: there is no such key any more.
    """
    decision = authorize(site, "key_destroy")
    with site.reading() as connection:
        record, _ = find_consent(connection, consent_id)
        begun = was_destroyed(site, connection, record.consent_id, domain)
        refuse_held(site, connection, record.consent_id)
    living = _living(site, record.consent_id, domain)
    if not living:
        raise UsageError(
            "the consent has no living key of this domain",
            hint="run 'fabnet-secure consent show'",
            code="KEY_NOT_LIVING",
        )
    if dry_run:
        return KeyDestroyed(consent_id=record.consent_id, domain=domain, keys=len(living), dry_run=True)
    if confirm != record.consent_id:
        hint = f"repeat the id: --confirm {record.consent_id}"
        raise UsageError("the destruction was not confirmed", hint=hint, code="NOT_CONFIRMED")
    if not begun:
        approved = require(site, "key_destroy", {"consent": record.consent_id, "domain": domain.value}, approvals)
        with site.work() as work:  # said, and the approval used, before it is done: what is cut off here is finished
            refuse_held(site, work.connection, record.consent_id)  # placed since
            approved.use(work)
            # Of no consent: a restored backup destroys the key again and leaves the consent in force.
            site.anchor.append(WITHDRAWN, consent_id="", key_ids=[str(key_id) for key_id in living])
            meta.set_meta(work.connection, *destroyed_mark(site, record.consent_id, domain))
            work.log("keys.destroyed", facts={"domain": domain.value, "keys": len(living), **approved.facts})
            record_grant(site, work, decision, rows=len(living))
    with keystore_work(site.keystore) as connection:
        keys = keystore.keys_of_consent(connection, record.consent_id)
        gone = keystore.destroy_keys(connection, [key.key_id for key in keys if key.domain is domain], site.clock())
    checkpoint_wal(site.keystore)
    return KeyDestroyed(consent_id=record.consent_id, domain=domain, keys=gone)


def _check(account: str, roles: Sequence[str]) -> None:
    if not _ACCOUNT.match(account):
        raise UsageError(f"not the name of an account: {account[:40]!r}", code="ACCOUNT_INVALID")
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        hint = "one of: " + ", ".join(ROLES)
        raise UsageError(f"unknown roles: {', '.join(unknown)[:60] or '-'}", hint=hint, code="ROLE_UNKNOWN")


def _check_half(site: Site, root: RootKey, account: str, public: bytes) -> None:
    """Refuse what is no public half, the root's own, and another account's: a key is one principal's."""
    if len(public) != _PUBLIC_BYTES:
        raise UsageError(
            "a public key has 64 hexadecimal digits",
            hint="it is what 'fabnet-secure keys public FILE' prints",
            code="PUBLIC_KEY_INVALID",
        )
    with read_only(site.keystore) as connection:
        other = holders.find_holder(connection, public)
    if public == root.public.raw or (other is not None and other.name != account):
        raise UsageError(
            "this is the public half of another's key, or of the vault's root",
            hint="every principal has a key file of its own: 'fabnet-secure keys new FILE'",
            code="PUBLIC_KEY_TAKEN",
        )


def _missing(site: Site, holder: Holder) -> tuple[str, ...]:
    with site.reading() as connection:
        row = principals.find_by_os_user(connection, holder.name)
    return tuple(role for role in holder.roles if row is None or role not in row.roles)


def _gate(site: Site) -> Gate:
    gate = read_gates(site.place.gate).get(site.keyring.newest)
    if gate is None:
        raise missing(site.place.gate)
    return gate


def _numbered(site: Site, root: RootKey, holder: Holder, ended: Collection[str]) -> Holder:
    """Return a holder with its proof, and a time of grant that no grant before it bears: an ended one stays ended."""
    while True:
        holder = replace(holder, proof=holder_proof(root, site.vault_id, holder))
        if grant_id(holder.name, holder.proof) not in ended:
            return holder
        holder = replace(holder, created_at=holder.created_at + timedelta(microseconds=1))


def _end(site: Site, rows: Connection, root: RootKey, account: str) -> None:
    """Revoke an account's keyring, if it has one, and see to it that no copy of its row lives again.

    First the keystore: cut off after it, the keyring is gone, and revoking it again does the rest.
    """
    with keystore_work(site.keystore) as connection:
        held = next((one for one in holders.list_holders(connection) if one.name == account), None)
        if held is None:
            return
        at = held.revoked_at or site.clock()
        over = replace(held, revoked_at=at)
        over = replace(over, proof=holder_proof(root, site.vault_id, over))
        if held.revoked_at is None:
            holders.revoke_holder(connection, account, at, over.proof)
    living = holder_proof(root, site.vault_id, replace(held, revoked_at=None))
    marked = meta.get_meta(rows, holder_mark(account)) or REVOKED
    gone = sorted({grant_id(account, proof) for proof in (living, marked) if proof != REVOKED})
    site.anchor.append(WITHDRAWN, consent_id="", key_ids=list(gone))
    meta.set_meta(rows, holder_mark(account), REVOKED)


def end_again(site: Site, ended: Collection[str]) -> int:
    """Revoke every grant that is not its account's newest, in a restored copy: the anchor knows what was revoked since.

    Returns:
        how many there were.
    """
    root = require_root(site)
    with read_only(site.keystore) as connection:
        found = holders.list_holders(connection, revoked=False)
    back = [one for one in found if not _proven(site, one, ended)]
    for one in back:
        with site.work() as work:
            _end(site, work.connection, root, one.name)
            work.log("keys.revoked", facts={"holder": _named(site, one.name), "already": True})
    return len(back)


def refuse_forged(found: Overview) -> None:
    """Refuse an overview with a holder that is not what the root last made.

    Raises:
        IntegrityFailure: (HOLDER_FORGED).
    """
    for held in found.holders:
        if held.proven is False:
            raise forged(held.holder.name)


def _proven(site: Site, holder: Holder, ended: Collection[str]) -> bool | None:
    try:
        if site.root_key is not None:
            check_proof(site.root_key, site.vault_id, holder)
        with site.reading() as connection:
            check_newest(connection, holder, ended)
    except IntegrityFailure:
        return False
    return None if site.root_key is None else True


def _living(site: Site, consent_id: ConsentId, domain: Domain) -> list[KeyId]:
    with read_only(site.keystore) as connection:
        return [key.key_id for key in keystore.keys_of_consent(connection, consent_id) if key.domain is domain]


def _named(site: Site, account: str) -> str:
    """Return how the log names an account: by a keyed digest, as it names who acts."""
    return fingerprint(site.index_key, ["actor", account])
