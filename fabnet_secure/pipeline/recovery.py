"""Recovery: the vault's root as shares of words, and a key file made from them again.

Guarantees: only the vault's root is ever split, by whoever may and who confirms it; the log says how many shares were
made and how many are needed, and nothing else of them; a key file is written only when the combined key opens the very
vault that is named. Does not know who keeps the shares, nor take an old set back: enough shares of any set that was
ever made give the root for as long as it lives. The shares hold the root alone: the databases, the epoch file and the
anchor have copies of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fabnet_secure.access.decision import Grant
from fabnet_secure.config import Settings
from fabnet_secure.crypto import shares as slip39
from fabnet_secure.crypto.keyfile import RootKey, refuse_existing
from fabnet_secure.crypto.provider import PLAIN_FILE, Protection, Unlocked, save_key
from fabnet_secure.errors import KeyProblem, UsageError
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Place, Site, open_site
from fabnet_secure.types import Clock, utc_now


def split(site: Site, *, shares: int, threshold: int, confirm: str | None, dry_run: bool = False) -> tuple[str, ...]:
    """Split the vault's root into ``shares`` shares of 33 words, any ``threshold`` of which give it back.

    Args:
        site: the vault, opened with its root.
        shares: how many are made, 2 to 16.
        threshold: how many are needed, at least 2.
        confirm: the vault's id: whoever has enough shares has everything.
        dry_run: refuse what would be refused, and make none.

    Returns:
        The shares; none in a rehearsal.

    Raises:
        AccessDenied: the principal may not.
        KeyProblem: (KEY_NOT_ROOT) the vault was opened with a principal's own key.
        UsageError: (SHARES_INVALID) the numbers; (NOT_CONFIRMED) the id is another.
    """
    grant = authorize(site, "key_recover")
    root = _root_of(site)
    made = slip39.split(root, shares=shares, threshold=threshold)
    if dry_run:
        return ()
    if confirm != site.vault_id:
        hint = f"repeat the vault's id: --confirm {site.vault_id}"
        raise UsageError("splitting the vault's key was not confirmed", hint=hint, code="NOT_CONFIRMED")
    with site.work() as work:
        work.log("keys.split", facts={"shares": shares, "threshold": threshold})
        record_grant(site, work, grant)
    return made


def combine(
    place: Place,
    settings: Settings,
    texts: Sequence[str],
    *,
    protection: Protection = PLAIN_FILE,
    dry_run: bool = False,
    clock: Clock = utc_now,
) -> str:
    """Make the vault's key from its shares, prove that it opens the vault, and write it to ``place.key_file``.

    Args:
        place: the vault; its key file is the new one, which is not there yet.
        settings: in force.
        texts: the shares.
        protection: of the new key file.
        dry_run: prove it, and write nothing.
        clock: of the log entry.

    Returns:
        The vault's id.

    Raises:
        KeyProblem: (SHARE_INVALID, SHARES_MIXED, SHARES_TOO_FEW, SHARES_WRONG) as the shares are; (KEY_WRONG) they are
            another vault's; (KEY_EXISTS, KEY_NOT_WRITTEN) as the file.
        UsageError: (KEY_INSIDE_VAULT) the key file would lie in the vault.
        AccessDenied: the principal may not.
    """
    refuse_existing(place.key_file)
    _refuse_inside(place.key_file, place.root)
    root = slip39.combine(texts)
    with open_site(replace(place, unlocked=Unlocked(root)), settings, clock=clock) as site:
        grant = authorize(site, "key_recover")
        _root_of(site)
        if not dry_run:
            _write(site, grant, place, root, protection)
        return site.vault_id


def _write(site: Site, grant: Grant, place: Place, root: RootKey, protection: Protection) -> None:
    """Write file and log entry together: where one fails, there is neither."""
    written = False
    try:
        with site.work() as work:
            work.log("keys.combined", facts={"protection": protection.form.value})
            record_grant(site, work, grant)
            save_key(place.key_file, root, protection, place.ask)
            written = True
    except BaseException:
        if written:
            place.key_file.unlink(missing_ok=True)
        raise


def _root_of(site: Site) -> RootKey:
    if site.root_key is None:
        raise KeyProblem(
            "this is not the vault's own key but a principal's",
            hint="open the vault with the key file that 'init' made",
            code="KEY_NOT_ROOT",
        )
    return site.root_key


def _refuse_inside(path: Path, vault: Path) -> None:
    if path.resolve().is_relative_to(vault.resolve()):
        hint = "keep the key elsewhere, so that a copy of the vault opens nothing"
        raise UsageError("the key file would lie inside the vault", hint=hint, code="KEY_INSIDE_VAULT")
