"""What opens stored pages of embeddings: the census over them and the keys of their consents.

Guarantees that a key which a withdrawal destroyed leaves its pages out, and that a key which was never destroyed and
is not there is a failure. Does not decide whose pages may be opened.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fabnet_secure.crypto.envelope import Context, DataKey, Sealed, unseal, unseal_into
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline.context import Site
from fabnet_secure.store import keystore
from fabnet_secure.store.census import Census
from fabnet_secure.store.database import read_only
from fabnet_secure.types import ConsentId, Domain


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The embedding keys of consents, in memory; ``second`` are those that ``keys reencrypt`` is putting in place."""

    living: Mapping[ConsentId, DataKey]
    second: Mapping[ConsentId, DataKey]

    def unseal(self, consent_id: ConsentId, context: Context, sealed: Sealed) -> bytes:
        """Open a page under its consent's key, or under the one that is about to take its place.

        Raises:
            IntegrityFailure: (SEAL_BROKEN) neither opens it.
        """
        try:
            return unseal(self.living[consent_id], context, sealed)
        except IntegrityFailure:
            if consent_id not in self.second:
                raise
            return unseal(self.second[consent_id], context, sealed)

    def unseal_into(self, consent_id: ConsentId, bound: bytes, sealed: memoryview, room: memoryview) -> int:
        """Open a packed page straight into locked memory, as ``envelope.unseal_into``; keys as :meth:`unseal`."""
        try:
            return unseal_into(self.living[consent_id], bound, sealed, room)
        except IntegrityFailure:
            if consent_id not in self.second:
                raise
            return unseal_into(self.second[consent_id], bound, sealed, room)

    def wipe(self) -> None:
        """Overwrite them."""
        for key in (*self.living.values(), *self.second.values()):
            key.wipe()


def census_of(site: Site) -> Census:
    """Return what counts this vault's pages of embeddings.

    Raises:
        KeyProblem: (KEY_CANNOT_SIGN) this keyring neither writes nor checks.
    """
    return Census(site.index_key)


def open_keys(site: Site, consents: Collection[ConsentId]) -> Keys:
    """Unwrap the embedding keys of consents; one whose key was destroyed is left out.

    Raises:
        IntegrityFailure: (KEY_LOST) a key is gone that nobody destroyed; (SEAL_BROKEN) one was changed.
        KeyProblem: (KEY_DOMAIN) this keyring does not open embeddings.
    """
    with read_only(site.keystore) as connection:
        wrapped = keystore.find_keys(connection, list(consents), Domain.EMBEDDINGS)
        waiting = keystore.find_keys(connection, list(consents), Domain.EMBEDDINGS, pending=True)
        gone = set(consents) - wrapped.keys()
        lost = gone and gone - {
            stone.consent_id for stone in keystore.tombstones(connection) if stone.domain is Domain.EMBEDDINGS
        }
    if lost:
        raise IntegrityFailure("the key of stored data is gone", hint="run 'fabnet-secure doctor'", code="KEY_LOST")
    return Keys(
        living=dict(zip(wrapped, site.keyring.unwrap_many(list(wrapped.values())), strict=True)),
        second=dict(zip(waiting, site.keyring.unwrap_many(list(waiting.values())), strict=True)),
    )


def misfit() -> IntegrityFailure:
    """Return the failure for a page that is not of the shape that is stored beside it."""
    return IntegrityFailure(
        "a page of embeddings does not have the shape that is stored beside it",
        hint="restore a backup",
        code="STORE_CORRUPT",
    )
