"""A fast stream of random bytes that nobody can predict, for the noise of differential privacy.

Guarantees: AES-256 in counter mode under a key that the operating system drew, which is never stored, shown or reused;
a forked child draws its own key, so two workers never add the same noise. Not safe for threads that share one stream.
A privacy guarantee rests on this being unpredictable: a seeded generator (``torch.manual_seed``) is not.

Source: NIST SP 800-38A (CTR); Garfinkel & Leclerc 2020, "Randomness Concerns When Deploying Differential Privacy".
"""

import os
from collections.abc import Callable
from typing import Final, NoReturn, final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

# Far below the 2^64 blocks at which a counter stream can be told from chance.
_REKEY_BYTES: Final = 1 << 40


@final
class KeyStream:
    """An endless stream of unpredictable bytes.

    Args:
        entropy: where the key comes from: ``n`` → ``n`` bytes. Anything but the default is for tests.
    """

    __slots__ = ("_cipher", "_entropy", "_left", "_owner")

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy
        self._rekey()

    def read(self, n: int) -> bytearray:
        """Return the next ``n`` bytes of the stream, in a buffer that is the caller's own.

        Raises:
            ValueError: ``n`` is negative.
        """
        octets = bytearray(n)
        if self._owner != os.getpid() or self._left < n:
            self._rekey()
        self._left -= n
        # Encrypting zeros in place: the key stream itself, without a second buffer.
        self._cipher.update_into(octets, octets)
        return octets

    def _rekey(self) -> None:
        # A fresh key each time makes the fixed first counter safe.
        cipher = Cipher(algorithms.AES256(self._entropy(32)), modes.CTR(bytes(16)))
        self._cipher: CipherContext = cipher.encryptor()
        self._left = _REKEY_BYTES
        self._owner = os.getpid()

    def __repr__(self) -> str:
        return "<KeyStream: hidden>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a KeyStream is never pickled or copied")
