"""Restore: a pair of archives becomes a vault again, in a new place, and only once it knows what it missed.

Guarantees all or nothing: the copy is built under another name beside its place, checked, told who withdrew and what
was spent since (``pipeline/replay.py``), and renamed last; whatever fails, or a kill, leaves no vault there. Never over
anything that exists. Refuses without the anchor, unless somebody answers for the withdrawals; then no privacy budget is
left. What was done after the backup is lost: consents, tracks, models, log entries; «vault.restored» says how many.

Needs the key file of the vault's root (certificates are signed), the epoch file, and the anchor: none of them is in an
archive.
"""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fabnet_secure.audit.anchor import RESTORED as RESTORED_LINE
from fabnet_secure.audit.anchor import AnchorState
from fabnet_secure.audit.anchor_file import Anchor, missing
from fabnet_secure.audit.checkpoint import open_checkpoint
from fabnet_secure.config import Settings
from fabnet_secure.crypto.age import load_identities
from fabnet_secure.crypto.files import sync_directory
from fabnet_secure.crypto.gate import copy_gate
from fabnet_secure.crypto.gate import missing as gate_missing
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.pipeline.archive import Manifest
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import PENDING, RESTORED, Place, Site
from fabnet_secure.pipeline.openable import check_openable
from fabnet_secure.pipeline.replay import Known, Replayed, replay
from fabnet_secure.pipeline.unpacked import Pair, check_sound, opened_copy, unpack
from fabnet_secure.pipeline.workshop import GATE, clear_restores, workshop
from fabnet_secure.store import snapshot
from fabnet_secure.store.database import open_keystore, open_vault_database
from fabnet_secure.store.schema import Which
from fabnet_secure.types import Clock, is_id, rfc3339, utc_now

_MOST_IDS: Final = 16 << 20
_SAMPLE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a restore is made from.

    Attributes:
        vault_archive, keystore_archive: the pair.
        identity: the age identity file.
        anchor: the newest anchor; None looks beside the new place, then beside ``original``.
        epoch_file: the newest epoch file; as ``anchor``.
        original: where the lost vault was, if that is another place.
        without_anchor: there is no anchor any more.
        withdrawn: then: a file with the id of every consent withdrawn since the backup, one a line; it may be empty.
    """

    vault_archive: Path
    keystore_archive: Path
    identity: Path
    anchor: Path | None = None
    epoch_file: Path | None = None
    original: Place | None = None
    without_anchor: bool = False
    withdrawn: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore made, or a dry run would make; ``epoch_left`` is the epoch file that it copied, still there."""

    vault: Path
    vault_id: str
    created_at: str
    size_kept: int
    size_lost: int
    replayed: Replayed
    anchored: bool
    dry_run: bool
    epoch_left: Path | None = None


def restore(
    target: Place,
    settings: Settings,
    sources: Sources,
    *,
    confirm: str | None,
    dry_run: bool = False,
    clock: Clock = utc_now,
) -> Restored:
    """Restore a vault into ``target.root``, which is new or empty.

    Args:
        target: the new place; ``database_url`` names an empty PostgreSQL database where the vault is to be in one.
        settings: the site's.
        sources: the archives and what lay outside them.
        confirm: the vault's id; a severe act wants it said.
        dry_run: do all of it in the temporary place, and throw it away.
        clock: gives the time.

    Raises:
        UsageError: (RESTORE_PLACE) something is there; (DATABASE_IN_USE); (NOT_CONFIRMED); (WITHDRAWN_UNKNOWN) without
            an anchor nobody answers for the withdrawals.
        IntegrityFailure: (ANCHOR_MISSING, ANCHOR_BROKEN) no sound anchor; (ANCHOR_BEHIND) it is older than the backup.
        AccessDenied, IntegrityFailure, KeyProblem, NoVault, StorageFailed: as verifying.
    """
    parent, prefix = target.root.absolute().parent, f".{target.root.name}.restoring-"
    clear_restores(parent)
    sources = _refuse_place(target, sources)
    identities = load_identities(sources.identity)
    named = _withdrawn_by_hand(sources)
    parent.mkdir(parents=True, exist_ok=True)
    with workshop(parent, prefix) as folder:
        root = folder / "vault"
        root.mkdir(mode=0o700)
        pair = unpack(sources.vault_archive, sources.keystore_archive, identities, root)
        if not dry_run and confirm != pair.vault_id:
            hint = f"repeat the vault's id: --confirm {pair.vault_id}"
            raise UsageError("the restore was not confirmed", hint=hint, code="NOT_CONFIRMED")
        _write_card(root / "vault.json", {RESTORED: PENDING})
        (root / "models").mkdir(mode=0o700, exist_ok=True)
        epoch_from = _bring_gate(target, sources, folder / GATE)
        known = _anchor(target, sources, pair, folder / "anchor", clock, named)
        with _databases(target, folder, dry_run=dry_run) as place:
            with opened_copy(place, settings, pair, clock) as copy:
                replayed = _finished(copy, pair, known)
            if not dry_run:
                _move_in(target, folder, rfc3339(clock()))
    return Restored(
        vault=target.root.absolute(),
        vault_id=pair.vault_id,
        created_at=pair.vault.manifest.created_at,
        size_kept=pair.vault.manifest.log_size,
        size_lost=known.size_lost,
        replayed=replayed,
        anchored=known.anchor is not None,
        dry_run=dry_run,
        epoch_left=None if dry_run or epoch_from.resolve() == target.gate.resolve() else epoch_from,
    )


