"""Epochs: one random seed each, from which the domain keys come, behind two locks.

The seed is wrapped under the vault's root, and that wrap once more under the epoch's *gate*: a random secret in a
small file outside both databases, overwritten when the epoch ends (``crypto/gate.py``). So an old copy of both of them
opens nothing once its epoch has ended, not even for whoever holds the root or a principal's key: what it lacks is gone.
Holders' blobs (``crypto/holder.py``) stand behind the same gate.

Guarantees: a wrapped seed opens only with its root, its gate, its number and its vault. Does not guard against whoever
kept the gate *and* the keystore *and* a key that opens it: that is what ``keys reencrypt`` is for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.gate import Gate
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.crypto.wrap import WrapKey
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.types import KeyDomain, canonical_json

KIND: Final = 2  # 1: a key under the root alone, see crypto/legacy.py


@final
class EpochSeed(Secret):
    """The 256-bit secret of one epoch. Never printed, never pickled."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch as the keystore keeps it.

    Args:
        number: from 1, rising.
        wrapped: the seed behind its two locks.
        public: the public half (32 bytes, X25519) of each domain key.
    """

    number: int
    wrapped: bytes
    public: Mapping[KeyDomain, bytes]


def wrap_seed(seed: EpochSeed, *, root: RootKey, gate: Gate, vault_id: str, number: int) -> bytes:
    """Put a seed behind the root and the gate."""
    bound = _bound(vault_id, number)
    return gate.close(bound, WrapKey(root.reveal()).wrap(bound, seed.reveal()))


def open_seed(wrapped: bytes, *, root: RootKey, gate: Gate, vault_id: str, number: int) -> EpochSeed:
    """Open what :func:`wrap_seed` made.

    Raises:
        IntegrityFailure: (EPOCH_BROKEN) the gate does not fit: changed bytes, or another vault's keystore.
        KeyProblem: (KEY_WRONG) the gate fits and the root key does not.
    """
    bound = _bound(vault_id, number)
    inner = gate.open(bound, wrapped)
    try:
        return EpochSeed(WrapKey(root.reveal()).unwrap(bound, inner))
    except IntegrityFailure as error:
        raise wrong_key(number) from error


def domain_keys(seed: EpochSeed) -> dict[KeyDomain, WrapKey]:
    """Derive the key of every domain: whoever is given one of them learns nothing of the others."""
    return {domain: WrapKey(aead.derive(seed.reveal(), f"fabnet-secure/domain/{domain}/v1")) for domain in KeyDomain}


def make_epoch(number: int, *, root: RootKey, gate: Gate, vault_id: str) -> tuple[Epoch, dict[KeyDomain, WrapKey]]:
    """Make a fresh epoch: what to store of it, and its domain keys."""
    seed = EpochSeed.generate()
    keys = domain_keys(seed)
    wrapped = wrap_seed(seed, root=root, gate=gate, vault_id=vault_id, number=number)
    seed.wipe()
    public = {domain: key.public.raw for domain, key in keys.items()}
    return Epoch(number=number, wrapped=wrapped, public=public), keys


def wrong_key(number: int) -> KeyProblem:
    """Return the error for a key file that is neither the vault's root nor a holder's."""
    return KeyProblem(
        f"the key file does not open epoch key {number} of this vault",
        hint="give the key file that belongs to this vault (--key-file)",
        code="KEY_WRONG",
    )


def _bound(vault_id: str, number: int) -> bytes:
    return canonical_json({"format": "epoch/2", "vault_id": vault_id, "epoch": number})
