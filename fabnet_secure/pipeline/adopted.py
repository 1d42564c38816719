"""What access policies of its own a site adopted, as a starting program finds them: see ``adopt.py``.

Guarantees that :func:`directories` names only files that are, byte for byte, what the vault's record says was adopted,
and that the record is one that only this vault can make. Does not read the log: ``adopt.check_log`` does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fabnet_secure.crypto.digest import fingerprint, sha256_bytes
from fabnet_secure.errors import IntegrityFailure, UsageError
from fabnet_secure.store import meta
from fabnet_secure.store.database import Connection
from fabnet_secure.types import canonical_json

MARK: Final = "policies/adopted"
"""The vault's record of what is adopted, by its key in ``meta``."""
SHIPPED: Final = "none"
"""What stands for no policies of the site's own."""
_LARGEST: Final = 1 << 20


def directories(connection: Connection, root: Path, index_key: bytes | None) -> tuple[Path, ...]:
    """Return the directory of adopted policies, checked: what ``open_site`` loads beside the shipped ones.

    Args:
        connection: the vault's database.
        root: the vault's directory.
        index_key: the vault's; None where this account's keyring has none (the record's own digest is not checked).

    Raises:
        IntegrityFailure: code ``POLICY_CHANGED``.
    """
    digest = adopted(connection, index_key)
    if digest == SHIPPED:
        return ()
    folder = folder_of(root, digest)
    try:
        found = digest_of(read_policies(folder))
    except UsageError as error:
        raise changed("the adopted policies are not there any more") from error
    if found != digest:
        raise changed("the adopted policies are not the ones that two people approved")
    return (folder,)


def folder_of(root: Path, digest: str) -> Path:
    """Return where adopted policies of this digest lie."""
    return root / "policies" / digest


def digest_of(texts: Mapping[str, bytes]) -> str:
    """Return the digest of policy files (name → contents), or ``none``."""
    if not texts:
        return SHIPPED
    return sha256_bytes(canonical_json({name: sha256_bytes(text) for name, text in texts.items()}))


def changed(why: str) -> IntegrityFailure:
    """Return the one error for policies that are not the adopted ones."""
    return IntegrityFailure(
        why, hint="restore the vault's folder 'policies' and its database from one backup", code="POLICY_CHANGED"
    )


def read_policies(directory: Path) -> dict[str, bytes]:
    """Read every policy file of a directory, in the order of names; nothing else may be in it."""
    try:
        paths = sorted(directory.iterdir())
        plain = all(path.suffix == ".cedar" and path.is_file() and not path.is_symlink() for path in paths)
        small = plain and all(path.stat().st_size <= _LARGEST for path in paths)
        texts = {path.name: path.read_bytes() for path in paths} if small else {}
    except OSError as error:
        raise UsageError("the policies cannot be read", hint=str(error.strerror), code="NO_POLICIES") from error
    if not texts:
        raise UsageError(
            "this is not a directory of access policies",
            hint="give one with *.cedar files of at most 1 MiB and nothing else in it, no link either",
            code="NO_POLICIES",
        )
    return texts


def adopted(connection: Connection, index_key: bytes | None) -> str:
    """Return the digest of what is adopted (or ``none``) by the vault's record alone.

    Raises:
        IntegrityFailure: code ``POLICY_CHANGED``: the record is not one that this vault made.
    """
    stored = meta.get_meta(connection, MARK)
    if stored is None:
        return SHIPPED
    try:
        digest = str(json.loads(stored)["adopted"])
    except (ValueError, KeyError, TypeError) as error:
        raise changed("the vault's record of its policies is damaged") from error
    if index_key is not None and stored != record_of(index_key, digest):
        raise changed("the vault's record of its policies was changed")
    return digest


def record_of(index_key: bytes, digest: str) -> str:
    """Return the record of an adoption, as ``meta`` keeps it."""
    body = {"adopted": digest, "proof": fingerprint(index_key, ["policies", digest])}
    return canonical_json(body).decode()
