"""The keyring: domain keys in memory, and the data keys and secrets that they wrap.

root key + gate → epoch seed → one key a domain → one random data key a person and domain. Guarantees: a wrapped key
opens only under its own epoch's and domain's key and only in its own row (every field is bound); a keyring that lacks a
domain makes keys of it (by the public half) and opens none; what an ended epoch wrapped opens no more. Stores nothing:
rows are the keystore's work. Does not decide who may open what: that is ``access/``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import NoReturn, final

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.envelope import DataKey, PublicKey
from fabnet_secure.crypto.wrap import WrapKey, by_public, wrap_to
from fabnet_secure.errors import KeyProblem
from fabnet_secure.types import ConsentId, Domain, KeyDomain, KeyId, SubjectId, canonical_json, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key as the keystore keeps it.

    Args:
        key_id: its identifier.
        epoch: the number of the epoch whose domain key wraps it.
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
        consent_id = self.consent_id
        plain = self.key_id + self.subject_id + (consent_id or "")
        if not (plain.isascii() and plain.replace("-", "").isalnum()):
            return self._binding()
        # The same bytes, nine times as fast: ten thousand of these are made when a vault is unlocked.
        consent = "null" if consent_id is None else f'"{consent_id}"'
        return (
            f'{{"consent_id":{consent},"domain":"{self.domain.value}","epoch":{self.epoch},"format":"wrap/2",'
            f'"key_id":"{self.key_id}","public":"{self.public.hex()}","subject_id":"{self.subject_id}"}}'
        ).encode()

    def _binding(self) -> bytes:
        return canonical_json(
            {
                "format": "wrap/2",
                "key_id": self.key_id,
                "epoch": self.epoch,
                "domain": self.domain.value,
                "subject_id": self.subject_id,
                "consent_id": self.consent_id,
                "public": self.public.hex(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedSecret:
    """A secret of the whole vault as the keystore keeps it.

    Args:
        name: what it is: ``log_signing``, ``quarantine/…``.
        epoch: the number of the epoch whose domain key wraps it.
        domain: the duty that opens it.
        wrapped: the wrapped secret.
        public: its public half where it has one, else empty.
    """

    name: str
    epoch: int
    domain: KeyDomain
    wrapped: bytes
    public: bytes = b""

    def binding(self) -> bytes:
        """Return the canonical JSON of every field but ``wrapped``."""
        return canonical_json(
            {
                "format": "secret/2",
                "name": self.name,
                "epoch": self.epoch,
                "domain": self.domain.value,
                "public": self.public.hex(),
            }
        )


@final
class Keyring:
    """Domain keys in memory; wipe it when the work is done.

    Args:
        secret: the domain keys that this keyring opens, by epoch and domain.
        public: the public halves of every domain's key, by epoch: what is made is made with these.
    """

    __slots__ = ("_public", "_secret")

    def __init__(
        self,
        secret: Mapping[tuple[int, KeyDomain], WrapKey],
        public: Mapping[int, Mapping[KeyDomain, PublicKey]],
    ) -> None:
        self._secret = dict(secret)
        self._public = {number: dict(halves) for number, halves in public.items()}

    @classmethod
    def of_epoch(cls, number: int, keys: Mapping[KeyDomain, WrapKey]) -> "Keyring":
        """Return the keyring of one epoch whose every domain key is at hand."""
        public = {domain: key.public for domain, key in keys.items()}
        return cls({(number, domain): key for domain, key in keys.items()}, {number: public})

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that the keyring knows."""
        return tuple(sorted(self._public))

    @property
    def empty(self) -> bool:
        """Whether the keyring knows no epoch at all."""
        return not self._public

    @property
    def newest(self) -> int:
        """The number of the epoch that new keys are wrapped under.

        Raises:
            KeyProblem: (KEY_NO_EPOCH) the keyring knows none.
        """
        if not self._public:
            raise KeyProblem(
                "the keystore holds no epoch key", hint="run 'fabnet-secure init', or restore it", code="KEY_NO_EPOCH"
            )
        return max(self._public)

    @property
    def domains(self) -> frozenset[KeyDomain]:
        """The domains that this keyring opens in the newest epoch."""
        return frozenset(domain for number, domain in self._secret if number == self.newest)

    def opens(self, domain: KeyDomain | Domain) -> bool:
        """Tell whether the keyring opens what is wrapped for a domain now."""
        return KeyDomain(domain.value) in self.domains

    def domain_keys(self, epoch: int) -> dict[KeyDomain, WrapKey]:
        """Return the domain keys of one epoch that are at hand, for handing them to holders."""
        return {domain: key for (number, domain), key in self._secret.items() if number == epoch}

    def public_halves(self, epoch: int) -> dict[KeyDomain, bytes]:
        """Return the public half (32 bytes) of each domain key of one epoch."""
        return {domain: half.raw for domain, half in self._public[epoch].items()}

    def mint(self, *, domain: Domain, subject_id: SubjectId, consent_id: ConsentId | None) -> WrappedKey:
        """Make a fresh random data key for one person, domain and consent, wrapped under the newest epoch.

        A keyring without the domain wraps by its public half, and could not open the key again.
        """
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
        return self.wrap(row, key)

    def wrap(self, row: WrappedKey, key: DataKey) -> WrappedKey:
        """Return ``row`` with ``key`` wrapped under the newest epoch (whatever epoch and wrap it had)."""
        fresh = replace(row, epoch=self.newest, wrapped=b"")
        return replace(fresh, wrapped=self._wrap(KeyDomain(row.domain.value), fresh.binding(), key.reveal()))

    def unwrap(self, key: WrappedKey) -> DataKey:
        """Open a wrapped data key.

        Raises:
            IntegrityFailure: (SEAL_BROKEN, SEAL_MALFORMED) a field was changed, or the key was moved to another row.
            KeyProblem: (KEY_DESTROYED) the key was destroyed; (KEY_DOMAIN) this keyring does not open its domain;
                (KEY_EPOCH_GONE) its epoch has ended.
        """
        if not key.wrapped:
            raise KeyProblem(
                f"key {key.key_id} was destroyed", hint="what it sealed cannot be opened again", code="KEY_DESTROYED"
            )
        opened = DataKey(self._key(key.epoch, KeyDomain(key.domain.value)).unwrap(key.binding(), key.wrapped))
        # The public half is bound; but by its public half alone anybody may have wrapped a key that is not its own.
        if by_public(key.wrapped) and opened.public.raw != key.public:
            raise aead.broken()
        return opened

    def unwrap_many(self, keys: Iterable[WrappedKey]) -> list[DataKey]:
        """Open wrapped data keys, in their order; all or none.

        About 3 µs each where the wrap is of the keyring's own making or was renewed by ``keys rekey``; 100 µs where it
        was made by public half.

        Raises:
            IntegrityFailure, KeyProblem: as :meth:`unwrap`.
        """
        opened: list[DataKey] = []
        for (epoch, domain), run in groupby(keys, key=attrgetter("epoch", "domain")):
            wrap_key = self._secret.get((epoch, KeyDomain(domain.value)))
            for key in run:
                if wrap_key is None or not key.wrapped or by_public(key.wrapped):
                    opened.append(self.unwrap(key))
                else:
                    opened.append(DataKey(wrap_key.unwrap(key.binding(), key.wrapped)))
        return opened

    def wrap_secret(self, name: str, secret: bytes, domain: KeyDomain, public: bytes = b"") -> WrappedSecret:
        """Wrap a secret of the whole vault (a signing seed, a quarantined record's key) under the newest epoch."""
        row = WrappedSecret(name=name, epoch=self.newest, domain=domain, wrapped=b"", public=public)
        return replace(row, wrapped=self._wrap(domain, row.binding(), secret))

    def unwrap_secret(self, row: WrappedSecret) -> bytes:
        """Open what :meth:`wrap_secret` made.

        Raises:
            IntegrityFailure, KeyProblem: as :meth:`unwrap`.
        """
        return self._key(row.epoch, row.domain).unwrap(row.binding(), row.wrapped)

    def wipe(self) -> None:
        """Overwrite every domain key; the keyring opens nothing afterwards."""
        for key in self._secret.values():
            key.wipe()

    def _wrap(self, domain: KeyDomain, bound: bytes, plaintext: bytes) -> bytes:
        own = self._secret.get((self.newest, domain))
        if own is not None:
            return own.wrap(bound, plaintext)
        return wrap_to(self._public[self.newest][domain], bound, plaintext)

    def _key(self, number: int, domain: KeyDomain) -> WrapKey:
        found = self._secret.get((number, domain))
        if found is not None:
            return found
        if number not in self._public:
            raise KeyProblem(
                f"epoch key {number} is not in the keyring",
                hint="its epoch has ended: if another process renewed the keys just now, run the command again",
                code="KEY_EPOCH_GONE",
            )
        raise KeyProblem(
            f"this keyring does not open {domain.value}",
            hint="it is for other duties: 'fabnet-secure keys list' shows who holds which domains",
            code="KEY_DOMAIN",
        )

    def __repr__(self) -> str:
        return f"<Keyring: epochs {sorted(self._public)}, domains {sorted({d.value for _, d in self._secret})}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Keyring is never pickled or copied")
