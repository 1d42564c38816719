"""Who may say that a public key is one of this vault's: the signer that only the root and the dpo's keyring hold.

Guarantees that nothing is sealed to a public key that this signer did not sign for: whoever writes the vault's log
(every working role) holds the key of its digests, and could vouch for a key of her own by them. Which signer it is, the
log says, in the entry that made the vault (or the first that began its migration): it is read and held against the
signed head, which the anchor and the witnesses remember. Does not protect from somebody who rewrites log, anchor and
witnesses together, nor from a dpo, who may make keys.
"""

from typing import Final

from fabnet_secure.audit.checkpoint import open_checkpoint
from fabnet_secure.audit.leaf import read_leaf
from fabnet_secure.audit.log import consistency_at
from fabnet_secure.audit.merkle import leaf_hash, tree_root, verify_consistency
from fabnet_secure.crypto.keyring import WrappedKey
from fabnet_secure.crypto.signing import verify_signature
from fabnet_secure.errors import IntegrityFailure
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.keyrings import is_signed
from fabnet_secure.store import meta
from fabnet_secure.store.database import Connection
from fabnet_secure.store.log_storage import SqlLogStorage, latest_checkpoint
from fabnet_secure.types import canonical_json

OFFICER: Final = "officer"
"""The fact under which the log names the signer's public half, in hexadecimal."""
_NAMING: Final = ("vault.created", "vault.migration_begun")
_AT_ONCE: Final = 1024
_pinned: set[tuple[str, bytes, bytes]] = set()
"""What this process found in the log already: a vault, its log's key and its officer's. It never changes."""


def key_mark(key: WrappedKey) -> str:
    """Return the name under which the vault's database keeps the proof of a key in the keystore."""
    return f"key/{key.key_id}"


def prove(site: Site, connection: Connection, key: WrappedKey) -> None:
    """Sign for the public half and the owner of a key that was made here: it may be sealed to from now on.

    Raises:
        KeyProblem: (KEY_CANNOT_SIGN) this keyring makes no keys.
        IntegrityFailure: (KEY_CHANGED) its signer is not the one that the log names.
    """
    signer = site.report_signer
    check_officer(site, connection)
    meta.set_meta(connection, key_mark(key), signer.sign(_said(site, key)).hex())


def check_proof(site: Site, connection: Connection, key: WrappedKey) -> None:
    """Check that the officer signed for a key's public half and its owner.

    Raises:
        IntegrityFailure: (KEY_CHANGED) she did not, or the officer's key is not the one that the log names.
    """
    check_officer(site, connection)
    proof = meta.get_meta(connection, key_mark(key)) or ""
    if not is_signed(site.secrets.report_public, _said(site, key), proof):
        raise changed("a public key", "made for this consent")


def check_officer(site: Site, connection: Connection) -> None:
    """Check that the keystore's report key is the one that the log named when the vault began.

    Raises:
        IntegrityFailure: (KEY_CHANGED) it is not; (CHECKPOINT_BROKEN, LOG_BROKEN) the log does not hold.
    """
    public = site.secrets.report_public
    known = (site.vault_id, site.secrets.log_public, public)
    signer = site.secrets.report_signer
    if signer is not None and signer.public != public:
        raise changed("the officer's key", "named when this vault began")
    if known in _pinned:
        return
    if officer_of(connection, site.log_vkey) != public.hex():
        raise changed("the officer's key", "named when this vault began")
    _pinned.add(known)


def officer_of(connection: Connection, vkey: str) -> str | None:
    """Return the public half (hexadecimal) of the first officer that the log names; None where it names none.

    Reads the first entry alone, except in a vault of an older program: there, all up to its migration.

    Raises:
        IntegrityFailure: (CHECKPOINT_BROKEN, LOG_BROKEN, KEY_CHANGED) what was read is not the signed log's beginning.
    """
    storage = SqlLogStorage(connection)
    head = open_checkpoint(latest_checkpoint(connection), vkey, verify_signature)
    hashes: list[bytes] = []
    named: str | None = None
    start, step = 0, 1
    while named is None and start < head.size:
        for blob in storage.read_entries(start, min(start + step, head.size)):
            hashes.append(leaf_hash(blob))
            named = _named(blob)
            if named is not None:
                break
        start, step = start + step, _AT_ONCE
    path = consistency_at(storage, len(hashes), head.size)
    root = tree_root(hashes)
    if not verify_consistency(old=len(hashes), new=head.size, old_root=root, new_root=head.root, proof=path):
        raise changed("the log's beginning", "signed")
    return named


def changed(what: str, how: str) -> IntegrityFailure:
    """Return the failure, code ``KEY_CHANGED``."""
    return IntegrityFailure(
        f"{what} in the databases is not the one that was {how}",
        hint="restore the databases from a backup; nothing was sealed to it",
        code="KEY_CHANGED",
    )


def _named(blob: bytes) -> str | None:
    if b'"officer":' not in blob:
        return None
    entry = read_leaf(blob)
    return str(entry.facts[OFFICER]) if entry.act in _NAMING and OFFICER in entry.facts else None


def _said(site: Site, key: WrappedKey) -> bytes:
    return canonical_json(
        {
            "format": "fabnet-secure/key-proof/v1",
            "vault_id": site.vault_id,
            "key_id": key.key_id,
            "domain": key.domain.value,
            "subject_id": key.subject_id,
            "consent_id": key.consent_id,
            "public": key.public.hex(),
        }
    )
