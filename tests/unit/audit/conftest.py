"""A signed log in memory, for every test of the audit package."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fabnet_secure.audit.checkpoint import sign_checkpoint, vkey
from fabnet_secure.audit.log import Log
from fabnet_secure.audit.memory import MemoryStorage


class Signer:
    """An Ed25519 key made from one repeated byte."""

    def __init__(self, byte: int = 1) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([byte]) * 32)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@dataclass(slots=True)
class Site:
    """A log, its key and its present checkpoint."""

    storage: MemoryStorage
    log: Log
    signer: Signer
    origin: str = "example.org/log"

    @property
    def vkey(self) -> str:
        return vkey(self.origin, self.signer.public)

    def checkpoint(self, size: int | None = None) -> str:
        at = self.log.size if size is None else size
        return sign_checkpoint(self.origin, at, self.log.root(at), self.signer)


@pytest.fixture
def verify() -> Callable[[bytes, bytes, bytes], bool]:
    return verify_ed25519


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def other_signer() -> Signer:
    return Signer(2)


@pytest.fixture
def site() -> Callable[..., Site]:
    """Make a signed log of so many entries (``entry 0``, ``entry 1``, ...)."""

    def make(size: int, signer_byte: int = 1) -> Site:
        storage = MemoryStorage()
        log = Log(storage)
        log.append([f"entry {i}".encode() for i in range(size)])
        return Site(storage=storage, log=log, signer=Signer(signer_byte))

    return make
