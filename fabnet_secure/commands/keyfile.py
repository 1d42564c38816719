"""``keys new|protect|public|split|combine``: key files, what protects them, and their recovery."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabnet_secure.commands.asking import Asker, asker
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
    opened,
    place,
    protection,
    token_module,
)
from fabnet_secure.commands.output import Output, print_json
from fabnet_secure.errors import UsageError

if TYPE_CHECKING:
    from fabnet_secure.crypto.provider import Protection

_LONGEST = 1 << 16
File = Annotated[Path, typer.Argument(help="The key file.", show_default=False)]
KEPT = (
    "The file's old bytes were overwritten. Flash disks, copy-on-write file systems, snapshots and backups keep older "
    "copies: destroy those too, or make a new key."
)


def register(commands: typer.Typer) -> None:
    """Add these verbs to the noun ``keys``."""
    commands.command("new", epilog=EXIT_STATUS)(new)
    commands.command("protect", epilog=EXIT_STATUS)(protect_file)
    commands.command("public", epilog=EXIT_STATUS)(public)
    commands.command("split", epilog=EXIT_STATUS)(split)
    commands.command("combine", epilog=EXIT_STATUS)(combine)


def new(
    file: File,
    *,
    protect: Protect = None,
    pkcs11_module: TokenModule = None,
    pkcs11_token: TokenLabel = "",
    pkcs11_key: TokenKeyLabel = "fabnet-secure",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Make a key file of your own (mode 0600) and print its public key, for 'keys grant --public-key'.

    Example: fabnet-secure keys new ~/ada.key --protect passphrase

    It opens nothing until somebody grants it something.
    """
    from fabnet_secure.crypto.keyfile import refuse_existing
    from fabnet_secure.crypto.provider import create_key

    chosen = protection(protect or "file", pkcs11_module, pkcs11_token, pkcs11_key)
    if dry_run:
        refuse_existing(file)
        shown = ""
    else:
        shown = create_key(file, chosen, asker()).public.raw.hex()
    _tell(Output(as_json=as_json, quiet=quiet), file, chosen, shown, dry_run=dry_run)


