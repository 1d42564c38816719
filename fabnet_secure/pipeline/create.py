"""Make a new vault: its directory, key file, keystore, first rows and first log entry.

Guarantees that a run that was cut off leaves nothing that looks like a vault, and that running it again makes one; what
lay in the way is set aside, never deleted.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.access.decision import ROLES
from fabnet_secure.config import Settings
from fabnet_secure.crypto.digest import random_bytes, sha256_bytes
from fabnet_secure.crypto.epoch import make_epoch
from fabnet_secure.crypto.gate import prepare_gate, settle_gate
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.keyring import Keyring
from fabnet_secure.crypto.provider import PLAIN_FILE, Protection
from fabnet_secure.crypto.signing import Signer
from fabnet_secure.errors import UsageError
from fabnet_secure.pipeline.anchoring import begin_anchor, make_way
from fabnet_secure.pipeline.context import FORMAT, Place, Site, open_site, os_account, read_card
from fabnet_secure.pipeline.keyrings import INDEX, LOG_SIGNING, REPORT_SIGNING, SECRET_DOMAINS, epoch_mark
from fabnet_secure.pipeline.officer import OFFICER
from fabnet_secure.store import keystore, meta, principals
from fabnet_secure.store.census import Census
from fabnet_secure.store.database import (
    Engine,
    Scribe,
    keystore_work,
    migrate,
    open_keystore,
    open_vault_database,
    unit_of_work,
)
from fabnet_secure.store.schema import REVISIONS
from fabnet_secure.types import Clock, Json, new_id, rfc3339, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What :func:`create_vault` found or made."""

    vault: Path
    log_origin: str
    log_vkey: str
    report_public_key: str
    key_file: Path
    created: bool
    key_file_created: bool


def create_vault(
    place: Place, settings: Settings, *, clock: Clock = utc_now, protection: Protection = PLAIN_FILE
) -> Created:
    """Create the vault, its keys, schema and first log entry; on a vault that exists, change nothing.

    The directory becomes a vault only with its last step (``vault.json``), so a crash before it is repaired by
    running the command again.

    Raises:
        UsageError: the directory exists, is not empty and is no vault.
        KeyProblem: the key file exists and is unusable, or does not open an existing vault.
    """
    if place.card.exists():
        if place.creating.exists():  # of an init that was cut off in its very last steps
            _settle(place, clock)
        with open_site(place, settings, clock=clock) as site:
            return _described(place, site, created=False, key_file_created=False)
    _refuse_foreign(place)
    _refuse_inside(place)
    make_way(place.anchor_file, chosen=place.anchor is not None)
    _make_way_for_gate(place)
    fresh_key = not place.key_file.exists()
    create_key = place.unlocked.create
    root_key = create_key(place.key_file, protection, place.ask) if fresh_key else place.open_key()
    place.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.creating.touch(mode=0o600)
    (place.root / "models").mkdir(mode=0o700, exist_ok=True)
    vault_id = new_id()
    card: dict[str, str | int] = {"format": FORMAT, "vault_id": vault_id, "log_origin": f"fabnet-secure/{vault_id}"}
    _first_rows(place, settings, root_key, card, clock)
    _write_card(place.card, card | {"created_at": rfc3339(clock())})
    _settle(place, clock)
    with open_site(place, settings, clock=clock) as site:
        return _described(place, site, created=True, key_file_created=fresh_key)


def _refuse_inside(place: Place) -> None:
    for path, what, code in (
        (place.key_file.resolve(), "key file", "KEY_INSIDE_VAULT"),
        (place.gate.resolve(), "epoch file", "EPOCH_INSIDE_VAULT"),
    ):
        if path.is_relative_to(place.root.resolve()):
            hint = "keep it elsewhere, so that a copy of the vault opens nothing"
            raise UsageError(f"the {what} would lie inside the vault", hint=hint, code=code)


def _make_way_for_gate(place: Place) -> None:
    """Set an epoch file that a vault no longer here left behind aside: it is never destroyed but by its own vault."""
    if not place.gate.exists():
        return
    if place.epoch_file is not None and not place.creating.exists():
        hint = "give every vault an epoch file of its own: set FABNET_EPOCH_FILE to another path"
        raise UsageError("the epoch file's place is taken", hint=hint, code="EPOCH_FILE_IN_USE")
    place.gate.rename(place.gate.with_name(f"{place.gate.name}.set-aside-{new_id()}"))


