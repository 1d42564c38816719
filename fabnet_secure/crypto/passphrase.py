"""A key file that a passphrase opens: Argon2id makes the wrapping key, so that guessing is slow and wants memory.

Guarantees: whoever has the file alone must pay 256 MiB and about half a second for each guess; no byte of the file can
be changed unnoticed; a crafted file can neither ask for more than 1 GiB nor for weak parameters. Does not make a weak
passphrase strong, and does not protect from whoever reads the memory or the keyboard of a machine that opens it.

File: ``FABNET-SECURE-KEY-ARGON2ID-1``; canonical JSON of ``lanes``, ``memory_kib``, ``passes`` and ``salt`` (16 bytes,
base64); base64 of Cobblestone-256(key = Argon2id(passphrase in NFC and UTF-8), context = both lines).

Source: RFC 9106 (Argon2id; section 4 for the parameters), RFC 8265 (NFC for passphrases).
"""

import base64
import binascii
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.keyfile import Protected, RootKey, binding_of, no_key_file, protected_content
from fabnet_secure.crypto.secret import SECRET_BYTES
from fabnet_secure.errors import IntegrityFailure, KeyProblem

FIRST_LINE: Final = b"FABNET-SECURE-KEY-ARGON2ID-1"
_SHORTEST: Final = 12
_SALT_BYTES: Final = 16
_COST: Final = {"lanes": 4, "memory_kib": 256 * 1024, "passes": 3}
_BOUNDS: Final = {"lanes": (1, 16), "memory_kib": (64 * 1024, 1024 * 1024), "passes": (3, 16)}
"""The least is the second recommendation of RFC 9106; the most is what a small machine can still pay."""


class Ask(Protocol):
    """Where a passphrase or a PIN comes from: a terminal, a file or a pipe; never a flag or a variable."""

    def __call__(self, what: str, *, fresh: bool = False) -> str:
        """Return the secret.

        Args:
            what: which one, for a person: ``the passphrase of /home/ada/site.key``.
            fresh: it is chosen now: a person types it twice.

        Raises:
            KeyProblem: (NO_PASSPHRASE) there is nobody and nothing to ask.
        """


def refuse(what: str, *, fresh: bool = False) -> NoReturn:
    """Ask nobody: the answer of a machine without a terminal and without a passphrase file.

    Raises:
        KeyProblem: (NO_PASSPHRASE) always.
    """
    del fresh
    raise KeyProblem(
        f"{what} is needed, and there is no terminal to ask at",
        hint="give --passphrase-file FILE (or '-' for standard input) before the command, or set "
        "FABNET_PASSPHRASE_FILE; a machine without people can have a plain key file or a token",
        code="NO_PASSPHRASE",
    )


def lock(root: RootKey, passphrase: str) -> bytes:
    """Return the content of a key file that ``passphrase`` opens.

    Raises:
        KeyProblem: (PASSPHRASE_SHORT) fewer than 12 characters; (PASSPHRASE_MEMORY) there is no room for Argon2id.
    """
    if len(_normal(passphrase)) < _SHORTEST:
        raise KeyProblem(
            f"a passphrase has at least {_SHORTEST} characters",
            hint="six words drawn by dice are easy to keep and hard to guess",
            code="PASSPHRASE_SHORT",
        )
    header: dict[str, int | str] = {**_COST, "salt": base64.b64encode(os.urandom(_SALT_BYTES)).decode()}
    binding = binding_of(FIRST_LINE, header)
    return protected_content(binding, aead.encrypt(_derive(passphrase, header), binding, root.reveal()))


def unlock(path: Path, parts: Protected, ask: Ask) -> RootKey:
    """Open a key file of this form; the passphrase is asked for only when the file makes sense.

    Raises:
        KeyProblem: (KEY_FORMAT) it is not of this form; (KEY_PARAMETERS) it asks for too much or too little work;
            (PASSPHRASE_WRONG) it does not open; (PASSPHRASE_MEMORY); and as ``ask``.
    """
    _check(path, parts)
    passphrase = ask(f"the passphrase of {path}")
    try:
        return RootKey(aead.decrypt(_derive(passphrase, parts.header), parts.binding, parts.wrapped))
    except IntegrityFailure as error:
        raise KeyProblem(
            f"the passphrase does not open {path}",
            hint="try again; if it is surely right, the file was changed: restore it from a copy",
            code="PASSPHRASE_WRONG",
        ) from error


def _check(path: Path, parts: Protected) -> None:
    """Refuse another form, and parameters out of bounds, before any work is done or anybody asked."""
    header = parts.header
    try:
        salt = base64.b64decode(header.get("salt", ""), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise no_key_file(path) from error
    costs = [header.get(name) for name in _BOUNDS]
    if (
        set(header) != {*_BOUNDS, "salt"}
        or len(salt) != _SALT_BYTES
        or not all(type(cost) is int for cost in costs)
        or len(parts.wrapped) != aead.OVERHEAD + SECRET_BYTES
    ):
        raise no_key_file(path)
    if not all(low <= header[name] <= high for name, (low, high) in _BOUNDS.items()):
        raise KeyProblem(
            f"the key file {path} asks for unusual Argon2id parameters",
            hint="it was not made by this program, or was changed: restore it from a copy",
            code="KEY_PARAMETERS",
        )


def _derive(passphrase: str, header: Mapping[str, Any]) -> bytes:
    """Return the 32-byte wrapping key; the header was checked, or is our own."""
    kdf = Argon2id(
        salt=base64.b64decode(header["salt"]),
        length=SECRET_BYTES,
        iterations=header["passes"],
        lanes=header["lanes"],
        memory_cost=header["memory_kib"],
    )
    try:
        return kdf.derive(_normal(passphrase).encode())
    except MemoryError as error:
        raise KeyProblem(
            "there is not enough memory to work on a passphrase",
            hint=f"it takes {header['memory_kib'] // 1024} MiB for a moment",
            code="PASSPHRASE_MEMORY",
        ) from error
    except UnicodeEncodeError as error:
        raise KeyProblem("the passphrase is not valid Unicode text", code="PASSPHRASE_FORMAT") from error


def _normal(passphrase: str) -> str:
    return unicodedata.normalize("NFC", passphrase)
