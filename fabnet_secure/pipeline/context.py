"""The composition root: open a vault and hand its parts to the journeys (``create.py`` makes one).

A vault is a directory: ``vault.json`` (what it is), ``vault.db`` (rows and log; or PostgreSQL, see
``FABNET_DATABASE_URL``), ``keystore.db`` (wrapped keys, a separate database so that a backup of one never opens the
other) and ``models/`` (weights). The key file lies outside it, as do the anchor and the epoch file, which no copy of
the databases holds.
"""

import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fabnet_secure.access.decision import PolicySet, Principal
from fabnet_secure.audit.anchor import HEAD
from fabnet_secure.audit.anchor_file import Anchor
from fabnet_secure.audit.checkpoint import vkey
from fabnet_secure.config import Settings, policies_dir
from fabnet_secure.crypto.digest import fingerprint, sha256_bytes
from fabnet_secure.crypto.holder import Holder
from fabnet_secure.crypto.keyfile import RootKey
from fabnet_secure.crypto.keyring import Keyring
from fabnet_secure.crypto.passphrase import Ask, refuse
from fabnet_secure.crypto.provider import Unlocked
from fabnet_secure.crypto.signing import Signer
from fabnet_secure.errors import KeyProblem, NoVault
from fabnet_secure.pipeline.adopted import directories
from fabnet_secure.pipeline.anchoring import Outside, check_clock, check_outside, check_start
from fabnet_secure.pipeline.ended import check_opened, ended_ids
from fabnet_secure.pipeline.keyrings import Opened, Secrets, check_epoch, unlock, unlock_legacy
from fabnet_secure.store import meta, principals
from fabnet_secure.store.database import (
    Connection,
    Engine,
    Scribe,
    Work,
    check_revision,
    kept_open,
    open_keystore,
    open_vault_database,
    read_only,
    sqlite_url,
    unit_of_work,
)
from fabnet_secure.types import Clock, KeyDomain, utc_now

