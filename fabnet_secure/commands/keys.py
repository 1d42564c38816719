"""``keys``: who holds which keys, their renewal, and what protects the key files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabnet_secure.commands import keyfile
from fabnet_secure.commands.asking import asker
from fabnet_secure.commands.options import (
    EXIT_STATUS,
    AsJson,
    Debug,
    DryRun,
    KeyFile,
    Protect,
    Quiet,
    TokenKeyLabel,
    TokenLabel,
    TokenModule,
    Vault,
    noun,
    opened,
    protection,
)
from fabnet_secure.commands.output import Output, Talk, day, pairs, print_json
from fabnet_secure.errors import UsageError
from fabnet_secure.types import Domain, rfc3339

if TYPE_CHECKING:
    from fabnet_secure.crypto.holder import Holder
    from fabnet_secure.pipeline.keys import Held
    from fabnet_secure.pipeline.rekey import Rekeyed
    from fabnet_secure.store.keystore import EpochRow

commands = noun("Keys: key files, who holds what, their renewal.", example="fabnet-secure keys list")
keyfile.register(commands)

Account = Annotated[str, typer.Argument(help="The operating-system account.", show_default=False)]
BACKUP = "A backup of the keystore from before now opens nothing any more: make one ('fabnet-secure backup create')."
COPIED = (
    "What the account may have copied opens what it held until the next 'keys rekey' (--rekey does it now); data keys "
    "that it unwrapped, until 'keys reencrypt'."
)


@commands.command(epilog=EXIT_STATUS)
def grant(
    account: Account,
    *,
    role: Annotated[list[str], typer.Option("--role", help="What the keyring is for; repeat for several.")],
    public_key: Annotated[
        str | None,
        typer.Option("--public-key", metavar="HEX", help="What 'keys public' prints of the account's key file."),
    ] = None,
    key_file_out: Annotated[
        Path | None,
        typer.Option("--key-file-out", metavar="FILE", help="Make a key file for the account here instead."),
    ] = None,
    protect: Protect = None,
    pkcs11_module: TokenModule = None,
    pkcs11_token: TokenLabel = "",
    pkcs11_key: TokenKeyLabel = "fabnet-secure",
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Give an account a keyring of its own, which opens what its roles need and nothing else. Takes the root key.

    Example: fabnet-secure keys grant ada --role trainer --public-key 8f2c…

    Its roles count only where 'policy grant' gives them too. A second grant takes the place of the first.
    """
    from fabnet_secure.crypto.provider import create_key
    from fabnet_secure.pipeline import keys

    if (public_key is None) == (key_file_out is None):
        hint = "--public-key HEX for the key file that the account made itself (better), or --key-file-out FILE"
        raise UsageError("it is not said which key the keyring is for", hint=hint)
    out_file = key_file_out or Path()
    chosen = protection(protect or "file", pkcs11_module, pkcs11_token, pkcs11_key)

    def make() -> bytes:
        return create_key(out_file, chosen, asker()).public.raw

    with opened(vault, key_file) as site:
        half = make if public_key is None else _read_half(public_key)
        done = keys.grant(site, account, tuple(role), half, dry_run=dry_run)
    fields = _holder(done.holder) | {"epoch": done.epoch, "missing_roles": list(done.missing_roles), "dry_run": dry_run}
    if key_file_out is not None:
        fields["key_file"] = str(key_file_out)
    out = Output(as_json=as_json, quiet=quiet)
    out.result("keyring_granted", fields, pairs({name: fields[name] for name in ("name", "roles", "domains", "epoch")}))
    out.ids([done.holder.name])
    if done.missing_roles:
        out.say(f"These roles count only after 'fabnet-secure policy grant {account}': {' '.join(done.missing_roles)}.")