def _finished(copy: Site, pair: Pair, known: Known) -> Replayed:
    """Check the opened copy and tell it what it missed."""
    snapshot.note(copy.engine, RESTORED, PENDING)
    grant = authorize(copy, "backup_restore")
    check_sound(copy, pair)
    check_openable(copy, _SAMPLE)  # a pair from before and after 'keys reencrypt' would open nothing
    if known.anchor is not None and known.anchor.head is not None and known.anchor.head.note:
        open_checkpoint(known.anchor.head.note, copy.log_vkey, verify_signature)
    with copy.work() as work:
        facts = {
            "vault": pair.vault.sha256,
            "keystore": pair.keystore.sha256,
            "created": pair.vault.manifest.created_at,
        }
        work.log("vault.restoring", facts=facts)
        record_grant(copy, work, grant)
    return replay(copy, known, size_kept=pair.vault.manifest.log_size)


def _refuse_place(target: Place, sources: Sources) -> Sources:
    """Refuse a place where something is; return the sources, with what a restore cut off here left in its place."""
    root = target.root
    if root.is_symlink() or (root.exists() and (not root.is_dir() or any(root.iterdir()))):
        raise UsageError(
            "a vault is restored into a new or empty directory, never over anything",
            hint="name another one: --into DIR",
            code="RESTORE_PLACE",
        )
    if target.key_file.resolve().is_relative_to(root.resolve()):
        raise UsageError("the key file would lie inside the vault", hint="keep it elsewhere", code="KEY_INSIDE_VAULT")
    for given, place in ((sources.anchor, target.anchor_file), (sources.epoch_file, target.gate)):
        if given is not None and place.exists() and not _goes_on(given, place):
            raise UsageError(
                f"another file is already at {place}",
                hint="is it the newer one? then leave the option out; else move it away first",
                code="RESTORE_PLACE",
            )
    _refuse_databases(target)
    anchor = target.anchor_file if sources.anchor is not None and target.anchor_file.exists() else sources.anchor
    return replace(sources, anchor=anchor)


def _goes_on(given: Path, place: Path) -> bool:
    """Tell whether a file begins with the one that was given: what a restore that was cut off here put there does."""
    try:
        return place.samefile(given) or place.read_bytes().startswith(given.read_bytes() or b"-")
    except OSError:
        return False


def _refuse_databases(target: Place) -> None:
    for url in (target.database_url, target.keystore_url):
        if url is not None:
            engine = open_vault_database(url)
            try:
                snapshot.refuse_used(engine)
            finally:
                engine.dispose()


def _found(given: Path | None, beside: Path, sources: Sources, kind: str) -> Path | None:
    """Return the newest anchor or epoch file: as named, else beside the new place, else beside the original."""
    original = None if sources.original is None else getattr(sources.original, kind)
    candidates = [given] if given is not None else [beside, original]
    return next((path for path in candidates if path is not None and path.exists()), None)


def _bring_gate(target: Place, sources: Sources, path: Path) -> Path:
    """Copy the epoch file, and with it that of an epoch that was being made; return where it was."""
    found = _found(sources.epoch_file, target.gate, sources, "gate")
    if found is None:
        raise gate_missing(sources.epoch_file or target.gate)
    for end in ("", ".next"):
        source = found.with_name(found.name + end)
        if source.exists():
            copy_gate(source, path.with_name(path.name + end))
    return found


