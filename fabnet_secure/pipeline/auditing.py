"""Checking the log against itself, and handing it out."""

import base64
from collections.abc import Sequence
from pathlib import Path

from fabnet_secure.audit.export import check_export, export_log, refuse_used
from fabnet_secure.audit.verify import check_log
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.witnessing import Readable, of_folder, verify_against
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint


def check(
    site: Site, *, witnessed: Path | None = None, witness_keys: Sequence[str] = ()
) -> tuple[int, str, int | None]:
    """Recompute the log from its entries and return its size, its root in base64, and the size that was witnessed.

    Args:
        site: the open vault.
        witnessed: a file or folder with a checkpoint that the log must continue.
        witness_keys: who must have cosigned that checkpoint.

    Raises:
        IntegrityFailure: an entry, a tile, the size or the signed checkpoint is not what was written; code
            ``ROLLED_BACK``: the log does not continue what was witnessed; ``COSIGNATURE_BROKEN``.
    """
    authorize(site, "audit_verify")
    with site.reading() as connection:
        storage, note = SqlLogStorage(connection), latest_checkpoint(connection)
        verified = check_log(storage, note, site.log_vkey, verify_signature)
        log = Readable(storage=storage, note=note, vkey=site.log_vkey)
        before = None if witnessed is None else verify_against(log, witnessed, witness_keys)
    return verified.size, base64.b64encode(verified.root).decode(), before


def check_folder(
    directory: Path, vkey: str, *, witnessed: Path | None = None, witness_keys: Sequence[str] = ()
) -> tuple[int, str, int | None]:
    """Check an exported log from its files alone, against ``vkey`` or, where it is "", the key in the folder."""
    verified = check_export(directory, verify_signature, vkey=vkey)
    before = None
    if witnessed is not None:
        before = verify_against(of_folder(directory, verified.vkey), witnessed, witness_keys)
    return verified.size, base64.b64encode(verified.root).decode(), before


def export(site: Site, directory: Path) -> int:
    """Write the log as C2SP tiles and return how many entries it has."""
    grant = authorize(site, "audit_export")
    refuse_used(directory)  # before the entry: an export that cannot happen leaves none
    with site.work() as work:
        work.log("audit.exported", facts={})
        record_grant(site, work, grant)
    with site.reading() as connection:
        storage = SqlLogStorage(connection)
        return export_log(storage, latest_checkpoint(connection), site.log_vkey, directory)