@commands.command(epilog=EXIT_STATUS)
def revoke(
    account: Account,
    *,
    rekey: Annotated[bool, typer.Option("--rekey", help="Renew the epoch at once, too.")] = False,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Take an account's keyring away. Takes the root key.

    Example: fabnet-secure keys revoke ada --rekey
    """
    from fabnet_secure.pipeline import keys

    with opened(vault, key_file) as site:
        done = keys.revoke(site, account, rekeyed=rekey, dry_run=dry_run)
    fields: dict[str, Any] = {"name": done.name, "already": done.already, "dry_run": dry_run}
    fields["rekeyed"] = None if done.rekeyed is None else _rekeyed(done.rekeyed)
    out = Output(as_json=as_json, quiet=quiet)
    out.result("keyring_revoked", fields, [f"{done.name} holds no keyring any more" + (" (as before)" * done.already)])
    out.ids([done.name])
    out.say(BACKUP if rekey else COPIED)


@commands.command("list", epilog=EXIT_STATUS)
def list_keyrings(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List who holds a keyring, with which domains, and the epochs with their age; the root checks every proof, too.

    Example: fabnet-secure keys list
    """
    from fabnet_secure.pipeline.keys import overview, refuse_forged

    with opened(vault, key_file) as site:
        found = overview(site)
    epochs = [_epoch(epoch) for epoch in found.epochs]
    if as_json:
        for held in found.holders:
            print_json("keyring", _holder(held.holder) | {"proven": held.proven})
        for epoch in epochs:
            print_json("epoch", epoch)
        summary = {"keyrings": len(found.holders), "due_at": rfc3339(found.due_at), "period": found.rotation_period}
        print_json("summary", summary)
    out = Output(as_json=as_json, quiet=quiet)
    out.ids(held.holder.name for held in found.holders)
    rows = [(one.holder.name, _state(one), one.holder.roles, one.holder.domains) for one in found.holders]
    out.table(("account", "keyring", "roles", "domains"), rows)
    shown = [(one["epoch"], day(one["created_at"]), day(one["destroyed_at"])) for one in epochs]
    out.table(("epoch", "since", "destroyed"), shown)
    out.say(f"The next 'keys rekey' is due on {found.due_at:%Y-%m-%d} (every {found.rotation_period}).")
    refuse_forged(found)


@commands.command(epilog=EXIT_STATUS)
def rekey(
    *,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only where the rotation period is over: for a timer.")
    ] = False,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Wrap every living key anew and destroy what older copies of the keystore open with. Takes the root key.

    Example: fabnet-secure keys rekey --if-due

    Protects from old copies of the keystore: what a withdrawal destroyed is irrecoverable from then on. Does not
    protect from whoever unwrapped data keys before: 'keys reencrypt' does. Cut off anywhere, it is finished by a
    second run.
    """
    from fabnet_secure.pipeline import rekey as pipeline

    with opened(vault, key_file) as site:
        done = pipeline.rekey(site, if_due=if_due, dry_run=dry_run)
    fields = _rekeyed(done) | {"dry_run": dry_run}
    out = Output(as_json=as_json, quiet=quiet)
    out.result("rekeyed", fields, pairs(fields))
    out.ids([str(done.epoch)])
    if done.destroyed_epoch is not None and not dry_run:
        out.say(BACKUP)


@commands.command(epilog=EXIT_STATUS)
def reencrypt(
    *,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Exchange every data key for a fresh one and seal all anew. Takes the root key, and time.

    Example: fabnet-secure keys reencrypt

    Protects what the vault holds from whoever unwrapped data keys before, such as a principal who left. Does not
    protect from old copies of the keystore: 'keys rekey' does. The vault can be used meanwhile; cut off anywhere, it is
    finished by a second run.
    """
    from fabnet_secure.pipeline import reencrypt as pipeline

    talk = Talk(quiet=quiet or as_json)
    with opened(vault, key_file) as site:
        try:
            done = pipeline.reencrypt(site, progress=talk, dry_run=dry_run)
        finally:
            talk.finish()
    fields = {"reencrypted": done.reencrypted, "rows": done.rows, "epoch": done.epoch, "dry_run": dry_run}
    out = Output(as_json=as_json, quiet=quiet)
    out.result("reencrypted", fields, pairs(fields))
    out.ids([str(done.reencrypted)])


@commands.command(epilog=EXIT_STATUS)
def destroy(
    *,
    consent: Annotated[str, typer.Option("--consent", metavar="ID", help="Whose key.", show_default=False)],
    domain: Annotated[Domain, typer.Option("--domain", help="Which kind of data it opens.", show_default=False)],
    confirm: Annotated[str | None, typer.Option("--confirm", metavar="ID", help="The consent's id again.")] = None,
    approval: Annotated[
        list[Path] | None, typer.Option("--approval", metavar="FILE", help="An approval; give it twice.")
    ] = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Destroy the key of one consent and kind of data although nobody withdrew it. Takes two people.

    Example: fabnet-secure keys destroy --consent ID --domain tracklets --confirm ID --approval A --approval B
    """
    from fabnet_secure.pipeline import keys

    with opened(vault, key_file, finishing=True) as site:
        done = keys.destroy(site, consent, domain, confirm=confirm, approvals=tuple(approval or ()), dry_run=dry_run)
    fields = {
        "consent_id": done.consent_id,
        "domain": done.domain.value,
        "keys": done.keys,
        "dry_run": done.dry_run,
    }
    out = Output(as_json=as_json, quiet=quiet)
    out.result("key_destroyed", fields, pairs(fields))
    out.ids([done.consent_id])
    if not dry_run:
        out.say("An older copy of the keystore still holds the key: it opens nothing after the next 'keys rekey'.")


def _read_half(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        hint = "it is what 'fabnet-secure keys public FILE' prints"
        raise UsageError("a public key has 64 hexadecimal digits", hint=hint, code="PUBLIC_KEY_INVALID") from None


def _holder(holder: "Holder") -> dict[str, Any]:
    return {
        "name": holder.name,
        "public_key": holder.public.hex(),
        "roles": list(holder.roles),
        "domains": [domain.value for domain in holder.domains],
        "created_at": rfc3339(holder.created_at),
        "revoked_at": rfc3339(holder.revoked_at) if holder.revoked_at else None,
    }


def _state(held: "Held") -> str:
    if held.proven is False:
        return "FORGED"
    return "revoked" if held.holder.revoked_at else "in use"


def _epoch(row: "EpochRow") -> dict[str, Any]:
    return {
        "epoch": row.number,
        "created_at": rfc3339(row.created_at) if row.created_at else None,
        "destroyed_at": rfc3339(row.destroyed_at) if row.destroyed_at else None,
    }


def _rekeyed(done: "Rekeyed") -> dict[str, Any]:
    return {
        "rewrapped": done.rewrapped,
        "epoch": done.epoch,
        "destroyed_epoch": done.destroyed_epoch,
        "holders": done.holders,
        "due_at": rfc3339(done.due_at),
    }
