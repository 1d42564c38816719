"""One door to every key file: what form it has is its own first line's to say, how it opens is its provider's.

Guarantees: nothing is ever opened in another way than the file says (a missing passphrase, terminal or token is an
error, never a way round it); a key whose protection is changed opens under the new one before the old one goes. Does
not protect a key better than its form does: see ``passphrase.py``, ``pkcs11.py`` and ``keyfile.py``.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn, final

from fabnet_secure.crypto import passphrase, pkcs11
from fabnet_secure.crypto.keyfile import (
    PLAIN,
    RootKey,
    no_key_file,
    parse_plain,
    parse_protected,
    plain_content,
    read_guarded,
    refuse_existing,
    replace_content,
    write_new,
)
from fabnet_secure.crypto.passphrase import Ask
from fabnet_secure.crypto.pkcs11 import TokenKey
from fabnet_secure.errors import KeyProblem, UsageError


class Form(StrEnum):
    """What protects a key file."""

    FILE = "file"
    PASSPHRASE = "passphrase"  # noqa: S105  the form's name
    PKCS11 = "pkcs11"


_FORMS: Final = {PLAIN: Form.FILE, passphrase.FIRST_LINE: Form.PASSPHRASE, pkcs11.FIRST_LINE: Form.PKCS11}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """How a key file is to be protected.

    Attributes:
        form: by its mode alone, by a passphrase, or by a token.
        token: which key of which token; for :attr:`Form.PKCS11` and nothing else.

    Raises:
        UsageError: (PROTECTION_INVALID) form and token do not fit.
    """

    form: Form = Form.FILE
    token: TokenKey | None = None

    def __post_init__(self) -> None:
        """Refuse a token without its form, and the form without a token."""
        if (self.form is Form.PKCS11) != (self.token is not None):
            raise UsageError(
                "a token is named exactly where it protects the key",
                hint="--protect pkcs11 with --pkcs11-module, --pkcs11-token and --pkcs11-key",
                code="PROTECTION_INVALID",
            )


PLAIN_FILE: Final = Protection()


def form_of(path: Path) -> Form:
    """Tell what protects the key file at ``path``, without opening it.

    Raises:
        KeyProblem: (KEY_FORMAT) no key file; and as :func:`fabnet_secure.crypto.keyfile.read_guarded`.
    """
    return _form(path, read_guarded(path))


def open_key(path: Path, ask: Ask, *, module: Path | None = None) -> RootKey:
    """Open the key file at ``path``, whatever its form.

    Args:
        path: the key file.
        ask: where a passphrase or PIN comes from, if one is needed.
        module: a token's PKCS#11 library, where it is not the one that the file names.

    Raises:
        KeyProblem: as reading the file, as its provider, and as ``ask``.
    """
    return _open(path, read_guarded(path), ask, module)


def create_key(path: Path, protection: Protection, ask: Ask) -> RootKey:
    """Make a fresh key and write it to a new file.

    Raises:
        KeyProblem: as :func:`save_key`.
    """
    root = RootKey.generate()
    save_key(path, root, protection, ask)
    return root


def save_key(path: Path, root: RootKey, protection: Protection, ask: Ask) -> None:
    """Write a key that exists already to a new file (mode 0600, on disk before the call returns).

    Raises:
        KeyProblem: (KEY_EXISTS) something is at ``path``; (KEY_NOT_WRITTEN); as the provider, and as ``ask``.
    """
    refuse_existing(path)
    write_new(path, _content(path, root, protection, ask))


def protect_key(path: Path, protection: Protection, ask: Ask, ask_new: Ask, *, module: Path | None = None) -> RootKey:
    """Change what protects a key file, in one step; the old content is overwritten afterwards.

    Args:
        path: the key file.
        protection: the new one.
        ask: for the old passphrase or PIN.
        ask_new: for the new one.
        module: as of :func:`open_key`, for the old form.

    Raises:
        KeyProblem: the old form does not open, or the new one cannot be made; the file is then as it was.
    """
    old = read_guarded(path)
    root = _open(path, old, ask, module)
    replace_content(path, old, _content(path, root, protection, ask_new))
    return root


@final
class Unlocked:
    """Remembers the key of a file that somebody was asked for, so that nobody is asked again while the process runs.

    A plain key file is read anew each time. The file itself is looked at each time in every form: one that was changed
    is opened (and asked for) again, one that became readable by others is refused.
    """

    __slots__ = ("_digest", "_given", "_root")

    def __init__(self, given: RootKey | None = None) -> None:
        self._root = given
        self._given = given is not None
        self._digest = b""

    def open(self, path: Path, ask: Ask, *, module: Path | None = None) -> RootKey:
        """Return the key of the file at ``path``, a copy that the caller may wipe.

        Raises:
            KeyProblem: as :func:`open_key`.
        """
        if self._given and self._root is not None:
            return RootKey(self._root.reveal())
        content = read_guarded(path)
        if _form(path, content) is Form.FILE:
            return _open(path, content, ask, module)
        digest = hashlib.sha256(content).digest()
        if self._root is None or not hmac.compare_digest(self._digest, digest):
            self._root, self._digest = _open(path, content, ask, module), digest
        return RootKey(self._root.reveal())

    def create(self, path: Path, protection: Protection, ask: Ask) -> RootKey:
        """Make a fresh key in a new file, as :func:`create_key`, and remember it."""
        root = create_key(path, protection, ask)
        if protection.form is not Form.FILE:
            self._root, self._digest = root, hashlib.sha256(read_guarded(path)).digest()
        return RootKey(root.reveal())

    @property
    def remembered(self) -> RootKey | None:
        """The key that was asked for, to be handed to a process of our own; None where nobody was asked."""
        return None if self._root is None else RootKey(self._root.reveal())

    def wipe(self) -> None:
        """Forget the key."""
        if self._root is not None:
            self._root.wipe()
        self._root, self._given, self._digest = None, False, b""

    def __repr__(self) -> str:
        return f"<Unlocked: {'a key' if self._root else 'nothing'}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("what was unlocked is never pickled or copied")


def _form(path: Path, content: bytes) -> Form:
    try:
        return _FORMS[content.split(b"\n", 1)[0]]
    except KeyError:
        raise no_key_file(path) from None


def _open(path: Path, content: bytes, ask: Ask, module: Path | None) -> RootKey:
    form = _form(path, content)
    if form is Form.FILE:
        return parse_plain(path, content)
    parts = parse_protected(path, content)
    if form is Form.PASSPHRASE:
        return passphrase.unlock(path, parts, ask)
    return pkcs11.unlock(path, parts, ask, module=module)


def _content(path: Path, root: RootKey, protection: Protection, ask: Ask) -> bytes:
    """Return a key file's content under ``protection``, proven to open: no key is ever trusted to a file that may not.

    The provider asks once; the proof answers itself.
    """
    answers: list[str] = []

    def asking(what: str, *, fresh: bool = False) -> str:
        answers.append(ask(what, fresh=fresh))
        return answers[-1]

    def answering(what: str, *, fresh: bool = False) -> str:
        del what, fresh
        return answers[-1]

    if protection.token is not None:
        content = pkcs11.lock(root, protection.token, asking)
    elif protection.form is Form.PASSPHRASE:
        content = passphrase.lock(root, asking(f"a new passphrase for {path}", fresh=True))
    else:
        return plain_content(root)
    if _open(path, content, answering, None) != root:
        raise KeyProblem("the new key file does not open to its key", hint="run it again", code="KEY_NOT_WRITTEN")
    return content