FORMAT = 1
RESTORED, PENDING = "restored", "pending"
"""What the card and the database of a copy say until the withdrawals since its backup were replayed."""
UNANCHORED = ("vault_0001", "vault_0002")
"""The schema of vaults made before there were anchors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a vault, its key and its databases are.

    Attributes:
        root: the vault's directory.
        key_file: the path of the key file.
        database_url: the vault database; None is ``vault.db`` in the vault.
        keystore_url: the keystore database; None is ``keystore.db`` in the vault.
        anchor: the anchor's file; None is ``<vault>.anchor`` beside the vault.
        epoch_file: the epoch file; None is ``<vault>.epoch`` beside the vault.
        ask: where the key file's passphrase or PIN comes from, if it wants one; by default from nowhere.
        module: the PKCS#11 library, where it is not the one that the key file names.
        unlocked: remembers the key of a file that somebody was asked for.
    """

    root: Path
    key_file: Path
    database_url: str | None = None
    keystore_url: str | None = None
    anchor: Path | None = None
    epoch_file: Path | None = None
    ask: Ask = refuse
    module: Path | None = None
    unlocked: Unlocked = field(default_factory=Unlocked, repr=False, compare=False)

    def open_key(self) -> RootKey:
        """Open the key file, whatever its form; whoever is asked for a passphrase is asked once a process."""
        return self.unlocked.open(self.key_file, self.ask, module=self.module)

    @property
    def anchor_file(self) -> Path:
        """The file that remembers, outside the databases, how far they had come."""
        root = self.root.resolve()
        return self.anchor.absolute() if self.anchor else root.with_name(f"{root.name}.anchor")

    @property
    def gate(self) -> Path:
        """The file that every way into the present epoch needs, and that ends with it."""
        root = self.root.resolve()
        return self.epoch_file.absolute() if self.epoch_file else root.with_name(f"{root.name}.epoch")

    @property
    def card(self) -> Path:
        """The file that makes a directory a vault."""
        return self.root / "vault.json"

    @property
    def creating(self) -> Path:
        """The file that says that the vault is being made; gone with the last step of that."""
        return self.root / ".creating"

    def databases(self) -> tuple[str, str]:
        """Return the URLs of the vault database and of the keystore."""
        root = self.root.resolve()
        return (
            self.database_url or sqlite_url(root / "vault.db"),
            self.keystore_url or sqlite_url(root / "keystore.db"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An open vault and everything a journey works with.

    ``root_key`` is there when the key file is the vault's root, ``holder`` when it is a principal's.
    """

    place: Place
    root: Path
    vault_id: str
    log_origin: str
    settings: Settings
    engine: Engine
    keystore: Engine
    anchor: Anchor
    policies: PolicySet
    principal: Principal
    clock: Clock
    keyring: Keyring
    secrets: Secrets
    root_key: RootKey | None
    holder: Holder | None

    @property
    def log_signer(self) -> Signer:
        """What signs the log's checkpoints.

        Raises:
            KeyProblem: (KEY_CANNOT_SIGN) this keyring reads and verifies only.
        """
        return _had(self.secrets.log_signer, KeyDomain.LOG)

    @property
    def report_signer(self) -> Signer:
        """What signs reports and certificates.

        Raises:
            KeyProblem: (KEY_CANNOT_SIGN) this keyring signs no reports.
        """
        return _had(self.secrets.report_signer, KeyDomain.REPORT)

    @property
    def index_key(self) -> bytes:
        """The key of the keyed digests by which names and files are found again.

        Raises:
            KeyProblem: (KEY_CANNOT_SIGN) this keyring reads and verifies only.
        """
        return _had(self.secrets.index_key, KeyDomain.LOG)

    @property
    def log_vkey(self) -> str:
        """The log's public key as a C2SP verifier key."""
        return vkey(self.log_origin, self.secrets.log_public)

    @property
    def policy_sha256(self) -> str:
        """The hash of the settings and access policies in force."""
        return sha256_bytes(self.settings.canonical() + self.policies.sha256.encode())

    @property
    def models(self) -> Path:
        """The directory of model weights."""
        return self.root / "models"

    @contextmanager
    def work(self) -> Iterator[Work]:
        """Open the one kind of transaction that may change anything: rows and log entry together, then the anchor.

        Raises:
            IntegrityFailure: code ``ANCHOR_MISSING``, ``CLOCK_BACK`` or ``ROLLED_BACK``: nothing was done.
        """
        self.anchor.begin()
        check_clock(self.clock(), self.anchor.latest_at)
        with self._working() as work:
            check_start(self.anchor.size, work.start)
            yield work
        self.anchor.append(HEAD, checkpoint=work.note)

    @contextmanager
    def unanchored_work(self) -> Iterator[Work]:
        """Open a unit of work that the anchor is not told of: to accept an anchor that does not hold."""
        with self._working() as work:
            yield work

    @contextmanager
    def _working(self) -> Iterator[Work]:
        actor = fingerprint(self.index_key, ["actor", self.principal.name])
        scribe = Scribe(origin=self.log_origin, signer=self.log_signer, actor=actor, clock=self.clock)
        with unit_of_work(self.engine, scribe) as work:
            yield work

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a read-only snapshot."""
        with read_only(self.engine) as connection:
            yield connection


@contextmanager
def open_site(
    place: Place,
    settings: Settings,
    *,
    clock: Clock = utc_now,
    older: bool = False,
    anchored: bool = True,
    restoring: bool = False,
    finishing: bool = False,
) -> Iterator[Site]:
    """Open a vault for the account this process runs under.

    Args:
        place: where it is.
        settings: what the site decided.
        clock: gives the time.
        older: open one that is yet to be migrated, too.
        anchored: hold it against its anchor; False only to accept a new head (:mod:`pipeline.reanchor`).
        restoring: open a restored copy that serves nobody yet, to finish it (:mod:`pipeline.restore`).
        finishing: open it although destroyed keys live again, to destroy them (:mod:`pipeline.ended`).

    Raises:
        IntegrityFailure: code ``ANCHOR_MISSING``, ``ANCHOR_BROKEN``, ``ROLLED_BACK``, ``CLOCK_BACK``,
            ``BUDGET_REWOUND``, ``WITNESS_MISSING``, ``KEYSTORE_ROLLED_BACK`` or ``HOLDER_FORGED``.
        NoVault: there is no vault, or its schema is not this program's.
        KeyProblem: the key file is missing, wrong, or readable by others.
        Gap: the access policies do not parse or do not fit their schema.
    """
    card = read_card(place.card)
    if not restoring:
        _refuse_pending(card[RESTORED])
    own = place.open_key()
    vault_url, keystore_url = place.databases()
    engine, keys = open_vault_database(vault_url), open_keystore(keystore_url)
    anchor = Anchor(place.anchor_file, card["vault_id"], clock)
    try:
        check_revision(keys, "keystore", older=older)
        fresh = check_revision(engine, "vault", older=older) in UNANCHORED and not place.anchor_file.exists()
        with read_only(engine) as connection:
            _refuse_other(connection, card)
            if not restoring:
                _refuse_pending(meta.get_meta(connection, RESTORED))
        # Read before what it is held against: a head of another process's later commit would look like a roll-back.
        remembered = anchor.state() if anchored and not fresh else None
        opened = _unlock(place, card, keys, own, older=older)
        with read_only(engine) as connection:
            check_epoch(connection, opened, keys, card["vault_id"])
            check_opened(connection, keys, opened.holder, ended_ids(remembered), finishing=finishing or older)
            principal = _principal(connection, opened.holder)
        site = _assemble(place, card, settings, engine, keys, anchor, opened, principal, clock)
        if anchored:
            outside = Outside(anchor=remembered, witnesses=[Path(one) for one in settings.audit.witness])
            with site.reading() as connection:
                anchor.found(check_outside(outside, connection, site.log_vkey, clock()))
        with kept_open(engine):
            yield site
    finally:
        engine.dispose()
        keys.dispose()


def read_card(path: Path) -> dict[str, str]:
    """Read ``vault.json``.

    Raises:
        NoVault: there is none, it is damaged, or a newer program wrote it.
    """
    try:
        card = json.loads(path.read_text("utf-8"))
        known = card["format"] == FORMAT and isinstance(card["vault_id"], str) and isinstance(card["log_origin"], str)
        newer = isinstance(card["format"], int) and card["format"] > FORMAT
    except FileNotFoundError:
        hint = "create one with 'fabnet-secure init', or point --vault or FABNET_VAULT at it"
        raise NoVault(f"there is no vault at {path.parent}", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        hint = "restore vault.json from a backup"
        raise NoVault(f"{path.parent} is not a vault: vault.json is damaged", hint=hint, code="NOT_A_VAULT") from error
    if newer:
        raise NoVault("a newer program wrote this vault", hint="upgrade fabnet-secure", code="VAULT_NEWER")
    if not known:
        raise NoVault(f"{path.parent} is not a vault", hint="vault.json names an unknown format", code="NOT_A_VAULT")
    return {
        "vault_id": card["vault_id"],
        "log_origin": card["log_origin"],
        RESTORED: str(card.get(RESTORED, "")),
    }


def _refuse_other(connection: Connection, card: dict[str, str]) -> None:
    if meta.get_meta(connection, "vault_id") != card["vault_id"]:
        raise NoVault(
            "the database belongs to another vault",
            hint="check FABNET_DATABASE_URL against the vault's directory",
            code="VAULT_MISMATCH",
        )


def _refuse_pending(said: str | None) -> None:
    if said == PENDING:
        raise NoVault(
            "this is a restored copy that does not know yet who withdrew since its backup: it serves nobody",
            hint="run 'fabnet-secure backup restore' again, from the archives, into a new directory",
            code="RESTORE_PENDING",
        )


def os_account() -> str:
    """Return the account this process runs under, by its real uid: never by an environment variable."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _principal(connection: Connection, holder: Holder | None) -> Principal:
    """Say who this account is here; a holder's key gives it no more roles than it was granted for."""
    account = os_account()
    row = principals.find_by_os_user(connection, account)
    if row is None:
        return Principal(name=account, uid=os.getuid(), roles=())
    roles = row.roles if holder is None else tuple(role for role in row.roles if role in holder.roles)
    return Principal(name=row.name, uid=os.getuid(), roles=roles)


def _unlock(place: Place, card: dict[str, str], keys: Engine, own: RootKey, *, older: bool) -> Opened:
    """Open the keyring; of a vault that is yet to be migrated, only what its log needs."""
    legacy = unlock_legacy(keys, own) if older else None
    if legacy is None:
        return unlock(keys, place.gate, card["vault_id"], own, os_account())
    legacy[0].wipe()
    return Opened(keyring=Keyring({}, {}), secrets=legacy[1], root_key=own)


def _assemble(
    place: Place,
    card: dict[str, str],
    settings: Settings,
    engine: Engine,
    keys: Engine,
    anchor: Anchor,
    opened: Opened,
    principal: Principal,
    clock: Clock,
) -> Site:
    with read_only(engine) as connection:
        own_policies = directories(connection, place.root, opened.secrets.index_key)
    return Site(
        place=place,
        root=place.root,
        vault_id=card["vault_id"],
        log_origin=card["log_origin"],
        settings=settings,
        engine=engine,
        keystore=keys,
        anchor=anchor,
        policies=PolicySet.load(policies_dir() / "access", *own_policies),
        principal=principal,
        clock=clock,
        keyring=opened.keyring,
        secrets=opened.secrets,
        root_key=opened.root_key,
        holder=opened.holder,
    )


_Secret = TypeVar("_Secret", Signer, bytes)


def _had(secret: _Secret | None, domain: KeyDomain) -> _Secret:
    if secret is None:
        raise KeyProblem(
            f"this keyring cannot sign or write: it does not open {domain.value}",
            hint="use a key whose role may; 'fabnet-secure keys list' shows who holds which domains",
            code="KEY_CANNOT_SIGN",
        )
    return secret
