"""From a key file to a keyring: the vault's root opens every domain, a principal's key those of its duties.

Guarantees: a keystore that is older than the last ``keys rekey``, another vault's, or changed behind our back opens
nothing; a key that was revoked, or that is another account's, is refused. What a keyring may *do* is decided by the
access policies besides; what it may *open* is decided by the keys it holds, even with all the rows in hand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fabnet_secure.crypto.digest import sha256_bytes
from fabnet_secure.crypto.envelope import PublicKey
from fabnet_secure.crypto.epoch import KIND, domain_keys, open_seed
from fabnet_secure.crypto.gate import Gate, missing, read_gates
from fabnet_secure.crypto.holder import Holder, open_holding
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.keyring import Keyring, WrappedSecret
from fabnet_secure.crypto.legacy import LegacyKeyring
from fabnet_secure.crypto.signing import Signer, verify_signature
from fabnet_secure.crypto.wrap import WrapKey
from fabnet_secure.errors import IntegrityFailure, KeyProblem, NoVault
from fabnet_secure.store import holders, keystore, meta
from fabnet_secure.store.database import Connection, Engine, read_only
from fabnet_secure.types import Json, KeyDomain, canonical_json

EPOCH_MARKS: Final = "epoch/"
LOG_SIGNING: Final = "log_signing"
REPORT_SIGNING: Final = "report_signing"
INDEX: Final = "index"
SECRET_DOMAINS: Final = {LOG_SIGNING: KeyDomain.LOG, REPORT_SIGNING: KeyDomain.REPORT, INDEX: KeyDomain.LOG}
"""The secrets of every vault, and the duty that opens each."""

DUTIES: Final[Mapping[str, frozenset[KeyDomain]]] = {
    "ingestor": frozenset({KeyDomain.LOG}),
    "trainer": frozenset({KeyDomain.LOG, KeyDomain.TRACKLETS}),
    "analyst": frozenset({KeyDomain.LOG, KeyDomain.EMBEDDINGS}),
    "dpo": frozenset({KeyDomain.LOG, KeyDomain.REPORT, KeyDomain.IDENTITY, KeyDomain.EVIDENCE, KeyDomain.HOLD}),
    "operator": frozenset({KeyDomain.LOG, KeyDomain.HOLD}),
    "auditor": frozenset(),
}
"""What a role's keyring opens. An ingestor holds data and reads none of it again; an auditor opens nothing at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The vault's own secrets, as far as a keyring opens them; the public halves are always there."""

    log_public: bytes
    report_public: bytes
    log_signer: Signer | None = None
    report_signer: Signer | None = None
    index_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a key file opened: by the root itself (``root_key``) or by a holder's key (``holder``)."""

    keyring: Keyring
    secrets: Secrets
    root_key: RootKey | None = None
    holder: Holder | None = None


def domains_of(roles: Iterable[str]) -> tuple[KeyDomain, ...]:
    """Return the domains that keyrings of these roles open together, sorted; an unknown role opens nothing."""
    return tuple(sorted(frozenset[KeyDomain]().union(*(DUTIES.get(role, frozenset()) for role in roles))))


