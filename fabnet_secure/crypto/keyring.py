"""The keyring: root key → epoch keys → one random data key a person and domain.

Guarantees: a wrapped key opens only under its own epoch key and only in its own row (every field is bound); destroying
an epoch's wrapped key closes every older copy of what it wrapped. Stores nothing: rows are the keystore's work.
Does not decide who may open what: that is ``access/``.

Each wrap is Cobblestone-256 with the canonical JSON of the row's own fields as context; there is no second form.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NoReturn, final

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.envelope import DataKey
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import IntegrityFailure, KeyProblem
from fabnet_secure.types import ConsentId, Domain, KeyId, SubjectId, canonical_json, new_id

_SECRET_MAGIC: Final = b"FSS1"
_SECRET_HEADER_BYTES: Final = len(_SECRET_MAGIC) + 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key as the keystore keeps it.

    Args:
        key_id: its identifier.
        epoch: the number of the epoch key that wraps it.
        domain: the kind of data it opens.
        subject_id: the person.
        consent_id: the consent it lives and dies with, if any.
        wrapped: the wrapped 256-bit key; empty once destroyed.
        public: the 32-byte X25519 public half; empty once destroyed.
    """

    key_id: KeyId
    epoch: int
    domain: Domain
    subject_id: SubjectId
    consent_id: ConsentId | None
    wrapped: bytes
    public: bytes

    def binding(self) -> bytes:
        """Return the canonical JSON of every field but ``wrapped``: what the wrap is bound to."""
        return canonical_json(
            {
                "format": "wrap/1",
                "key_id": self.key_id,
                "epoch": self.epoch,
                "domain": self.domain.value,
                "subject_id": self.subject_id,
                "consent_id": self.consent_id,
                "public": self.public.hex(),
            }
        )


@final
class Keyring:
    """The epoch keys, unwrapped, in memory. Made by :meth:`open`; wipe it when the work is done."""

    __slots__ = ("_epochs",)

    def __init__(self, epochs: Mapping[int, Secret]) -> None:
        self._epochs = dict(epochs)

    @classmethod
    def open(cls, root: RootKey, epochs: Mapping[int, bytes]) -> "Keyring":
        """Unwrap the living epoch keys (epoch number → wrapped key; leave destroyed ones out).

        Raises:
            KeyProblem: (KEY_WRONG) the root key does not open one of them; (KEY_NO_EPOCH) there is none.
        """
        if not epochs:
            raise KeyProblem(
                "the keystore holds no epoch key", hint="run 'fabnet-secure init', or restore it", code="KEY_NO_EPOCH"
            )
        return cls({number: _open_epoch(root, number, wrapped) for number, wrapped in epochs.items()})

    @staticmethod
    def new_epoch(root: RootKey, epoch: int) -> bytes:
        """Make a random epoch key and return it wrapped under the root key, bound to its number."""
        return aead.encrypt(root.reveal(), _epoch_binding(epoch), Secret.generate().reveal())

    @property
    def newest(self) -> int:
        """The number of the epoch that new keys are wrapped under."""
        return max(self._epochs)

    def mint(self, *, domain: Domain, subject_id: SubjectId, consent_id: ConsentId | None) -> WrappedKey:
        """Make a fresh random data key for one person, domain and consent, wrapped under the newest epoch."""
        key = DataKey.generate()
        row = WrappedKey(
            key_id=KeyId(new_id()),
            epoch=self.newest,
            domain=domain,
            subject_id=subject_id,
            consent_id=consent_id,
            wrapped=b"",
            public=key.public.raw,
        )
        return self._wrap(row, key)

    def unwrap(self, key: WrappedKey) -> DataKey:
        """Open a wrapped data key.

        Raises:
            IntegrityFailure: (SEAL_BROKEN) a field was changed, or the key was moved to another row.
            KeyProblem: (KEY_DESTROYED) the key was destroyed; (KEY_EPOCH_GONE) its epoch is not in this keyring.
        """
        if not key.wrapped:
            raise KeyProblem(
                f"key {key.key_id} was destroyed", hint="what it sealed cannot be opened again", code="KEY_DESTROYED"
            )
        opened = DataKey(aead.decrypt(self._epoch(key.epoch), key.binding(), key.wrapped))
        if opened.public.raw != key.public:
            raise aead.broken()
        return opened

    def rewrap(self, key: WrappedKey) -> WrappedKey:
        """Return the same data key wrapped under the newest epoch (``keys rekey``).

        Raises:
            IntegrityFailure, KeyProblem: as :meth:`unwrap`.
        """
        return self._wrap(replace(key, epoch=self.newest), self.unwrap(key))

    def wrap_secret(self, name: str, secret: bytes) -> bytes:
        """Wrap a secret of the whole vault (a signing seed, the blind-index key) under the newest epoch.

        The epoch's number stands in the first 8 bytes, so the wrapped secret says which epoch opens it.
        """
        epoch = self.newest
        header = _SECRET_MAGIC + epoch.to_bytes(4, "big")
        return header + aead.encrypt(self._epoch(epoch), _secret_binding(name, epoch), secret)

    def unwrap_secret(self, name: str, wrapped: bytes) -> bytes:
        """Open what :meth:`wrap_secret` wrapped under the same name.

        Raises:
            IntegrityFailure: (SEAL_MALFORMED, SEAL_BROKEN) it is no wrapped secret, was changed, or has another name.
            KeyProblem: (KEY_EPOCH_GONE) its epoch is not in this keyring.
        """
        if not wrapped.startswith(_SECRET_MAGIC) or len(wrapped) < _SECRET_HEADER_BYTES + aead.OVERHEAD:
            raise IntegrityFailure(f"the stored secret {name!r} is not a wrapped secret", code="SEAL_MALFORMED")
        epoch = int.from_bytes(wrapped[len(_SECRET_MAGIC) : _SECRET_HEADER_BYTES], "big")
        return aead.decrypt(self._epoch(epoch), _secret_binding(name, epoch), wrapped[_SECRET_HEADER_BYTES:])

    def wipe(self) -> None:
        """Overwrite every epoch key; the keyring opens nothing afterwards."""
        for secret in self._epochs.values():
            secret.wipe()

    def _wrap(self, row: WrappedKey, key: DataKey) -> WrappedKey:
        return replace(row, wrapped=aead.encrypt(self._epoch(row.epoch), row.binding(), key.reveal()))

    def _epoch(self, number: int) -> bytes:
        if number not in self._epochs:
            raise KeyProblem(
                f"epoch key {number} is not in the keyring",
                hint="it was destroyed, or the keystore is older than this row",
                code="KEY_EPOCH_GONE",
            )
        return self._epochs[number].reveal()

    def __repr__(self) -> str:
        return f"<Keyring: epochs {sorted(self._epochs)}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Keyring is never pickled or copied")


def _open_epoch(root: RootKey, number: int, wrapped: bytes) -> Secret:
    try:
        return Secret(aead.decrypt(root.reveal(), _epoch_binding(number), wrapped))
    except IntegrityFailure as error:
        raise KeyProblem(
            f"the key file does not open epoch key {number} of this vault",
            hint="give the key file that belongs to this vault (--key-file)",
            code="KEY_WRONG",
        ) from error


def _epoch_binding(epoch: int) -> bytes:
    return canonical_json({"format": "epoch/1", "epoch": epoch})


def _secret_binding(name: str, epoch: int) -> bytes:
    return canonical_json({"format": "secret/1", "name": name, "epoch": epoch})
