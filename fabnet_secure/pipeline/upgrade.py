"""Bring a vault that an older version of this program made to this version's schema; nothing of it is lost.

Guarantees that only whoever may create a vault does it, that the log says so before anything is changed and again when
it is done, and that each database is migrated wholly or not at all. What a crash cuts off is finished by another run.
"""

from fabnet_secure.config import Settings
from fabnet_secure.pipeline.authorize import authorize, record_grant
from fabnet_secure.pipeline.context import Place, open_site
from fabnet_secure.store.database import check_revision, migrate
from fabnet_secure.store.schema import REVISIONS
from fabnet_secure.types import Clock, utc_now


def upgrade(place: Place, settings: Settings, *, clock: Clock = utc_now) -> bool:
    """Migrate an existing vault, and tell whether there was anything to migrate.

    Raises:
        NoVault: there is no vault, or a newer program made it.
        AccessDenied: the principal may not set the vault up.
        KeyProblem, VaultLocked, StorageFailed: as opening and writing.
    """
    with open_site(place, settings, clock=clock, older=True) as site:
        found = (
            check_revision(site.keystore, "keystore", older=True),
            check_revision(site.engine, "vault", older=True),
        )
        newest = (REVISIONS["keystore"][-1], REVISIONS["vault"][-1])
        if found == newest:
            return False
        grant = authorize(site, "init")
        facts = {"keystore": found[0], "vault": found[1]}
        with site.work() as work:
            work.log("vault.migration_begun", facts=facts)
            record_grant(site, work, grant)
        migrate(site.keystore, "keystore")
        migrate(site.engine, "vault")
        with site.work() as work:
            work.log("vault.migrated", facts={"keystore": newest[0], "vault": newest[1]})
    return True
