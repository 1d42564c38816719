"""Digests: of files, of names that must be found again without being stored, and of whole inputs.

Guarantees: keyed digests reveal nothing about a name to whoever lacks the key, and the two kinds never collide (each
has its own prefix). Whoever holds the key can test guesses: the index key is a vault secret.
"""

import hashlib
import hmac
import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from fabnet_secure.errors import UsageError
from fabnet_secure.types import canonical_json


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's contents (lower-case hex), read in pieces.

    Raises:
        UsageError: (FILE_UNREADABLE) it is missing, no plain file, or may not be read.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path} is not a plain file", code="FILE_UNREADABLE")
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read", hint=str(error.strerror), code="FILE_UNREADABLE") from error


def sha256_bytes(blob: bytes) -> str:
    """Return the SHA-256 of some bytes (lower-case hex)."""
    return hashlib.sha256(blob).hexdigest()


def blind_index(key: bytes, text: str) -> str:
    """Return a keyed digest (HMAC-SHA256, hex) by which a name is found again without being stored.

    Case, width and composition do not count (Unicode compatibility caseless matching, D146), nor does space around it.

    Args:
        key: the vault's 32-byte index key.
        text: the reference as the site writes it.

    Raises:
        UsageError: (REFERENCE_INVALID) the text is empty, or no valid Unicode.
    """
    try:
        folded = _fold(text).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the reference is not valid Unicode text", code="REFERENCE_INVALID") from error
    if not folded:
        raise UsageError("the reference of a person is empty", hint="give --subject-ref", code="REFERENCE_INVALID")
    return hmac.new(key, b"fabnet-secure/blind-index/v1\x00" + folded, "sha256").hexdigest()


def fingerprint(key: bytes, parts: Sequence[str]) -> str:
    """Return a keyed digest (HMAC-SHA256, hex) of a list of strings; where one ends and the next begins counts.

    Raises:
        UsageError: a part is not valid Unicode.
    """
    return hmac.new(key, b"fabnet-secure/fingerprint/v1\x00" + canonical_json(list(parts)), "sha256").hexdigest()


def random_bytes(n: int) -> bytes:
    """Return ``n`` bytes from the operating system's random source."""
    return os.urandom(n)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, so that a FIFO is refused instead of waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _fold(text: str) -> str:
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return " ".join(unicodedata.normalize("NFKC", once.casefold()).split())
