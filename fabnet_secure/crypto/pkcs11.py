"""A key file that a PKCS#11 token opens: the wrapping key is made in the token and never leaves it.

Guarantees: the file alone, and the file with the PIN but without the token, open nothing; no byte of the file can be
changed unnoticed; a token's key that could be read out is refused. A PIN is tried once a call, so that no loop here can
lock a token. Does not protect from whoever holds the token and its PIN, nor from the module: it is code of the token's
maker, loaded into this process (only one that nobody else can write is).

File: ``FABNET-SECURE-KEY-PKCS11-1``; canonical JSON of ``iv``, ``key_id`` and ``wrap`` (hex), ``key_label``,
``mechanism``, ``module`` and ``token``; base64 of Cobblestone-256(key = HKDF-SHA256(K, "fabnet-secure/pkcs11/v1"),
context = both lines), where ``wrap`` is 32 random bytes K as the token's AES-256 key encrypts them: by AES-GCM, or by
AES-CBC-PAD where the token knows no GCM. Cobblestone authenticates everything either way.

Source: PKCS#11 v2.40; ``python-pkcs11``, imported only when such a file is opened or made.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fabnet_secure.crypto import aead
from fabnet_secure.crypto.keyfile import Protected, RootKey, binding_of, no_key_file, protected_content
from fabnet_secure.crypto.passphrase import Ask
from fabnet_secure.crypto.secret import SECRET_BYTES, Secret
from fabnet_secure.errors import IntegrityFailure, KeyProblem

if TYPE_CHECKING:
    from pkcs11 import Session, Token

FIRST_LINE: Final = b"FABNET-SECURE-KEY-PKCS11-1"
_FIELDS: Final = ("iv", "key_id", "key_label", "mechanism", "module", "token", "wrap")
_MECHANISMS: Final = {"AES_GCM": 12, "AES_CBC_PAD": 16}
"""What wraps, with the bytes of its initialisation vector; the first one that the token has."""
SecretKey: TypeAlias = Any
"""The library builds its keys' classes at run time, by what each can do."""
_WRAP_BYTES: Final = SECRET_BYTES + 16
"""GCM's tag, or CBC's padding: 16 bytes either way."""
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*\Z")
_LABEL: Final = "fabnet-secure/pkcs11/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """Which key of which token.

    Attributes:
        module: the token's PKCS#11 library.
        token: the token's label.
        label: the key's label.
    """

    module: Path
    token: str
    label: str


def lock(root: RootKey, where: TokenKey, ask: Ask) -> bytes:
    """Return the content of a key file that the token opens; an AES-256 key of that label is made where none is.

    Raises:
        KeyProblem: (PKCS11_MODULE, PKCS11_TOKEN, PKCS11_KEY, PKCS11_KEY_WEAK, PKCS11_FAILED) module, token or key is
            not there, not one, or not fit; (PIN_WRONG, PIN_LOCKED); and as ``ask``.
    """
    inner = Secret.generate()
    with _session(where.module, where.token, ask, writing=True) as (token, session):
        key = _find_or_make(session, where.label)
        mechanism = _mechanism(token)
        iv = os.urandom(_MECHANISMS[mechanism])
        wrap = bytes(key.encrypt(inner.reveal(), **_parameters(mechanism, iv)))
        key_id = bytes(key.id or b"")
    header = {
        "iv": iv.hex(),
        "key_id": key_id.hex(),
        "key_label": where.label,
        "mechanism": mechanism,
        "module": str(where.module),
        "token": where.token,
        "wrap": wrap.hex(),
    }
    binding = binding_of(FIRST_LINE, header)
    return protected_content(binding, aead.encrypt(_body_key(inner.reveal()), binding, root.reveal()))


def unlock(path: Path, parts: Protected, ask: Ask, *, module: Path | None = None) -> RootKey:
    """Open a key file of this form; the PIN is asked for only when the token is there.

    Args:
        path: the file, for messages.
        parts: what it holds.
        ask: where the PIN comes from.
        module: the token's library, where it is not the one that the file names.

    Raises:
        KeyProblem: (KEY_FORMAT) it is not of this form; (KEY_WRONG) the token's key does not open it; and as
            :func:`lock`.
    """
    header = _checked(path, parts)
    iv, wrap, key_id = (bytes.fromhex(header[name]) for name in ("iv", "wrap", "key_id"))
    with _session(module or Path(header["module"]), header["token"], ask) as (_, session):
        key = _only(session, header["key_label"], key_id)
        inner = _decrypt(path, key, header["mechanism"], iv, wrap)
    try:
        return RootKey(aead.decrypt(_body_key(inner), parts.binding, parts.wrapped))
    except IntegrityFailure as error:
        raise _wrong(path) from error


def _checked(path: Path, parts: Protected) -> Mapping[str, Any]:
    """Refuse another form before any library is loaded."""
    header = parts.header
    texts = all(isinstance(header.get(name), str) for name in _FIELDS)
    if not texts or set(header) != set(_FIELDS) or header["mechanism"] not in _MECHANISMS:
        raise no_key_file(path)
    if not all(_HEX.match(header[name]) for name in ("iv", "wrap", "key_id")):
        raise no_key_file(path)
    if len(header["iv"]) != 2 * _MECHANISMS[header["mechanism"]] or len(header["wrap"]) != 2 * _WRAP_BYTES:
        raise no_key_file(path)
    return header


@contextmanager
def _session(module: Path, label: str, ask: Ask, *, writing: bool = False) -> "Iterator[tuple[Token, Session]]":
    """Log in to the token, once."""
    import pkcs11

    try:
        token = _token(module, label)
        with token.open(rw=writing, user_pin=ask(f"the PIN of the token {label}")) as session:
            yield token, session
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
        hint = "look up the PIN before another try: a token locks itself after a few wrong ones"
        raise KeyProblem(f"the PIN of the token {label} is wrong", hint=hint, code="PIN_WRONG") from error
    except pkcs11.PinLocked as error:
        hint = "whoever has its security officer's PIN can set a new one"
        raise KeyProblem(f"the token {label} is locked", hint=hint, code="PIN_LOCKED") from error
    except pkcs11.PKCS11Error as error:
        raise _failed(error) from error


def _token(module: Path, label: str) -> "Token":
    import pkcs11

    _check_module(module)
    try:
        library = pkcs11.lib(str(module))
    except pkcs11.PKCS11Error as error:
        hint = "name the token's library, such as /usr/lib/softhsm/libsofthsm2.so, and see that its own settings hold"
        raise KeyProblem(f"the PKCS#11 module {module} cannot be loaded", hint=hint, code="PKCS11_MODULE") from error
    try:
        return library.get_token(token_label=label)
    except pkcs11.NoSuchToken as error:
        hint = "plug it in; 'pkcs11-tool --list-token-slots' shows what the module sees"
        raise KeyProblem(f"there is no token {label}", hint=hint, code="PKCS11_TOKEN") from error
    except pkcs11.MultipleTokensReturned as error:
        hint = "leave only one of them plugged in"
        raise KeyProblem(f"several tokens are called {label}", hint=hint, code="PKCS11_TOKEN") from error


def _check_module(module: Path) -> None:
    """Refuse a library that another account could have put there: it runs in this process."""
    hint = "name the token's library with --pkcs11-module or FABNET_PKCS11_MODULE by its full path"
    try:
        status = module.stat()
    except OSError as error:
        raise KeyProblem(f"there is no PKCS#11 module at {module}", hint=hint, code="PKCS11_MODULE") from error
    if not module.is_absolute() or not stat.S_ISREG(status.st_mode):
        raise KeyProblem(f"{module} names no PKCS#11 module", hint=hint, code="PKCS11_MODULE")
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
        hint = "it must belong to root or to this account, and nobody else may write it"
        raise KeyProblem(f"others could change the PKCS#11 module {module}", hint=hint, code="PKCS11_MODULE")


def _mechanism(token: "Token") -> str:
    known = {getattr(one, "name", "") for one in token.slot.get_mechanisms()}
    for name in _MECHANISMS:
        if name in known:
            return name
    hint = "it needs AES-GCM or AES-CBC with padding"
    raise KeyProblem("the token cannot encrypt as is needed", hint=hint, code="PKCS11_FAILED")


def _find_or_make(session: "Session", label: str) -> SecretKey:
    from pkcs11 import Attribute, KeyType, MechanismFlag

    found = _labelled(session, label, b"")
    if len(found) > 1:
        raise _no_key(label, "more than one key")
    if not found:
        return session.generate_key(
            KeyType.AES,
            8 * SECRET_BYTES,
            id=os.urandom(8),
            label=label,
            store=True,
            capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
            template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
        )
    (key,) = found
    stays = key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
    if not stays or key.key_type != KeyType.AES or key[Attribute.VALUE_LEN] != SECRET_BYTES:
        raise KeyProblem(
            f"the token's key {label} is not fit: it can be read out, or is not AES-256",
            hint="name a key that is not there yet: it is made in the token",
            code="PKCS11_KEY_WEAK",
        )
    return key


def _only(session: "Session", label: str, key_id: bytes) -> SecretKey:
    found = _labelled(session, label, key_id)
    if len(found) != 1:
        raise _no_key(label, "more than one key" if found else "no key")
    return found[0]


def _labelled(session: "Session", label: str, key_id: bytes) -> list[SecretKey]:
    from pkcs11 import Attribute, ObjectClass

    sought: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label}
    if key_id:
        sought[Attribute.ID] = key_id
    return list(session.get_objects(sought))


def _decrypt(path: Path, key: "SecretKey", mechanism: str, iv: bytes, wrap: bytes) -> bytes:
    """Let the token open the wrap; tokens say in many ways that it is not theirs."""
    import pkcs11

    broken = (pkcs11.DeviceError, pkcs11.DeviceMemory, pkcs11.DeviceRemoved, pkcs11.HostMemory, pkcs11.SessionClosed)
    try:
        return bytes(key.decrypt(wrap, **_parameters(mechanism, iv)))
    except broken as error:
        raise _failed(error) from error
    except pkcs11.PKCS11Error as error:
        raise _wrong(path) from error


def _parameters(mechanism: str, iv: bytes) -> dict[str, Any]:
    from pkcs11 import GCMParams, Mechanism

    if mechanism == "AES_GCM":
        return {"mechanism": Mechanism.AES_GCM, "mechanism_param": GCMParams(iv, _LABEL.encode(), 128)}
    return {"mechanism": Mechanism.AES_CBC_PAD, "mechanism_param": iv}


def _body_key(inner: bytes) -> bytes:
    """Derive the file's own key; what a token returned has any length until it is checked by opening."""
    return aead.derive(inner, _LABEL)


def _wrong(path: Path) -> KeyProblem:
    return KeyProblem(
        f"the token's key does not open {path}",
        hint="it is another token or key of the same name, or the file was changed: restore it from a copy",
        code="KEY_WRONG",
    )


def _no_key(label: str, found: str) -> KeyProblem:
    hint = "see 'pkcs11-tool --list-objects --login'; a key that is gone from the token takes this key file with it"
    return KeyProblem(f"the token has {found} labelled {label}", hint=hint, code="PKCS11_KEY")


def _failed(error: Exception) -> KeyProblem:
    hint = "see that it is plugged in and its own software is well; then run this again"
    return KeyProblem(f"the token failed ({type(error).__name__})", hint=hint, code="PKCS11_FAILED")
