"""Bring a vault that an older version of this program made to this version's form; nothing of it is lost.

Guarantees that only whoever may create a vault does it, that the log says so before anything is changed and again when
it is done, that each database is migrated wholly or not at all, and that keys of an older form are renewed in one
transaction of the keystore. What a crash cuts off is finished by another run. Rows are taken as they stand only in a
vault that never had counts and proofs, by its tables and by its log, and only once: whoever sets the stated version
back is refused.
"""

from collections.abc import Mapping
from typing import Final

from fabnet_secure.access.decision import Denied, Grant
from fabnet_secure.audit.verify import check_log
from fabnet_secure.config import Settings
from fabnet_secure.crypto.legacy import LegacyKeyring
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.pipeline import promises
from fabnet_secure.pipeline.anchoring import begin_anchor
from fabnet_secure.pipeline.authorize import record_grant, request_of
from fabnet_secure.pipeline.context import Place, Site, open_site
from fabnet_secure.pipeline.keyrings import unlock_legacy
from fabnet_secure.pipeline.officer import OFFICER, changed, prove
from fabnet_secure.pipeline.pages import census_of
from fabnet_secure.pipeline.rekey import Former, renew, require_root
from fabnet_secure.store import embeddings, keystore, meta
from fabnet_secure.store.census import CENSUS
from fabnet_secure.store.database import Connection, check_revision, migrate, read_only
from fabnet_secure.store.log_search import entries_of
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.store.schema import REVISIONS, Which, set_back
from fabnet_secure.types import Clock, Json, utc_now

KINDS: Final[tuple[Which, ...]] = ("keystore", "vault")
UNCOUNTED = ("vault_0001", "vault_0002")
"""The schema of vaults made before there was a census of embeddings (``store/census.py``)."""


def upgrade(place: Place, settings: Settings, *, clock: Clock = utc_now) -> bool:
    """Migrate an existing vault, and tell whether there was anything to migrate.

    Raises:
        NoVault: there is no vault, or a newer program made it.
        AccessDenied: the principal may not set the vault up.
        IntegrityFailure: code ``VAULT_SET_BACK``: it says that it is older than its tables, its proofs or its log.
        KeyProblem, VaultLocked, StorageFailed: as opening and writing.
    """
    with open_site(place, settings, clock=clock, older=True) as site:
        found = {
            "keystore": check_revision(site.keystore, "keystore", older=True),
            "vault": check_revision(site.engine, "vault", older=True),
        }
        newest: dict[str, Json] = {which: REVISIONS[which][-1] for which in KINDS}
        begun = _begun(site, found)
        if found == newest and not site.keyring.empty and not begun:
            return False
        uncounted = (begun or found["vault"]) in UNCOUNTED
        if uncounted:
            _check_uncounted(site, found["vault"])
        begin_anchor(site.anchor.path, site.vault_id, clock)  # vaults of older versions have none; a denial wants one
        grant = _permitted(site)
        with site.work() as work:
            facts: dict[str, Json] = {**found, OFFICER: site.secrets.report_public.hex()}
            work.log("vault.migration_begun", facts=facts)
        migrate(site.keystore, "keystore")
        migrate(site.engine, "vault")
        _renew_keys(site)
        with site.work() as work:
            if uncounted:
                _adopt(site, work.connection)
            work.log("vault.migrated", facts=newest)
            record_grant(site, work, grant)
    return True


def _begun(site: Site, found: Mapping[str, str]) -> str:
    """Return the vault's version before a migration that was begun and did not end, else "".

    Raises:
        IntegrityFailure: code ``VAULT_SET_BACK``: the log knows of a newer version than the databases state.
    """
    begun = ""
    with site.reading() as connection:
        entries = entries_of(connection, "vault.")
    for entry in entries:
        if entry.act == "vault.migration_begun":
            begun = begun or str(entry.facts["vault"])
        if entry.act not in ("vault.created", "vault.migrated"):
            continue
        begun = ""
        for which in KINDS:
            named = entry.facts.get(which)  # an older program named none when it made a vault
            older = REVISIONS[which][: REVISIONS[which].index(found[which]) + 1]
            if named is not None and named not in older:
                raise set_back(which)
    return begun


def _check_uncounted(site: Site, stated: str) -> None:
    """Believe that a vault has no counts and proofs yet only where nothing says otherwise, and its log holds."""
    with site.reading() as connection:
        check_log(SqlLogStorage(connection), latest_checkpoint(connection), site.log_vkey, verify_signature)
        proven = meta.get_meta(connection, CENSUS) is not None or meta.list_meta(connection, promises.MARK)
    if proven and stated in UNCOUNTED:
        raise set_back("vault")


def _adopt(site: Site, connection: Connection) -> None:
    """Count and prove what an older program wrote, as it stands: once, in the commit that says it is migrated."""
    if meta.get_meta(connection, CENSUS) is None:
        embeddings.adopt(connection, census_of(site))
    promises.mark_all(site, connection)


def _permitted(site: Site) -> Grant:
    """Decide as ``authorize`` does; an older schema has no place for the decision, so a denial is in the log alone."""
    try:
        return site.policies.require(request_of(site, "init"))
    except Denied as denial:
        with site.work() as work:
            work.log("access.denied", facts={"action": "init", "policy": denial.decision.policy_id})
        raise


def _renew_keys(site: Site) -> None:
    """Renew keys that are wrapped as an older version did: one key for everything, under the root alone."""
    former = unlock_legacy(site.keystore, require_root(site))
    if former is not None:
        keyring, _ = former
        _prove(site, keyring)
        renew(site, max(keyring.epochs), Former(keyring), None)
        keyring.wipe()


def _prove(site: Site, keyring: LegacyKeyring) -> None:
    """Sign for every key that the root opens: what an older program left as a proof, every writer could make."""
    with read_only(site.keystore) as connection:
        keys = keystore.list_keys(connection)
    for key in keys:
        opened = keyring.unwrap(key)
        own = opened.public.raw == key.public
        opened.wipe()
        if not own:
            raise changed("a public key", "made with its secret half")
    with site.work() as work:
        for key in keys:
            prove(site, work.connection, key)
        work.log("keys.proven", facts={"keys": len(keys)})
