"""Verify: a backup that was never restored is a hope. This restores one, into a place that is gone afterwards.

Guarantees that ``ok`` means: both archives opened with this identity, the vault signed both, both databases, the log,
the ledger and the model weights are whole, and every sealed row that was asked opened with the keystore of the backup.
Needs the vault's own key file (of every domain: the root's), its epoch file, and as much room in the vault's directory
as the vault takes. Changes nothing but the log and the date that ``doctor`` looks at.
"""

import base64
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fabnet_secure.crypto.age import load_identities
from fabnet_secure.errors import FabnetError, IntegrityFailure, KeyProblem
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.openable import Openable, check_openable
from fabnet_secure.pipeline.unpacked import Pair, check_sound, opened_copy, unpack
from fabnet_secure.pipeline.workshop import WORK, workshop
from fabnet_secure.store import meta
from fabnet_secure.types import KeyDomain, parse_rfc3339, rfc3339

STALE: Final = timedelta(days=30)
_VERIFIED: Final = "backup_verified_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A backup that was restored and held.

    Attributes:
        log_size, log_root: the log's head in the backup; the root in base64.
        rows: sealed rows that were asked, by kind; ``opened`` of them opened, ``shut`` had their key destroyed.
        sampled: only some rows were asked.
    """

    log_size: int
    log_root: str
    epoch: int
    created_at: str
    files: int
    rows: dict[str, int]
    opened: int
    shut: int
    sampled: bool


def verify(
    site: Site, vault_archive: Path, keystore_archive: Path, identity: Path, *, sample: int | None = None
) -> Verified:
    """Restore a pair of archives into a temporary place, check all of it, and log the result.

    Raises:
        AccessDenied: the principal may not restore.
        IntegrityFailure, KeyProblem, UsageError, NoVault, StorageFailed: the backup does not hold, with what is wrong;
            that is logged too.
    """
    grant = authorize(site, "backup_restore")
    identities = load_identities(identity)
    missing = set(KeyDomain) - site.keyring.domains
    if missing:
        raise KeyProblem(
            "this keyring does not open everything that a backup holds",
            hint="verify with the vault's root key file",
            code="KEY_DOMAIN",
        )
    try:
        with workshop(site.root, WORK) as folder:
            pair = unpack(vault_archive, keystore_archive, identities, folder)
            _check_ours(site, pair)
            found = _tried(site, pair, folder, sample)
    except FabnetError as failure:
        with site.work() as work:
            work.log("backup.verify_failed", facts={"code": failure.code})
            record_grant(site, work, grant)
        raise
    with site.work() as work:
        work.log("backup.verified", facts=_facts(pair, found))
        record_grant(site, work, grant, rows=found.opened)
        meta.set_meta(work.connection, _VERIFIED, rfc3339(site.clock()))
    return found


def last_verified(site: Site) -> datetime | None:
    """Return when a backup was last restored on trial and held; None for never."""
    with site.reading() as connection:
        told = meta.get_meta(connection, _VERIFIED)
    return None if told is None else parse_rfc3339(told)


def _check_ours(site: Site, pair: Pair) -> None:
    if pair.vault_id != site.vault_id:
        raise IntegrityFailure(
            "these are archives of another vault", hint="give this vault's", code="ARCHIVE_OTHER_VAULT"
        )


def _tried(site: Site, pair: Pair, folder: Path, sample: int | None) -> Verified:
    place = replace(
        site.place,
        root=folder,
        database_url=None,
        keystore_url=None,
        anchor=folder / "no.anchor",
        epoch_file=site.place.gate,
    )
    with opened_copy(place, site.settings, pair, site.clock) as copy:
        sound = check_sound(copy, pair)
        rows = check_openable(copy, sample)
    return _result(pair, rows, base64.b64encode(sound.root).decode())


def _result(pair: Pair, rows: Openable, root: str) -> Verified:
    told = pair.vault.manifest
    return Verified(
        log_size=told.log_size,
        log_root=root,
        epoch=pair.keystore.manifest.epoch,
        created_at=told.created_at,
        files=len(told.files) + len(pair.keystore.manifest.files),
        rows=rows.rows,
        opened=rows.opened,
        shut=rows.shut,
        sampled=rows.sampled,
    )


def _facts(pair: Pair, found: Verified) -> dict[str, str | int | bool | dict[str, int]]:
    return {
        "vault": pair.vault.sha256,
        "keystore": pair.keystore.sha256,
        "size": found.log_size,
        "epoch": found.epoch,
        "rows": found.rows,
        "opened": found.opened,
        "sampled": found.sampled,
    }