def protect_file(
    file: File,
    *,
    protect: Protect = None,
    new_passphrase_file: Annotated[
        str | None,
        typer.Option(
            "--new-passphrase-file",
            metavar="FILE|-",
            help="Where the new passphrase or PIN stands, if not where the old one does (-: the next line).",
            show_default=False,
        ),
    ] = None,
    pkcs11_module: TokenModule = None,
    pkcs11_token: TokenLabel = "",
    pkcs11_key: TokenKeyLabel = "fabnet-secure",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Change what protects a key file, in one step: its mode alone, a passphrase (a new one too), or a token.

    Example: fabnet-secure keys protect ~/ada.key --protect passphrase

    The key stays the same, so nothing has to be granted again; whoever copied the old file still has it.
    """
    from fabnet_secure.crypto.provider import open_key, protect_key

    if not protect:
        raise UsageError("it is not said what shall protect the file", hint="--protect file, passphrase or pkcs11")
    chosen = protection(protect, pkcs11_module, pkcs11_token, pkcs11_key)
    old, fresh = asker(), Asker(new_passphrase_file) if new_passphrase_file else asker()
    module = pkcs11_module or token_module()
    key = open_key(file, old, module=module) if dry_run else protect_key(file, chosen, old, fresh, module=module)
    out = Output(as_json=as_json, quiet=quiet)
    _tell(out, file, chosen, key.public.raw.hex(), dry_run=dry_run)
    if not dry_run:
        out.say(KEPT)


def public(
    file: File,
    *,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Print the public key of a key file: 64 hexadecimal digits, no secret.

    Example: fabnet-secure keys public ~/ada.key
    """
    from fabnet_secure.crypto.provider import form_of, open_key

    shown = open_key(file, asker(), module=token_module()).public.raw.hex()
    out = Output(as_json=as_json, quiet=quiet)
    out.result("key_file", {"file": str(file), "protect": form_of(file).value, "public_key": shown}, [shown])
    out.ids([shown])


def split(
    *,
    shares: Annotated[int, typer.Option("--shares", help="How many shares are made, at most 16.")] = 3,
    threshold: Annotated[int, typer.Option("--threshold", help="How many are needed, at least 2.")] = 2,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The vault's id: enough shares open everything.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Split the vault's key into shares of 33 words (SLIP-39), any THRESHOLD of which give it back; print each once.

    Example: fabnet-secure keys split --shares 3 --threshold 2 --confirm 81b2…

    Write each down and keep each at another place. They stay valid for as long as the vault has this key.
    """
    from fabnet_secure.pipeline import recovery

    with opened(vault, key_file) as site:
        made = recovery.split(site, shares=shares, threshold=threshold, confirm=confirm, dry_run=dry_run)
        vault_id = site.vault_id
    out = Output(as_json=as_json, quiet=quiet)
    if as_json:
        for number, words in enumerate(made, start=1):
            print_json("share", {"number": number, "words": words})
    else:
        for number, words in enumerate(made, start=1):
            print(words if quiet else f"# share {number} of {shares}, any {threshold} open vault {vault_id}\n{words}\n")
    summary = {"vault_id": vault_id, "shares": shares, "threshold": threshold, "made": len(made), "dry_run": dry_run}
    out.result("summary", summary, ["dry run: no share was made"] if dry_run else [])
    if made:
        out.say("Nothing of this is stored. Clear the terminal's history when every share is written down.")


def combine(
    out_file: Annotated[Path, typer.Argument(metavar="OUT", help="The new key file.", show_default=False)],
    *,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="FILE|-", help="Shares, one a line; repeat for several. Default: -"),
    ] = None,
    protect: Protect = None,
    pkcs11_module: TokenModule = None,
    pkcs11_token: TokenLabel = "",
    pkcs11_key: TokenKeyLabel = "fabnet-secure",
    dry_run: DryRun = False,
    vault: Vault = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """Make the vault's key file again from its shares, after proving that the key opens the vault.

    Example: fabnet-secure keys combine ~/site.key --from share1.txt --from share3.txt
    """
    from fabnet_secure.config import load
    from fabnet_secure.crypto.shares import read_shares
    from fabnet_secure.pipeline import recovery

    chosen = protection(protect or "file", pkcs11_module, pkcs11_token, pkcs11_key)
    where = place(vault, out_file)
    texts = [share for one in source or ["-"] for share in read_shares(_text_of(one))]
    vault_id = recovery.combine(where, load(vault=vault).settings, texts, protection=chosen, dry_run=dry_run)
    said = "would open it; nothing was written" if dry_run else f"opens it, and is in {out_file}"
    fields = {"vault_id": vault_id, "key_file": str(out_file), "protect": chosen.form.value, "dry_run": dry_run}
    out = Output(as_json=as_json, quiet=quiet)
    out.result("key_file", fields, [f"vault {vault_id}: the key {said}"])
    out.ids([str(out_file)])


def _tell(out: Output, file: Path, chosen: "Protection", shown: str, *, dry_run: bool) -> None:
    fields = {"file": str(file), "protect": chosen.form.value, "public_key": shown or None, "dry_run": dry_run}
    lines = [f"key file    {file}", f"protect     {chosen.form.value}"]
    lines += [f"public key  {shown}"] if shown else []
    out.result("key_file", fields, [*lines, *(["dry run: nothing changed"] if dry_run else [])])
    out.ids([shown] if shown else [])


def _text_of(source: str) -> str:
    """Read shares from a file, or from standard input; what is no text is no share, and is told as such."""
    try:
        if source == "-":
            if sys.stdin.isatty():
                print("Type the shares, one a line, then Ctrl-D:", file=sys.stderr)
            return sys.stdin.buffer.read(_LONGEST).decode("ascii", "replace")
        with Path(source).open("rb") as file:
            return file.read(_LONGEST).decode("ascii", "replace")
    except OSError as error:
        raise UsageError(f"{source} cannot be read", hint=str(error.strerror), code="FILE_UNREADABLE") from error
