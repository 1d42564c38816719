"""Backup: one moment of the vault, as two archives that belong in two places.

The vault's archive holds ciphertext and the log; the keystore's holds the wrapped keys. Guarantees that neither holds
both, that both of one command show the same moment, that nothing leaves the machine unencrypted, and that an archive
is there whole or not at all. Neither holds the key file, the epoch file (what ends an epoch must not come back), nor
the anchor (what tells a restore what it lost must not go with it). A plain snapshot lies in the vault's own directory
(mode 0700) while the archives are written.

Order: entry «backup.begun» → both databases pinned under both write locks, which are let go at once → snapshots →
archives, flushed and named → entry «backup.created» with their digests; where that cannot be written they are removed.
"""

import base64
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fabnet_secure.audit.checkpoint import read_checkpoint
from fabnet_secure.config import NAME
from fabnet_secure.crypto.age import Recipient, parse_recipient
from fabnet_secure.crypto.signing import Signer
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.archive import Kind, Manifest, Written, describe, write_archive
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.workshop import WORK, clear_parts, clear_restores, workshop
from fabnet_secure.store import keystore, snapshot
from fabnet_secure.store.database import Connection, Engine, keystore_work, read_only
from fabnet_secure.store.engine import sqlite_file
from fabnet_secure.store.failures import full
from fabnet_secure.store.log_storage import latest_checkpoint
from fabnet_secure.store.schema import REVISIONS
from fabnet_secure.types import Json, rfc3339

