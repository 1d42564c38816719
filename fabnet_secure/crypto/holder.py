"""Holders: principals with a keyring of their own, which opens the domains of their duties and nothing else.

A holder's blob is the domain keys of its domains, sealed to the public half of its own key file and put behind the
epoch's gate. Guarantees: a blob opens only with that key, for that vault, name, epoch, roles, domains and grant;
``proof`` is a MAC that only the root can make, over the revocation too, checked whenever the root works on holders: a
holder or a domain added by hand, or a revocation taken back, is found then, and a changed row does not open at once.
That a row is the newest the root made is for the pipeline to say (``pipeline/ended.py``): an older one is as well
proven. Does not keep a holder from giving its own key away.

Source: NIST SP 800-57 part 1, 5.3 (key separation by purpose); after age's recipients.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.envelope import PublicKey
from fabnet_secure.crypto.gate import Gate
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.secret import SECRET_BYTES
from fabnet_secure.crypto.wrap import WrapKey, wrap_to
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.types import KeyDomain, canonical_json, rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A principal's keyring as the keystore keeps it.

    Args:
        name: the account on this machine; the keyring opens under no other.
        public: the public half (32 bytes, X25519) of the principal's key file.
        roles: the roles it was granted for, sorted.
        domains: the domains it opens, sorted.
        proof: the root's MAC over all this (hex).
        created_at: when it was granted; no two grants of an account bear the same time, so it is the grant's number.
        revoked_at: when it was revoked, if it was.
    """

    name: str
    public: bytes
    roles: tuple[str, ...]
    domains: tuple[KeyDomain, ...]
    proof: str
    created_at: datetime
    revoked_at: datetime | None = None

    def binding(self, vault_id: str, epoch: int | None = None) -> bytes:
        """Return the canonical JSON that a blob (with its epoch) or the proof (without) is bound to."""
        return canonical_json(
            {
                "format": "holder/2",
                "vault_id": vault_id,
                "name": self.name,
                "public": self.public.hex(),
                "roles": list(self.roles),
                "domains": [domain.value for domain in self.domains],
                "epoch": epoch,
                "created_at": rfc3339(self.created_at),
                "revoked_at": rfc3339(self.revoked_at) if self.revoked_at else None,
            }
        )


def holder_proof(root: RootKey, vault_id: str, holder: Holder) -> str:
    """Return the root's MAC (HMAC-SHA256, hex) over a holder's row."""
    key = aead.derive(root.reveal(), "fabnet-secure/holder-proof/v1")
    return hmac.new(key, holder.binding(vault_id), "sha256").hexdigest()


def check_proof(root: RootKey, vault_id: str, holder: Holder) -> None:
    """Refuse a holder that the root did not make.

    Raises:
        IntegrityFailure: (HOLDER_FORGED).
    """
    if not hmac.compare_digest(holder_proof(root, vault_id, holder), holder.proof):
        raise forged(holder.name)


def seal_holding(holder: Holder, epoch: int, keys: Mapping[KeyDomain, WrapKey], *, gate: Gate, vault_id: str) -> bytes:
    """Return the blob that gives a holder the domain keys of one epoch."""
    bound = holder.binding(vault_id, epoch)
    octets = b"".join(keys[domain].reveal() for domain in holder.domains)
    return gate.close(bound, wrap_to(PublicKey(holder.public), bound, octets))


def open_holding(
    holder: Holder, epoch: int, sealed: bytes, own: RootKey, *, gate: Gate, vault_id: str
) -> dict[KeyDomain, WrapKey]:
    """Open a holder's blob with its own key.

    Raises:
        IntegrityFailure: (HOLDER_FORGED) the row or the blob is not what the root made for this key.
    """
    bound = holder.binding(vault_id, epoch)
    try:
        octets = WrapKey(own.reveal()).unwrap(bound, gate.open(bound, sealed))
    except IntegrityFailure as error:
        raise forged(holder.name) from error
    if len(octets) != SECRET_BYTES * len(holder.domains):
        raise forged(holder.name)
    parts = (octets[at : at + SECRET_BYTES] for at in range(0, len(octets), SECRET_BYTES))
    return {domain: WrapKey(part) for domain, part in zip(holder.domains, parts, strict=True)}


def forged(name: str) -> IntegrityFailure:
    """Return the failure, code ``HOLDER_FORGED``."""
    return IntegrityFailure(
        f"the keyring of account '{name}' in the keystore is not what the vault's root last made",
        hint="put the newest keystore.db back; or, with the vault's root key, 'keys revoke' it, and grant it again",
        code="HOLDER_FORGED",
    )
