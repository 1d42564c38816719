"""What people agreed to stands under the vault's own proof: a consent that was edited in the database covers nothing.

Guarantees that no act goes on under a consent whose record or events are not, byte for byte, what this program wrote:
no purpose, cap or longer time can be added, no event taken out, by whoever can write to the database and holds no key.
Does not notice databases that were put back as they were: the anchor does. A keyring without the index key (an
auditor's) cannot check, and takes no decision that rests on a consent.
"""

from typing import Final

from fabnet_secure.crypto.digest import fingerprint
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import consents, meta
from fabnet_secure.store.database import Connection
from fabnet_secure.types import ConsentId

MARK: Final = "consent/"
"""What the names of the proofs in the vault's database begin with."""


def mark(site: Site, connection: Connection, consent_id: ConsentId) -> None:
    """Prove a consent as it stands; within the transaction that wrote its record or its event."""
    (digest,) = consents.digests(connection, consent_id).values()
    meta.set_meta(connection, f"{MARK}{consent_id}", _proof(site.index_key, consent_id, digest))


def mark_all(site: Site, connection: Connection) -> None:
    """Take every consent that has no proof yet as it stands: of a vault that is older than the proofs."""
    proven = meta.list_meta(connection, MARK)
    for consent_id in consents.digests(connection):
        if f"{MARK}{consent_id}" not in proven:
            mark(site, connection, consent_id)


def unproven(site: Site, connection: Connection, consent_id: ConsentId | None = None) -> frozenset[ConsentId]:
    """Return the consents (or the one, if it is) whose record or events are not what was written."""
    key = site.secrets.index_key
    if key is None:
        return frozenset()
    if consent_id is None:
        held = meta.list_meta(connection, MARK)
    else:
        held = {f"{MARK}{consent_id}": meta.get_meta(connection, f"{MARK}{consent_id}") or ""}
    found = consents.digests(connection, consent_id)
    return frozenset(one for one, digest in found.items() if held.get(f"{MARK}{one}") != _proof(key, one, digest))


def check(site: Site, connection: Connection, consent_id: ConsentId | None = None) -> None:
    """Refuse consents (one, or any) that were changed.

    Raises:
        IntegrityFailure: code ``CONSENT_CHANGED``.
    """
    if lost := unproven(site, connection, consent_id):
        raise changed(min(lost))


def changed(consent_id: ConsentId) -> IntegrityFailure:
    """Return the failure for a consent that is not what was recorded."""
    return IntegrityFailure(
        f"consent {consent_id} is not what was recorded: it was changed behind the vault's back",
        hint="nothing was done under it; run 'fabnet-secure doctor', then restore a backup",
        code="CONSENT_CHANGED",
    )


def _proof(index_key: bytes, consent_id: ConsentId, digest: str) -> str:
    return fingerprint(index_key, ["consent", consent_id, digest])
