"""SSH signatures over bytes, made and checked by the system's ``ssh-keygen -Y`` (OpenSSH ``PROTOCOL.sshsig``).

Guarantees that a signature counts only for exactly these bytes, in our own namespace (what is signed for git, or for
anything else, is no approval), under exactly the key that is named; and that a key has one written form and one
fingerprint, so that the same key is never two. Keys of weak algorithms (DSA, RSA under 3072 bits) and certificates are
refused. Nothing secret is in a command line or an environment: a private key is opened by ``ssh-keygen`` alone, which
asks for its passphrase or its token on the terminal. Does not know whose key it is, nor whether it was revoked.
"""

import base64
import binascii
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fabnet_secure.errors import FabnetError, IntegrityFailure, UsageError

NAMESPACE: Final = "fabnet-secure-approval"
"""What an approval is signed for; ``ssh-keygen -Y sign -n`` names it."""
ARMOUR: Final = b"-----BEGIN SSH SIGNATURE-----"
MAX_SIGNATURE: Final = 16_384

_END: Final = b"-----END SSH SIGNATURE-----"
_IDENTITY: Final = "approver"  # a word for all: a name in a command line would be seen by everybody on the machine
_MIN_RSA_BITS: Final = 3072
_SECONDS: Final = 120
_PARTS: Final = {  # how many fields of a public key follow its algorithm's name (RFC 4253, 5656, 8709; PROTOCOL.u2f)
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """A person's public key.

    Attributes:
        line: its one written form: algorithm, space, base64.
        digest: SHA-256 of the key (lower-case hex).
    """

    line: str
    digest: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint as OpenSSH shows it: ``SHA256:`` and base64."""
        return fingerprint_of(self.digest)


def fingerprint_of(digest: str) -> str:
    """Return OpenSSH's way of writing a key's digest (hex)."""
    return "SHA256:" + base64.b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def read_public_key(text: str) -> SshKey:
    """Read a public key as a ``.pub`` file holds it; its comment (often a name) is left out.

    Raises:
        UsageError: code ``SSH_KEY_INVALID``: no public key, a private one, a certificate, or of a weak algorithm.
    """
    if "PRIVATE KEY" in text:
        raise _no_key("this is a private key: keep it to yourself", "give the file that ends in .pub")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = lines[0].split() if len(lines) == 1 else []
    if len(words) < 2:
        raise _no_key("the file does not hold exactly one SSH public key", "give the file that ends in .pub")
    return _key(_decoded(words[1]), said=words[0])


def signer_of(signature: bytes) -> SshKey:
    """Return the key that a signature says it is by, WITHOUT checking it; see :func:`verify`.

    Raises:
        IntegrityFailure: code ``APPROVAL_BROKEN``: no SSH signature, or one for another purpose than approving.
    """
    text = signature.strip()
    if not text.startswith(ARMOUR) or not text.endswith(_END) or len(text) > MAX_SIGNATURE:
        raise broken("it bears no SSH signature")
    try:
        blob = base64.b64decode(b"".join(text[len(ARMOUR) : -len(_END)].split()), validate=True)
        if blob[:6] != b"SSHSIG" or int.from_bytes(blob[6:10], "big") != 1:
            raise broken("its signature is of a kind that is not known")
        public, rest = _field(blob[10:])
        namespace, _ = _field(rest)
    except ValueError as error:
        raise broken("its signature cannot be read") from error
    if namespace != NAMESPACE.encode():
        raise broken("it was signed for something else than an approval")
    try:
        return _key(public)
    except UsageError as error:
        raise broken("its signature is by a key of a kind that is not accepted") from error


def verify(message: bytes, signature: bytes, key: SshKey) -> bool:
    """Tell whether ``signature`` (armoured) is by ``key``, over exactly ``message``, in our namespace.

    Raises:
        FabnetError: code ``SSH_KEYGEN_MISSING``.
    """
    try:
        if signer_of(signature) != key:
            return False
    except IntegrityFailure:  # ssh-keygen itself passes over the version, which is not signed
        return False
    with tempfile.TemporaryDirectory(prefix="fabnet-secure-") as folder:  # mode 0700
        allowed, signed = Path(folder) / "allowed_signers", Path(folder) / "signature"
        allowed.write_text(f'{_IDENTITY} namespaces="{NAMESPACE}" {key.line}\n', "ascii")
        signed.write_bytes(signature)
        command = [_program(), "-Y", "verify", "-f", str(allowed), "-I", _IDENTITY, "-n", NAMESPACE, "-s", str(signed)]
        done = _run(command, message, {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)})
    return done.returncode == 0


def sign(message: bytes, key_file: Path) -> bytes:
    """Return an armoured signature over ``message``, made by ``ssh-keygen`` with a person's private key.

    ``key_file`` may be a public key whose private half an agent or a security key holds.

    Raises:
        FabnetError: code ``SSH_KEYGEN_MISSING``.
        UsageError: code ``SSH_SIGN_FAILED``: the key cannot be used.
    """
    if not key_file.is_file():
        raise UsageError("there is no such key file", hint="give --key FILE", code="SSH_SIGN_FAILED")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FABNET_")}
    done = _run([_program(), "-Y", "sign", "-q", "-f", str(key_file), "-n", NAMESPACE], message, ours)
    if done.returncode or not done.stdout.startswith(ARMOUR):
        hint = "is it a private key (mode 0600), or a public one whose private half the agent holds?"
        raise UsageError("ssh-keygen did not sign with this key", hint=hint, code="SSH_SIGN_FAILED")
    return done.stdout


def broken(why: str) -> IntegrityFailure:
    """Return the one error for an approval that nobody can have given."""
    return IntegrityFailure(
        f"an approval does not hold: {why}",
        hint="ask for it again: fabnet-secure approval request",
        code="APPROVAL_BROKEN",
    )


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise FabnetError(
            "ssh-keygen is not on this machine: approvals can be neither made nor checked",
            hint="install OpenSSH's client (Debian: apt-get install openssh-client)",
            code="SSH_KEYGEN_MISSING",
        )
    return found


def _run(command: list[str], message: bytes, env: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603  no shell; the words are ours, paths are absolute or a file that exists
            command, input=message, capture_output=True, env=env, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FabnetError(
            "ssh-keygen did not answer within two minutes",
            hint="a key with a passphrase or a touch wants a terminal",
            code="SSH_KEYGEN_TIMEOUT",
        ) from error


def _key(blob: bytes, *, said: str = "") -> SshKey:
    """Read a public key in its binary form, in which every field is there once and nothing is left over."""
    try:
        name, rest = _field(blob)
        kind = name.decode("ascii")
        fields: list[bytes] = []
        while rest:
            part, rest = _field(rest)
            fields.append(part)
    except ValueError as error:
        raise _no_key("the SSH public key is damaged") from error
    if kind not in _PARTS or (said and said != kind):
        known = ", ".join(_PARTS)
        raise _no_key("this kind of SSH key is not accepted", f"use one of: {known}; no certificates")
    if len(fields) != _PARTS[kind]:
        raise _no_key("the SSH public key is damaged")
    if kind == "ssh-rsa":
        _check_rsa(fields)
    return SshKey(line=f"{kind} {base64.b64encode(blob).decode()}", digest=hashlib.sha256(blob).hexdigest())


def _check_rsa(fields: list[bytes]) -> None:
    """Refuse short keys, and numbers written in more than their one form: the same key would be two."""
    for number in fields:
        if not number or number[0] & 0x80 or (number[0] == 0 and not (len(number) > 1 and number[1] & 0x80)):
            raise _no_key("the SSH public key is damaged")
    if int.from_bytes(fields[1], "big").bit_length() < _MIN_RSA_BITS:
        raise _no_key(
            f"an RSA key of less than {_MIN_RSA_BITS} bits is not accepted", "make one: ssh-keygen -t ed25519"
        )


def _field(blob: bytes) -> tuple[bytes, bytes]:
    """Return the first length-prefixed field (RFC 4251 ``string``) and what follows it; ValueError when cut short."""
    if len(blob) < 4:
        raise ValueError("a length is missing")
    end = 4 + int.from_bytes(blob[:4], "big")
    if end > len(blob):
        raise ValueError("a field is cut short")
    return blob[4:end], blob[end:]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_key("the SSH public key is damaged") from error


def _no_key(message: str, hint: str = "give the file that ends in .pub") -> UsageError:
    return UsageError(message, hint=hint, code="SSH_KEY_INVALID")
