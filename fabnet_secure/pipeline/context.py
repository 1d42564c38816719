"""The composition root: create a vault, open it, and hand its parts to the journeys.

A vault is a directory: ``vault.json`` (what it is), ``vault.db`` (rows and log; or PostgreSQL, see
``FABNET_DATABASE_URL``), ``keystore.db`` (wrapped keys, a separate database so that a backup of one never opens the
other) and ``models/`` (weights). The key file lies outside it.
"""

import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabnet_secure.access.decision import ROLES, PolicySet, Principal
from fabnet_secure.audit.checkpoint import vkey
from fabnet_secure.config import Settings, policies_dir
from fabnet_secure.crypto.digest import fingerprint, random_bytes, sha256_bytes
from fabnet_secure.crypto.keyfile import RootKey, create_key_file, load_key_file
from fabnet_secure.crypto.keyring import Keyring
from fabnet_secure.crypto.signing import Signer
from fabnet_secure.errors import IntegrityFailure, NoVault, UsageError
from fabnet_secure.store import keystore, meta, principals
from fabnet_secure.store.database import (
    Connection,
    Engine,
    Scribe,
    Work,
    check_revision,
    keystore_work,
    migrate,
    open_keystore,
    open_vault_database,
    read_only,
    sqlite_url,
    unit_of_work,
)
from fabnet_secure.types import Clock, new_id, rfc3339, utc_now

FORMAT = 1
_SECRETS = ("log_signing", "report_signing", "index")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a vault, its key and its databases are.

    Attributes:
        root: the vault's directory.
        key_file: the path of the key file.
        database_url: the vault database; None is ``vault.db`` in the vault.
        keystore_url: the keystore database; None is ``keystore.db`` in the vault.
    """

    root: Path
    key_file: Path
    database_url: str | None = None
    keystore_url: str | None = None

    @property
    def card(self) -> Path:
        """The file that makes a directory a vault."""
        return self.root / "vault.json"

    def databases(self) -> tuple[str, str]:
        """Return the URLs of the vault database and of the keystore."""
        root = self.root.resolve()
        return (
            self.database_url or sqlite_url(root / "vault.db"),
            self.keystore_url or sqlite_url(root / "keystore.db"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An open vault and everything a journey works with."""

    place: Place
    root: Path
    vault_id: str
    log_origin: str
    settings: Settings
    engine: Engine
    keystore: Engine
    policies: PolicySet
    principal: Principal
    clock: Clock
    keyring: Keyring
    log_signer: Signer
    report_signer: Signer
    index_key: bytes

    @property
    def log_vkey(self) -> str:
        """The log's public key as a C2SP verifier key."""
        return vkey(self.log_origin, self.log_signer.public)

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
        """Open the one kind of transaction that may change anything: rows and log entry together."""
        actor = fingerprint(self.index_key, ["actor", self.principal.name])
        scribe = Scribe(origin=self.log_origin, signer=self.log_signer, actor=actor, clock=self.clock)
        with unit_of_work(self.engine, scribe) as work:
            yield work

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a read-only snapshot."""
        with read_only(self.engine) as connection:
            yield connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What :func:`create_vault` found or made."""

    vault: Path
    log_origin: str
    log_vkey: str
    report_public_key: str
    key_file: Path
    created: bool
    key_file_created: bool


def create_vault(place: Place, settings: Settings, *, clock: Clock = utc_now) -> Created:
    """Create the vault, its keys, schema and first log entry; on a vault that exists, change nothing.

    The directory becomes a vault only with its last step (``vault.json``), so a crash before it is repaired by
    running the command again.

    Raises:
        UsageError: the directory exists, is not empty and is no vault.
        KeyProblem: the key file exists and is unusable, or does not open an existing vault.
    """
    if place.card.exists():
        (place.root / ".creating").unlink(missing_ok=True)  # of an init that was cut off in its very last step
        with open_site(place, settings, clock=clock) as site:
            return _described(place, site, created=False, key_file_created=False)
    _refuse_foreign(place.root)
    if place.key_file.resolve().is_relative_to(place.root.resolve()):
        raise UsageError(
            "the key file would lie inside the vault",
            hint="keep the key elsewhere, so that a copy of the vault opens nothing",
            code="KEY_INSIDE_VAULT",
        )
    fresh_key = not place.key_file.exists()
    root_key = create_key_file(place.key_file) if fresh_key else load_key_file(place.key_file)
    place.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    (place.root / ".creating").touch(mode=0o600)
    (place.root / "models").mkdir(mode=0o700, exist_ok=True)
    vault_id = new_id()
    card: dict[str, str | int] = {"format": FORMAT, "vault_id": vault_id, "log_origin": f"fabnet-secure/{vault_id}"}
    _first_rows(place, settings, root_key, card, clock)
    _write_card(place.card, card | {"created_at": rfc3339(clock())})
    (place.root / ".creating").unlink()
    with open_site(place, settings, clock=clock) as site:
        return _described(place, site, created=True, key_file_created=fresh_key)


@contextmanager
def open_site(place: Place, settings: Settings, *, clock: Clock = utc_now, older: bool = False) -> Iterator[Site]:
    """Open a vault for the account this process runs under; with ``older``, one that is yet to be migrated too.

    Raises:
        NoVault: there is no vault, or its schema is not this program's.
        KeyProblem: the key file is missing, wrong, or readable by others.
        Gap: the access policies do not parse or do not fit their schema.
    """
    card = read_card(place.card)
    root_key = load_key_file(place.key_file)
    vault_url, keystore_url = place.databases()
    engine, keys = open_vault_database(vault_url), open_keystore(keystore_url)
    try:
        check_revision(keys, "keystore", older=older)
        check_revision(engine, "vault", older=older)
        with read_only(engine) as connection:
            if meta.get_meta(connection, "vault_id") != card["vault_id"]:
                raise NoVault(
                    "the database belongs to another vault",
                    hint="check FABNET_DATABASE_URL against the vault's directory",
                    code="VAULT_MISMATCH",
                )
            principal = _principal(connection)
        yield _assemble(place, card, settings, engine, keys, root_key, principal, clock)
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
    return {"vault_id": card["vault_id"], "log_origin": card["log_origin"]}


