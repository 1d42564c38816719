"""A pair of archives as a vault that can be opened: what a trial restore and a real one have in common.

Guarantees that the two archives belong together (one vault, one log; the keystore's not older than the vault's), that
the vault's own log key signed both lists, that the keystore's epoch has not ended, and that log, ledger, references
and model weights are whole. An archive made by somebody who knows only the public age key is refused here.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.audit.verify import Verified, check_log
from fabnet_secure.config import Settings
from fabnet_secure.crypto.age import Identity
from fabnet_secure.crypto.digest import sha256_file
from fabnet_secure.crypto.gate import missing, read_gates
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import IntegrityFailure, KeyProblem, NoVault
from fabnet_secure.pipeline.archive import Kind, Manifest, Unpacked, read_archive
from fabnet_secure.pipeline.context import Place, Site, open_site, os_account
from fabnet_secure.pipeline.keyrings import epoch_mark, unlock
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.pipeline.plan import check_ledger
from fabnet_secure.store import embeddings, models, snapshot
from fabnet_secure.store.database import Connection, migrate, open_keystore, open_vault_database
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.store.schema import REVISIONS
from fabnet_secure.store.states import ModelStatus
from fabnet_secure.types import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two archives that were read into one folder and belong together."""

    vault: Unpacked
    keystore: Unpacked

    @property
    def vault_id(self) -> str:
        """Whose they are."""
        return self.vault.manifest.vault_id


def unpack(vault_archive: Path, keystore_archive: Path, identities: tuple[Identity, ...], into: Path) -> Pair:
    """Read both archives into one folder, which is then laid out as a vault.

    Raises:
        IntegrityFailure: (ARCHIVE_OTHER_VAULT) of two vaults; (ARCHIVE_MISMATCH) the keystore's is the older one.
        UsageError, KeyProblem, NoVault, IntegrityFailure, StorageFailed: as ``archive.read_archive``.
    """
    kinds: tuple[tuple[Kind, Path], ...] = (("vault", vault_archive), ("keystore", keystore_archive))
    vault, keys = (read_archive(path, identities, kind=kind, into=into) for kind, path in kinds)
    for one in (vault, keys):
        _check_schema(one.manifest)
    if (vault.manifest.vault_id, vault.manifest.log_origin) != (keys.manifest.vault_id, keys.manifest.log_origin):
        raise IntegrityFailure(
            "the two archives are of different vaults", hint="give a pair of one vault", code="ARCHIVE_OTHER_VAULT"
        )
    if keys.manifest.log_size < vault.manifest.log_size:
        raise IntegrityFailure(
            "the keystore's archive is older than the vault's: what was sealed in between would not open",
            hint="give a keystore archive of the same 'backup create', or a later one",
            code="ARCHIVE_MISMATCH",
        )
    return Pair(vault=vault, keystore=keys)


@contextmanager
def opened_copy(place: Place, settings: Settings, pair: Pair, clock: Clock) -> Iterator[Site]:
    """Open the copy at ``place`` (its databases there, its epoch file named) and check who made the archives.

    Raises:
        KeyProblem: (ARCHIVE_EPOCH_ENDED) the keystore's epoch was destroyed since; (GATE_MISSING, KEY_WRONG).
        IntegrityFailure: (ARCHIVE_FORGED) the vault's log key did not sign an archive's list.
    """
    _check_epoch_file(place, pair.keystore.manifest)
    _introduce(place, pair)
    with open_site(place, settings, clock=clock, anchored=False, restoring=True) as copy:
        yield copy


def check_sound(copy: Site, pair: Pair) -> Verified:
    """Check everything that can be checked without opening a sealed row: databases, log, ledger, models.

    Raises:
        IntegrityFailure: codes ``STORE_CORRUPT``, ``LOG_BROKEN``, ``CHECKPOINT_BROKEN``, ``LEDGER_BROKEN``,
            ``EMBEDDINGS_CHANGED``, ``ARCHIVE_FORGED`` (the log is not at the head its list names),
            ``BACKUP_INCOMPLETE`` (weights are missing).
    """
    snapshot.check_copy(copy.engine)
    snapshot.check_copy(copy.keystore)
    with copy.reading() as connection:
        note = latest_checkpoint(connection)
        verified = check_log(SqlLogStorage(connection), note, copy.log_vkey, verify_signature)
        check_ledger(connection)
        embeddings.check(connection, census_of(copy))
        _check_models(copy, connection)
    told = pair.vault.manifest
    if (note, verified.size, verified.root) != (told.checkpoint, told.log_size, base64.b64decode(told.log_root)):
        raise _forged()
    return verified


def _check_schema(told: Manifest) -> None:
    if told.schema not in REVISIONS[told.kind]:
        raise NoVault(
            "a newer program made this archive", hint="restore it with that version, or a newer one", code="VAULT_NEWER"
        )


def _check_epoch_file(place: Place, told: Manifest) -> None:
    gates = read_gates(place.gate)
    if told.epoch in gates:
        return
    if gates and max(gates) > told.epoch:
        raise KeyProblem(
            f"this keystore archive is of epoch {told.epoch}, which 'keys rekey' ended: it opens nothing any more",
            hint="that is what ending an epoch is for; give a keystore archive made since",
            code="ARCHIVE_EPOCH_ENDED",
        )
    raise missing(place.gate)


def _introduce(place: Place, pair: Pair) -> None:
    """Check the lists' signatures, before the vault's database is touched, and bring both to today's schema.

    A vault's database that was copied before 'keys rekey' does not know the keystore's epoch yet: the root, which has
    just opened it, may say so.
    """
    vault_url, keystore_url = place.databases()
    engine, keys = open_vault_database(vault_url), open_keystore(keystore_url)
    try:
        migrate(keys, "keystore")
        opened = unlock(keys, place.gate, pair.vault_id, place.open_key(), os_account())
        for one in (pair.vault, pair.keystore):
            if not verify_signature(opened.secrets.log_public, one.manifest.to_sign(), one.signature):
                raise _forged()
        migrate(engine, "vault")
        if opened.root_key is not None and opened.secrets.report_signer is not None:
            number = opened.keyring.newest
            halves = opened.keyring.public_halves(number)
            mark, proof = epoch_mark(opened.secrets.report_signer, pair.vault_id, number, halves)
            snapshot.note(engine, mark, proof)
        opened.keyring.wipe()
    finally:
        engine.dispose()
        keys.dispose()


def _check_models(copy: Site, connection: Connection) -> None:
    for row in models.list_models(connection):
        path = copy.models / f"{row.model_id}.safetensors"
        if not path.exists() and row.status is ModelStatus.RETIRED:
            continue
        if not path.exists() or sha256_file(path) != row.weights_sha256:
            raise IntegrityFailure(
                "the backup lacks the weights of a model, or holds others",
                hint="use another backup; the model can be trained again",
                code="BACKUP_INCOMPLETE",
            )


def _forged() -> IntegrityFailure:
    return IntegrityFailure(
        "an archive was not made by this vault, or its list was changed",
        hint="whoever knows the public age key can make an archive: use one that 'backup.created' in the log names",
        code="ARCHIVE_FORGED",
    )
