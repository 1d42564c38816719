"""The witness's own key file: mode 0600, made on first use, kept apart from every vault.

Form: two lines of ASCII, ``FABNET-SECURE-WITNESS-1`` and the base64 of the 32-byte seed. Guarantees that a file open to
other accounts is refused and none is ever overwritten. The public half lies beside it (``<file>.pub``) as the program
writes it (:mod:`fabnet_secure.audit.cosign`).
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final

from fabnet_secure.crypto.files import read_checked
from fabnet_secure.crypto.mldsa import Cosigner
from fabnet_secure.crypto.secret import Secret
from fabnet_secure.errors import KeyProblem

_FIRST_LINE: Final = b"FABNET-SECURE-WITNESS-1"


def load_witness_key(path: Path) -> Cosigner:
    """Read the key at ``path``.

    Raises:
        KeyProblem: (KEY_MISSING) no such file; (KEY_MODE) open to others; (KEY_FORMAT) no witness's key;
            (KEY_UNREADABLE) the system refuses to read it.
    """
    try:
        content = read_checked(path, _check_guarded)
    except FileNotFoundError as error:
        raise KeyProblem("the witness has no key here", hint="name its file with --key", code="KEY_MISSING") from error
    except OSError as error:
        raise _unreadable(error) from error
    lines = content.split(b"\n")
    if len(lines) != 3 or lines[0] != _FIRST_LINE or lines[2]:
        raise _no_key()
    try:
        return Cosigner(Secret(base64.b64decode(lines[1], validate=True)))
    except (binascii.Error, KeyProblem) as error:
        raise _no_key() from error


def create_witness_key(path: Path) -> Cosigner:
    """Make a fresh key and write it to a new file (mode 0600, flushed); it appears whole or not at all.

    Raises:
        KeyProblem: (KEY_EXISTS) something is there; (KEY_NOT_WRITTEN) the file cannot be written.
    """
    made = Cosigner.generate()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_FIRST_LINE + b"\n" + base64.b64encode(made.seed) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink()
    except FileExistsError as error:
        raise KeyProblem("a key is there already", hint="it is never overwritten", code="KEY_EXISTS") from error
    except OSError as error:
        hint = f"{error.strerror}: name another place with --key"
        raise KeyProblem("the witness's key cannot be written", hint=hint, code="KEY_NOT_WRITTEN") from error
    return made


def _check_guarded(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _no_key()
    if status.st_mode & 0o077:
        raise KeyProblem(
            "the witness's key file is open to other accounts",
            hint="run 'chmod 600' on it, and ask who may have read it",
            code="KEY_MODE",
        )


def _no_key() -> KeyProblem:
    return KeyProblem(
        "this is not a witness's key file", hint="its first line is FABNET-SECURE-WITNESS-1", code="KEY_FORMAT"
    )


def _unreadable(error: OSError) -> KeyProblem:
    return KeyProblem("the witness's key cannot be read", hint=str(error.strerror), code="KEY_UNREADABLE")
