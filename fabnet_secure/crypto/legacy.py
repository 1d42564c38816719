"""Reading the keys of vaults made before epochs had domains (epoch kind 1); nothing here writes.

There, one key an epoch, wrapped under the root alone, wrapped every data key and every secret. Used only while
``init`` brings such a vault to the present form; it can go when no such vault is left.
"""

from collections.abc import Mapping
from typing import Final, NoReturn, final

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.envelope import DataKey
from fabnet_secure.crypto.epoch import wrong_key
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.types import canonical_json

_SECRET_MAGIC: Final = b"FSS1"
_SECRET_HEADER_BYTES: Final = len(_SECRET_MAGIC) + 4


@final
class LegacyKeyring:
    """The epoch keys of kind 1, in memory; it opens and makes nothing."""

    __slots__ = ("_epochs",)

    def __init__(self, root: RootKey, epochs: Mapping[int, bytes]) -> None:
        """Unwrap the living epoch keys (number → wrapped key).

        Raises:
            KeyProblem: (KEY_WRONG) the root key does not open one of them.
        """
        self._epochs = {number: _open_epoch(root, number, wrapped) for number, wrapped in epochs.items()}

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that it opens."""
        return tuple(sorted(self._epochs))

    def unwrap(self, key: WrappedKey) -> DataKey:
        """Open a data key.

        Raises:
            IntegrityFailure: (SEAL_BROKEN) a field was changed, or the key was moved to another row.
            KeyProblem: (KEY_EPOCH_GONE) its epoch is not here.
        """
        bound = canonical_json(
            {
                "format": "wrap/1",
                "key_id": key.key_id,
                "epoch": key.epoch,
                "domain": key.domain.value,
                "subject_id": key.subject_id,
                "consent_id": key.consent_id,
                "public": key.public.hex(),
            }
        )
        return DataKey(aead.decrypt(self._epoch(key.epoch), bound, key.wrapped))

    def unwrap_secret(self, name: str, wrapped: bytes) -> bytes:
        """Open a secret of the vault; its epoch's number stands in its bytes 4 to 7.

        Raises:
            IntegrityFailure: (SEAL_MALFORMED, SEAL_BROKEN) it is no wrapped secret, was changed, or has another name.
            KeyProblem: (KEY_EPOCH_GONE) its epoch is not here.
        """
        if not wrapped.startswith(_SECRET_MAGIC) or len(wrapped) < _SECRET_HEADER_BYTES + aead.OVERHEAD:
            raise IntegrityFailure(f"the stored secret {name!r} is not a wrapped secret", code="SEAL_MALFORMED")
        epoch = int.from_bytes(wrapped[len(_SECRET_MAGIC) : _SECRET_HEADER_BYTES], "big")
        bound = canonical_json({"format": "secret/1", "name": name, "epoch": epoch})
        return aead.decrypt(self._epoch(epoch), bound, wrapped[_SECRET_HEADER_BYTES:])

    def wipe(self) -> None:
        """Overwrite every key."""
        for secret in self._epochs.values():
            secret.wipe()

    def _epoch(self, number: int) -> bytes:
        if number not in self._epochs:
            raise KeyProblem(f"epoch key {number} is not in the keyring", code="KEY_EPOCH_GONE")
        return self._epochs[number].reveal()

    def __repr__(self) -> str:
        return f"<LegacyKeyring: epochs {sorted(self._epochs)}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a LegacyKeyring is never pickled or copied")


def _open_epoch(root: RootKey, number: int, wrapped: bytes) -> Secret:
    try:
        return Secret(aead.decrypt(root.reveal(), _epoch_binding(number), wrapped))
    except IntegrityFailure as error:
        raise wrong_key(number) from error


def _epoch_binding(epoch: int) -> bytes:
    return canonical_json({"format": "epoch/1", "epoch": epoch})
