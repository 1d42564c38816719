"""Checking the log against itself, and handing it out."""

import base64
from pathlib import Path

from fabnet_secure.audit.export import check_export, export_log, refuse_used
from fabnet_secure.audit.verify import check_log
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint


def check(site: Site) -> tuple[int, str]:
    """Recompute the log from its entries and return its size and its root in base64.

    Raises:
        IntegrityFailure: an entry, a tile, the size or the signed checkpoint is not what was written.
    """
    authorize(site, "audit_verify")
    with site.reading() as connection:
        storage = SqlLogStorage(connection)
        verified = check_log(storage, latest_checkpoint(connection), site.log_vkey, verify_signature)
    return verified.size, base64.b64encode(verified.root).decode()


def check_folder(directory: Path, vkey: str) -> tuple[int, str]:
    """Check an exported log from its files alone, against ``vkey`` or, where it is "", the key in the folder."""
    verified = check_export(directory, verify_signature, vkey=vkey)
    return verified.size, base64.b64encode(verified.root).decode()


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