def _first_rows(place: Place, settings: Settings, root_key: RootKey, card: dict[str, str | int], clock: Clock) -> None:
    """Write the keystore, then the vault's first rows and log entry; both are safe to repeat after a crash."""
    vault_url, keystore_url = place.databases()
    engine, keys = open_vault_database(vault_url), open_keystore(keystore_url)
    try:
        migrate(keys, "keystore")
        migrate(engine, "vault")
        signer, officer, *marks = _first_keys(keys, place.gate, root_key, str(card["vault_id"]), clock)
        scribe = Scribe(origin=str(card["log_origin"]), signer=signer, actor="operator", clock=clock)
        with unit_of_work(engine, scribe) as work:
            if meta.get_meta(work.connection, "vault_id") is not None:
                raise UsageError(
                    "the database already holds a vault",
                    hint="give every vault a database of its own, or finish with the directory it belongs to",
                    code="DATABASE_IN_USE",
                )
            meta.set_meta(work.connection, "vault_id", str(card["vault_id"]))
            for mark in marks:
                meta.set_meta(work.connection, *mark)
            account = os_account()
            principals.add_principal(
                work.connection, principals.PrincipalRow(name=account, os_user=account, roles=ROLES)
            )
            made: dict[str, Json] = {which: names[-1] for which, names in REVISIONS.items()}  # init asks the log later
            work.log(
                "vault.created",
                facts={
                    "format": FORMAT,
                    OFFICER: officer.hex(),
                    "settings": sha256_bytes(settings.canonical()),
                    **made,
                },
            )
    finally:
        engine.dispose()
        keys.dispose()


def _first_keys(
    keys: Engine, gate_file: Path, root_key: RootKey, vault_id: str, clock: Clock
) -> tuple[Signer, bytes, tuple[str, str], tuple[str, str]]:
    """Make the first epoch and the vault's secrets; return the log's signer, the officer's key, and two marks.

    The marks are keys and values of ``meta``: of the epoch, and of the count of embeddings (none yet).
    """
    with keystore_work(keys) as connection:
        if keystore.list_epochs(connection):
            raise UsageError(
                "the keystore already holds keys of another vault",
                hint="an interrupted 'init' leaves one: remove the directory and run it again",
                code="KEYSTORE_IN_USE",
            )
        gate = prepare_gate(gate_file, 1)
        settle_gate(gate_file, 1)
        made, opened = make_epoch(1, root=root_key, gate=gate, vault_id=vault_id)
        keystore.add_epoch(connection, made, clock())
        keyring = Keyring.of_epoch(1, opened)
        log_signer, report_signer, index_key = Signer.generate(), Signer.generate(), random_bytes(32)
        for name, secret, public in (
            (LOG_SIGNING, log_signer.seed, log_signer.public),
            (REPORT_SIGNING, report_signer.seed, report_signer.public),
            (INDEX, index_key, b""),
        ):
            keystore.put_secret(connection, keyring.wrap_secret(name, secret, SECRET_DOMAINS[name], public))
        keyring.wipe()
    mark = epoch_mark(report_signer, vault_id, 1, made.public)
    return log_signer, report_signer.public, mark, Census(index_key).first()


def _settle(place: Place, clock: Clock) -> None:
    """Take the last steps of making a vault: its anchor, and the mark that it is being made."""
    begin_anchor(place.anchor_file, read_card(place.card)["vault_id"], clock)
    place.creating.unlink()


def _refuse_foreign(place: Place) -> None:
    root = place.root
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a directory", code="NOT_A_DIRECTORY")
    if not root.is_dir():
        return
    if place.creating.exists():
        _set_aside(root)
    elif any(root.iterdir()):
        hint = "choose an empty or new directory for the vault"
        raise UsageError(f"{root} is not empty and is not a vault", hint=hint, code="NOT_A_VAULT")


def _set_aside(root: Path) -> None:
    """Move what a cut-off init left out of the way: nothing is ever deleted here, in case it was more than that."""
    found = [path for path in root.glob("*.db*") if path.is_file()]
    if found:
        aside = root / f"set-aside-{new_id()}"
        aside.mkdir(mode=0o700)
        for path in found:
            path.rename(aside / path.name)


def _write_card(path: Path, card: dict[str, str | int]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(card, stream, indent=2, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _described(place: Place, site: Site, *, created: bool, key_file_created: bool) -> Created:
    return Created(
        vault=place.root.resolve(),
        log_origin=site.log_origin,
        log_vkey=site.log_vkey,
        report_public_key=site.secrets.report_public.hex(),
        key_file=place.key_file.resolve(),
        created=created,
        key_file_created=key_file_created,
    )
