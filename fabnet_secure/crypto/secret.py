"""A 32-byte secret that does not leak by accident.

Guarantees: it is not shown by ``repr`` or ``str``, not pickled, not copied, compared in constant time, and after
:meth:`Secret.wipe` it opens nothing. Does not guarantee that no copy stays in memory: Python and OpenSSL make short
copies of their own while they work, and those are only freed, not overwritten.
"""

import hmac
import os
from typing import NoReturn, Self, final

from fabnet_secure.errors import KeyProblem

SECRET_BYTES = 32


class Secret:
    """32 secret bytes.

    Args:
        octets: the secret, exactly 32 bytes.

    Raises:
        KeyProblem: (KEY_FORMAT) the length is wrong.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        if len(octets) != SECRET_BYTES:
            raise KeyProblem(f"a key has {SECRET_BYTES} bytes, not {len(octets)}", code="KEY_FORMAT")
        self._octets = bytearray(octets)

    @classmethod
    def generate(cls) -> Self:
        """Return a fresh secret from the operating system's random source."""
        return cls(os.urandom(SECRET_BYTES))

    def reveal(self) -> bytes:
        """Return the secret's bytes: for wrapping and deriving inside ``crypto/``, and for a worker process of ours.

        Raises:
            KeyProblem: (KEY_WIPED) the secret was wiped.
        """
        if not self._octets:
            raise KeyProblem("this key was wiped from memory", hint="open the keyring again", code="KEY_WIPED")
        return bytes(self._octets)

    def wipe(self) -> None:
        """Overwrite the secret in place and forget it (best effort: see the module's first words)."""
        self._octets[:] = bytes(len(self._octets))
        self._octets = bytearray()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> NoReturn:
        raise TypeError("a secret is no dictionary key")

    @final
    def __repr__(self) -> str:
        return f"<{type(self).__name__}: hidden>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is never pickled or copied")