def os_account() -> str:
    """Return the account this process runs under, by its real uid: never by an environment variable."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _principal(connection: Connection) -> Principal:
    account = os_account()
    row = principals.find_by_os_user(connection, account)
    if row is None:
        return Principal(name=account, uid=os.getuid(), roles=())
    return Principal(name=row.name, uid=os.getuid(), roles=row.roles)


def _assemble(
    place: Place,
    card: dict[str, str],
    settings: Settings,
    engine: Engine,
    keys: Engine,
    root_key: RootKey,
    principal: Principal,
    clock: Clock,
) -> Site:
    with read_only(keys) as connection:
        epochs = keystore.living_epochs(connection)
        wrapped = {name: keystore.get_secret(connection, name) for name in _SECRETS}
    if not epochs:
        raise IntegrityFailure("the keystore holds no living epoch key", hint="restore keystore.db from a backup")
    keyring = Keyring.open(root_key, epochs)
    secrets: dict[str, bytes] = {}
    for name, row in wrapped.items():
        if row is None:
            raise IntegrityFailure(
                f"the keystore has lost its '{name}' secret", hint="restore keystore.db from a backup"
            )
        secrets[name] = keyring.unwrap_secret(name, row.wrapped)
    return Site(
        place=place,
        root=place.root,
        vault_id=card["vault_id"],
        log_origin=card["log_origin"],
        settings=settings,
        engine=engine,
        keystore=keys,
        policies=PolicySet.load(policies_dir() / "access"),
        principal=principal,
        clock=clock,
        keyring=keyring,
        log_signer=Signer.from_seed(secrets["log_signing"]),
        report_signer=Signer.from_seed(secrets["report_signing"]),
        index_key=secrets["index"],
    )


def _first_rows(place: Place, settings: Settings, root_key: RootKey, card: dict[str, str | int], clock: Clock) -> None:
    """Write the keystore, then the vault's first rows and log entry; both are safe to repeat after a crash."""
    vault_url, keystore_url = place.databases()
    engine, keys = open_vault_database(vault_url), open_keystore(keystore_url)
    try:
        migrate(keys, "keystore")
        migrate(engine, "vault")
        signer = _first_keys(keys, root_key)
        scribe = Scribe(origin=str(card["log_origin"]), signer=signer, actor="operator", clock=clock)
        with unit_of_work(engine, scribe) as work:
            if meta.get_meta(work.connection, "vault_id") is not None:
                raise UsageError(
                    "the database already holds a vault",
                    hint="give every vault a database of its own, or finish with the directory it belongs to",
                    code="DATABASE_IN_USE",
                )
            meta.set_meta(work.connection, "vault_id", str(card["vault_id"]))
            account = os_account()
            principals.add_principal(
                work.connection, principals.PrincipalRow(name=account, os_user=account, roles=ROLES)
            )
            work.log("vault.created", facts={"format": FORMAT, "settings": sha256_bytes(settings.canonical())})
    finally:
        engine.dispose()
        keys.dispose()


def _first_keys(keys: Engine, root_key: RootKey) -> Signer:
    with keystore_work(keys) as connection:
        if keystore.list_epochs(connection):
            raise UsageError(
                "the keystore already holds keys of another vault",
                hint="an interrupted 'init' leaves one: remove the directory and run it again",
                code="KEYSTORE_IN_USE",
            )
        wrapped = Keyring.new_epoch(root_key, 1)
        keystore.add_epoch(connection, 1, wrapped)
        keyring = Keyring.open(root_key, {1: wrapped})
        log_signer, report_signer = Signer.generate(), Signer.generate()
        for name, secret, public in (
            ("log_signing", log_signer.seed, log_signer.public),
            ("report_signing", report_signer.seed, report_signer.public),
            ("index", random_bytes(32), b""),
        ):
            keystore.put_secret(connection, name, keyring.wrap_secret(name, secret), public)
    return log_signer


def _refuse_foreign(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a directory", code="NOT_A_DIRECTORY")
    if not root.is_dir():
        return
    if (root / ".creating").exists():
        _set_aside(root)
    elif any(root.iterdir()):
        hint = "choose an empty or new directory for the vault"
        raise UsageError(f"{root} is not empty and is not a vault", hint=hint, code="NOT_A_VAULT")


def _set_aside(root: Path) -> None:
    """Move what a cut-off init left out of the way: nothing is ever deleted here, in case it was more than that."""
    found = [path for path in root.glob("*.db*") if path.is_file()]
    if found:
        aside = root / f"set-aside-{new_id()}"
        aside.mkdir(mode=0o700)
        for path in found:
            path.rename(aside / path.name)


def _write_card(path: Path, card: dict[str, str | int]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(card, stream, indent=2, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _described(place: Place, site: Site, *, created: bool, key_file_created: bool) -> Created:
    return Created(
        vault=place.root.resolve(),
        log_origin=site.log_origin,
        log_vkey=site.log_vkey,
        report_public_key=site.report_signer.public.hex(),
        key_file=place.key_file.resolve(),
        created=created,
        key_file_created=key_file_created,
    )
