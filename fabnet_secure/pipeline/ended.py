"""Ended: what was destroyed, revoked or replaced must not live again because an older keystore, or a row, was put back.

Every data key that a withdrawal destroys and every grant that ends stands in the anchor, outside both databases; the
vault's database names each account's newest grant besides (by the root's own proof, which nobody else can make). So a
revoked or wider keyring that is put back opens nothing and gets no new keys, and a vault whose destroyed keys live
again does not open but to destroy them once more. Does not catch who puts keystore, vault and anchor back together: a
witness does (``pipeline/witnessing.py``).
"""

from collections.abc import Collection
from typing import Final

from fabnet_secure.audit.anchor import AnchorState
from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.crypto.holder import Holder, forged
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.store import erasures, keystore, meta
from fabnet_secure.store.database import Connection, Engine, read_only
from fabnet_secure.store.states import ErasureState
from fabnet_secure.types import KeyId

REVOKED: Final = "revoked"
"""What the vault's mark of an account says when its newest grant was revoked."""
_HOLDER: Final = "holder/"


def ended_ids(state: AnchorState | None) -> frozenset[str]:
    """Return all that the anchor says has ended: data keys, and grants (:func:`grant_id`)."""
    return frozenset(one for gone in state.withdrawn for one in gone.key_ids) if state else frozenset()


def grant_id(name: str, proof: str) -> str:
    """Return how the anchor names a grant: by a digest of the account and of the root's proof."""
    return _HOLDER + sha256_bytes(f"{name}/{proof}".encode())


def holder_mark(name: str) -> str:
    """Return the name under which the vault's database keeps the proof of an account's newest grant."""
    return _HOLDER + name


def check_newest(connection: Connection, holder: Holder, ended: Collection[str]) -> None:
    """Refuse a living holder that is not the newest grant of its account; a revoked one opens nothing anyway.

    Args:
        connection: the vault's database.
        holder: the row in the keystore.
        ended: what the anchor says has ended.

    Raises:
        IntegrityFailure: (HOLDER_FORGED) the grant was revoked, replaced or never made.
    """
    if holder.revoked_at is not None:
        return
    newest = meta.get_meta(connection, holder_mark(holder.name))
    if newest != holder.proof or grant_id(holder.name, holder.proof) in ended:
        raise forged(holder.name)


def check_opened(
    connection: Connection, keys: Engine, holder: Holder | None, ended: Collection[str], *, finishing: bool
) -> None:
    """Refuse a vault that opens what has ended.

    A withdrawal that is under way, or was cut off, has not said yet that its keys are destroyed: that is no roll-back.

    Args:
        connection: the vault's database.
        keys: the keystore.
        holder: whose key opened the vault; None for the root.
        ended: what the anchor says has ended.
        finishing: it is opened to destroy again what has come back.

    Raises:
        IntegrityFailure: (HOLDER_FORGED) as :func:`check_newest`; (KEYSTORE_ROLLED_BACK) keys that a certificate says
            are destroyed are there again.
    """
    if holder is not None:
        check_newest(connection, holder, ended)
    key_ids = [] if finishing else [KeyId(one) for one in ended if not one.startswith(_HOLDER)]
    found = _living(keys, key_ids)
    if not found:
        return
    done = [
        row
        for consent_id in {key.consent_id for key in found if key.consent_id is not None}
        for row in erasures.list_erasures(connection, consent_id=consent_id)
        if row.state is ErasureState.COMPLETE
    ]
    over = {row.consent_id for row in done}
    # Asked again, for the withdrawal that destroyed them in between and then said so.
    back = [key for key in _living(keys, [key.key_id for key in found]) if key.consent_id in over]
    if back:
        raise rolled_back(back)


def rolled_back(keys: Collection[WrappedKey]) -> IntegrityFailure:
    """Return the failure, code ``KEYSTORE_ROLLED_BACK``, for keys that have ended and live."""
    consents = sorted({key.consent_id for key in keys if key.consent_id is not None})
    example = f"fabnet-secure subject withdraw {consents[0]} --confirm {consents[0]}" if consents else "keys destroy"
    return IntegrityFailure(
        f"{len(keys)} keys that were to be destroyed live in the keystore: it was put back from an older copy, or the "
        "act was cut off",
        hint=f"put the newest keystore.db back, or finish the act for each of {len(consents)} consents: {example} "
        "(or the 'keys destroy' that two people approved)",
        code="KEYSTORE_ROLLED_BACK",
    )


def _living(keys: Engine, key_ids: Collection[KeyId]) -> list[WrappedKey]:
    if not key_ids:
        return []
    with read_only(keys) as connection:
        return keystore.still_living(connection, key_ids)