def unlock(keys: Engine, gate_file: Path, vault_id: str, own: RootKey, account: str) -> Opened:
    """Open a keyring.

    Args:
        keys: the keystore.
        gate_file: the epoch file.
        vault_id: the vault's id.
        own: what the key file opened to.
        account: the account this process runs under.

    Raises:
        KeyProblem: (KEY_WRONG) the key is neither the root nor a holder's; (KEY_REVOKED) it was revoked;
            (KEY_NOT_YOURS) it is another account's; (KEY_EPOCH_GONE) the keystore is older than the last rekey;
            (GATE_MISSING) the epoch file is not there, or older than the keystore.
        NoVault: (VAULT_NOT_MIGRATED) the keys are in an older program's form.
        IntegrityFailure: (EPOCH_BROKEN, EPOCH_RETURNED, HOLDER_FORGED, KEY_CHANGED) rows are not what was written.
    """
    number, gate = _gate(keys, gate_file)
    with read_only(keys) as connection:
        row = keystore.living_epochs(connection).get(number)
        halves = keystore.public_halves(connection, number)
        holder = holders.find_holder(connection, own.public.raw)
        sealed = holders.get_holding(connection, holder.name, number) if holder else None
        rows = {name: keystore.get_secret(connection, name) for name in SECRET_DOMAINS}
    if row is None:  # a 'keys rekey' ended in between: what was read is of the epoch before
        return unlock(keys, gate_file, vault_id, own, account)
    if holder is None:
        seed = open_seed(row.wrapped, root=own, gate=gate, vault_id=vault_id, number=number)
        opened = domain_keys(seed)
        seed.wipe()
    else:
        opened = _as_holder(holder, number, sealed, own, gate, vault_id, account)
    if halves.keys() != set(KeyDomain) or any(halves[domain] != key.public.raw for domain, key in opened.items()):
        raise _changed("the public half of a domain key")
    keyring = Keyring(
        {(number, domain): key for domain, key in opened.items()},
        {number: {domain: PublicKey(half) for domain, half in halves.items()}},
    )
    secrets = _secrets(keyring, rows)
    return Opened(keyring=keyring, secrets=secrets, holder=holder, root_key=None if holder else own)


def unlock_legacy(keys: Engine, root: RootKey) -> tuple[LegacyKeyring, Secrets] | None:
    """Open a keystore of an older program by the root, whatever its schema; None when its keys have today's form.

    Raises:
        KeyProblem: (KEY_WRONG) the key is not the vault's root.
    """
    with read_only(keys) as connection:
        old = keystore.read_legacy(connection)
    if old is None:
        return None
    if not old.epochs:
        raise _lost("living epoch key")
    keyring = LegacyKeyring(root, old.epochs)
    opened: dict[str, bytes] = {}
    for name in SECRET_DOMAINS:
        if name not in old.secrets:
            raise _lost(f"'{name}' secret")
        opened[name] = keyring.unwrap_secret(name, old.secrets[name][0])
    signer, reporter = Signer.from_seed(opened[LOG_SIGNING]), Signer.from_seed(opened[REPORT_SIGNING])
    return keyring, Secrets(
        log_public=signer.public,
        report_public=reporter.public,
        log_signer=signer,
        report_signer=reporter,
        index_key=opened[INDEX],
    )


def epoch_mark(signer: Signer, vault_id: str, number: int, halves: Mapping[KeyDomain, bytes]) -> tuple[str, str]:
    """Return what the vault's database keeps of an epoch in the keystore: a name, and the proof under it.

    Only who makes keys (``pipeline/officer.py``) can sign for an epoch's public halves: keys are made with no others.
    """
    return epoch_name(number, halves), signer.sign(_said(vault_id, number, halves)).hex()


def epoch_name(number: int, halves: Mapping[KeyDomain, bytes]) -> str:
    """Return the name of an epoch's mark.

    It tells two epochs of one number apart, so that of two processes neither removes the mark of the other's.
    """
    parts = [f"{domain.value}:{halves[domain].hex()}" for domain in sorted(halves)]
    return f"{EPOCH_MARKS}{number}/{sha256_bytes('/'.join(parts).encode())[:16]}"


def check_epoch(connection: Connection, opened: Opened, keys: Engine, vault_id: str) -> None:
    """Check the signature in the vault's database for the keystore's epoch.

    Raises:
        IntegrityFailure: (KEY_CHANGED) the keystore's public halves are not the ones this vault made.
        VaultLocked: (EPOCH_CHANGED) another process renewed the keys since they were opened.
    """
    if opened.keyring.empty:  # a vault that is yet to be migrated
        return
    number = opened.keyring.newest
    halves = opened.keyring.public_halves(number)
    proof = meta.get_meta(connection, epoch_name(number, halves)) or ""
    if not is_signed(opened.secrets.report_public, _said(vault_id, number, halves), proof):
        if _living(keys) != number:
            raise keystore.renewed_meanwhile()
        raise _changed("an epoch")