def _anchor(target: Place, sources: Sources, pair: Pair, path: Path, clock: Clock, named: tuple[str, ...]) -> Known:
    """Make the new vault's anchor from the old one, and return what that knows of the time since the backup."""
    kept, vault_id = pair.vault.manifest.log_size, pair.vault_id
    if sources.without_anchor:
        Anchor.create(path, vault_id, clock).append(RESTORED_LINE, checkpoint_lost="", size_kept=kept)
        return Known(anchor=None, withdrawn=named)
    found = _found(sources.anchor, target.anchor_file, sources, "anchor_file")
    if found is None:
        raise missing(sources.anchor or target.anchor_file)
    shutil.copyfile(found, path)
    path.chmod(0o600)
    anchor = Anchor(path, vault_id, clock)
    state = anchor.state()
    _check_newer(state, pair.vault.manifest)
    note = state.head.note if state.head else ""
    anchor.append(RESTORED_LINE, checkpoint_lost=note, size_kept=kept)
    return Known(
        anchor=state,
        size_lost=state.head.size if state.head else state.floor,
        root_lost=base64.b64encode(state.head.root).decode() if state.head else "",
    )


def _check_newer(state: AnchorState, told: Manifest) -> None:
    """Refuse an anchor that does not reach as far as the backup: it is an old copy and lacks what came since."""
    head = state.head
    size = head.size if head else state.floor
    other = head is not None and head.size == told.log_size and head.root != base64.b64decode(told.log_root)
    if size < told.log_size or other:
        raise IntegrityFailure(
            "the anchor is older than the backup, so it cannot say who withdrew since",
            hint="give the newest copy of <vault>.anchor; if it is lost: --without-anchor",
            code="ANCHOR_BEHIND",
        )


def _withdrawn_by_hand(sources: Sources) -> tuple[str, ...]:
    """Read who withdrew since the backup, where no anchor says so."""
    if not sources.without_anchor:
        return ()
    if sources.withdrawn is None:
        raise UsageError(
            "without the anchor somebody must say who withdrew since the backup",
            hint="--withdrawn FILE: the consents' ids, one a line, from the certificates of erasure; empty for nobody",
            code="WITHDRAWN_UNKNOWN",
        )
    try:
        with sources.withdrawn.open("r", encoding="ascii") as stream:
            lines = stream.read(_MOST_IDS).split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the list of withdrawn consents cannot be read", code="WITHDRAWN_INVALID") from error
    if not all(is_id(line) for line in lines):
        hint = "one consent's id a line, and nothing else"
        raise UsageError("the list of withdrawn consents holds something else", hint=hint, code="WITHDRAWN_INVALID")
    return tuple(dict.fromkeys(lines))


@contextmanager
def _databases(target: Place, folder: Path, *, dry_run: bool) -> Iterator[Place]:
    """Put the databases where they are to be, and say where; on an error a server's database is emptied again."""
    root = folder / "vault"
    place = replace(target, root=root, database_url=None, keystore_url=None)
    place = replace(place, anchor=folder / "anchor", epoch_file=folder / GATE)
    moved: list[tuple[str, Which]] = []
    wanted: tuple[tuple[str | None, Which], ...] = ((target.database_url, "vault"), (target.keystore_url, "keystore"))
    try:
        for url, which in wanted if not dry_run else ():
            if url is not None:
                _move_database(root / f"{which}.db", url, which)
                moved.append((url, which))
        if not dry_run:
            place = replace(place, database_url=target.database_url, keystore_url=target.keystore_url)
        yield place
    except BaseException:
        for url, which in moved:
            engine = open_vault_database(url)
            try:
                snapshot.remove(engine, which)
            finally:
                engine.dispose()
        raise


def _move_database(path: Path, url: str, which: Which) -> None:
    engine = open_vault_database(url) if which == "vault" else open_keystore(url)
    try:
        snapshot.copy_in(path, engine, which)
    finally:
        engine.dispose()
    path.unlink()


def _move_in(target: Place, folder: Path, at: str) -> None:
    """Give everything its place; the directory, which makes it a vault, comes last."""
    _install(folder / "anchor", target.anchor_file)
    if not target.gate.exists():
        copy_gate(folder / GATE, target.gate)
    _write_card(folder / "vault" / "vault.json", {RESTORED: at})
    (folder / "vault").rename(target.root)
    sync_directory(target.root.absolute().parent)


def _install(source: Path, place: Path) -> None:
    """Put a file where it belongs, whole, in place of an older one of its own."""
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".restored-", dir=place.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(place)
        sync_directory(place.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def _write_card(path: Path, told: dict[str, str]) -> None:
    """Write the card anew with what is told of the restore."""
    try:
        card = json.loads(path.read_text("utf-8"))
        body = json.dumps({**card, **told}, indent=2, sort_keys=True) + "\n"
    except (ValueError, TypeError) as error:
        raise IntegrityFailure("the card in the backup is damaged", code="ARCHIVE_FORMAT") from error
    part = path.with_suffix(".tmp")
    with part.open("w", encoding="utf-8") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