KINDS: Final[tuple[Kind, ...]] = ("vault", "keystore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was written, or what a dry run would write.

    Attributes:
        archives: by kind; empty in a dry run.
        bytes_estimate: the size of what goes in; a database on a server counts as 0.
        log_size: the entries of the log at the moment of the backup.
        epoch: the newest epoch of the keystore then.
        recipients: to how many keys each archive is encrypted.
    """

    archives: Mapping[Kind, Written]
    bytes_estimate: Mapping[Kind, int]
    log_size: int
    epoch: int
    recipients: int
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """The two databases at one moment, and where the log was then."""

    vault: Connection
    keystore: Connection
    checkpoint: str
    epoch: int


def create(
    site: Site,
    out: Path,
    *,
    recipients: Sequence[str] = (),
    only: str | None = None,
    dry_run: bool = False,
) -> Backup:
    """Write the vault's archive into ``out/vault`` and the keystore's into ``out/keystore``.

    Args:
        site: an open vault.
        out: a folder outside the vault; made if it is not there.
        recipients: age public keys, besides those of the settings.
        only: ``vault`` or ``keystore``: that archive alone.
        dry_run: check everything and count, write nothing.

    Raises:
        AccessDenied: the principal may not back up.
        UsageError: (NO_RECIPIENTS, RECIPIENT_INVALID) it could be opened by nobody; (BACKUP_PLACE) the folder lies in
            the vault or is none; (ARCHIVE_EXISTS) a file of that name is there.
        StorageFailed: (STORAGE_FULL) no room; nothing is left of it.
    """
    grant = authorize(site, "backup_create")
    to = read_recipients((*site.settings.backup.recipients, *recipients))
    kinds = _kinds(only)
    _refuse_place(site, out)
    signer = site.log_signer
    parts = {kind: _bytes(site, kind) for kind in kinds}
    if dry_run:
        with site.reading() as connection:
            size = read_checkpoint(latest_checkpoint(connection)).size
        return Backup(
            archives={},
            bytes_estimate=parts,
            log_size=size,
            epoch=site.keyring.newest,
            recipients=len(to),
            dry_run=True,
        )
    clear_restores(site.root.resolve().parent)
    with workshop(site.root, WORK) as folder, ExitStack() as pinned:
        with site.work() as work:
            work.log("backup.begun", facts={"archives": list(kinds), "recipients": len(to)})
            record_grant(site, work, grant)
            with keystore_work(site.keystore):
                moment = pinned.enter_context(_pinned(site))
        files = {kind: _snapshot(site, moment, kind, folder) for kind in kinds}
        archives = _write(site, moment, files, out, to, signer)
    return Backup(
        archives=archives,
        bytes_estimate=parts,
        log_size=read_checkpoint(moment.checkpoint).size,
        epoch=moment.epoch,
        recipients=len(to),
        dry_run=False,
    )


def read_recipients(texts: Sequence[str]) -> tuple[Recipient, ...]:
    """Read the age keys that a backup is encrypted to, each once.

    Raises:
        UsageError: codes ``RECIPIENT_INVALID``, ``NO_RECIPIENTS``.
    """
    found = tuple(dict.fromkeys(parse_recipient(text) for text in texts))
    if not found:
        raise UsageError(
            "nobody is named who could open the backup, and it is never written unencrypted",
            hint="give --recipient age1…, or set [backup] recipients; 'age-keygen -o backup.key' makes a pair",
            code="NO_RECIPIENTS",
        )
    return found


def _kinds(only: str | None) -> tuple[Kind, ...]:
    if only is None:
        return KINDS
    if only not in KINDS:
        hint = "one of: " + ", ".join(KINDS)
        raise UsageError(f"no such archive: {only[:40]!r}", hint=hint, code="ARCHIVE_KIND")
    return tuple(kind for kind in KINDS if kind == only)


def _refuse_place(site: Site, out: Path) -> None:
    inside = out.resolve().is_relative_to(site.root.resolve())
    if inside or any(path.exists() and not path.is_dir() for path in (out, *(out / kind for kind in KINDS))):
        raise UsageError(
            "a backup goes into a folder outside the vault",
            hint="name a folder on another disk: --out DIR",
            code="BACKUP_PLACE",
        )


def _bytes(site: Site, kind: Kind) -> int:
    file = sqlite_file(site.engine if kind == "vault" else site.keystore)
    files = [file] if file else []
    return sum(path.stat().st_size for path in [*files, *(_beside(site).values() if kind == "vault" else ())])


@contextmanager
def _pinned(site: Site) -> Iterator[_Moment]:
    """Fix one moment of both databases; the caller holds both write locks until this has yielded."""
    with read_only(site.engine) as vault, read_only(site.keystore) as keys:
        for connection in (vault, keys):
            snapshot.pin(connection)
        yield _Moment(
            vault=vault,
            keystore=keys,
            checkpoint=latest_checkpoint(vault),
            epoch=max(keystore.living_epochs(keys), default=0),
        )


def _snapshot(site: Site, moment: _Moment, kind: Kind, folder: Path) -> dict[str, Path]:
    """Copy one database out of its moment; return the files of its archive by their names there."""
    path = folder / f"{kind}.db"
    _check_room(folder, _bytes(site, kind))
    snapshot.copy_out(moment.vault if kind == "vault" else moment.keystore, path, kind)
    return {path.name: path} | (_beside(site) if kind == "vault" else {})


def _beside(site: Site) -> dict[str, Path]:
    """Return the vault's own files beside its database: its card, settings, models and adopted policies."""
    found = {"vault.json": site.place.card}
    if (own := site.root / NAME).is_file() and not own.is_symlink():
        found[NAME] = own
    for name in ("models", "policies"):
        for path in sorted((site.root / name).rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                found[path.relative_to(site.root).as_posix()] = path
    return found


def _write(
    site: Site,
    moment: _Moment,
    files: Mapping[Kind, Mapping[str, Path]],
    out: Path,
    recipients: Sequence[Recipient],
    signer: Signer,
) -> dict[Kind, Written]:
    archives: dict[Kind, Written] = {}
    try:
        for kind, parts in files.items():
            manifest = _manifest(site, moment, kind, parts)
            folder = out / kind
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            clear_parts(folder)
            path = folder / _name(manifest)
            archives[kind] = write_archive(path, manifest, parts, recipients=recipients, sign=signer.sign)
        with site.work() as work:
            work.log("backup.created", facts=_facts(moment, archives))
    except BaseException:
        for written in archives.values():  # an archive that the log does not know is none
            written.path.unlink(missing_ok=True)
        raise
    return archives


def _manifest(site: Site, moment: _Moment, kind: Kind, parts: Mapping[str, Path]) -> Manifest:
    head = read_checkpoint(moment.checkpoint)
    engine: Engine = site.engine if kind == "vault" else site.keystore
    return Manifest(
        kind=kind,
        vault_id=site.vault_id,
        log_origin=site.log_origin,
        log_size=head.size,
        log_root=base64.b64encode(head.root).decode(),
        checkpoint=moment.checkpoint,
        epoch=moment.epoch,
        schema=REVISIONS[kind][-1],
        database=engine.dialect.name,
        created_at=rfc3339(site.clock()),
        files=describe(parts),
    )


def _name(manifest: Manifest) -> str:
    """Return ``vault-<time>-<log size>.age`` or ``keystore-<time>-<epoch>.age``; UTC to the millisecond."""
    moment = "".join(one for one in manifest.created_at[:23] if one not in "-:.") + "Z"
    number = manifest.log_size if manifest.kind == "vault" else manifest.epoch
    return f"{manifest.kind}-{moment}-{number}.age"


def _facts(moment: _Moment, archives: Mapping[Kind, Written]) -> dict[str, Json]:
    told: dict[str, Json] = {kind: {"sha256": one.sha256, "bytes": one.size} for kind, one in archives.items()}
    return {**told, "size": read_checkpoint(moment.checkpoint).size, "epoch": moment.epoch}


def _check_room(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise full()