def _said(vault_id: str, number: int, halves: Mapping[KeyDomain, bytes]) -> bytes:
    public: dict[str, Json] = {domain.value: halves[domain].hex() for domain in sorted(halves)}
    return canonical_json(
        {"format": "fabnet-secure/epoch-proof/v1", "vault_id": vault_id, "epoch": number, "public": public}
    )


def is_signed(public: bytes, said: bytes, proof: str) -> bool:
    """Tell whether a proof (a signature in hexadecimal) is ``public``'s over what was said."""
    try:
        return verify_signature(public, said, bytes.fromhex(proof))
    except ValueError:
        return False


def _gate(keys: Engine, gate_file: Path) -> tuple[int, Gate]:
    """Return the living epoch and its gate; read again once, for a ``keys rekey`` that ends in between."""
    number = _living(keys)
    if (gate := read_gates(gate_file).get(number)) is not None:
        return number, gate
    number, gates = _living(keys), read_gates(gate_file)
    if number in gates:
        return number, gates[number]
    if gates and max(gates) > number:
        raise KeyProblem(
            "the keystore is from before the last 'keys rekey': what it holds opens no more",
            hint="restore a backup of the keystore made since then",
            code="KEY_EPOCH_GONE",
        )
    raise missing(gate_file)


def _living(keys: Engine) -> int:
    with read_only(keys) as connection:
        living = keystore.living_epochs(connection)
    if not living:
        raise _lost("living epoch key")
    if max(living.values(), key=lambda row: row.number).kind != KIND:
        raise NoVault(
            "the vault's keys are in the form of an older version of this program",
            hint="run 'fabnet-secure init': it renews them and keeps everything",
            code="VAULT_NOT_MIGRATED",
        )
    if len(living) > 1:
        raise IntegrityFailure(
            "an epoch that had ended stands in the keystore again",
            hint="restore keystore.db from a backup made since the last 'keys rekey'",
            code="EPOCH_RETURNED",
        )
    return next(iter(living))


def _as_holder(
    holder: Holder, number: int, sealed: bytes | None, own: RootKey, gate: Gate, vault_id: str, account: str
) -> dict[KeyDomain, WrapKey]:
    if holder.revoked_at is not None or sealed is None:
        raise KeyProblem(
            "this key was revoked, or never granted anything in the present epoch",
            hint="ask whoever holds the vault's root key for 'fabnet-secure keys grant'",
            code="KEY_REVOKED",
        )
    if holder.name != account:
        raise KeyProblem(
            "this key is another account's",
            hint="use your own; 'fabnet-secure keys list' shows whose there are",
            code="KEY_NOT_YOURS",
        )
    opened = open_holding(holder, number, sealed, own, gate=gate, vault_id=vault_id)
    if holder.domains != domains_of(holder.roles):
        raise IntegrityFailure(
            "a keyring's domains are not those of its roles",
            hint="grant it again with the vault's root key",
            code="HOLDER_FORGED",
        )
    return opened


def _secrets(keyring: Keyring, rows: Mapping[str, WrappedSecret | None]) -> Secrets:
    found: dict[str, WrappedSecret] = {}
    for name, row in rows.items():
        if row is None:
            raise _lost(f"'{name}' secret")
        found[name] = row
    opened = {
        name: keyring.unwrap_secret(found[name]) for name, domain in SECRET_DOMAINS.items() if keyring.opens(domain)
    }
    signers = {name: Signer.from_seed(seed) for name, seed in opened.items() if name != INDEX}
    if any(found[name].public != signer.public for name, signer in signers.items()):
        raise _changed("the public half of a signing key")
    return Secrets(
        log_public=found[LOG_SIGNING].public,
        report_public=found[REPORT_SIGNING].public,
        log_signer=signers.get(LOG_SIGNING),
        report_signer=signers.get(REPORT_SIGNING),
        index_key=opened.get(INDEX),
    )


def _changed(what: str) -> IntegrityFailure:
    return IntegrityFailure(
        f"{what} in the keystore is not what this vault made",
        hint="restore keystore.db from a backup made since the last 'keys rekey'",
        code="KEY_CHANGED",
    )


def _lost(what: str) -> IntegrityFailure:
    return IntegrityFailure(f"the keystore has lost its {what}", hint="restore keystore.db from a backup")
